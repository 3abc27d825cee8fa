"""What a Redis says about itself that falsifies what is written there: asked of it, not trusted.

Laws:
- INFO alone is asked. A user that may not ask it does without; that is said once.
- Problems are told, each with the next action (`/readyz`, log, `doctor`), and the worker goes on. A stop would mend
  nothing.
- Whether an event is from the future is judged by the later of two clocks, this process' and Redis'. A worker whose
  clock is behind would otherwise refuse good events, and a refused event is not applied later.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from hiredis import pack_command

from memberstream.stream.projection.calls import Calls, NotPermitted, RedisFault, RedisUnavailable

log = logging.getLogger(__name__)
EVERY_S = 60.0
#: Milliseconds by which the clocks may differ: beacons are believed for 30 s.
CLOCK_MS = 10_000
#: A clock that is further ahead is told of, and not believed: that would let events of tomorrow in.
BELIEVED_MS = 3_600_000
#: Of `maxmemory`, from which on it is mentioned.
FULL = 0.9
#: Before this release a restarted Redis can't be told from the one before (wire/script.py).
OLDEST = (7, 0)
_INFO = pack_command((b"INFO",))


class Problem(NamedTuple):
    """What is wrong with a Redis, and what to do. `falsifies`: readers are told what isn't so."""

    what: str
    next: str
    falsifies: bool = False


class Said(NamedTuple):
    """What one Redis says. `version`: such as `valkey 9.0.1`; `ahead_ms`: how far its clock is ahead of ours."""

    version: str
    policy: str
    maxmemory: int
    used: int
    evicted: int
    is_saving_well: bool
    ahead_ms: int


def parse(info: bytes, now_ms: int) -> Said:
    """Return what INFO's reply says, read at a time by this process' clock."""
    said = dict(line.split(":", 1) for line in info.decode(errors="replace").splitlines() if ":" in line)

    def number(name: str) -> int:
        return int(said.get(name) or 0)

    name = "valkey" if "valkey_version" in said else "redis"
    clock_us = number("server_time_usec")
    return Said(
        version=f"{name} {said.get(f'{name}_version', '?')}",
        policy=said.get("maxmemory_policy", "noeviction"),
        maxmemory=number("maxmemory"),
        used=number("used_memory"),
        evicted=number("evicted_keys"),
        is_saving_well="err" not in (said.get("rdb_last_bgsave_status"), said.get("aof_last_write_status")),
        ahead_ms=clock_us // 1_000 - now_ms if clock_us else 0,
    )


def judge(said: Said, where: str) -> list[Problem]:
    """Return what is wrong with one Redis."""
    found = []
    # The volatile policies evict only what expires: of ours, tombstones.
    if said.policy.startswith("allkeys") and (said.maxmemory or said.evicted):
        evicted = f", {said.evicted:,} keys so far" if said.evicted else ""
        found.append(
            Problem(
                f"Redis at {where} evicts (maxmemory-policy {said.policy}{evicted}): readers are told `unknown member` "
                "of members that exist",
                "CONFIG SET maxmemory-policy noeviction, and in its configuration; then `memberstream rebuild`",
                falsifies=True,
            )
        )
    if said.maxmemory and said.used > FULL * said.maxmemory:
        share = said.used / said.maxmemory
        found.append(
            Problem(
                f"Redis at {where} uses {share:.0%} of its maxmemory ({said.maxmemory >> 20:,} MiB); when that is "
                "full, it takes no writes",
                "raise maxmemory, or give memberstream a server of its own",
            )
        )
    if not said.is_saving_well:
        found.append(
            Problem(f"Redis at {where} couldn't save its data the last time", "free disk space there, or see its log")
        )
    if (number := re.search(r" (\d+)\.(\d+)", said.version)) and (int(number[1]), int(number[2])) < OLDEST:
        found.append(
            Problem(
                f"Redis at {where} is {said.version}: after a restart its old data would be taken for today's",
                "update it to 7.0 or later, or take Valkey",
            )
        )
    if abs(said.ahead_ms) > CLOCK_MS:
        side = "behind" if said.ahead_ms > 0 else "ahead of"
        found.append(
            Problem(
                f"this host's clock is {abs(said.ahead_ms) / 1_000:,.0f} s {side} that of Redis at {where}: beacons "
                "seem older or younger to readers than they are",
                "set both clocks (NTP)",
            )
        )
    return found


async def ask(calls: Calls, wall_ms: Callable[[], int]) -> Mapping[str, Said]:
    """Return what each server says, by its address. Raises NotPermitted, RedisUnavailable, RedisFault."""
    found = {}
    for node in await calls.nodes():
        reply = await calls.at(node, _INFO)
        calls.check([reply])
        where = str(calls.endpoint) if node is None else f"{node[0]}:{node[1]}"
        found[where] = parse(reply, wall_ms())
    return found


class Surroundings:
    """Asks at the start and once a minute.

    Attributes:
        problems: as of the last look. Each look makes a new tuple, so any thread may read it.
        is_forbidden: whether the user lacks the right to ask.
        behind_ms: how far this process' clock is behind Redis'; 0 if it isn't.
    """

    def __init__(self, calls: Calls, wall_ms: Callable[[], int]) -> None:
        self._calls, self._wall_ms = calls, wall_ms
        self.problems: tuple[Problem, ...] = ()
        self.is_forbidden = False
        self.behind_ms = 0

    def latest_ms(self) -> int:
        """Return the later of both clocks, ms."""
        return self._wall_ms() + self.behind_ms

    async def run(self) -> None:
        """Look once a minute. Never returns."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Look once. While Redis is away nothing changes: others tell of that."""
        try:
            said = await ask(self._calls, self._wall_ms)
        except (NotPermitted, RedisFault, ValueError) as error:  # a right, or a server that knows no INFO
            if not self.is_forbidden:
                self.is_forbidden = True
                log.warning(
                    "what Redis says about itself isn't looked at: %s. Next: ACL SETUSER for this user, +info", error
                )
            return
        except RedisUnavailable:
            return
        self.is_forbidden = False
        self.behind_ms = max([0, *(one.ahead_ms for one in said.values() if one.ahead_ms <= BELIEVED_MS)])
        problems = tuple(problem for where, one in said.items() for problem in judge(one, where))
        told = {_kind(problem) for problem in self.problems}
        for problem in problems:
            if _kind(problem) not in told:
                log.error("%s. Next: %s", *problem[:2])
        for problem in self.problems:
            if _kind(problem) not in {_kind(one) for one in problems}:
                log.info("not any more: %s", problem.what)
        self.problems = problems


def _kind(problem: Problem) -> str:
    """A problem without its numbers: they change with each look."""
    return re.sub(r"\d[\d,.]*", "", problem.what.replace(":", " "))
