-- KEYS: the task's two. ARGV: how many versions to keep. How many went.
local gone = 0
for old = tonumber(redis.call('HGET', KEYS[1], 'version') or 0) - ARGV[1], 1, -1 do
  if redis.call('HDEL', KEYS[1], int(old)) == 0 then break end
  redis.call('HDEL', KEYS[2], int(old))
  gone = gone + 1
end
return gone
