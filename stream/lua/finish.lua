-- A partition has written all its members. With the last partition the projection is complete.
-- KEYS: built, epoch. ARGV: partition, token, number of partitions, now_ms.
-- Returns `restart`, `waiting` or `complete`.
-- restart: the token is gone, because Redis was emptied after `begin`, or it is another, because a new owner began.
local call = redis.call
local partition, token, n_partitions = ARGV[1], ARGV[2], tonumber(ARGV[3])
local mark = call('HGET', KEYS[1], partition)
if mark ~= token and mark ~= 'done:' .. token then return 'restart' end
call('HSET', KEYS[1], partition, 'done:' .. token)
for p = 0, n_partitions - 1 do
  local other = call('HGET', KEYS[1], p)
  if not other or string.sub(other, 1, 5) ~= 'done:' then return 'waiting' end
end
call('SET', KEYS[2], ARGV[4])
call('DEL', KEYS[1])
return 'complete'
