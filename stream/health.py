"""Is the worker alive, is it ready, and if not: what is wrong and what to do. Values in, values out.

Laws:
1. Alive means that the event loop turns. Nothing outside the process can make a worker not alive: a restart would
   not help, and restarting all workers because Redis is down would add an outage to an outage.
2. Ready means that this worker's members are right in Redis and stay so: it has its partitions, their state is
   recovered and in Redis, Kafka and Redis answer, and it finishes what it has to do.
3. Stalled means: there is work, nobody else is to blame, and nothing gets finished. Time spent waiting for Kafka or
   Redis doesn't count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# A thousand events are handled between two turns, some 10 to 100 ms; a long garbage collection or a busy machine takes
# a second or two. Supervisors kill what isn't alive: a worker that is only slow must not be killed.
DEAD_AFTER_S = 10.0
# Of the limit after which a stalled worker ends: early enough for a human to look, late enough for a slow batch.
STALL_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a worker knows of itself at one moment. Durations in seconds.

    Attributes:
        loop_silent_s: since the event loop turned last.
        partitions: owned ones; None until the group has given some, or none, away.
        recovered: changelog records applied by a recovery under way; `to_recover`: those that remain, None if unknown.
        rebuilding: partition → members that are still to be written to Redis.
        redis_problem, kafka_problem: why the dependency can't be used, None while it can; and since when.
        is_busy: whether a batch is in flight or records wait to be fetched.
        rebuilt: members written to Redis from state since the start.
        finished: whatever gets finished adds to it: records, recovered records, members written.
    """

    loop_silent_s: float = 0.0
    partitions: frozenset[int] | None = None
    is_recovering: bool = False
    recovered: int = 0
    to_recover: int | None = None
    rebuilding: tuple[tuple[int, int], ...] = ()
    rebuilt: int = 0
    redis_problem: str | None = None
    redis_down_s: float = 0.0
    kafka_problem: str | None = None
    kafka_down_s: float = 0.0
    is_busy: bool = False
    finished: int = 0

    @property
    def is_waiting(self) -> bool:
        """Whether a dependency is to blame when nothing gets finished."""
        return self.redis_problem is not None or self.kafka_problem is not None

    @property
    def has_work(self) -> bool:
        return self.is_busy or self.is_recovering or bool(self.rebuilding)


class Check(NamedTuple):
    """One line of a health answer; `problem` and `next` are empty when it is ok, `detail` may say how far it is."""

    name: str
    ok: bool
    detail: str = ""
    problem: str = ""
    next: str = ""


class Progress:
    """Remembers since when there is work and nothing gets finished (law 3)."""

    def __init__(self, now_s: float) -> None:
        self._since_s = now_s
        self._finished = -1

    def stalled_s(self, now_s: float, vitals: Vitals) -> float:
        """Take in the vitals of now; return for how long the worker has been stalled, 0 if it isn't."""
        is_excused = vitals.is_waiting or not vitals.has_work
        if vitals.loop_silent_s < DEAD_AFTER_S and (is_excused or vitals.finished != self._finished):
            self._since_s = now_s
        self._finished = vitals.finished
        return now_s - self._since_s


def alive(vitals: Vitals) -> list[Check]:
    """Return the checks of /healthz."""
    silent_s = vitals.loop_silent_s
    if silent_s <= DEAD_AFTER_S:
        return [Check("event_loop", True)]
    return [
        Check(
            "event_loop",
            False,
            problem=f"it hasn't turned for {silent_s:.0f} s (limit {DEAD_AFTER_S:g} s)",
            next="restart the worker; before that, `py-spy dump` shows where it hangs. Nothing is lost by kill -9",
        )
    ]


def ready(vitals: Vitals, stalled_s: float, stall_limit_s: float) -> list[Check]:
    """Return the checks of /readyz. `stalled_s`: of `Progress`."""
    return [
        *alive(vitals),
        _kafka(vitals),
        _redis(vitals),
        _assigned(vitals),
        _recovered(vitals),
        _rebuilt(vitals),
        _progress(stalled_s, stall_limit_s),
    ]


def _kafka(vitals: Vitals) -> Check:
    if vitals.kafka_problem is None:
        return Check("kafka", True)
    return Check(
        "kafka",
        False,
        problem=f"unreachable for {vitals.kafka_down_s:.0f} s: {vitals.kafka_problem}",
        next="look at the brokers; the worker carries on by itself when they are back",
    )


def _redis(vitals: Vitals) -> Check:
    if vitals.redis_problem is None:
        return Check("redis", True)
    return Check(
        "redis",
        False,
        problem=f"takes no writes for {vitals.redis_down_s:.0f} s: {vitals.redis_problem}",
        next="repair Redis; the worker waits, commits nothing, and carries on by itself",
    )


def _assigned(vitals: Vitals) -> Check:
    if vitals.partitions is None:
        return Check(
            "assigned",
            False,
            problem="the group hasn't given this worker its partitions yet",
            next="wait for the rebalance; if it lasts longer than a minute, look for a worker that hangs",
        )
    if not vitals.partitions:
        return Check("assigned", True, "no partitions: a spare worker")
    return Check("assigned", True, f"partitions {', '.join(map(str, sorted(vitals.partitions)))}")


def _recovered(vitals: Vitals) -> Check:
    if not vitals.is_recovering:
        return Check("recovered", True)
    if vitals.to_recover is None:
        problem = "state is being recovered; its size isn't known yet"
    else:
        problem = f"{vitals.recovered} of {vitals.recovered + vitals.to_recover} changelog records applied"
    return Check("recovered", False, problem=problem, next="wait; the log shows how fast it is")


def _rebuilt(vitals: Vitals) -> Check:
    if not vitals.rebuilding:
        return Check("rebuilt", True)
    remaining = sum(n for _, n in vitals.rebuilding)
    return Check(
        "rebuilt",
        False,
        problem=f"about {remaining} members of {len(vitals.rebuilding)} partitions are still to be written to Redis",
        next="wait; the log shows how fast it is",
    )


def _progress(stalled_s: float, stall_limit_s: float) -> Check:
    if not is_stalled(stalled_s, stall_limit_s):
        return Check("progress", True)
    return Check(
        "progress",
        False,
        problem=f"stalled: there is work and nothing was finished for {stalled_s:.0f} s",
        next=f"wait: after {stall_limit_s:g} s the worker ends and is started again; its log shows where it hangs, "
        "please report that",
    )


def is_stalled(stalled_s: float, stall_limit_s: float) -> bool:
    """Whether that is long enough to be said aloud."""
    return stalled_s >= STALL_SHARE * stall_limit_s
