-- Removes fields from many members, and with each field the cluster before it (`~`).
-- A member that has neither a field nor a document then is removed.
-- KEYS: the members. ARGV: the fields.
local call = redis.call
for i = 1, #KEYS do
  local key = KEYS[i]
  local old = call('GET', key)
  if old then
    local row = old
    for j = 1, #ARGV do row = without(without(row, ARGV[j]), ARGV[j] .. '~') end
    if row == '' then
      call('DEL', key)
    elseif row ~= old then
      call('SET', key, row)
    end
  end
end
return #KEYS
