-- Writes one field, a list's, of many members. There is no position to compare: the rows of a list never change.
-- KEYS: members' keys. ARGV: 1: also over tombstones; the field, then its value for each key. Returns which keys were
-- refused (from 1): they are tombstones, and a list that was uploaded before the member was deleted must not bring it back.
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
