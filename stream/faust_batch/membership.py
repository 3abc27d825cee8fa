"""Is this worker still a member of its group? Asked of the broker when it may have slept.

Law: a worker that may have slept proves its membership before it writes. A forced OffsetCommit carries member id and
generation; the broker refuses it from one that it has given up.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic

from faust.types import TP

log = logging.getLogger(__name__)

#: After a pause of this share of the session timeout, membership is proved before anything is written. After a whole
#: session timeout the broker may have given the partitions away, and its clock isn't ours. A worker with a name may
#: lose its partitions at any time, to a process that joins under that name. Its next heartbeat tells. So after a pause
#: that is longer than the time between two, it asks.
PAUSE_SHARE = 0.4


class Membership:
    """What is known about this worker's membership.

    Args:
        session_timeout_s: after this time the broker gives the partitions of a silent member away.
        named_heartbeat_s: time between two heartbeats, if this worker has a name in its group.
    """

    def __init__(self, session_timeout_s: float, named_heartbeat_s: float | None = None) -> None:
        self._limit_s = PAUSE_SHARE * session_timeout_s
        if named_heartbeat_s is not None:
            self._limit_s = min(self._limit_s, named_heartbeat_s)
        self._alive_at = monotonic()

    @property
    def is_sure(self) -> bool:
        """Whether no pause was long enough to lose the membership."""
        return monotonic() - self._alive_at <= self._limit_s

    def tick(self) -> None:
        """Note that the loop turns. A pause that was too long stays noted, until the broker confirms the membership."""
        if self.is_sure:
            self._alive_at = monotonic()

    def confirm(self) -> None:
        """The broker has confirmed that this worker is a member now."""
        self._alive_at = monotonic()

    async def prove(self, offsets: Mapping[TP, int], commit: Callable[[Mapping[TP, int]], Awaitable[bool]]) -> bool:
        """Commit offsets. Returns whether the broker takes them from this worker."""
        pause_s = monotonic() - self._alive_at
        log.info("after a pause of %.1f s: asking the broker whether this worker is still a member", pause_s)
        if not await commit(offsets):
            return False
        self.confirm()
        return True
