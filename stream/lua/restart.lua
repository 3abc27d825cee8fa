-- Another process of Redis answers than the one in which all was built. Nothing counts as complete any more, and the
-- new process gets a witness.
-- KEYS: witness, epoch, built, known. ARGV[1]: the witness that was found; empty: there was none. ARGV[2]: the new one.
-- Returns 0 if another worker was first; else 1, or 2 if readers had been told that all was complete.
local call = redis.call
if (call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
call('SET', KEYS[1], ARGV[2])
local was_complete = call('DEL', KEYS[2])
call('DEL', KEYS[3], KEYS[4])
return 1 + was_complete
