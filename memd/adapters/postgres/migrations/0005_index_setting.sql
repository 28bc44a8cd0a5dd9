-- Namespaces move to and from Postgres's own search by their setting "index"; what the move needs to know survives it.

-- ``searchable``: all there is is made, searches may come. ``unwanted_time``: since when the setting says "memory", null
-- while it does not; other daemons may search here for a while yet. ``counted_seq``, ``counted_time``: the change number
-- and the time of the last count of words.
ALTER TABLE memd.search_namespace
    ADD COLUMN searchable boolean NOT NULL DEFAULT false,
    ADD COLUMN unwanted_time bigint,
    ADD COLUMN counted_seq bigint NOT NULL DEFAULT 0,
    ADD COLUMN counted_time bigint NOT NULL DEFAULT 0;

-- Every daemon asks every second which namespaces are to be searched here.
CREATE INDEX namespace_settings_pgvector ON memd.namespace_settings (namespace)
    WHERE (body::jsonb ->> 'index') = 'pgvector';
