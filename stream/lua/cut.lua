-- Removes from members' rows a part that nobody writes any more: what stands before the lists, or the lists.
-- KEYS: the members. ARGV: for each the part as it was read. If it has been written since then, it stays.
-- Returns how many parts were removed. No tombstone is left: it would take the member off the lists of today.
local call, find, sub = redis.call, string.find, string.sub
local removed = 0
for i = 1, #KEYS do
  local key, part = KEYS[i], ARGV[i]
  local row = call('GET', key)
  local at = row and (find(row, '||', 1, true) or #row + 1)
  local rest
  if row and sub(row, 1, at - 1) == part then
    rest = sub(row, at)
  elseif row and sub(row, at) == part then
    rest = sub(row, 1, at - 1)
  end
  if rest then
    removed = removed + 1
    if rest == '' then call('DEL', key) else call('SET', key, rest) end
  end
end
return removed
