-- Writes the memberships of many members; a position lower than the stored one is refused (guard.lua).
-- KEYS: members' keys. ARGV: number of fields n, the n field names, then for each key: pos, n values.
-- Returns {refused, foreign}: foreign were last written from another partition, whose offsets say nothing here.
-- Each key stands for itself, so any subset in any order gives the same: callers may split by cluster slot.
local call, unpack, sub = redis.call, unpack, string.sub
local n = tonumber(ARGV[1])
local args = {'', 'pos', ''}
for j = 1, n do args[2 + 2 * j] = ARGV[1 + j] end
local judged = {0, 0, 0}
local at = n + 2
for i = 1, #KEYS do
  local key, pos = KEYS[i], ARGV[at]
  local old = call('HGET', key, 'pos')
  local verdict = judge(old, pos)
  judged[verdict + 1] = judged[verdict + 1] + 1
  if verdict == 0 then
    args[1], args[3] = key, pos
    for j = 1, n do args[3 + 2 * j] = ARGV[at + j] end
    call('HSET', unpack(args))
    if old and sub(old, -5) == ':gone' then call('PERSIST', key) end  -- a tombstone has a time to live
  end
  at = at + n + 1
end
return {judged[2], judged[3]}
