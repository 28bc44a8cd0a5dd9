-- KEYS: the session's three, the request's record where there is one. ARGV: now, body digest.
local now = clock(ARGV[1])
local known = replay(KEYS[4], ARGV[2], now)
if known then return known end
local session = load_session(now)
if not session then return {'NOT_FOUND'} end
if session.ended == '' then
  session.ended = int(now)
  session.seq = session.seq + 1
  empty_working(session)
  save_session(session)
end
local reply = {session.create, session.update, session.expire, tonumber(session.ended), session.last, session.seq,
  session.settings}
remember(KEYS[4], ARGV[2], now, reply)
return {'OK', reply}
