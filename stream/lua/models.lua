-- Replaces in one step what readers know of models and campaigns, unless they know something newer.
-- KEYS: models, live, campaigns, known.
-- ARGV[1]: the offset of the models' log. Then come three hashes as pairs:
--   the number of models, then field and JSON of each
--   the number of live models, then name and version of each
--   id and JSON of each campaign
-- Returns 1, or 0 if a later offset is known: a worker that woke up late changes nothing.
local call, tonumber, unpack = redis.call, tonumber, unpack
local known, offset = call('GET', KEYS[4]), ARGV[1]
if known and tonumber(known) > tonumber(offset) then return 0 end
call('SET', KEYS[4], offset)
call('DEL', KEYS[1], KEYS[2], KEYS[3])
-- Pairs from first to last. A hundred at once cost a third of one at a time; Lua's stack takes some thousands.
local function fill(key, first, last)
  for i = first, last, 200 do call('HSET', key, unpack(ARGV, i, math.min(i + 199, last))) end
end
local live = 3 + 2 * tonumber(ARGV[2])
local campaigns = live + 1 + 2 * tonumber(ARGV[live])
fill(KEYS[1], 3, live - 1)
fill(KEYS[2], live + 1, campaigns - 1)
fill(KEYS[3], campaigns, #ARGV)
return 1
