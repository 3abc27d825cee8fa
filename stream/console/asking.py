"""What Redis and Kafka tell now, as doctor's facts: asked while somebody looks, and not more often than it changes.

Redis is asked once a second over one connection. Kafka's topics and Redis' surroundings cost connections of their own,
so they are asked every ten seconds. The rules that judge them are those of `memberstream doctor`.

Laws:
- An answer is judged by the clock at which it was taken, and an old one isn't shown as of now.
- Whose keys are in Redis is judged whenever Redis answers: Kafka's cluster is remembered once it is known.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from memberstream.stream.console.following import Following
from memberstream.stream.console.fresh import Fresh
from memberstream.stream.doctor.checks import examine, installation
from memberstream.stream.doctor.facts import REDIS_FAULTS, Facts, gather, told
from memberstream.stream.kafka.cluster_id import UNTOLD
from memberstream.stream.process.health import Check
from memberstream.stream.projection.partitions import Partitions
from memberstream.stream.projection.projection import Glance
from memberstream.stream.settings import Settings

QUICK_S, SLOW_S = 1.0, 10.0
#: Brokers that are well answer all of the slow question in a second or two, on a busy machine in some seconds.
LATE_S = 15.0
#: Older answers aren't shown: nobody has looked for a while. Pages then say that it is asked.
RECENT_S, OLD_S = 5.0, 3 * SLOW_S
#: Seconds that a page waits for what isn't known yet. After that it says so. Of Redis that was away just now: _AWAY_S.
PATIENCE_S, _AWAY_S = 1.5, 0.2
#: Looks over which the rate of records is told, with fewer it would jump; and the longest time that they span.
_LOOKS, LOOKS_S = 10, 20.0


class Now(NamedTuple):
    """What is known at a moment.

    Attributes:
        facts: None: nothing is known yet, or nothing that isn't old.
        checks: doctor's, judged by these facts.
        per_s: records applied in a second, over the last looks; None: there was only one of late.
    """

    facts: Facts | None
    checks: list[Check]
    per_s: float | None

    @property
    def incidents(self) -> list[Check]:
        """The checks that found something wrong, in the order in which to act."""
        return [check for check in self.checks if not check.ok]


class Asking:
    """Asks for one installation. The models' log isn't read for it, as long as it is followed."""

    def __init__(self, settings: Settings, following: Following) -> None:
        self._settings, self._following = settings, following
        self._glance = Glance(settings.redis_url, settings.keys)
        self._slow = Fresh(self._gather, SLOW_S, OLD_S)
        self._quick = Fresh(self._told, QUICK_S, RECENT_S)
        self._cluster = UNTOLD
        self._looks: deque[tuple[float, Mapping[int, int]]] = deque(maxlen=_LOOKS)

    @property
    def partitions(self) -> Partitions:
        """What Redis holds about partitions, asked at once."""
        return self._glance.partitions

    async def now(self, patience_s: float = PATIENCE_S) -> Now:
        """Return what is known. Both are asked at once, and whoever is known to be silent is hardly waited for."""
        is_away = self._quick.age_s <= RECENT_S and "redis_problem" in (self._quick.last or {})
        quick, slow = await asyncio.gather(
            self._quick.get(min(patience_s, _AWAY_S) if is_away else patience_s),
            self._slow.get(patience_s if self._slow.age_s > OLD_S else 0),
        )
        if slow is None and quick is not None and self._slow.waiting_s >= LATE_S:
            slow = self._slow.last  # beside the incident that it is late, or that Redis is away
        is_told = quick is not None and "redis_problem" not in quick
        late = self._late() if is_told else []
        if slow is None:
            return Now(None, late + (self._whose(quick) if quick is not None and is_told else []), None)
        if slow.redis_problem is not None and is_told:
            self._slow.expire()  # it is back: what only the slow question tells is asked anew
            quick = None
        facts = self._followed(self._with_cluster(replace(slow, **quick) if quick else slow))
        return Now(facts, [*late, *examine(self._settings, facts)], self._per_s())

    def _with_cluster(self, facts: Facts) -> Facts:
        """Return the facts with the cluster that is remembered, if Kafka doesn't tell it now."""
        return facts if facts.kafka_problem is None else replace(facts, cluster=self._cluster)

    def _followed(self, facts: Facts) -> Facts:
        """Return the facts with the steps that are known by now: what Redis tells of steps is as young."""
        registry = self._following.current
        if facts.kafka_problem is not None or registry is None or registry.offset < 0:
            return facts
        return replace(facts, registry=registry, models_problem=None)

    def _whose(self, quick: Mapping[str, Any]) -> list[Check]:
        """Return whose keys are in Redis, while nothing else is known; nothing, if the cluster was never told."""
        if self._cluster == UNTOLD:
            return []
        check = installation(self._settings, Facts(quick["now_ms"], cluster=self._cluster, owner=quick["owner"]))
        return [] if check is None else [check]

    def _late(self) -> list[Check]:
        """Return what is wrong if the slow question isn't answered, though Redis answers."""
        if (s := self._slow.waiting_s) < LATE_S:
            return []
        problem = f"Kafka at {self._settings.kafka} hasn't answered for {s:.0f} s; what is told of it is older"
        return [Check("kafka", False, problem=problem, next="check the brokers")]

    async def _gather(self) -> Facts:
        found = await gather(self._settings, self._following.current)
        if found.kafka_problem is None:
            self._cluster = found.cluster
        return found

    async def _told(self) -> dict[str, Any]:
        try:
            found = await told(self._glance)
        except REDIS_FAULTS as error:
            self._looks.clear()
            return {"now_ms": _now_ms(), "redis_problem": str(error) or type(error).__name__}
        ends = {partition: beacon.next_offset for partition, beacon in found["beacons"].items()}
        self._looks.append((time.monotonic(), ends))
        while len(self._looks) > 1 and self._span_s() > (LOOKS_S if len(self._looks) > 2 else OLD_S):
            self._looks.popleft()  # nobody looked for a while
        return found | {"now_ms": _now_ms()}

    def _per_s(self) -> float | None:
        if len(self._looks) < 2:
            return None
        (_, before), (_, after) = self._looks[0], self._looks[-1]
        applied = sum(max(0, end - before.get(partition, end)) for partition, end in after.items())
        return applied / self._span_s()

    def _span_s(self) -> float:
        return self._looks[-1][0] - self._looks[0][0]

    async def close(self) -> None:
        """Close the connections."""
        await self._slow.close()
        await self._quick.close()
        await self._glance.aclose()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
