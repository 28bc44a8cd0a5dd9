-- What a session does otherwise than its namespace, as a JSON object; NULL: nothing.
ALTER TABLE memd.session ADD COLUMN settings text;
