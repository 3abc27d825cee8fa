-- Writes counts of one campaign and one partition; a worker that has lost the partition since is refused.
-- KEYS: the campaign's hash. ARGV: partition, the owner's term, then field, value of each count.
-- Returns 1, or 0 when a later term is known. Values are whole, not added: writing the same again changes nothing.
local call, unpack = redis.call, unpack
local known = call('HGET', KEYS[1], ARGV[1])
if known and tonumber(known) > tonumber(ARGV[2]) then return 0 end
call('HSET', KEYS[1], unpack(ARGV))
return 1
