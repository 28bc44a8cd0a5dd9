-- The step ledger. A task's steps expire together, so that no replay finds one half of them. The row of the task is locked
-- by whoever changes a step of it.
CREATE TABLE memd.step_task (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    task_id text COLLATE "C" NOT NULL,
    steps integer NOT NULL,
    expire_time bigint NOT NULL
);
CREATE UNIQUE INDEX step_task_name ON memd.step_task (namespace, task_id);
CREATE INDEX step_task_expiry ON memd.step_task (expire_time);

-- The order of pk is the order in which steps were first begun.
CREATE TABLE memd.step (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    step_task_pk bigint NOT NULL REFERENCES memd.step_task (pk) ON DELETE CASCADE,
    step_id text COLLATE "C" NOT NULL,
    idempotency_key text COLLATE "C" NOT NULL,
    input_sha256 bytea NOT NULL,
    state text COLLATE "C" NOT NULL,
    fencing_token bigint NOT NULL,
    lease_expire_time bigint NOT NULL,
    begin_time bigint NOT NULL,
    complete_time bigint,
    result bytea NOT NULL,
    error_reason text NOT NULL
);
CREATE UNIQUE INDEX step_name ON memd.step (step_task_pk, step_id);
CREATE UNIQUE INDEX step_key ON memd.step (step_task_pk, idempotency_key);
