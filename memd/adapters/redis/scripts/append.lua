-- KEYS: the session's three, the three of the life before it, the request's record where there is one.
-- ARGV: now, time of registration or '', ttl_us, grace_us, window_us, working items, working tokens, episodes,
-- body digest, '1' to keep an expired life that was not consolidated, of what the working caps are made for a session with
-- settings of its own five, then ten for each event.
-- Those five: the namespace's items and tokens, '1' where it compresses; how many times as much may wait for its summary, and
-- how many items there is room for at least.
local TRIM_AT_ONCE = 256 -- episodes deleted by one append, when a cap was lowered a lot: the server must not stand still
local now, ttl = clock(ARGV[1]), tonumber(ARGV[3])
local max_items, max_tokens, max_episodes = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local known = replay(KEYS[7], ARGV[9], now)
if known then return known end

local function own_caps(settings)
  local own = overrides(settings)
  local items, tokens = tonumber(own.working_max_items or ARGV[11]), tonumber(own.working_max_tokens or ARGV[12])
  local compressed = ARGV[13] == '1'
  if own.compress then compressed = own.compress == 'true' end
  if not compressed then return items, tokens end
  return math.max(items * ARGV[14], items + ARGV[15]), tokens * ARGV[14]
end

local session, buried = load_session(now), false
if not session then
  session, buried = open_session(now, ARGV[2], ARGV[5], ARGV[10])
  if not session then return {'UNREGISTERED'} end
end
if session.settings ~= '' then max_items, max_tokens = own_caps(session.settings) end

local held = 0
for _, item in ipairs(session.work) do held = held + item[2] end

local function merge(count, seen)
  local value = redis.call('HGET', KEYS[2], session.last)
  if not value then return nil end -- it was ephemeral and has been cleared
  local found, start = fields(value)
  found[6], found[7] = int(found[6] + count), seen
  redis.call('HSET', KEYS[2], session.last, table.concat(found, ' ') .. '\n' .. string.sub(value, start))
  return {string.sub(value, start, start + found[10] - 1), 1, found[9], tonumber(found[5]), session.last}
end

local function store(id, digest, kind, ephemeral, tokens, count, seen, event_time, importance, body)
  session.last = session.last + 1
  session.digest = digest
  local ordinal = 0
  if ephemeral == '0' then
    session.ordinal = session.ordinal + 1
    ordinal = session.ordinal
  end
  local head = {session.last, ordinal, ephemeral, kind, tokens, count, seen, event_time, importance, #id}
  redis.call('HSET', KEYS[2], session.last, table.concat(head, ' ') .. '\n' .. id .. body)
  redis.call('HSET', KEYS[3], id, session.last)
  session.work[#session.work + 1] = {session.last, tonumber(tokens), ephemeral == '1'}
  held = held + tokens
  return {id, 0, importance, tonumber(tokens), session.last}
end

local observed, changed = {}, false
for i = 16, #ARGV, 10 do
  local id, digest, kind, ephemeral, tokens, count = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  local seen, event_time, importance, body = ARGV[i + 6], ARGV[i + 7], ARGV[i + 8], ARGV[i + 9]
  if event_time == '0' then event_time = int(now) end
  if seen == '0' then seen = event_time end
  local position = redis.call('HGET', KEYS[3], id)
  local value = position and redis.call('HGET', KEYS[2], position)
  local one
  if value then
    local found = fields(value)
    one = {id, 1, found[9], tonumber(found[5]), tonumber(position)}
  else
    one = digest == session.digest and merge(count, seen)
      or store(id, digest, kind, ephemeral, tokens, count, seen, event_time, importance, body)
    changed = true
  end
  observed[#observed + 1] = one
end

local work, oldest = session.work, 1
while #work > oldest and (#work - oldest + 1 > max_items or held > max_tokens) do
  local item = work[oldest]
  held = held - item[2]
  if item[3] then drop_event(item[1]) end
  oldest = oldest + 1
end
session.work = {}
for i = oldest, #work do session.work[#session.work + 1] = work[i] end
session.from = session.work[1] and session.work[1][1] or session.last + 1

local budget = TRIM_AT_ONCE
while session.ordinal - session.low + 1 > max_episodes and session.first < session.from and budget > 0 do
  if drop_event(session.first) then session.low = session.low + 1 end
  session.first = session.first + 1
  budget = budget - 1
end

if changed then session.seq = session.seq + 1 end
session.update, session.expire, session.ended = now, now + ttl, ''
save_session(session)
if buried then redis.call('HSET', KEYS[1], 'old', 1) end
expire({KEYS[1], KEYS[2], KEYS[3]}, ttl, tonumber(ARGV[4]))
local reply = {session.seq, observed, session.settings}
remember(KEYS[7], ARGV[9], now, reply)
return {'OK', reply}
