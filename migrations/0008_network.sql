-- The network of servers: what of whose events is known, and whom to join.

-- The starts of this server, oldest first. Each has an epoch of its own, so that nothing is said twice under one identity, whatever became of the
-- database in between. `begins_at` is the newest place of the log before it.
CREATE TABLE epochs (
    epoch     TEXT PRIMARY KEY,
    begins_at BIGINT NOT NULL,
    n         BIGINT NOT NULL
);

-- How far the events of each start of each server are known here, without gaps.
CREATE TABLE event_heads (
    origin TEXT NOT NULL,
    epoch  TEXT NOT NULL,
    seq    BIGINT NOT NULL,
    PRIMARY KEY (origin, epoch)
);

-- Addresses of servers to join, as people gave them.
CREATE TABLE seeds (
    url        TEXT PRIMARY KEY,
    created_at BIGINT NOT NULL
);

-- Agents of peers have their peer as `home`.
CREATE INDEX agents_home ON agents (home);
