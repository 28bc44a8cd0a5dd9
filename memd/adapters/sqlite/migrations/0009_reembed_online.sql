-- Re-embedding beside a running daemon. While meta has 'reembedding_model', embedding_next and procedure_reembedding fill with
-- embeddings of that model: of rows as they are now, for a row that changes loses its own in the same commit. At the switch
-- embedding_next and embedding change names. What an interrupted run of an earlier version left is made again.
DROP TABLE memory_reembedding;
DELETE FROM procedure_reembedding;
DELETE FROM meta WHERE key = 'reembedding_model';
CREATE TABLE embedding_next (
    memory_pk INTEGER PRIMARY KEY REFERENCES memory (pk) ON DELETE CASCADE,
    windows INTEGER NOT NULL,
    vectors BLOB NOT NULL
) STRICT;

-- Memories written since the run began. All others are embedded in the order of their keys, up to meta 'reembedding_cursor'.
CREATE TABLE reembedding_due (
    memory_pk INTEGER PRIMARY KEY REFERENCES memory (pk) ON DELETE CASCADE
) STRICT;
CREATE TRIGGER memory_added AFTER INSERT ON memory
WHEN EXISTS (SELECT 1 FROM meta WHERE key = 'reembedding_model')
BEGIN
    INSERT OR IGNORE INTO reembedding_due (memory_pk) VALUES (new.pk);
END;
CREATE TRIGGER memory_changed AFTER UPDATE ON memory
WHEN EXISTS (SELECT 1 FROM meta WHERE key = 'reembedding_model')
BEGIN
    DELETE FROM embedding_next WHERE memory_pk = new.pk;
    INSERT OR IGNORE INTO reembedding_due (memory_pk) VALUES (new.pk);
END;

-- Another version is offered, and so in the index.
CREATE TRIGGER procedure_offered AFTER UPDATE OF offered ON procedure
BEGIN
    DELETE FROM procedure_reembedding WHERE procedure_pk = new.pk AND version = new.offered;
END;
