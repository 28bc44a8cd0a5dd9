-- How far a session's events were looked at for what is worth remembering, and how far its digest tells them. The flags say
-- where something is left to do: an index may have them, which it may not have last_position (see 0002).
ALTER TABLE memd.session
    ADD COLUMN promoted bigint NOT NULL DEFAULT 0,
    ADD COLUMN digested bigint NOT NULL DEFAULT 0,
    ADD COLUMN unpromoted boolean NOT NULL DEFAULT true,
    ADD COLUMN undigested boolean NOT NULL DEFAULT true;
CREATE INDEX session_unpromoted ON memd.session (pk) WHERE unpromoted;
CREATE INDEX session_undigested ON memd.session (pk) WHERE undigested;
