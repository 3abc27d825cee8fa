-- Replaces members by tombstones that expire. A position lower than the stored one is refused (guard.lua).
-- KEYS: the members.
-- ARGV[1]: seconds until a tombstone expires.
-- ARGV[2]: 1: remove only members that have a document, and leave no tombstone. It would take a member that was deleted
--   long ago off the lists of today. 0: all.
-- ARGV[3…]: for each key its pos, which ends in `:gone`.
-- Returns {refused, foreign, first}, as write.lua does.
local call, find, match, sub = redis.call, string.find, string.match, string.sub
local ttl_s, only_if_held = ARGV[1], ARGV[2] == '1'
local judged, first = {0, 0, 0}, nil
for i = 1, #KEYS do
  local key, pos = KEYS[i], ARGV[2 + i]
  local old = call('GET', key)
  local is_held = old and sub(old, 1, 1) ~= '|' and sub(old, -5) ~= ':gone'
  if is_held or not only_if_held then
    local verdict = judge(old, pos)
    judged[verdict + 1] = judged[verdict + 1] + 1
    if verdict == 2 then first = first or key .. ' ' .. match(old, '^[^|]*') end
    if verdict == 0 then
      local lists = only_if_held and find(old, '||', 1, true)
      if lists then
        call('SET', key, sub(old, lists))
      elseif only_if_held then
        call('DEL', key)
      else
        call('SET', key, pos, 'EX', ttl_s)
      end
    end
  end
end
return {judged[2], judged[3], first}
