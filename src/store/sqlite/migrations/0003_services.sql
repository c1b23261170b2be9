-- What was learned of services from their traces: which agents they name, and calls told of lately. The body is one
-- version byte and the encoded row.
CREATE TABLE services (
    project_id  INTEGER NOT NULL,
    name        TEXT NOT NULL,
    learned_at  INTEGER NOT NULL,
    body        BLOB NOT NULL,
    UNIQUE (project_id, name)
) STRICT;

-- Blocks of the form before this release tell of two hours at most.
DELETE FROM memory_blocks;
