CREATE TABLE projects (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE api_keys (
    id          TEXT PRIMARY KEY,
    project_id  INTEGER NOT NULL REFERENCES projects (id),
    hash        BLOB NOT NULL,
    scopes      TEXT NOT NULL,
    label       TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    revoked_at  INTEGER
) STRICT;

-- What rarely changes of an agent. Times are microseconds since the epoch everywhere.
CREATE TABLE agents (
    id          INTEGER PRIMARY KEY,
    project_id  INTEGER NOT NULL REFERENCES projects (id),
    name        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    settings    TEXT NOT NULL,
    UNIQUE (project_id, name)
) STRICT;

-- What changes with every signal: one version byte and the encoded state.
CREATE TABLE agent_state (
    agent_id    INTEGER PRIMARY KEY REFERENCES agents (id),
    state       BLOB NOT NULL
) STRICT;

-- What must be remembered so that nothing counts twice: spans of open traces and keys seen, one block per commit.
-- The id is the commit's time, made unique, so that old blocks go by range.
CREATE TABLE memory_blocks (
    id          INTEGER PRIMARY KEY,
    body        BLOB NOT NULL
) STRICT;

CREATE TABLE events (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id  INTEGER NOT NULL,
    agent_id    INTEGER,
    at          INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    from_status TEXT,
    to_status   TEXT,
    hard        INTEGER NOT NULL,
    cause       TEXT NOT NULL,
    evidence    TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_agent ON events (agent_id, id);
CREATE INDEX events_by_project ON events (project_id, id);

CREATE TABLE commands (
    id          TEXT PRIMARY KEY,
    project_id  INTEGER NOT NULL,
    agent_id    INTEGER NOT NULL,
    open        INTEGER NOT NULL,
    body        TEXT NOT NULL
) STRICT;
CREATE INDEX commands_open ON commands (open, id);

CREATE TABLE gateway_presence (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    alive_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE gateway_gaps (
    from_at     INTEGER PRIMARY KEY,
    to_at       INTEGER NOT NULL
) STRICT;
