-- KEYS: the task's numbers, its states, the request's record where there is one.
-- ARGV: now, time of registration or '', ttl_us, grace_us, window_us, how long the number stays reserved, how many to
-- keep, expected version or '', body digest, SHA-256 in hex, state.
-- The numbers hold last (highest version ever), version (newest stored, 0 for none), expire, and of each stored version
-- its description "create size sha256" under its number.
local now, ttl = clock(ARGV[1]), tonumber(ARGV[3])
local known = replay(KEYS[3], ARGV[9], now)
if known then return known end
local got = redis.call('HMGET', KEYS[1], 'last', 'version', 'expire')
local last, current, expires = tonumber(got[1] or 0), tonumber(got[2] or 0), tonumber(got[3] or 0)
if expires <= now then current = 0 end
if ARGV[8] ~= '' and tonumber(ARGV[8]) ~= current then return {'CONFLICT', current} end
if current == 0 then
  if ARGV[2] == '' or now - ARGV[2] > tonumber(ARGV[5]) then return {'UNREGISTERED'} end
  redis.call('UNLINK', KEYS[1], KEYS[2]) -- what has expired does not come back
end
local version = last + 1
redis.call('HSET', KEYS[1], 'last', int(version), 'version', int(version), 'expire', int(now + ttl),
  int(version), int(now) .. ' ' .. #ARGV[11] .. ' ' .. ARGV[10])
redis.call('HSET', KEYS[2], int(version), ARGV[11])
for old = version - ARGV[7], 1, -1 do
  if redis.call('HDEL', KEYS[1], int(old)) == 0 then break end
  redis.call('HDEL', KEYS[2], int(old))
end
expire({KEYS[1]}, ttl, tonumber(ARGV[6]))
expire({KEYS[2]}, ttl, tonumber(ARGV[4]))
local reply = {version, #ARGV[11], ARGV[10], now, now + ttl}
remember(KEYS[3], ARGV[9], now, reply)
return {'OK', reply}
