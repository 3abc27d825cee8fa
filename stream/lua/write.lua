-- Writes the rows of many members. A position lower than the stored one is refused (guard.lua).
-- KEYS: the members. ARGV: for each its row, up to the lists. On which lists a member is stays as it was.
-- Returns {refused, foreign, first}. Foreign ones were last written from another partition, whose offsets say nothing
-- here. first is `<key> <pos>` of the first of these, if there is one.
-- Each key stands for itself: any subset in any order gives the same, so callers may split by cluster slot.
local call, find, match, sub = redis.call, string.find, string.match, string.sub
local judged, first = {0, 0, 0}, nil
for i = 1, #KEYS do
  local key, row = KEYS[i], ARGV[i]
  local old = call('GET', key)
  local verdict = judge(old, row)
  judged[verdict + 1] = judged[verdict + 1] + 1
  if verdict == 2 then first = first or key .. ' ' .. match(old, '^[^|]*') end
  if verdict == 0 then
    local lists = old and find(old, '||', 1, true)
    call('SET', key, lists and row .. sub(old, lists) or row)  -- a tombstone's time to live ends with it
  end
end
return {judged[2], judged[3], first}
