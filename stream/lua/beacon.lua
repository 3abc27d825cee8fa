-- Writes beacons, and says what the worker must know about how complete the projection is.
-- KEYS: beacons, epoch, built. ARGV, for each partition: partition, next_offset, clock_ms, written_ms.
-- Returns epoch or false, then for each partition as asked: built or false, and the beacon before or false.
-- next_offset never goes back. A beacon older than the stored one (a worker that woke up late) changes nothing.
local call, tonumber = redis.call, tonumber
local reply = {call('GET', KEYS[2])}
for i = 1, #ARGV, 4 do
  local partition, next_offset, written_ms = ARGV[i], ARGV[i + 1], ARGV[i + 3]
  local old = call('HGET', KEYS[1], partition)
  local old_next, old_written
  if old then old_next, old_written = string.match(old, '^(%d+):%d+:(%d+)$') end
  if not old_written or tonumber(written_ms) >= tonumber(old_written) then
    if old_next and tonumber(old_next) > tonumber(next_offset) then next_offset = old_next end
    call('HSET', KEYS[1], partition, next_offset .. ':' .. ARGV[i + 2] .. ':' .. written_ms)
  end
  reply[#reply + 1] = call('HGET', KEYS[3], partition)
  reply[#reply + 1] = old
end
return reply
