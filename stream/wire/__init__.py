"""The Redis protocol on one connection, thin: hiredis packs and parses, sockets carry, nothing in between.

Why not redis-py's client objects: their per-command Python costs more than the round trip they make
(numbers and method: docs/redis.md, "What it costs"). What is kept of redis-py is its URL.
Used by stream.projection (asyncio) and stream.lookup (blocking and asyncio); knows nothing of members.
"""

from stream.wire.aio import AsyncWire, Link
from stream.wire.cluster import Piece
from stream.wire.cluster_aio import AsyncCluster
from stream.wire.cluster_sync import SyncCluster
from stream.wire.endpoint import Endpoint, parse_url
from stream.wire.paced import Paced
from stream.wire.replies import ConnectionLost, ReplyError, TimedOut, WireError, explain
from stream.wire.sync import SyncWire

__all__ = [
    "AsyncCluster",
    "AsyncWire",
    "ConnectionLost",
    "Endpoint",
    "Link",
    "Paced",
    "Piece",
    "ReplyError",
    "SyncCluster",
    "SyncWire",
    "TimedOut",
    "WireError",
    "explain",
    "parse_url",
]
