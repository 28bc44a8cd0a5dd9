-- When a memory was last recalled and how often, roughly: written now and then behind the replies, by this daemon alone.
CREATE TABLE memory_recall (
    memory_pk INTEGER PRIMARY KEY REFERENCES memory (pk) ON DELETE CASCADE,
    last_time INTEGER NOT NULL,
    count INTEGER NOT NULL
) STRICT;
