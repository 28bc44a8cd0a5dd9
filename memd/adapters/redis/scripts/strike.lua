-- KEYS: as for enlist. ARGV: now, grace_us, names of tasks that are not there any more.
-- Takes out those registered longer ago than ``grace_us``.
local cutoff = clock(ARGV[1]) - ARGV[2]
for i = 3, #ARGV do
  local at = redis.call('ZSCORE', KEYS[2], ARGV[i])
  if not at or tonumber(at) <= cutoff then
    redis.call('ZREM', KEYS[1], ARGV[i])
    redis.call('ZREM', KEYS[2], ARGV[i])
  end
end
