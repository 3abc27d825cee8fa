-- Writes counts of one campaign and one partition. A worker that has lost the partition since is refused.
-- KEYS: the campaign's hash. ARGV: partition, the owner's term, then field and value of each count.
-- Returns 1, or 0 if a later term is known. Values are totals, so writing the same again changes nothing.
local call, unpack = redis.call, unpack
local known = call('HGET', KEYS[1], ARGV[1])
if known and tonumber(known) > tonumber(ARGV[2]) then return 0 end
call('HSET', KEYS[1], unpack(ARGV))
return 1
