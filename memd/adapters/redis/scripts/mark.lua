-- KEYS: the session's three, the three of the life before it. ARGV: now, when the life was created, which mark, what it was
-- when it was read, what it is to be, grace_us of what need not wait for consolidation any more.
-- 1 when set; 0 when somebody else set it meanwhile, or the life is gone.
local now, at = clock(ARGV[1]), life(ARGV[2])
if not at then return 0 end
if tonumber(redis.call('HGET', KEYS[at], ARGV[3]) or 0) ~= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[at], ARGV[3], ARGV[5])
local waiting, expires = waits(at)
if not waiting and at == 4 then
  redis.call('UNLINK', KEYS[4], KEYS[5], KEYS[6])
  redis.call('HDEL', KEYS[1], 'old')
elseif not waiting then
  expire({KEYS[1], KEYS[2], KEYS[3]}, expires - now, tonumber(ARGV[6]))
end
return 1
