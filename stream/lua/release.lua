-- Removes the rows of members that were last written from one partition, without a tombstone: another may write them anew.
-- KEYS: members' keys. ARGV: the partition. On which lists a member is stays as it is. Returns {0, 0} as write.lua does.
local call, find, match, sub = redis.call, string.find, string.match, string.sub
for i = 1, #KEYS do
  local old = call('GET', KEYS[i])
  if old and match(old, '^%d+:(%d+):') == ARGV[1] then
    local lists = find(old, '||', 1, true)
    if lists then
      call('SET', KEYS[i], sub(old, lists))
    else
      call('DEL', KEYS[i])
    end
  end
end
return {0, 0}
