-- Put before list.lua and drop.lua: a member's row without one field.
local find, sub = string.find, string.sub
local function without(row, field)
  local from = find(row, '|' .. field .. '=', 1, true)
  if not from then return row end
  local rest = find(row, '|', from + 1, true)
  if rest then return sub(row, 1, from - 1) .. sub(row, rest) end
  row = sub(row, 1, from - 1)
  return sub(row, -1) == '|' and sub(row, 1, -2) or row  -- it was on no other list
end
