"""Looks at Redis all the time, as a reader would: nothing there ever goes back.

Laws: a member's position only grows, and what is at one position stays what it is there: a tombstone is replaced by
something later only. A beacon's offset only grows. What was seen once is there ever after. The single exception is a
loss of Redis' data, which the test announces by `forget()` while Redis is down.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import redis
from keys import KEYS

from memberstream.stream.keyspace.formats import POS, is_tombstone, parse_beacon, parse_position, parse_row

_EVERY_S = 0.01
_SAMPLE = 150


class Seen(NamedTuple):
    """What Redis held of a member; compares as it must grow."""

    epoch: int
    offset: int
    as_of_ms: int
    is_gone: bool


class Watcher:
    """A thread that samples; `with Watcher(...)` raises at its end what it has seen go back."""

    def __init__(self, url: str, member_ids: Sequence[bytes], seed: int) -> None:
        self._client: Any = redis.Redis.from_url(url, socket_timeout=5)
        self._member_ids, self._chance = member_ids, random.Random(seed)
        self._members: dict[bytes, Seen] = {}
        self._beacons: dict[bytes, int] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self.samples = 0  # answers looked at
        self.problems: list[str] = []

    def forget(self) -> None:
        """Redis has lost its data; call it while Redis is down."""
        with self._lock:
            self._members.clear()
            self._beacons.clear()

    def check(self) -> None:
        """Raise AssertionError if anything has gone back."""
        assert self.problems == [], f"{len(self.problems)} went back:\n" + "\n".join(self.problems[:12])

    def _watch(self) -> None:
        while not self._end.wait(_EVERY_S):
            with self._lock:
                try:
                    self._look()
                except redis.RedisError:  # down, or loading
                    continue
                except Exception as error:  # a thread's error is seen nowhere else
                    self.problems.append(f"the watcher: {error!r}")
                    return

    def _look(self) -> None:
        chosen = self._chance.sample(self._member_ids, min(_SAMPLE, len(self._member_ids)))
        pipeline = self._client.pipeline(transaction=False)
        for member_id in chosen:
            pipeline.get(KEYS.member(member_id))
        pipeline.hgetall(KEYS.beacons)
        *held, beacons = pipeline.execute()
        for member_id, row in zip(chosen, held, strict=True):
            self._judge(member_id, parse_row(row).get(POS))
        now = {partition: parse_beacon(value).next_offset for partition, value in beacons.items()}
        for partition, before in self._beacons.items():
            if now.get(partition, -1) < before:
                self.problems.append(f"beacon {partition!r}: {before}, then {now.get(partition)}")
        self._beacons = now

    def _judge(self, member_id: bytes, pos: bytes | None) -> None:
        before = self._members.get(member_id)
        if pos is None:
            if before is not None:
                self.problems.append(f"{member_id!r}: {before}, then nothing")
            return
        self.samples += 1
        position = parse_position(pos)
        now = Seen(position.epoch, position.offset, position.as_of_ms, is_tombstone(pos))
        if before is not None:
            is_back = now[:3] < before[:3]
            is_another = now[:2] == before[:2] and now.is_gone != before.is_gone
            if is_back or is_another:
                self.problems.append(f"{member_id!r}: {before}, then {now}")
        self._members[member_id] = now

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self._client.close()
        if error is None:
            self.check()
