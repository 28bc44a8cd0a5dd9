-- How often a Forget took events out of the session: what was begun before knows that it is late.
ALTER TABLE memd.session ADD COLUMN erased bigint NOT NULL DEFAULT 0;

-- Digests by user, for the Forget that takes an event from under them. LIKE, since not every JSON text is a jsonb.
CREATE INDEX memory_digest ON memd.memory (namespace, user_id) WHERE fields LIKE '%"source":"digest"%';
