-- KEYS: names of a namespace's tasks in order, the same by time of registration. ARGV: now, name.
local now = clock(ARGV[1])
redis.call('ZADD', KEYS[1], 0, ARGV[2])
redis.call('ZADD', KEYS[2], int(now), ARGV[2])
return now
