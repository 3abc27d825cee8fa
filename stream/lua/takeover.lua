-- Another installation's keys become the caller's: as if Redis had no progress, so everything is written anew.
-- KEYS: installation, then the keys that are removed. ARGV: the id that was found, the new one. Returns 0 if the owner has
-- changed since, else 1.
local call = redis.call
if (call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
call('DEL', unpack(KEYS, 2))
call('SET', KEYS[1], ARGV[2])
return 1
