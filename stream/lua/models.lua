-- Replaces what readers know of the published models, in one step, unless they know something newer.
-- KEYS: models, live, known. ARGV: offset of the models' log, number of models, then field, JSON of each; then name,
-- version of each live model. Returns 1, or 0 when a later offset is known: a worker that woke up late changes nothing.
local call, tonumber = redis.call, tonumber
local known, offset = call('GET', KEYS[3]), ARGV[1]
if known and tonumber(known) > tonumber(offset) then return 0 end
call('SET', KEYS[3], offset)
call('DEL', KEYS[1], KEYS[2])
local n = tonumber(ARGV[2])
for i = 3, 2 * n + 1, 2 do call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
for i = 2 * n + 3, #ARGV, 2 do call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
return 1
