-- Removes the rows that were last written from one partition, without tombstones: another may write them anew.
-- On which lists a member is stays as it is.
-- KEYS: the members. ARGV: the partition. Returns {0, 0}, in the form of write.lua.
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
