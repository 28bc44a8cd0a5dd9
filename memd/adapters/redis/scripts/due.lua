-- KEYS: the index of when to look at what. ARGV: now, how many. {name, time, name, time, ...}
local now = clock(ARGV[1])
return redis.call('ZRANGE', KEYS[1], '-inf', int(now), 'BYSCORE', 'LIMIT', 0, ARGV[2], 'WITHSCORES')
