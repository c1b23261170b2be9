-- What is remembered of instances of services: which of their signals is believed, and where their cumulative metrics
-- stand. The body is one version byte and the encoded row.
CREATE TABLE instances (
    project_id  INTEGER NOT NULL,
    instance    INTEGER NOT NULL,
    touched_at  INTEGER NOT NULL,
    body        BLOB NOT NULL,
    PRIMARY KEY (project_id, instance)
) STRICT, WITHOUT ROWID;
CREATE INDEX instances_by_time ON instances (touched_at);
