-- KEYS: the session's three. ARGV: now, position to begin before (0: the newest), how many, cap on episodes, kinds with
-- a blank around each ('' for all).
-- {position to go on before or 0, events newest first}: one call looks at a bounded number of positions.
local CHUNK, LOOK = 64, 2048
local session = load_session(clock(ARGV[1]))
if not session then return {0, {}} end
local before, wanted, kinds = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[5]
local oldest_ordinal = session.ordinal - ARGV[4] + 1
local position = (before > 0 and math.min(before - 1, session.last)) or session.last
local last_look = math.max(session.first, position - LOOK + 1)
local found = {}
while position >= last_look and #found < wanted do
  local positions = {}
  for p = position, math.max(last_look, position - math.min(CHUNK, wanted) + 1), -1 do positions[#positions + 1] = p end
  for i, value in ipairs(redis.call('HMGET', KEYS[2], unpack(positions))) do
    if value and #found < wanted then
      local event = fields(value)
      if event[3] == '0' then
        if tonumber(event[2]) < oldest_ordinal then return {0, found} end
        if kinds == '' or string.find(kinds, ' ' .. event[4] .. ' ', 1, true) then found[#found + 1] = value end
      end
    end
    position = positions[i] - 1
    if #found == wanted then break end
  end
end
return {position >= session.first and position + 1 or 0, found}
