-- KEYS: an index. ARGV: now, grace_us, then names that are not there any more.
-- Takes out those registered longer ago than ``grace_us``: of a younger one the session may be on its way.
-- How many names are left.
local cutoff = clock(ARGV[1]) - ARGV[2]
for i = 3, #ARGV do
  local at = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if at and tonumber(at) <= cutoff then redis.call('ZREM', KEYS[1], ARGV[i]) end
end
return redis.call('ZCARD', KEYS[1])
