-- ``procedure.offered`` is the version that Recall shows; ``demotion`` is '' or the JSON of the evidence that led to it. Each
-- version keeps the embeddings of its own trigger, to be found by when it is offered again; of versions from before, those
-- with another trigger than the newest have none, and are found by words.
ALTER TABLE memd.procedure ADD COLUMN offered integer NOT NULL DEFAULT 0;
ALTER TABLE memd.procedure ADD COLUMN offered_time bigint NOT NULL DEFAULT 0;
ALTER TABLE memd.procedure ADD COLUMN demotion text NOT NULL DEFAULT '';
-- ``watch_total`` and what the record was when it was last zero: the running test (domain/learning.py).
ALTER TABLE memd.procedure_version ADD COLUMN vectors bytea NOT NULL DEFAULT '';
ALTER TABLE memd.procedure_version ADD COLUMN watch_total double precision NOT NULL DEFAULT 0;
ALTER TABLE memd.procedure_version ADD COLUMN before_successes integer NOT NULL DEFAULT 0;
ALTER TABLE memd.procedure_version ADD COLUMN before_failures integer NOT NULL DEFAULT 0;
ALTER TABLE memd.procedure_version ADD COLUMN demotion text NOT NULL DEFAULT '';

-- The rows are every namespace's: their owner sees none of them while the tables' own rule binds him.
ALTER TABLE memd.procedure NO FORCE ROW LEVEL SECURITY;
ALTER TABLE memd.procedure_version NO FORCE ROW LEVEL SECURITY;
UPDATE memd.procedure p SET offered = v.version, offered_time = v.create_time
    FROM memd.procedure_version v WHERE v.procedure_pk = p.pk AND v.version = p.version;
UPDATE memd.procedure_version SET before_successes = successes, before_failures = failures;
UPDATE memd.procedure_version v SET vectors = p.vectors
    FROM memd.procedure p, memd.procedure_version n
    WHERE p.pk = v.procedure_pk AND n.procedure_pk = p.pk AND n.version = p.version AND n.trigger = v.trigger;
ALTER TABLE memd.procedure DROP COLUMN vectors;

-- The newest reports of a key, with their reasons.
CREATE TABLE memd.procedure_outcome (
    pk bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    procedure_pk bigint NOT NULL REFERENCES memd.procedure (pk) ON DELETE CASCADE,
    version integer NOT NULL,
    outcome_id text COLLATE "C" NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL,
    duration_us bigint,
    create_time bigint NOT NULL
);
CREATE INDEX procedure_outcome_newest ON memd.procedure_outcome (procedure_pk, pk);
CREATE UNIQUE INDEX procedure_outcome_name ON memd.procedure_outcome (procedure_pk, outcome_id) WHERE outcome_id <> '';
