-- KEYS: the task's two, the request's record where there is one. ARGV: now, body digest, 'expired' to spare a live task.
-- {number that stays reserved, versions that went, were they live, when to look again (0: never)}
local now = clock(ARGV[1])
local known = replay(KEYS[3], ARGV[2], now)
if known then return known end
local got = redis.call('HMGET', KEYS[1], 'last', 'version', 'expire')
local reply = {0, 0, 0, 0}
if got[1] then
  local expires = tonumber(got[3])
  local live = expires > now
  if live and ARGV[3] == 'expired' then return {'OK', {tonumber(got[1]), 0, 1, expires}} end
  local left = redis.call('PTTL', KEYS[1])
  local versions = redis.call('HLEN', KEYS[1]) - 3
  redis.call('UNLINK', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'last', got[1], 'version', 0, 'expire', got[3])
  if left > 0 then redis.call('PEXPIRE', KEYS[1], left) end
  reply = {tonumber(got[1]), versions, live and 1 or 0, 0}
end
remember(KEYS[3], ARGV[2], now, reply)
return {'OK', reply}
