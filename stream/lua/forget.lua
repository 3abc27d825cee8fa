-- Replaces members by tombstones that expire; a position lower than the stored one is refused (guard.lua).
-- KEYS: members' keys. ARGV: time to live in seconds; 1: only members that are held by a document, so that the delete of
-- long ago makes no tombstone anew; then for each key: pos, which ends in `:gone`. Returns {refused, foreign} as write.lua.
local call, sub = redis.call, string.sub
local ttl_s, only_if_held = ARGV[1], ARGV[2] == '1'
local judged = {0, 0, 0}
for i = 1, #KEYS do
  local key, pos = KEYS[i], ARGV[2 + i]
  local old = call('HGET', key, 'pos')
  if not only_if_held or (old and sub(old, -5) ~= ':gone') then
    local verdict = judge(old, pos)
    judged[verdict + 1] = judged[verdict + 1] + 1
    if verdict == 0 then
      call('DEL', key)
      call('HSET', key, 'pos', pos)
      call('EXPIRE', key, ttl_s)
    end
  end
end
return {judged[2], judged[3]}
