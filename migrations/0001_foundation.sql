-- The one schema, for SQLite and PostgreSQL alike: TEXT and BIGINT only, times in milliseconds since 1970 (UTC), flags as
-- 0 and 1, structures as JSON text that no statement looks into. Migrations are only ever added, never changed.

-- Facts of the server itself: server_id, epoch, name.
CREATE TABLE server (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- The batches that were committed, to find out what became of a commit whose answer was lost (PostgreSQL only).
CREATE TABLE batches (
    id           TEXT PRIMARY KEY,
    committed_at BIGINT NOT NULL
);
CREATE INDEX batches_age ON batches (committed_at);

-- The head of the event log. Its row lock makes the order of commits the order of events.
CREATE TABLE log_head (
    id     BIGINT PRIMARY KEY,
    seq    BIGINT NOT NULL,
    shared BIGINT NOT NULL
);
INSERT INTO log_head (id, seq, shared) VALUES (1, 0, 0);

-- Facts of the life of tasks, workers, agents, peers and interactions.
CREATE TABLE events (
    seq        BIGINT PRIMARY KEY,
    id         TEXT NOT NULL,
    origin     TEXT NOT NULL,
    epoch      TEXT NOT NULL,
    origin_seq BIGINT,
    kind       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    at         BIGINT NOT NULL,
    data       TEXT NOT NULL
);
CREATE UNIQUE INDEX events_identity ON events (origin, epoch, origin_seq);
CREATE INDEX events_kind ON events (kind, seq);
CREATE INDEX events_subject ON events (subject, seq);

-- Who may ask what. Only the hash of a secret is kept.
CREATE TABLE tokens (
    id           TEXT PRIMARY KEY,
    hash         TEXT NOT NULL UNIQUE,
    name         TEXT NOT NULL,
    scope        TEXT NOT NULL,
    principal    TEXT NOT NULL,
    worker_id    TEXT,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    revoked_at   BIGINT,
    last_used_at BIGINT
);

CREATE TABLE workers (
    id                 TEXT PRIMARY KEY,
    name               TEXT NOT NULL,
    hostname           TEXT,
    capabilities       TEXT NOT NULL,
    labels             TEXT NOT NULL,
    models             TEXT NOT NULL,
    default_model      TEXT,
    slots              BIGINT NOT NULL,
    global_codebase_id TEXT,
    protocol_version   BIGINT,
    version            TEXT,
    os                 TEXT,
    arch               TEXT,
    opencode_version   TEXT,
    instance           TEXT,
    former_instances   TEXT NOT NULL,
    registration       BIGINT NOT NULL,
    draining           BIGINT NOT NULL,
    drain_reason       TEXT,
    gone               BIGINT NOT NULL,
    alarm              TEXT,
    registered_at      BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL,
    last_seen          BIGINT NOT NULL
);
CREATE INDEX workers_name ON workers (name);

-- Which worker has which model, to find workers by model; the rest is in workers.models.
CREATE TABLE worker_models (
    model_id  TEXT NOT NULL,
    worker_id TEXT NOT NULL,
    PRIMARY KEY (model_id, worker_id)
);
CREATE INDEX worker_models_worker ON worker_models (worker_id);

CREATE TABLE codebases (
    id           TEXT PRIMARY KEY,
    worker_id    TEXT NOT NULL,
    name         TEXT NOT NULL,
    path         TEXT NOT NULL,
    description  TEXT NOT NULL,
    agent_config TEXT NOT NULL,
    is_global    BIGINT NOT NULL,
    parallel     BIGINT NOT NULL,
    git          TEXT,
    problem      TEXT,
    offline      BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);
CREATE UNIQUE INDEX codebases_place ON codebases (worker_id, path);
CREATE INDEX codebases_name ON codebases (name);

-- Conversations. worker_id and session_id are set when the first turn has its OpenCode session.
CREATE TABLE contexts (
    id          TEXT PRIMARY KEY,
    owner       TEXT NOT NULL,
    worker_id   TEXT,
    codebase_id TEXT,
    session_id  TEXT,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);

CREATE TABLE tasks (
    id               TEXT PRIMARY KEY,
    owner            TEXT NOT NULL,
    context_id       TEXT NOT NULL,
    parent_id        TEXT,
    retry_of         TEXT,
    title            TEXT NOT NULL,
    prompt           TEXT NOT NULL,
    mode             TEXT NOT NULL,
    model            TEXT,
    target           TEXT NOT NULL,
    target_worker    TEXT NOT NULL,   -- the only worker that may take it; '' for any
    target_codebase  TEXT NOT NULL,   -- where it must run; '' for the global codebase of whoever takes it
    capabilities     TEXT NOT NULL,
    labels           TEXT NOT NULL,
    lane             TEXT NOT NULL,   -- the hash of mode, model, capabilities and labels: what a worker must fit
    priority         BIGINT NOT NULL,
    not_before       BIGINT NOT NULL,
    deadline         BIGINT,
    on_lost          TEXT NOT NULL,
    max_attempts     BIGINT NOT NULL,
    metadata         TEXT NOT NULL,
    state            TEXT NOT NULL,
    writing          BIGINT NOT NULL,  -- counts against its codebase's parallel
    held             BIGINT NOT NULL,  -- a worker has an attempt that has not ended
    attempt          BIGINT NOT NULL,
    losses           BIGINT NOT NULL,
    holder           TEXT,
    codebase_id      TEXT NOT NULL,    -- where it runs; '' before it is taken
    session_id       TEXT,
    continuation     BIGINT NOT NULL,
    disconnected_at  BIGINT,
    cancel_asked_at  BIGINT,
    cancel_confirmed BIGINT,
    verified         BIGINT,
    result           TEXT,
    error            TEXT,
    error_code       TEXT,
    usage            TEXT,
    changes          TEXT NOT NULL,
    entries          BIGINT NOT NULL,
    created_at       BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL,
    started_at       BIGINT,
    completed_at     BIGINT
);
CREATE INDEX tasks_queue ON tasks (target_worker, target_codebase, lane, priority DESC, id) WHERE state = 'submitted';
CREATE INDEX tasks_held ON tasks (holder) WHERE held = 1;
CREATE INDEX tasks_writing ON tasks (codebase_id) WHERE held = 1;
CREATE INDEX tasks_open_context ON tasks (context_id, id) WHERE completed_at IS NULL;
CREATE INDEX tasks_codebase ON tasks (target_codebase, id);
CREATE INDEX tasks_due ON tasks (not_before) WHERE state = 'submitted' AND not_before > 0;
CREATE INDEX tasks_deadline ON tasks (deadline) WHERE completed_at IS NULL;
-- For lists and for counts by state. An index that begins with state SQLite would take for every look at the queue, over the partial ones
-- that are made for that.
CREATE INDEX tasks_order ON tasks (priority DESC, id, state);

-- Executions of tasks. The number fences every write made under it; next_seq, bytes and hash follow the worker's stream.
CREATE TABLE attempts (
    task_id     TEXT NOT NULL,
    attempt     BIGINT NOT NULL,
    worker_id   TEXT NOT NULL,
    instance    TEXT,
    state       TEXT NOT NULL,   -- reserved, assigned, started, ended
    outcome     TEXT,
    session_id  TEXT,
    assigned_at BIGINT NOT NULL,
    started_at  BIGINT,
    ended_at    BIGINT,
    next_seq    BIGINT NOT NULL,
    bytes       BIGINT NOT NULL,
    hash        TEXT NOT NULL,
    late_report TEXT,
    PRIMARY KEY (task_id, attempt)
);

-- What tasks say while they run.
CREATE TABLE stream_entries (
    task_id  TEXT NOT NULL,
    task_seq BIGINT NOT NULL,
    attempt  BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    kind     TEXT NOT NULL,
    data     TEXT NOT NULL,
    PRIMARY KEY (task_id, task_seq)
);

CREATE TABLE idempotency (
    principal  TEXT NOT NULL,
    key        TEXT NOT NULL,
    hash       TEXT NOT NULL,
    task_id    TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_age ON idempotency (created_at);

-- OpenCode sessions on workers, and their messages as OpenCode gives them.
CREATE TABLE sessions (
    worker_id   TEXT NOT NULL,
    id          TEXT NOT NULL,
    codebase_id TEXT,
    title       TEXT NOT NULL,
    directory   TEXT NOT NULL,
    data        TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    PRIMARY KEY (worker_id, id)
);
CREATE INDEX sessions_codebase ON sessions (codebase_id, updated_at);

CREATE TABLE session_messages (
    worker_id  TEXT NOT NULL,
    session_id TEXT NOT NULL,
    id         TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    data       TEXT NOT NULL,
    PRIMARY KEY (worker_id, session_id, id)
);

-- Questions that running tasks put to humans.
CREATE TABLE interactions (
    id         TEXT PRIMARY KEY,
    task_id    TEXT NOT NULL,
    attempt    BIGINT NOT NULL,
    kind       TEXT NOT NULL,
    request_id TEXT NOT NULL,
    request    TEXT NOT NULL,
    state      TEXT NOT NULL,
    reply      TEXT,
    replied_by TEXT,
    created_at BIGINT NOT NULL,
    deadline   BIGINT,
    closed_at  BIGINT
);
CREATE INDEX interactions_task ON interactions (task_id);
CREATE INDEX interactions_open ON interactions (created_at) WHERE state = 'open';

-- Other servers, and agents that are not this server's own.
CREATE TABLE peers (
    server_id  TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    url        TEXT NOT NULL,
    state      TEXT NOT NULL,
    epoch      TEXT,
    cursor     BIGINT NOT NULL,
    card       TEXT,
    created_at BIGINT NOT NULL,
    last_seen  BIGINT
);

CREATE TABLE agents (
    name       TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    home       TEXT NOT NULL,
    url        TEXT,
    card       TEXT NOT NULL,
    health     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
