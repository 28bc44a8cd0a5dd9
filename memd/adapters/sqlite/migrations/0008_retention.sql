-- Retention takes the memories that were last written longest ago, pinned ones apart. ``expire_time`` is in it so that they
-- are counted without a look at their rows.
CREATE INDEX memory_oldest ON memory (namespace, fields ->> 'pinned', fields ->> 'update_time', expire_time);

-- Tombstones of the kind "retention" tell watchers whose memory went; they are needed as long as the change log is.
CREATE INDEX tombstone_retention ON tombstone (namespace, seq) WHERE kind = 'retention';
CREATE INDEX namespace_settings_retention ON namespace_settings (namespace)
    WHERE body ->> 'retention_max_age_us' IS NOT NULL OR body ->> 'retention_max_count' IS NOT NULL;
