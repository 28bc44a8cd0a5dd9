-- What a namespace that Postgres itself searches (settings: index = "pgvector") needs beside its rows. All of it is made
-- from them by search_tables.py, and goes with them. The vectors are those of memd.embedding: each such namespace has an
-- HNSW index of its own over them, so that none looks through the vectors of another.

-- ``seq`` is the change number the rows below are at; ``made_pk`` is null, or how far they are made for the first time.
-- ``documents`` and ``terms`` (repeats counted) are the figures of BM25, as they were when last counted.
CREATE TABLE memd.search_namespace (
    namespace text COLLATE "C" PRIMARY KEY,
    seq bigint NOT NULL,
    made_pk bigint,
    documents bigint NOT NULL,
    terms bigint NOT NULL
);

-- ``fields`` as memd.memory has them, with U+0000 and U+0001 escaped so that order and equality stay.
CREATE TABLE memd.search_memory (
    memory_pk bigint PRIMARY KEY REFERENCES memd.memory (pk) ON DELETE CASCADE,
    namespace text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    agent_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    length integer NOT NULL,
    fields jsonb NOT NULL
);
CREATE INDEX search_memory_user ON memd.search_memory (namespace, user_id, agent_id);
CREATE INDEX search_memory_turn ON memd.search_memory (namespace, session_id, user_id, agent_id, position, memory_pk)
    WHERE session_id <> '';

-- Which memory has a term how often.
CREATE TABLE memd.search_term (
    namespace text COLLATE "C" NOT NULL,
    term text COLLATE "C" NOT NULL,
    memory_pk bigint NOT NULL REFERENCES memd.search_memory (memory_pk) ON DELETE CASCADE,
    occurrences integer NOT NULL,
    length integer NOT NULL,
    PRIMARY KEY (namespace, term, memory_pk) INCLUDE (occurrences, length)
);
CREATE INDEX search_term_memory ON memd.search_term (memory_pk);

-- How many memories have a term, of common ones alone and when last counted: what only few have is counted when it is
-- asked for, so that no word of a forgotten memory stays here.
CREATE TABLE memd.search_frequency (
    namespace text COLLATE "C" NOT NULL,
    term text COLLATE "C" NOT NULL,
    documents bigint NOT NULL,
    PRIMARY KEY (namespace, term)
);
