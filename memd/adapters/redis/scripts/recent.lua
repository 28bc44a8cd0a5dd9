-- KEYS: the session's three. ARGV: now, how many older episodes.
-- {seq, working items, older episodes, summaries, created, how often erased from, settings}, events newest first; nil for no
-- session. The working set is within the caps of its last append.
local CHUNK = 64
local session = load_session(clock(ARGV[1]))
if not session then return nil end

local function events(positions)
  local found = {}
  if #positions == 0 then return found end
  for _, value in ipairs(redis.call('HMGET', KEYS[2], unpack(positions))) do
    if value then found[#found + 1] = value end
  end
  return found
end

local positions = {}
for i = #session.work, 1, -1 do
  positions[#positions + 1] = session.work[i][1]
end
local working = events(positions)

-- what is older than the working set is never ephemeral: those are deleted when they leave it
local older, wanted, next_position = {}, tonumber(ARGV[2]), session.from - 1
while #older < wanted and next_position >= session.first do
  positions = {}
  while #positions < math.min(CHUNK, wanted - #older) and next_position >= session.first do
    positions[#positions + 1] = next_position
    next_position = next_position - 1
  end
  for _, value in ipairs(events(positions)) do older[#older + 1] = value end
end
local summaries = load_summaries()
return {session.seq, working, older, summaries, int(session.create), redis.call('HGET', KEYS[1], 'erased') or 0,
  session.settings}
