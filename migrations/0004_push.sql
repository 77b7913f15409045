-- Webhooks are told of their tasks. What is to be sent is not copied: the stream is the outbox, and each webhook has its place in it.

-- Another one each time it is set, so that what is said of an earlier one changes nothing.
ALTER TABLE a2a_push_configs ADD COLUMN revision TEXT NOT NULL DEFAULT '';
-- The place of the task as it is told first, and the place that was told last (NULL: nothing was).
ALTER TABLE a2a_push_configs ADD COLUMN begins_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE a2a_push_configs ADD COLUMN told BIGINT;
-- The place that was told in vain: what is sent again ends there, as it did the first time.
ALTER TABLE a2a_push_configs ADD COLUMN tried BIGINT;
-- Tries in vain since something arrived, and the time before which there is no other.
ALTER TABLE a2a_push_configs ADD COLUMN failures BIGINT NOT NULL DEFAULT 0;
ALTER TABLE a2a_push_configs ADD COLUMN not_before BIGINT;
-- When all was told or it was given up, and why it was.
ALTER TABLE a2a_push_configs ADD COLUMN ended_at BIGINT;
ALTER TABLE a2a_push_configs ADD COLUMN problem TEXT;

-- Those that were kept before anything was sent: nothing is told of what has ended, the others begin where their tasks are.
UPDATE a2a_push_configs SET
    begins_at = COALESCE((SELECT entries FROM tasks WHERE tasks.id = a2a_push_configs.task_id), 0),
    ended_at = (SELECT completed_at FROM tasks WHERE tasks.id = a2a_push_configs.task_id);

-- The open ones (NULL), and those to be forgotten.
CREATE INDEX a2a_push_ended ON a2a_push_configs (ended_at, task_id, id);
