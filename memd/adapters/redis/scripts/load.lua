-- KEYS: the task's two. ARGV: now, version (0: the newest). {version, expire, description, state}; nil when it is gone.
local got = redis.call('HMGET', KEYS[1], 'version', 'expire')
if not got[1] or got[1] == '0' or tonumber(got[2]) <= clock(ARGV[1]) then return nil end
local version = ARGV[2] == '0' and got[1] or ARGV[2]
local description, state = redis.call('HGET', KEYS[1], version), redis.call('HGET', KEYS[2], version)
if not description or not state then return nil end
return {tonumber(version), tonumber(got[2]), description, state}
