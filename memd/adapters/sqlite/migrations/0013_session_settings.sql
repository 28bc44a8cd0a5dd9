-- What a session does otherwise than its namespace, as a JSON object; NULL: nothing.
ALTER TABLE session ADD COLUMN settings TEXT;
