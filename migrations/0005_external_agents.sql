-- Agents of others: how they are reached and shown who we are, and the tasks that are relayed to them.

-- The credential that the agent is shown; '' for none.
ALTER TABLE agents ADD COLUMN token TEXT NOT NULL DEFAULT '';
-- The tag of the card, with which it is asked for again; '' for none.
ALTER TABLE agents ADD COLUMN etag TEXT NOT NULL DEFAULT '';

-- An attempt that is a task of another agent. It is there before the message is sent; remote_task is '' until the agent has named its task.
CREATE TABLE relays (
    task_id        TEXT NOT NULL,
    attempt        BIGINT NOT NULL,
    context_id     TEXT NOT NULL,
    agent          TEXT NOT NULL,
    remote_task    TEXT NOT NULL,
    remote_context TEXT NOT NULL,
    PRIMARY KEY (task_id, attempt)
);
CREATE INDEX relays_context ON relays (context_id, agent, task_id);
CREATE INDEX relays_agent ON relays (agent);
