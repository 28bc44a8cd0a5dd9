-- ANALYZE keeps samples of a column's values in pg_statistic, where no Forget reaches them. No plan depends on samples of what
-- users wrote, or of embeddings. What an earlier ANALYZE kept goes: a superuser may delete it, others have a function for it
-- since Postgres 18.
ALTER TABLE memd.memory ALTER fields SET STATISTICS 0, ALTER body SET STATISTICS 0, ALTER content SET STATISTICS 0;
ALTER TABLE memd.memory_revision
    ALTER fields SET STATISTICS 0, ALTER body SET STATISTICS 0, ALTER content SET STATISTICS 0;
ALTER TABLE memd.embedding ALTER vector SET STATISTICS 0;
ALTER TABLE memd.embedding_next ALTER vector SET STATISTICS 0;
ALTER TABLE memd.search_memory ALTER fields SET STATISTICS 0;
ALTER TABLE memd.procedure_version
    ALTER trigger SET STATISTICS 0, ALTER content SET STATISTICS 0, ALTER metadata SET STATISTICS 0,
    ALTER vectors SET STATISTICS 0;
ALTER TABLE memd.procedure_reembedding ALTER vectors SET STATISTICS 0;
ALTER TABLE memd.procedure_outcome ALTER reason SET STATISTICS 0;
ALTER TABLE memd.event ALTER content SET STATISTICS 0, ALTER body SET STATISTICS 0;
ALTER TABLE memd.session ALTER settings SET STATISTICS 0;
ALTER TABLE memd.working_summary ALTER content SET STATISTICS 0;
ALTER TABLE memd.checkpoint ALTER state SET STATISTICS 0;
ALTER TABLE memd.step ALTER result SET STATISTICS 0;
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT oid::regclass AS name FROM pg_class
        WHERE relnamespace = 'memd'::regnamespace AND relkind = 'i' AND relname LIKE '%\_hnsw\_%'
    LOOP
        EXECUTE format('ALTER INDEX %s ALTER COLUMN 1 SET STATISTICS 0', one.name);
    END LOOP;
    FOR one IN SELECT a.attrelid, c.relname, a.attnum, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'memd'::regnamespace AND a.attstattarget = 0
    LOOP
        IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
            DELETE FROM pg_statistic WHERE starelid = one.attrelid AND staattnum = one.attnum;
        ELSIF current_setting('server_version_num')::integer >= 180000 THEN
            EXECUTE format('SELECT pg_clear_attribute_stats(''memd'', %L, %L, false)', one.relname, one.attname);
        END IF;
    END LOOP;
END
$$;
