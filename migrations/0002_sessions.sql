-- Sessions and their messages in the orders that they are read in, and the conversation of a session.

-- The session that this one is a part of (a subagent's); '' for none.
ALTER TABLE sessions ADD COLUMN parent_id TEXT NOT NULL DEFAULT '';
-- How many messages of it are stored.
ALTER TABLE sessions ADD COLUMN messages BIGINT NOT NULL DEFAULT 0;
-- The session that a conversation's own one is to be, or was, copied from.
ALTER TABLE contexts ADD COLUMN fork_of TEXT;

DROP INDEX sessions_codebase;
CREATE INDEX sessions_codebase ON sessions (codebase_id, updated_at, worker_id, id);
CREATE INDEX sessions_worker ON sessions (worker_id, updated_at, id);
CREATE INDEX sessions_newest ON sessions (updated_at, worker_id, id);
CREATE INDEX sessions_id ON sessions (id);
CREATE INDEX session_messages_order ON session_messages (worker_id, session_id, created_at, id);
CREATE INDEX contexts_session ON contexts (worker_id, session_id, updated_at);
