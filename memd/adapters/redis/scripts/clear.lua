-- KEYS: the session's three, the request's record where there is one. ARGV: now, body digest.
-- How many items left the working set, summaries among them; those and ephemeral ones are deleted.
local now = clock(ARGV[1])
local known = replay(KEYS[4], ARGV[2], now)
if known then return known end
local session = load_session(now)
local reply = {0, 0}
if session then
  local _, summaries = load_summaries()
  local cleared = #session.work + summaries
  if cleared > 0 then
    empty_working(session)
    session.seq = session.seq + 1
    save_session(session)
  end
  reply = {session.seq, cleared}
end
remember(KEYS[4], ARGV[2], now, reply)
return {'OK', reply}
