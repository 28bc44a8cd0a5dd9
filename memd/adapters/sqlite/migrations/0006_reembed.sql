-- Embeddings of another model, while ``memd reembed`` makes them: of a memory as it was at ``version``, and of the trigger of
-- a version of a procedure. They become the store's in one transaction, with its model.
CREATE TABLE memory_reembedding (
    memory_pk INTEGER PRIMARY KEY REFERENCES memory (pk) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    windows INTEGER NOT NULL,
    vectors BLOB NOT NULL
) STRICT;

CREATE TABLE procedure_reembedding (
    procedure_pk INTEGER NOT NULL,
    version INTEGER NOT NULL,
    vectors BLOB NOT NULL,
    PRIMARY KEY (procedure_pk, version),
    FOREIGN KEY (procedure_pk, version) REFERENCES procedure_version (procedure_pk, version) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
