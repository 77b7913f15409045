-- The parts of a coordination are tasks of their own.
CREATE INDEX tasks_parent ON tasks (parent_id, id) WHERE parent_id IS NOT NULL;
-- What agents of this server are answering.
CREATE INDEX tasks_answering ON tasks (id) WHERE mode = 'message' AND completed_at IS NULL;
-- The event is called what it tells.
UPDATE events SET kind = 'message.received' WHERE kind = 'agent.message';
