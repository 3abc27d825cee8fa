-- The guard. It is put before write.lua and forget.lua: may the row `new` replace `old`? Both begin with `pos`.
-- 0: yes.
-- 1: no, Redis knows a later (epoch, offset, as_of).
-- 2: no, `old` is of another partition in the same epoch. Offsets of two partitions can't be compared.
local tonumber, match = tonumber, string.match
local function judge(old, new)
  if not old then return 0 end
  local oe, op, oo, oa = match(old, '^(%d+):(%d+):(%d+):(%d+):')
  local ne, np, no, na = match(new, '^(%d+):(%d+):(%d+):(%d+):')
  if not oe then return 0 end  -- no document so far: only on lists
  if oe ~= ne then
    if tonumber(ne) > tonumber(oe) then return 0 end
    return 1
  end
  if op ~= np then return 2 end
  oo, no = tonumber(oo), tonumber(no)
  if no > oo or (no == oo and tonumber(na) >= tonumber(oa)) then return 0 end
  return 1
end
