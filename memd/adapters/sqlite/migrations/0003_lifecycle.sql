-- Who runs a background job; ``token`` grows with every new holder and outlives the lease.
CREATE TABLE lease (
    namespace TEXT NOT NULL,
    job TEXT NOT NULL,
    holder TEXT NOT NULL,
    token INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    PRIMARY KEY (namespace, job)
) STRICT, WITHOUT ROWID;

-- How far a session's events were looked at for what is worth remembering, and how far its digest tells them.
ALTER TABLE session ADD COLUMN promoted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN digested INTEGER NOT NULL DEFAULT 0;
CREATE INDEX session_unpromoted ON session (pk) WHERE promoted < last_position;
CREATE INDEX session_undigested ON session (pk) WHERE digested < last_position;

-- The digests of a user's last sessions are read by every Recall.
CREATE INDEX memory_digest ON memory (namespace, user_id, agent_id, create_time) WHERE fields ->> 'source' = 'digest';
