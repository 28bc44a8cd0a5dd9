-- A watcher asks whose Forget had a change number, an import what was forgotten since its export; neither may read all
-- tombstones there are, which are kept for ten years.
CREATE INDEX tombstone_number ON tombstone (namespace, seq);
CREATE INDEX tombstone_entry ON tombstone (namespace, kind, entry_id, create_time);
