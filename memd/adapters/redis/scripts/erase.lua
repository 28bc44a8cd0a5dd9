-- KEYS: the session's three. ARGV: now, 'expired' to spare a live session.
-- {was it live, how many rows went (its events and itself), when a spared one expires}
local now = clock(ARGV[1])
local expires = tonumber(redis.call('HGET', KEYS[1], 'expire') or 0)
local live = expires > now
if live and ARGV[2] == 'expired' then return {1, 0, expires} end
local rows = redis.call('HLEN', KEYS[2]) + redis.call('EXISTS', KEYS[1])
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
return {live and 1 or 0, rows, 0}
