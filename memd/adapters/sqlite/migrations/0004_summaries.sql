-- Summaries in working memory, each in the place of the events from first_position to last_position.
CREATE TABLE working_summary (
    session_pk INTEGER NOT NULL REFERENCES session (pk) ON DELETE CASCADE,
    last_position INTEGER NOT NULL,
    first_position INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    made_by TEXT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (session_pk, last_position)
) STRICT, WITHOUT ROWID;
