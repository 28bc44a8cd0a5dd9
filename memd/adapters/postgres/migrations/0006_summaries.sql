-- Summaries in working memory, each in the place of the events from first_position to last_position.
CREATE TABLE memd.working_summary (
    namespace text COLLATE "C" NOT NULL,
    session_pk bigint NOT NULL REFERENCES memd.session (pk) ON DELETE CASCADE,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    tokens integer NOT NULL,
    create_time bigint NOT NULL,
    made_by text NOT NULL,
    content text NOT NULL,
    PRIMARY KEY (session_pk, last_position)
);
