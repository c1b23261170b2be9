-- What is remembered of a project as a whole: a format byte and the encoded state.
CREATE TABLE project_state (
    project_id  INTEGER PRIMARY KEY,
    state       BLOB NOT NULL
) STRICT;
