-- KEYS: the session's three, the three of the life before it. ARGV: 'count' to change nothing, event ids.
-- {how many of these events the lives have, how many summaries go with them}: all of a life's, when one of them tells one.
local events, told = 0, 0

local function tells(at, positions)
  for _, row in ipairs(cjson.decode(redis.call('HGET', KEYS[at], 'summaries') or '[]')) do
    for position in pairs(positions) do
      if row[1] <= position and position <= row[2] then return true end
    end
  end
  return false
end

local function without(at, positions)
  local kept = {}
  for item in string.gmatch(redis.call('HGET', KEYS[at], 'work') or '', '%d+ %d+ %d;') do
    if not positions[tonumber(string.match(item, '%d+'))] then kept[#kept + 1] = item end
  end
  return table.concat(kept)
end

for at = 1, 4, 3 do
  local positions, found = {}, 0
  for i = 2, #ARGV do
    local position = redis.call('HGET', KEYS[at + 2], ARGV[i])
    if position and redis.call('HEXISTS', KEYS[at + 1], position) == 1 then
      positions[tonumber(position)] = ARGV[i]
      found = found + 1
    end
  end
  if found > 0 then
    events = events + found
    local summaries = tells(at, positions)
    if summaries then told = told + tonumber(string.match(redis.call('HGET', KEYS[at], 'summarized'), '%d+')) end
    if ARGV[1] ~= 'count' then
      if summaries then redis.call('HDEL', KEYS[at], 'summaries', 'summarized') end
      for position, id in pairs(positions) do
        redis.call('HDEL', KEYS[at + 1], position)
        redis.call('HDEL', KEYS[at + 2], id)
      end
      redis.call('HSET', KEYS[at], 'work', without(at, positions), 'digested', 0)
      redis.call('HINCRBY', KEYS[at], 'erased', 1)
      redis.call('HINCRBY', KEYS[at], 'seq', 1)
    end
  end
end
return {events, told}
