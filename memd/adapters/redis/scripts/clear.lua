-- KEYS: the session's three, the request's record where there is one. ARGV: now, body digest.
-- How many items left the working set; ephemeral ones are deleted.
local now = clock(ARGV[1])
local known = replay(KEYS[4], ARGV[2], now)
if known then return known end
local session = load_session(now)
local reply = {0, 0}
if session then
  local cleared = #session.work
  if cleared > 0 then
    empty_working(session)
    session.seq = session.seq + 1
    save_session(session)
  end
  reply = {session.seq, cleared}
end
remember(KEYS[4], ARGV[2], now, reply)
return {'OK', reply}
