-- KEYS: the session's three, the three of the life before it. ARGV: now, 'expired' to spare a live session, since when one
-- must have expired to be spared because it was not consolidated.
-- {was it live, how many rows went (events and sessions; of a Forget, the live session's), when to look at a spared one again,
-- is something left to be consolidated}
local AGAIN_US = 30000000
local now = clock(ARGV[1])

local function unlink(at)
  local rows = redis.call('HLEN', KEYS[at + 1]) + redis.call('EXISTS', KEYS[at])
  redis.call('UNLINK', KEYS[at], KEYS[at + 1], KEYS[at + 2])
  return rows
end

local function spared(at)
  local waiting, expired = waits(at)
  return waiting and expired > tonumber(ARGV[3])
end

local expires = tonumber(redis.call('HGET', KEYS[1], 'expire') or 0)
local live = expires > now
if ARGV[2] ~= 'expired' then
  unlink(4)
  return {live and 1 or 0, unlink(1), 0, 0}
end
local rows, waiting = 0, spared(4)
if not waiting then
  rows = unlink(4)
  redis.call('HDEL', KEYS[1], 'old')
end
if live then return {1, rows, expires, waiting and 1 or 0} end
if spared(1) then return {0, rows, now + AGAIN_US, 1} end
rows = rows + unlink(1)
return {0, rows, waiting and now + AGAIN_US or 0, waiting and 1 or 0}
