-- Retention takes the memories that were last written longest ago, pinned ones apart. Both are in ``fields``, which Postgres
-- cannot read as JSON (U+0000); generated, so that a daemon of an earlier version writes them too. Their first mention in
-- ``fields`` is the one outside of metadata, and a quote within a string has a backslash before it.
ALTER TABLE memd.memory
    ADD COLUMN update_time bigint NOT NULL
        GENERATED ALWAYS AS (coalesce(substring(fields from '"update_time":([0-9]+)')::bigint, create_time)) STORED,
    ADD COLUMN pinned boolean NOT NULL
        GENERATED ALWAYS AS (coalesce(substring(fields from '"pinned":(true|false)')::boolean, false)) STORED;
CREATE INDEX memory_oldest ON memd.memory (namespace, pinned, update_time, pk) INCLUDE (expire_time);

-- Tombstones of the kind "retention" tell watchers whose memory went; they are needed as long as the change log is.
CREATE INDEX tombstone_retention ON memd.tombstone (namespace, seq) WHERE kind = 'retention';
CREATE INDEX namespace_settings_retention ON memd.namespace_settings (namespace)
    WHERE (body::jsonb ->> 'retention_max_age_us') IS NOT NULL OR (body::jsonb ->> 'retention_max_count') IS NOT NULL;
