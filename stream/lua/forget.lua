-- Replaces members by tombstones that expire; a position lower than the stored one is refused (guard.lua).
-- KEYS: members' keys. ARGV: time to live in seconds, then for each key: pos, which ends in `:gone`. Returns {refused, foreign} as write.lua.
local call = redis.call
local ttl_s = ARGV[1]
local judged = {0, 0, 0}
for i = 1, #KEYS do
  local key, pos = KEYS[i], ARGV[1 + i]
  local old = call('HGET', key, 'pos')
  local verdict = judge(old, pos)
  judged[verdict + 1] = judged[verdict + 1] + 1
  if verdict == 0 then
    call('DEL', key)
    call('HSET', key, 'pos', pos)
    call('EXPIRE', key, ttl_s)
  end
end
return {judged[2], judged[3]}
