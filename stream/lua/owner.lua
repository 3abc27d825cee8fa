-- Put before each script that writes small keys: it writes nothing to the keys of another installation.
-- The last of KEYS: installation. The last of ARGV: the caller's id (empty: nobody's, nothing is checked). Both are taken
-- off here. Keys that are nobody's become the caller's. The error has the other's id.
local key, id = table.remove(KEYS), table.remove(ARGV)
if id ~= '' then
  local owner = redis.call('GET', key)
  if not owner then
    redis.call('SET', key, id)
  elseif owner ~= id then
    return redis.error_reply('OTHERS ' .. owner)
  end
end
