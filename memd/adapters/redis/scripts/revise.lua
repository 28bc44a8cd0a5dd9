-- KEYS: the session's three. ARGV: now, then ten for each event: position, id, and as it was read tokens, event_time,
-- importance and body; then tokens, importance and body as they are to be, and the id of the event that has its body ('' for
-- none that was not there before). How many events were changed: those that are as they were read, and whose other is there.
local session = load_session(clock(ARGV[1]))
if not session then return 0 end

local function episode(id)
  local position = redis.call('HGET', KEYS[3], id)
  local value = position and redis.call('HGET', KEYS[2], position)
  return value and fields(value)[3] == '0'
end

local changed = 0
for i = 2, #ARGV, 10 do
  local position, id, tokens = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 6]
  local value = redis.call('HGET', KEYS[2], ARGV[i])
  local found, start
  if value then found, start = fields(value) end
  if value and found[5] == ARGV[i + 2] and found[8] == ARGV[i + 3] and found[9] == ARGV[i + 4]
    and string.sub(value, start) == id .. ARGV[i + 5] and (ARGV[i + 9] == '' or episode(ARGV[i + 9])) then
    found[5], found[9] = tokens, ARGV[i + 7]
    redis.call('HSET', KEYS[2], ARGV[i], table.concat(found, ' ') .. '\n' .. id .. ARGV[i + 8])
    for _, item in ipairs(session.work) do
      if item[1] == position then item[2] = tonumber(tokens) end
    end
    changed = changed + 1
  end
end
if changed > 0 then
  session.seq = session.seq + 1
  save_session(session)
end
return changed
