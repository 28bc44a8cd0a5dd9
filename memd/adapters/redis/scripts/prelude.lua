-- What the scripts share. It goes before each of them.
--
-- A session is three keys of one hash tag: KEYS[1] its numbers, KEYS[2] events by position, KEYS[3] positions by event id.
-- A stored event is one line of fields, then the event's id, then its body as memd wrote it:
--   position ordinal ephemeral kind tokens count last_seen event_time importance length-of-id \n id body
-- Ordinals count episodes alone (0 for ephemeral events), so that the cap on episodes is one comparison.
-- Times that came from a caller stay strings: a Lua number holds 53 bits, the year 9999 in microseconds needs 58.

local DAY_US = 86400000000

local function clock(given) -- microseconds; the server's own time unless a test gives one
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function int(number) return string.format('%.0f', number) end

local function expire(keys, ttl_us, grace_us)
  local ms = math.ceil((ttl_us + grace_us) / 1000)
  for _, key in ipairs(keys) do redis.call('PEXPIRE', key, int(ms)) end
end

-- The first reply to a request that was seen: {'REPLAYED', reply}; {'REUSED'} when its body was another; nil for a new one.
local function replay(key, body, now)
  if not key then return nil end
  local stored = redis.call('GET', key)
  if not stored then return nil end
  local known, at, reply = cmsgpack.unpack(stored)
  if at + DAY_US <= now then return nil end
  if known ~= body then return {'REUSED'} end
  return {'REPLAYED', reply}
end

local function remember(key, body, now, reply)
  if key then redis.call('SET', key, cmsgpack.pack(body, now, reply), 'PX', int(DAY_US / 1000)) end
end

local function fields(value) -- of a stored event, and where its id begins
  local newline = string.find(value, '\n', 1, true)
  local found = {}
  for field in string.gmatch(string.sub(value, 1, newline - 1), '%S+') do found[#found + 1] = field end
  return found, newline + 1
end

local function drop_event(position)
  local value = redis.call('HGET', KEYS[2], position)
  if not value then return false end
  local found, start = fields(value)
  redis.call('HDEL', KEYS[3], string.sub(value, start, start + found[10] - 1))
  redis.call('HDEL', KEYS[2], position)
  return found[3] == '0'
end

-- Whether the life has something that was not consolidated; when it expires.
local function waits(at)
  local got = redis.call('HMGET', KEYS[at], 'last', 'promoted', 'digested', 'expire')
  if not got[1] then return false, 0 end
  local last = tonumber(got[1])
  return tonumber(got[2] or 0) < last or tonumber(got[3] or 0) < last, tonumber(got[4])
end

-- The live session, or nil. ``work`` is its working set, oldest first: {position, tokens, ephemeral}.
local function load_session(now)
  local got = redis.call('HMGET', KEYS[1], 'create', 'expire', 'last', 'from', 'seq', 'first', 'ordinal', 'low', 'digest',
    'work', 'end', 'update', 'settings')
  if not got[2] or tonumber(got[2]) <= now then return nil end
  local work = {}
  for position, tokens, ephemeral in string.gmatch(got[10], '(%d+) (%d+) (%d);') do
    work[#work + 1] = {tonumber(position), tonumber(tokens), ephemeral == '1'}
  end
  return {create = tonumber(got[1]), expire = tonumber(got[2]), last = tonumber(got[3]), from = tonumber(got[4]),
    seq = tonumber(got[5]), first = tonumber(got[6]), ordinal = tonumber(got[7]), low = tonumber(got[8]),
    digest = got[9], work = work, ended = got[11], update = tonumber(got[12]), settings = got[13] or ''}
end

-- A new one, where it was registered within ``window_us``: the indexes may hold what does not exist, never miss what does.
-- Of append and configure alone: KEYS[4] to KEYS[6] are of the life before it. nil when it must be registered first; whether
-- the expired life was kept for whoever consolidates it.
local function open_session(now, registered, window_us, keep)
  if registered == '' or now - registered > tonumber(window_us) then return nil end
  local buried = keep == '1' and waits(1)
  if buried then
    redis.call('UNLINK', KEYS[4], KEYS[5], KEYS[6])
    for i = 1, 3 do
      if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('RENAME', KEYS[i], KEYS[i + 3]) end
    end
  else
    redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
  end
  return {create = now, last = 0, from = 1, seq = 0, first = 1, ordinal = 0, low = 1, digest = '', work = {},
    settings = ''}, buried
end

-- What a session does otherwise than its namespace: a JSON object of numbers and flags, as memd wrote it, by name, as text.
local function overrides(settings)
  local own = {}
  for name, value in string.gmatch(settings, '"([%w_]+)":([^,}]+)') do own[name] = value end
  return own
end

local function save_session(session)
  local work = {}
  for i, item in ipairs(session.work) do
    work[i] = item[1] .. ' ' .. item[2] .. ' ' .. (item[3] and 1 or 0) .. ';'
  end
  redis.call('HSET', KEYS[1], 'create', int(session.create), 'update', int(session.update), 'expire', int(session.expire),
    'end', session.ended, 'last', int(session.last), 'from', int(session.from), 'seq', int(session.seq),
    'first', int(session.first), 'ordinal', int(session.ordinal), 'low', int(session.low), 'digest', session.digest,
    'work', table.concat(work))
end

local function empty_working(session)
  for _, item in ipairs(session.work) do
    if item[3] then drop_event(item[1]) end
  end
  session.work = {}
  session.from = session.last + 1
  redis.call('HDEL', KEYS[1], 'summaries', 'summarized')
end

-- Summaries in working memory: a JSON list, as memd wrote it; how many they are; up to which position they go.
local function load_summaries()
  local got = redis.call('HMGET', KEYS[1], 'summaries', 'summarized')
  local count, through = string.match(got[2] or '0 0', '(%d+) (%d+)')
  return got[1] or '[]', tonumber(count), tonumber(through)
end

-- Which life of a session was created then: the number of its first key, where KEYS[4] to KEYS[6] are of the life before.
local function life(created)
  for at = 1, 4, 3 do
    if redis.call('HGET', KEYS[at], 'create') == created then return at end
  end
  return nil
end
