-- How often a Forget took events out of the session: what was begun before knows that it is late.
ALTER TABLE session ADD COLUMN erased INTEGER NOT NULL DEFAULT 0;
