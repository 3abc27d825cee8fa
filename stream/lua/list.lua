-- Writes one list's field of many members. No position is compared: the rows of a list never change.
-- KEYS: the members. ARGV[1]: 1: write over tombstones, too. ARGV[2]: the field. ARGV[3…]: its value for each key.
-- Returns the numbers (from 1) of the keys that were refused because they are tombstones: such a member was deleted
-- after the list was uploaded, and the list must not bring it back.
local call = redis.call
local over_tombstones, field = ARGV[1] == '1', ARGV[2]
local refused = {}
for i = 1, #KEYS do
  local key = KEYS[i]
  local old = call('GET', key) or ''
  local is_gone = sub(old, -5) == ':gone'
  if is_gone and not over_tombstones then
    refused[#refused + 1] = i
  else
    local row = is_gone and '' or without(old, field)
    if not find(row, '||', 1, true) then row = row .. '|' end
    call('SET', key, row .. '|' .. field .. '=' .. ARGV[2 + i])
  end
end
return refused
