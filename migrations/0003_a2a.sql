-- What A2A keeps beside tasks: later messages of a task, webhooks, and the order in which its tasks are listed.

-- When the task began, or ceased, to wait for a person.
ALTER TABLE tasks ADD COLUMN asked_at BIGINT;

-- A caller's tasks, the newest status first. Context and state are there to be filtered by without a look at the row.
CREATE INDEX tasks_told ON tasks (owner, (COALESCE(completed_at, asked_at, started_at, created_at)) DESC, id DESC, context_id, state);

-- What was said in a task after its first message, as A2A 1.0 writes messages: what an agent asked, and what was answered. The first one is in the
-- task itself.
CREATE TABLE a2a_messages (
    task_id TEXT NOT NULL,
    n       BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (task_id, n)
);

-- Webhooks that are told of a task. `version` is the version of A2A that its owner speaks.
CREATE TABLE a2a_push_configs (
    task_id    TEXT NOT NULL,
    id         TEXT NOT NULL,
    version    TEXT NOT NULL,
    config     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (task_id, id)
);
