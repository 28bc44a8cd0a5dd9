-- KEYS: the session's three, the three of the life before it. ARGV: when the life was created, after which position, up to
-- which, how many. {position to go on after or 0, events oldest first}: one call looks at a bounded number of positions.
local CHUNK, LOOK = 64, 2048
local at = life(ARGV[1])
if not at then return {0, {}} end
local last, wanted = tonumber(ARGV[3]), tonumber(ARGV[4])
local position = math.max(ARGV[2] + 1, tonumber(redis.call('HGET', KEYS[at], 'first')))
local last_look = math.min(last, position + LOOK - 1)
local found = {}
while position <= last_look and #found < wanted do
  local positions = {}
  for p = position, math.min(last_look, position + CHUNK - 1) do positions[#positions + 1] = p end
  for _, value in ipairs(redis.call('HMGET', KEYS[at + 1], unpack(positions))) do
    if value and #found < wanted then found[#found + 1] = value end
  end
  position = position + #positions
end
return {position <= last and position - 1 or 0, found}
