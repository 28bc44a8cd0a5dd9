-- The step ledger. A task's steps expire together, so that no replay finds one half of them.
CREATE TABLE step_task (
    pk INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    task_id TEXT NOT NULL,
    steps INTEGER NOT NULL,
    expire_time INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX step_task_name ON step_task (namespace, task_id);
CREATE INDEX step_task_expiry ON step_task (expire_time);

-- Row order is the order in which steps were first begun.
CREATE TABLE step (
    pk INTEGER PRIMARY KEY,
    step_task_pk INTEGER NOT NULL REFERENCES step_task (pk) ON DELETE CASCADE,
    step_id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    input_sha256 BLOB NOT NULL,
    state TEXT NOT NULL,
    fencing_token INTEGER NOT NULL,
    lease_expire_time INTEGER NOT NULL,
    begin_time INTEGER NOT NULL,
    complete_time INTEGER,
    result BLOB NOT NULL,
    error_reason TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX step_name ON step (step_task_pk, step_id);
CREATE UNIQUE INDEX step_key ON step (step_task_pk, idempotency_key);
