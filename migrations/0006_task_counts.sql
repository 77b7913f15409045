-- How many tasks each owner has in each state. Every transaction that adds a task or changes the state of one counts it here too, so that a list
-- can tell its whole length without counting it.
CREATE TABLE task_counts (
    owner TEXT NOT NULL,
    state TEXT NOT NULL,
    n     BIGINT NOT NULL,
    PRIMARY KEY (owner, state)
);
INSERT INTO task_counts (owner, state, n) SELECT owner, state, COUNT(*) FROM tasks GROUP BY owner, state;
