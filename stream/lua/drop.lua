-- Removes fields from many members; a key without fields is gone.
-- KEYS: members' keys. ARGV: the fields.
local call, unpack = redis.call, unpack
for i = 1, #KEYS do call('HDEL', KEYS[i], unpack(ARGV)) end
return #KEYS
