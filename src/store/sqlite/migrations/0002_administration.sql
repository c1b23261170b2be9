ALTER TABLE api_keys ADD COLUMN expires_at INTEGER;
ALTER TABLE api_keys ADD COLUMN last_used_at INTEGER;
-- Whether the scope `admin` of the key reaches all projects.
ALTER TABLE api_keys ADD COLUMN global INTEGER NOT NULL DEFAULT 0;

-- The part of the history that is not in `rollups` yet: a format byte and the encoded minutes.
ALTER TABLE agent_state ADD COLUMN history BLOB;

-- Names under which agents were known before: what is sent under them goes to the agent.
CREATE TABLE agent_aliases (
    project_id  INTEGER NOT NULL,
    name        TEXT NOT NULL,
    agent_id    INTEGER NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    PRIMARY KEY (project_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_aliases_by_agent ON agent_aliases (agent_id);

-- Numbers that must never be given out again although their row is gone.
CREATE TABLE marks (
    name        TEXT PRIMARY KEY,
    value       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- History. period 0: minutes of one hour in pieces; 1: sums of one hour. start: the hour, counted from the epoch.
-- agent_id: whose it is; origin: the agent that it was recorded for (another one after a merge). The order of the key
-- makes writing an hour, forgetting an hour of a project, and reading one agent's hour each touch one place.
CREATE TABLE rollups (
    period      INTEGER NOT NULL,
    project_id  INTEGER NOT NULL,
    start       INTEGER NOT NULL,
    agent_id    INTEGER NOT NULL,
    origin      INTEGER NOT NULL,
    slot        INTEGER NOT NULL,
    body        BLOB NOT NULL,
    PRIMARY KEY (period, project_id, start, agent_id, origin, slot)
) STRICT, WITHOUT ROWID;

-- Names that wait for a person's word, or were turned away, where a project wants that.
CREATE TABLE registrations (
    project_id  INTEGER NOT NULL,
    name        TEXT NOT NULL,
    rejected    INTEGER NOT NULL,
    first_at    INTEGER NOT NULL,
    last_at     INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    PRIMARY KEY (project_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE maintenance (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id  INTEGER NOT NULL,
    body        TEXT NOT NULL
) STRICT;

-- Who changed what. Each row's hash covers the row and the hash before it.
CREATE TABLE audit (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    project_id  INTEGER,
    body        TEXT NOT NULL,
    prev_hash   BLOB NOT NULL,
    hash        BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_project ON audit (project_id, seq);
