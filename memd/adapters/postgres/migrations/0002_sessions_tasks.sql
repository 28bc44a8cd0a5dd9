-- Sessions. Working memory is every event from working_from on; episodes are every event that is not ephemeral.
-- A session that expired and was opened again leaves its old row with ``dead`` set, for the sweep.
-- Every append moves expire_time, so no index may have it, else each would write a new entry in all of them; the hour of
-- it changes seldom. ``last_digest`` is of the newest event: what a repeat is known by.
CREATE TABLE memd.session (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    agent_id text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    dead boolean NOT NULL DEFAULT false,
    create_time bigint NOT NULL,
    update_time bigint NOT NULL,
    expire_time bigint NOT NULL,
    expire_hour bigint NOT NULL,
    end_time bigint,
    last_position bigint NOT NULL,
    working_from bigint NOT NULL,
    seq bigint NOT NULL,
    episodes integer NOT NULL,
    stale_ephemeral integer NOT NULL,
    last_digest bytea
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX session_live ON memd.session (namespace, user_id, agent_id, session_id) WHERE NOT dead;
CREATE INDEX session_expiry ON memd.session (expire_hour) WHERE NOT dead;
CREATE INDEX session_dead ON memd.session (pk) WHERE dead;

-- ``body`` is a JSON list of the fields no query looks at (adapters/rows/session.py).
CREATE TABLE memd.event (
    namespace text COLLATE "C" NOT NULL,
    session_pk bigint NOT NULL REFERENCES memd.session (pk) ON DELETE CASCADE,
    position bigint NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    ephemeral boolean NOT NULL,
    tokens integer NOT NULL,
    count integer NOT NULL,
    last_seen bigint NOT NULL,
    importance double precision NOT NULL,
    content text NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (session_pk, position)
);
CREATE UNIQUE INDEX event_name ON memd.event (session_pk, event_id);

-- What a Forget already did in one store, so that asked again it answers the same and does nothing.
CREATE TABLE memd.forget_effect (
    namespace text COLLATE "C" NOT NULL,
    store text COLLATE "C" NOT NULL,
    receipt_id text COLLATE "C" NOT NULL,
    create_time bigint NOT NULL,
    counts text NOT NULL,
    PRIMARY KEY (receipt_id, store, namespace)
);
CREATE INDEX effect_age ON memd.forget_effect (create_time);

-- Tasks. ``last_version`` is the highest number ever given, ``version`` the newest that is stored (0: none).
CREATE TABLE memd.task (
    namespace text COLLATE "C" NOT NULL,
    task_id text COLLATE "C" NOT NULL,
    last_version bigint NOT NULL,
    version bigint NOT NULL,
    expire_time bigint NOT NULL,
    PRIMARY KEY (namespace, task_id)
);
CREATE INDEX task_expiry ON memd.task (expire_time);

CREATE TABLE memd.checkpoint (
    namespace text COLLATE "C" NOT NULL,
    task_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    create_time bigint NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 bytea NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (namespace, task_id, version)
);
