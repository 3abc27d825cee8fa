-- Removes fields from many members, with the clusters before (`~`); a member without any and without a document is gone.
-- KEYS: members' keys. ARGV: the fields.
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
