-- Replaces members by tombstones that expire; a position lower than the stored one is refused.
-- KEYS: members' keys. ARGV: time to live in seconds, then for each key: pos. Returns {refused, foreign} as write.lua.
local call, match, tonumber = redis.call, string.match, tonumber
local ttl_s = ARGV[1]
local refused, foreign = 0, 0
for i = 1, #KEYS do
  local key, pos = KEYS[i], ARGV[1 + i]
  local old = call('HGET', key, 'pos')
  local take = true
  if old and old ~= pos then
    local op, oo, oa = match(old, '^(%d+):(%d+):(%d+):')
    local np, no, na = match(pos, '^(%d+):(%d+):(%d+):')
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
    call('DEL', key)
    call('HSET', key, 'pos', pos, 'gone', '1')
    call('EXPIRE', key, ttl_s)
  end
end
return {refused, foreign}
