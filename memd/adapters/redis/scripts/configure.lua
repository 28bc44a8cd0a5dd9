-- KEYS: the session's three, the three of the life before it, the request's record where there is one.
-- ARGV: now, time of registration or '', ttl_us, grace_us, window_us, body digest, '1' to keep an expired life that was not
-- consolidated, then for each setting its name and its value as JSON, '' to have none.
-- A session that is not there is opened, as by append.
local now, ttl = clock(ARGV[1]), tonumber(ARGV[3])
local known = replay(KEYS[7], ARGV[6], now)
if known then return known end
local session, buried, opened = load_session(now), false, false
if not session then
  session, buried = open_session(now, ARGV[2], ARGV[5], ARGV[7])
  if not session then return {'UNREGISTERED'} end
  session.update, session.expire, session.ended, opened = now, now + ttl, '', true
end

local own, names = overrides(session.settings), {}
for i = 8, #ARGV, 2 do own[ARGV[i]] = ARGV[i + 1] ~= '' and ARGV[i + 1] or nil end
for name in pairs(own) do names[#names + 1] = name end
table.sort(names)
for i, name in ipairs(names) do names[i] = '"' .. name .. '":' .. own[name] end
local settings = #names > 0 and '{' .. table.concat(names, ',') .. '}' or ''

session.seq = session.seq + 1
save_session(session)
if settings == '' then redis.call('HDEL', KEYS[1], 'settings') else redis.call('HSET', KEYS[1], 'settings', settings) end
if buried then redis.call('HSET', KEYS[1], 'old', 1) end
if opened then expire({KEYS[1]}, ttl, tonumber(ARGV[4])) end
local reply = {session.create, session.update, session.expire, tonumber(session.ended) or 0, session.last, session.seq, settings}
remember(KEYS[7], ARGV[6], now, reply)
return {'OK', reply}
