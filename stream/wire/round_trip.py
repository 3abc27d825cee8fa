"""How long Redis takes to answer. Few calls of a worker are under way at a time, so this bounds what it can write.

Law: the shortest round trip of the last minute is what counts. A busy event loop, somebody else's long call or a lost
packet make one answer late, but never all sixty.
"""

import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter

from hiredis import pack_command

from .cluster import ASK_SLOTS, SlotMap
from .endpoint import Endpoint, parse_url
from .replies import ReplyError
from .sync import SyncWire

log = logging.getLogger(__name__)
PING = pack_command((b"PING",))
#: Seconds. In one data centre it is under a millisecond. A live event waits for some round trips.
SLOW_S = 0.01
_SAMPLES = 60  # one a second
_ENOUGH = 10  # for a warning
_FEW = 3


class RoundTrip:
    """The round trips of one worker's connection. `most`: round trip → members that can be written in a second."""

    def __init__(self, most: Callable[[float], float]) -> None:
        self._most = most
        self._samples: deque[float] = deque(maxlen=_SAMPLES)
        self._is_slow = False

    @property
    def seconds(self) -> float:
        """The shortest of the last minute; 0 before the first."""
        return min(self._samples, default=0.0)

    @property
    def known_s(self) -> float:
        """The same, once there are enough for it to be the way's and not the event loop's; 0 before."""
        return self.seconds if len(self._samples) >= _FEW else 0.0

    def see(self, seconds: float) -> None:
        """Take in one round trip. Logs when Redis becomes slow, and when it is fast again."""
        self._samples.append(seconds)
        best = self.seconds
        if not self._is_slow and best >= SLOW_S and len(self._samples) >= _ENOUGH:
            self._is_slow = True
            log.warning("%s", advice(best, self._most(best)))
        elif self._is_slow and best < SLOW_S:
            self._is_slow = False
            log.info("Redis answers within %.1f ms again", 1000 * best)


def advice(seconds: float, members_per_second: float) -> str:
    """Return what a slow Redis means, and what to do about it."""
    return (
        f"Redis answers after {1000 * seconds:.0f} ms at best: a worker writes at most {members_per_second:,.0f} "
        'members a second. Next: run workers in the network of Redis (docs/operations.md, "Redis far away")'
    )


def measure(url: str, n: int = 10, timeout_s: float = 5.0) -> float:
    """Return the shortest of n round trips to Redis, in seconds; for a cluster, that to the farthest node.

    Raises:
        WireError, ReplyError: no connection, or the log-in was refused.
        ValueError: the URL.
    """
    endpoint = parse_url(url)
    return max(_shortest(node, n, timeout_s) for node in _nodes(endpoint, timeout_s))


def _nodes(endpoint: Endpoint, timeout_s: float) -> list[Endpoint]:
    if not endpoint.is_cluster:
        return [endpoint]
    wire = SyncWire(endpoint.at(*endpoint.seeds[0]), "memberstream-doctor", timeout_s)
    try:
        [reply] = wire.call(ASK_SLOTS, 1)
    finally:
        wire.close()
    if isinstance(reply, ReplyError):
        raise reply
    return [endpoint.at(*master) for master in SlotMap(reply, endpoint.seeds[0]).masters]


def _shortest(endpoint: Endpoint, n: int, timeout_s: float) -> float:
    wire = SyncWire(endpoint, "memberstream-doctor", timeout_s)
    try:
        times = []
        for _ in range(n):
            start = perf_counter()
            [reply] = wire.call(PING, 1)
            times.append(perf_counter() - start)
            if isinstance(reply, ReplyError):
                raise reply
        return min(times)
    finally:
        wire.close()
