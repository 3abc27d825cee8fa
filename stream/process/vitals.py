"""What a worker knows about itself at one moment, and what only time can tell of it: is it stalled?

Law: stalled means that there is work, nobody else is to blame, and nothing gets finished. Time spent waiting for Kafka
or Redis doesn't count, nor does time in which the whole process was stopped (a frozen container, a machine that moves).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from memberstream.stream.partition.holds import Hold
from memberstream.stream.partition.transactions import Open
from memberstream.stream.tasks.supervisor import Down

# Between two turns a thousand events may be handled, which takes some 10 to 100 ms. A long garbage collection or a busy
# machine takes a second or two. Supervisors kill what isn't alive, and a worker that is only slow must not be killed.
DEAD_AFTER_S = 10.0
# Share of the limit after which a stalled worker ends: early enough for a person to look, late enough for a slow batch.
STALL_SHARE = 0.25
# Whoever looks once a second and comes later than this was stopped itself, and all else with it. But if the process has
# used the processor meanwhile, something of its own has kept the watchdog from looking. That is no excuse.
_LATEST_LOOK_S = 10.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a worker knows about itself at one moment. Durations are in seconds.

    Attributes:
        loop_silent_s: since the event loop turned last.
        partitions: the owned ones; None until the group has assigned some, or none.
        recovered: changelog records applied by a recovery under way. `to_recover`: those that remain; None: not known.
        held: partition → why its records wait for somebody to act.
        transactions: producers' transactions that haven't ended, each with its age.
        topics: what is wrong with topics that the worker needs, and what to do. `is_topic_missing`: one isn't there.
        lost_offsets: of the topic, removed unread and passed over since the start.
        rebuilding: partition → members that are still to be written to Redis.
        unscored: owned partition → members that lack a version although the partition says that it is scored. None
            while its members are being counted, after an older version has written the state.
        redis_problem, kafka_problem: why the dependency can't be used, and since when; None while it can.
        surroundings: what is wrong with Redis although it can be used, what to do, and whether it falsifies answers.
        models_problem: why the models' log isn't the one that is known, and since when; None while it is.
        models_unreadable: why it can't be read; None while it can.
        is_busy: whether a batch is in flight or records wait to be fetched.
        rebuilt: members written to Redis from state since the start.
        finished: a count of all that gets finished: records, recovered records, members written, and each part of a
            slice after which the event loop has breathed. So slow work isn't a stall.
        tasks_down: tasks that failed and haven't proven themselves since.
    """

    loop_silent_s: float = 0.0
    partitions: frozenset[int] | None = None
    is_recovering: bool = False
    recovered: int = 0
    to_recover: int | None = None
    held: Mapping[int, Hold] = field(default_factory=dict)
    transactions: tuple[tuple[Open, float], ...] = ()
    lost_offsets: int = 0
    topics: tuple[tuple[str, str], ...] = ()
    is_topic_missing: bool = False
    rebuilding: tuple[tuple[int, int], ...] = ()
    rebuilt: int = 0
    unscored: Mapping[int, int | None] = field(default_factory=dict)
    redis_problem: str | None = None
    redis_down_s: float = 0.0
    surroundings: tuple[tuple[str, str, bool], ...] = ()
    kafka_problem: str | None = None
    kafka_down_s: float = 0.0
    models_problem: str | None = None
    models_lost_s: float = 0.0
    models_unreadable: str | None = None
    is_busy: bool = False
    finished: int = 0
    tasks_down: tuple[Down, ...] = ()

    @property
    def is_waiting(self) -> bool:
        """Whether a dependency is to blame if nothing gets finished."""
        problems = (self.redis_problem, self.kafka_problem, self.models_problem, self.models_unreadable)
        return self.is_topic_missing or any(problem is not None for problem in problems)

    @property
    def has_work(self) -> bool:
        return self.is_busy or self.is_recovering or bool(self.rebuilding)


class StallClock:
    """Remembers since when there is work and nothing gets finished."""

    def __init__(self, now_s: float, used_s: float = 0.0) -> None:
        self._since_s = self._looked_s = now_s
        self._used_s = used_s
        self._finished = -1

    def stalled_s(self, now_s: float, vitals: Vitals, used_s: float = 0.0) -> float:
        """Take in the vitals of now, once a second. Returns for how long the worker has been stalled; 0 if it isn't.

        `used_s`: seconds of the processor that the process has used.
        """
        self._since_s += max(0.0, now_s - self._looked_s - _LATEST_LOOK_S - (used_s - self._used_s))
        self._looked_s, self._used_s = now_s, used_s
        is_excused = vitals.is_waiting or not vitals.has_work
        if vitals.loop_silent_s < DEAD_AFTER_S and (is_excused or vitals.finished != self._finished):
            self._since_s = now_s
        self._finished = vitals.finished
        return now_s - self._since_s


def is_stalled(stalled_s: float, stall_limit_s: float) -> bool:
    """Whether that is long enough to be reported."""
    return stalled_s >= STALL_SHARE * stall_limit_s
