-- ``procedure.offered`` is the version that Recall shows; ``demotion`` is '' or the JSON of the evidence that led to it. Each
-- version keeps the embeddings of its own trigger, to be found by when it is offered again; of versions from before, those
-- with another trigger than the newest have none, and are found by words.
ALTER TABLE procedure ADD COLUMN offered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE procedure ADD COLUMN offered_time INTEGER NOT NULL DEFAULT 0;
ALTER TABLE procedure ADD COLUMN demotion TEXT NOT NULL DEFAULT '';
UPDATE procedure SET offered = version, offered_time = coalesce(
    (SELECT create_time FROM procedure_version v WHERE v.procedure_pk = pk AND v.version = procedure.version), 0);

-- ``watch_total`` and what the record was when it was last zero: the running test (domain/learning.py).
ALTER TABLE procedure_version ADD COLUMN vectors BLOB NOT NULL DEFAULT x'';
ALTER TABLE procedure_version ADD COLUMN watch_total REAL NOT NULL DEFAULT 0;
ALTER TABLE procedure_version ADD COLUMN before_successes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE procedure_version ADD COLUMN before_failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE procedure_version ADD COLUMN demotion TEXT NOT NULL DEFAULT '';
UPDATE procedure_version SET before_successes = successes, before_failures = failures;
UPDATE procedure_version SET vectors = (SELECT p.vectors FROM procedure p WHERE p.pk = procedure_pk)
    WHERE trigger = (SELECT n.trigger FROM procedure_version n JOIN procedure p ON p.pk = n.procedure_pk
        AND p.version = n.version WHERE p.pk = procedure_version.procedure_pk);
ALTER TABLE procedure DROP COLUMN vectors;

-- The newest reports of a key, with their reasons.
CREATE TABLE procedure_outcome (
    pk INTEGER PRIMARY KEY,
    procedure_pk INTEGER NOT NULL REFERENCES procedure (pk) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    outcome_id TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    duration_us INTEGER,
    create_time INTEGER NOT NULL
) STRICT;
CREATE INDEX procedure_outcome_newest ON procedure_outcome (procedure_pk, pk);
CREATE UNIQUE INDEX procedure_outcome_name ON procedure_outcome (procedure_pk, outcome_id) WHERE outcome_id <> '';
