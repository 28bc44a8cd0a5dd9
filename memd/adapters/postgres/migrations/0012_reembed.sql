-- Embeddings of another model (meta: 'reembedding_model') while ``memd reembed`` makes them: of a memory as it was at
-- ``memory_version``, and of the trigger of a version of a procedure. At the switch embedding_next and embedding change names.
ALTER TABLE memd.embedding ADD COLUMN memory_version integer NOT NULL DEFAULT 0;
CREATE TABLE memd.embedding_next (
    namespace text COLLATE "C" NOT NULL,
    memory_pk bigint NOT NULL REFERENCES memd.memory (pk) ON DELETE CASCADE,
    position integer NOT NULL,
    vector {vector} NOT NULL,
    memory_version integer NOT NULL DEFAULT 0,
    PRIMARY KEY (memory_pk, position)
);
CREATE TABLE memd.procedure_reembedding (
    namespace text COLLATE "C" NOT NULL,
    procedure_pk bigint NOT NULL,
    version integer NOT NULL,
    vectors bytea NOT NULL,
    PRIMARY KEY (procedure_pk, version),
    FOREIGN KEY (procedure_pk, version) REFERENCES memd.procedure_version (procedure_pk, version) ON DELETE CASCADE
);
