-- Replaces what readers know of the published models, in one step.
-- KEYS: models, live. ARGV: number of models, then field, JSON of each; then name, version of each live model.
local call = redis.call
local n = tonumber(ARGV[1])
call('DEL', KEYS[1], KEYS[2])
for i = 2, 2 * n, 2 do call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
for i = 2 * n + 2, #ARGV, 2 do call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
return n
