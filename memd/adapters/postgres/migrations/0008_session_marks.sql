-- How far a session's events were looked at for what is worth remembering, and how far its digest tells them. The flags say
-- where something is left to do: an index may have them, which it may not have last_position (see 0002).
ALTER TABLE memd.session
    ADD COLUMN promoted bigint NOT NULL DEFAULT 0,
    ADD COLUMN digested bigint NOT NULL DEFAULT 0,
    ADD COLUMN unpromoted boolean NOT NULL DEFAULT true,
    ADD COLUMN undigested boolean NOT NULL DEFAULT true;
CREATE INDEX session_unpromoted ON memd.session (pk) WHERE unpromoted;
CREATE INDEX session_undigested ON memd.session (pk) WHERE undigested;

-- How often a Forget took events out of the session: what was begun before knows that it is late.
ALTER TABLE memd.session ADD COLUMN erased bigint NOT NULL DEFAULT 0;

-- Digests by user, for the Forget that takes an event from under them. LIKE, since not every JSON text is a jsonb.
CREATE INDEX memory_digest ON memd.memory (namespace, user_id) WHERE fields LIKE '%"source":"digest"%';
