-- Times are integer microseconds since the epoch, UTC. Unset names are ''. JSON texts are written by memd alone, and are
-- text because jsonb refuses \u0000. Names compare by their bytes, as everywhere in memd. {vector} is a type: halfvec where
-- pgvector is installed, else bytea (float32 little-endian). Every table with a namespace gets row-level security and its
-- grants from schema.py.

-- The change number of a namespace. ``epoch`` is drawn anew with the first write after each start of the server
-- (``server`` is its start time), ``forget_seq`` is the change number of the last tombstone.
CREATE TABLE memd.namespace_head (
    namespace text COLLATE "C" PRIMARY KEY,
    seq bigint NOT NULL,
    epoch bigint NOT NULL,
    server timestamptz NOT NULL,
    forget_seq bigint NOT NULL
) WITH (fillfactor = 50);

-- Which epoch began with which change number: two histories that parted have no epoch in common after that.
CREATE TABLE memd.namespace_epoch (
    namespace text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    first_seq bigint NOT NULL,
    PRIMARY KEY (namespace, epoch)
);

-- What changed, without content; every seq has a line at least, one write may have many.
CREATE TABLE memd.change_log (
    namespace text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    entry_id text COLLATE "C" NOT NULL,
    op text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    create_time bigint NOT NULL,
    PRIMARY KEY (namespace, seq, kind, entry_id)
);

-- Replies already given, by request_id: ids, versions and numbers, never text.
CREATE TABLE memd.request_record (
    namespace text COLLATE "C" NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    store text COLLATE "C" NOT NULL,
    body_sha256 bytea NOT NULL,
    seq bigint NOT NULL,
    expire_time bigint NOT NULL,
    reply text NOT NULL,
    PRIMARY KEY (namespace, request_id, store)
);
CREATE INDEX request_expiry ON memd.request_record (expire_time);

-- ``fields`` is the JSON the index takes (filterable fields); ``body`` a JSON list of the others (adapters/rows/memory.py).
CREATE SEQUENCE memd.memory_pk AS bigint;
CREATE TABLE memd.memory (
    pk bigint PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    memory_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    agent_id text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    create_time bigint NOT NULL,
    expire_time bigint,
    fields text NOT NULL,
    body text NOT NULL,
    content text NOT NULL
);
CREATE UNIQUE INDEX memory_name ON memd.memory (namespace, memory_id);
CREATE INDEX memory_newest ON memd.memory (namespace, user_id, create_time, pk);
CREATE INDEX memory_newest_all ON memd.memory (namespace, create_time, pk);
CREATE INDEX memory_expiry ON memd.memory (expire_time) WHERE expire_time IS NOT NULL;

-- Earlier states of a memory.
CREATE TABLE memd.memory_revision (
    namespace text COLLATE "C" NOT NULL,
    memory_pk bigint NOT NULL REFERENCES memd.memory (pk) ON DELETE CASCADE,
    version integer NOT NULL,
    fields text NOT NULL,
    body text NOT NULL,
    content text NOT NULL,
    PRIMARY KEY (memory_pk, version)
);

-- One row a window of the text.
CREATE TABLE memd.embedding (
    namespace text COLLATE "C" NOT NULL,
    memory_pk bigint NOT NULL REFERENCES memd.memory (pk) ON DELETE CASCADE,
    position integer NOT NULL,
    vector {vector} NOT NULL,
    PRIMARY KEY (memory_pk, position)
);

-- What was forgotten, without content: one id, or (entry_id '') everything of a scope, or of the namespace.
CREATE TABLE memd.tombstone (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    entry_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    agent_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    all_users boolean NOT NULL,
    create_time bigint NOT NULL
);
CREATE INDEX tombstone_newest ON memd.tombstone (namespace, seq);
CREATE INDEX tombstone_age ON memd.tombstone (create_time);

-- Who did what, without content.
CREATE TABLE memd.audit (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    create_time bigint NOT NULL,
    writer text NOT NULL,
    action text NOT NULL,
    detail text NOT NULL
);

-- Receipts; not done while another store may still hold what was forgotten.
CREATE TABLE memd.forget_intent (
    receipt_id text COLLATE "C" PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    create_time bigint NOT NULL,
    done boolean NOT NULL,
    plan text NOT NULL,
    counts text NOT NULL
);
CREATE INDEX forget_pending ON memd.forget_intent (create_time) WHERE NOT done;
CREATE INDEX forget_done ON memd.forget_intent (create_time) WHERE done;

-- One row a key; ``version`` is the newest, ``vectors`` (float32 little-endian, concatenated) embed its trigger.
CREATE TABLE memd.procedure (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    procedure_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    agent_id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    vectors bytea NOT NULL
);
CREATE UNIQUE INDEX procedure_name ON memd.procedure (namespace, procedure_id);
CREATE INDEX procedure_key ON memd.procedure (namespace, user_id, key, agent_id);

CREATE TABLE memd.procedure_version (
    namespace text COLLATE "C" NOT NULL,
    procedure_pk bigint NOT NULL REFERENCES memd.procedure (pk) ON DELETE CASCADE,
    version integer NOT NULL,
    trigger text NOT NULL,
    content text NOT NULL,
    metadata text NOT NULL,
    successes integer NOT NULL,
    failures integer NOT NULL,
    create_time bigint NOT NULL,
    last_outcome_time bigint,
    PRIMARY KEY (procedure_pk, version)
);

CREATE TABLE memd.namespace_settings (
    namespace text COLLATE "C" PRIMARY KEY,
    version integer NOT NULL,
    body text NOT NULL
);

-- Who runs a background job; ``token`` grows with every new holder and outlives the lease.
CREATE TABLE memd.lease (
    namespace text COLLATE "C" NOT NULL,
    job text COLLATE "C" NOT NULL,
    holder text NOT NULL,
    token bigint NOT NULL,
    expire_time bigint NOT NULL,
    PRIMARY KEY (namespace, job)
);
