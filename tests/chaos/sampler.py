"""Asks for members all the time, as a service does, through the product's own client; keeps what it was told."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import redis
from oracle.judge import Answer

from memberstream.stream.lookup import Answer as Told
from memberstream.stream.lookup import Lookup, LookupUnavailable

_EVERY_S = 0.04
_MANY = 8
BEACONS = "ms:{meta}:beacons"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Sampler:
    """A thread; `take()` returns the answers since the last call. What goes wrong in it is raised there."""

    def __init__(self, url: str, members: Sequence[bytes], seed: int) -> None:
        self._members, self._chance = members, random.Random(seed)
        self._lookup, self._redis = Lookup(url), redis.Redis.from_url(url, socket_timeout=5, decode_responses=True)
        self._answers: list[Answer] = []
        self._error: BaseException | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def take(self) -> list[Answer]:
        if self._error is not None:
            raise self._error
        taken, self._answers = self._answers, []
        return taken

    def _run(self) -> None:
        try:
            while not self._end.wait(_EVERY_S):
                self._ask()
        except BaseException as error:  # a thread's error is seen nowhere else
            self._error = error

    def _ask(self) -> None:
        beacons: Any = self._redis.hgetall(BEACONS)
        floors = {int(partition): int(beacon.split(":")[0]) for partition, beacon in beacons.items()}
        chosen = self._chance.sample(self._members, _MANY)
        asked_ms = now_ms()
        try:
            found = self._lookup.get_many([member.decode() for member in chosen])
        except LookupUnavailable:
            return
        answered_ms = now_ms()
        for member, told in zip(chosen, found, strict=True):
            self._answers.append(_answer(asked_ms, answered_ms, floors, member, told))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self._lookup.close()
        self._redis.close()


def _answer(asked_ms: int, answered_ms: int, floors: dict[int, int], member: bytes, told: Told) -> Answer:
    visible = told.visible
    return Answer(
        asked_ms,
        answered_ms,
        floors,
        member,
        str(told.status),
        told.partition,
        told.offset,
        told.as_of_ms,
        told.valid_until_ms,
        {name: (held.version, held.cluster) for name, held in told.memberships.items()},
        visible.campaigns,
        visible.held_out,
    )
