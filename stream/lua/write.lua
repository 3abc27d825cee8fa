-- Writes the memberships of many members; a position lower than the stored one is refused.
-- KEYS: members' keys. ARGV: number of fields n, the n field names, then for each key: pos, n values.
-- Returns {refused, foreign}: foreign were last written from another partition, whose offsets say nothing here.
-- Each key stands for itself, so any subset in any order gives the same: callers may split by cluster slot.
local call, match, tonumber, unpack = redis.call, string.match, tonumber, unpack
local n = tonumber(ARGV[1])
local args = {'', 'pos', ''}
for j = 1, n do args[2 + 2 * j] = ARGV[1 + j] end
local refused, foreign = 0, 0
local at = n + 2
for i = 1, #KEYS do
  local key, pos = KEYS[i], ARGV[at]
  local old = call('HGET', key, 'pos')
  local take = true
  if old and old ~= pos then
    local op, oo, oa = match(old, '^(%d+):(%d+):(%d+)')
    local np, no, na = match(pos, '^(%d+):(%d+):(%d+)')
    if op ~= np then
      take = false
      foreign = foreign + 1
    else
      oo, no = tonumber(oo), tonumber(no)
      take = no > oo or (no == oo and tonumber(na) >= tonumber(oa))
      if not take then refused = refused + 1 end
    end
  end
  if take then
    args[1], args[3] = key, pos
    for j = 1, n do args[3 + 2 * j] = ARGV[at + j] end
    local added = call('HSET', unpack(args))
    -- Fields new to a hash that existed: it may be a tombstone (pos, gone, time to live); what is left of it goes.
    if old and (added > 0 or n == 0) and call('HDEL', key, 'gone') == 1 then call('PERSIST', key) end
  end
  at = at + n + 1
end
return {refused, foreign}
