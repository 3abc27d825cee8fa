-- One command on small keys. ARGV: its words.
return redis.call(unpack(ARGV))
