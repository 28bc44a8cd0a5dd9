-- Times are integer microseconds since the epoch, UTC. Unset names are ''. JSON texts are written by memd alone.

-- Facts about the file: the embedding model it is frozen to.
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Sessions. Working memory is every event from working_from on; episodes are every event that is not ephemeral.
-- A session that expired and was opened again leaves its old row with dead = 1 for the sweep.
CREATE TABLE session (
    pk INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    user_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    dead INTEGER NOT NULL DEFAULT 0,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    end_time INTEGER,
    last_position INTEGER NOT NULL,
    working_from INTEGER NOT NULL,
    seq INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX session_live ON session (namespace, user_id, agent_id, session_id) WHERE dead = 0;
CREATE INDEX session_dead ON session (dead) WHERE dead = 1;

-- Append order is row order: inserts touch the last pages only, whatever their session. ``body`` is a JSON list of the
-- fields no query looks at (session_rows.py).
CREATE TABLE event (
    pk INTEGER PRIMARY KEY,
    session_pk INTEGER NOT NULL REFERENCES session (pk) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    ephemeral INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    count INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    content TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX event_position ON event (session_pk, position);
CREATE UNIQUE INDEX event_name ON event (session_pk, event_id);

-- Replies already given, by request_id: ids, versions and numbers, never text. Row order is time order.
CREATE TABLE request_record (
    pk INTEGER PRIMARY KEY,
    store TEXT NOT NULL,
    namespace TEXT NOT NULL,
    request_id TEXT NOT NULL,
    body_sha256 BLOB NOT NULL,
    create_time INTEGER NOT NULL,
    reply TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX request_name ON request_record (namespace, request_id, store);

-- The change number of a namespace. ``epoch`` is drawn when the row is made: another one tells a replica to reload.
CREATE TABLE namespace_head (
    namespace TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What changed, gap-free by seq, without content; one write may hold several entries under its seq.
CREATE TABLE change_log (
    namespace TEXT NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    entry_id TEXT NOT NULL,
    op TEXT NOT NULL,
    version INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    PRIMARY KEY (namespace, seq, kind, entry_id)
) STRICT, WITHOUT ROWID;

-- ``fields`` is the JSON the index takes (filterable fields); ``body`` a JSON list of the others (memory_rows.py).
CREATE TABLE memory (
    pk INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    memory_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    expire_time INTEGER,
    fields TEXT NOT NULL,
    body TEXT NOT NULL,
    content TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX memory_name ON memory (namespace, memory_id);
CREATE INDEX memory_newest ON memory (namespace, user_id, create_time, pk);
CREATE INDEX memory_newest_all ON memory (namespace, create_time, pk);
CREATE INDEX memory_expiry ON memory (expire_time) WHERE expire_time IS NOT NULL;

-- Earlier states of a memory.
CREATE TABLE memory_revision (
    memory_pk INTEGER NOT NULL REFERENCES memory (pk) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    fields TEXT NOT NULL,
    body TEXT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (memory_pk, version)
) STRICT, WITHOUT ROWID;

-- Float32 little-endian vectors, one a window, concatenated.
CREATE TABLE embedding (
    memory_pk INTEGER PRIMARY KEY REFERENCES memory (pk) ON DELETE CASCADE,
    windows INTEGER NOT NULL,
    vectors BLOB NOT NULL
) STRICT;

-- What was forgotten, without content: one id, or (entry_id '') everything of a scope, or of the namespace.
CREATE TABLE tombstone (
    mark INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    entry_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    all_users INTEGER NOT NULL,
    create_time INTEGER NOT NULL
) STRICT;

-- Who did what, without content.
CREATE TABLE audit (
    pk INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL,
    seq INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    writer TEXT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;

-- Receipts; done = 0 while another store may still hold what was forgotten.
CREATE TABLE forget_intent (
    receipt_id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    done INTEGER NOT NULL,
    plan TEXT NOT NULL,
    counts TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX forget_pending ON forget_intent (done) WHERE done = 0;
CREATE INDEX forget_done ON forget_intent (create_time) WHERE done = 1;

-- What a Forget did in a store other than that of the memories.
CREATE TABLE forget_effect (
    store TEXT NOT NULL,
    receipt_id TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    counts TEXT NOT NULL,
    PRIMARY KEY (store, receipt_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX forget_effect_age ON forget_effect (create_time);

-- One row a key; ``version`` is the newest, ``vectors`` embed its trigger.
CREATE TABLE procedure (
    pk INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    procedure_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    vectors BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX procedure_name ON procedure (namespace, procedure_id);
CREATE INDEX procedure_key ON procedure (namespace, user_id, key, agent_id);

CREATE TABLE procedure_version (
    procedure_pk INTEGER NOT NULL REFERENCES procedure (pk) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    trigger TEXT NOT NULL,
    content TEXT NOT NULL,
    metadata TEXT NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    last_outcome_time INTEGER,
    PRIMARY KEY (procedure_pk, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE namespace_settings (
    namespace TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- ``last_version`` outlives the checkpoints, so that a stale save is still refused; ``version`` 0: none is stored.
CREATE TABLE task (
    namespace TEXT NOT NULL,
    task_id TEXT NOT NULL,
    last_version INTEGER NOT NULL,
    version INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    PRIMARY KEY (namespace, task_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_expiry ON task (expire_time);

CREATE TABLE checkpoint (
    pk INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    task_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    state BLOB NOT NULL,
    FOREIGN KEY (namespace, task_id) REFERENCES task (namespace, task_id) ON DELETE CASCADE
) STRICT;
CREATE UNIQUE INDEX checkpoint_name ON checkpoint (namespace, task_id, version);
