-- Writes beacons and says what the worker must know about the projection's completeness.
-- KEYS: beacons, epoch, built. ARGV: for each partition: partition, next_offset, clock_ms, written_ms.
-- Returns {epoch or false, then for each partition as asked: built or false, the beacon that was there before or false}.
-- A beacon older than the stored one (a worker that woke up late) changes nothing.
local call, tonumber = redis.call, tonumber
local reply = {call('GET', KEYS[2])}
for i = 1, #ARGV, 4 do
  local partition, written_ms = ARGV[i], ARGV[i + 3]
  local old = call('HGET', KEYS[1], partition)
  local old_written = old and string.match(old, ':(%d+)$')
  if not old_written or tonumber(written_ms) >= tonumber(old_written) then
    call('HSET', KEYS[1], partition, ARGV[i + 1] .. ':' .. ARGV[i + 2] .. ':' .. written_ms)
  end
  reply[#reply + 1] = call('HGET', KEYS[3], partition)
  reply[#reply + 1] = old
end
return reply
