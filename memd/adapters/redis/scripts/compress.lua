-- KEYS: the session's three. ARGV: now, when the session was created, up to which position it was summarized and how often it
-- was erased from when it was read, position up to which the items go, how many summaries take their place, up to which position, and they.
-- 1 when done; 0 when the session was compressed, cleared, erased from, ended or replaced since.
local session = load_session(clock(ARGV[1]))
if not session or int(session.create) ~= ARGV[2] then return 0 end
local _, _, summarized = load_summaries()
if tonumber(redis.call('HGET', KEYS[1], 'erased') or 0) ~= tonumber(ARGV[4]) then return 0 end
local through = tonumber(ARGV[5])
if summarized ~= tonumber(ARGV[3]) or session.from > through then return 0 end
local kept = {}
for i, item in ipairs(session.work) do
  if item[1] > through or i == #session.work then
    kept[#kept + 1] = item
  elseif item[3] then
    drop_event(item[1])
  end
end
session.work = kept
session.from = kept[1] and kept[1][1] or session.last + 1
session.seq = session.seq + 1
save_session(session)
redis.call('HSET', KEYS[1], 'summaries', ARGV[8], 'summarized', ARGV[6] .. ' ' .. ARGV[7])
return 1
