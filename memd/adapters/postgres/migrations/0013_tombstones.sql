-- An import asks what was forgotten since its export, and must not read all tombstones there are, which are kept for ten years.
CREATE INDEX tombstone_entry ON memd.tombstone (namespace, kind, entry_id, create_time);
