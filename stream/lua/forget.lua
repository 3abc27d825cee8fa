-- Replaces members by tombstones that expire; a position lower than the stored one is refused (guard.lua).
-- KEYS: members' keys. ARGV: time to live in seconds; 1: only members that are held by a document, so that the delete of
-- long ago makes no tombstone anew; then for each key: pos, which ends in `:gone`. Returns {refused, foreign} as write.lua.
local call, sub = redis.call, string.sub
local ttl_s, only_if_held = ARGV[1], ARGV[2] == '1'
local judged = {0, 0, 0}
for i = 1, #KEYS do
  local key, pos = KEYS[i], ARGV[2 + i]
  local old = call('GET', key)
  local is_held = old and sub(old, 1, 1) ~= '|' and sub(old, -5) ~= ':gone'
  if is_held or not only_if_held then
    local verdict = judge(old, pos)
    judged[verdict + 1] = judged[verdict + 1] + 1
    if verdict == 0 then
      call('SET', key, pos, 'EX', ttl_s)
    end
  end
end
return {judged[2], judged[3]}
