"""The Redis protocol on one connection, thin: hiredis packs and parses, sockets carry, nothing lies in between.

Why not redis-py's client objects: for each command their Python costs more than the round trip (numbers and method:
docs/redis.md, "What it costs"). Of redis-py only its URLs are kept.
stream.projection (asyncio) and stream.lookup (blocking and asyncio) use this room; it knows nothing about members.

endpoint.py: URLs and log-in · sync.py, aio.py: a connection · cluster*.py: a Redis Cluster · paced.py: for writers that
must not be felt · script.py: Lua · round_trip.py: how far away Redis is · replies.py: errors

lookup/, wire/ and keyspace/ import one another relatively: the same files are `memberstream_lookup` (clients/python).
"""
