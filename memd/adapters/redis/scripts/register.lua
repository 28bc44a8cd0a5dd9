-- KEYS: an index (sorted set of names). ARGV: now, name, added to the score, most names it may hold.
-- The time of registration, or 0 when the index is full.
local now = clock(ARGV[1])
if not redis.call('ZSCORE', KEYS[1], ARGV[2]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('ZADD', KEYS[1], int(now + ARGV[3]), ARGV[2])
return now
