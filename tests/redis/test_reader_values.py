"""Answers as values, and clocks that are wrong."""

from __future__ import annotations

import asyncio
import logging
import pickle
import time
from typing import Any

import pytest
import redis
from believing import believing
from keys import KEYS
from test_lookup import WEIRD, fill

from memberstream.stream.keyspace import formats as keyspace
from memberstream.stream.lookup import Answer, AsyncLookup, Lookup, exchange

HOUR_MS = 3_600_000


def test_equal_answers_are_equal_and_survive_pickling(redis_url: str) -> None:
    """So they can be put into sets, compared in tests, and handed to another process."""
    asyncio.run(fill(redis_url))
    with Lookup(redis_url) as lookup, redis.Redis.from_url(redis_url) as admin:
        believing(lookup, admin)
        ids = [*WEIRD, "gone", "nobody", "old"]
        first, second = lookup.get_many(ids), lookup.get_many(ids)
    assert first == second
    assert len({*first, *second}) == len(ids)
    assert first[0] != first[1]
    same = Answer(ids[0], (first[0]._row or b"") + b"|x@1~=1:2", first[0]._reading)  # a past that nobody is told of
    assert len({same, first[0]}) == 1
    assert first[0] != first[0].as_dict()
    for answer in first:
        assert pickle.loads(pickle.dumps(answer)) == answer
        assert pickle.loads(pickle.dumps(answer.memberships)) == answer.memberships
        assert pickle.loads(pickle.dumps(answer.visible)) == answer.visible


def test_a_long_id_is_cut_in_a_log(redis_url: str) -> None:
    """Ten thousand characters say no more than sixty."""
    with Lookup(redis_url) as lookup:
        assert len(repr(lookup.get("m" * 10_000))) < 120


def a_clock_that_is_off(monkeypatch: pytest.MonkeyPatch, by_ms: int) -> None:
    """The service's, not Redis' and not the workers'."""
    real = time.time_ns
    monkeypatch.setattr(exchange.time, "time_ns", lambda: real() + by_ms * 1_000_000)


@pytest.mark.parametrize("by_ms", [-HOUR_MS, 0])
def test_a_dead_worker_is_noticed_whatever_the_clock_says(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, by_ms: int
) -> None:
    """With a clock that is an hour behind, its beacons would come from the future for an hour."""
    asyncio.run(fill(redis_url))
    a_clock_that_is_off(monkeypatch, by_ms)
    monkeypatch.setattr(keyspace, "BEACON_STALE_MS", 1_500)
    monkeypatch.setattr(exchange, "META_TTL_S", 0.1)
    now_ms = time.time_ns() // 1_000_000 - by_ms

    def beat(admin: Any, at_ms: int) -> None:
        admin.hset(KEYS.beacons, "0", f"9:{at_ms}:{at_ms}")

    with Lookup(redis_url) as lookup, redis.Redis.from_url(redis_url) as admin:
        beat(admin, now_ms)
        assert lookup.get("m-1").status == "current"
        beat(admin, now_ms + 1)
        time.sleep(1.0)
        answer = lookup.get("m-1")
        assert answer.status == "current"
        time.sleep(2.0)
        answer = lookup.get("m-1")
        assert answer.status == "stale"
        assert answer.beacon_age_ms is not None
        assert 1_500 < answer.beacon_age_ms < 60_000
        beat(admin, now_ms + 3_000)
        time.sleep(0.2)
        assert lookup.get("m-1").status == "current"
        assert lookup.get("nobody").beacon_age_ms is None


@pytest.mark.parametrize(("by_ms", "said"), [(-HOUR_MS, "behind Redis"), (HOUR_MS, "ahead of Redis"), (0, "")])
def test_a_wrong_clock_is_told_once(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, by_ms: int, said: str
) -> None:
    """By both clients, on each answer, and in the log."""
    asyncio.run(fill(redis_url))
    monkeypatch.setattr(exchange, "META_TTL_S", -1.0)  # the small keys are read each time
    a_clock_that_is_off(monkeypatch, by_ms)

    async def asynchronous() -> list[Any]:
        async with AsyncLookup(redis_url) as lookup:
            return [await lookup.get("m-1") for _ in range(3)]

    with caplog.at_level(logging.INFO, "memberstream_lookup"), Lookup(redis_url) as lookup:
        answers = [*[lookup.get("m-1") for _ in range(3)], *asyncio.run(asynchronous())]
    assert all(answer.clock_difference_ms == pytest.approx(by_ms, abs=2_000) for answer in answers)
    assert [said in line.getMessage() for line in caplog.records] == ([True, True] if said else [])


def test_a_user_without_the_right_to_time_does_without(redis_url: str) -> None:
    """As the users of older installations."""
    asyncio.run(fill(redis_url))
    url = redis_url.replace("redis://", "redis://plain:secret@")
    with redis.Redis.from_url(redis_url) as admin, Lookup(url) as lookup:
        admin.acl_setuser(
            "plain", enabled=True, passwords=["+secret"], keys=["ms:*"],
            commands=["+get", "+mget", "+hgetall", "+ping", "+select"],
        )  # fmt: skip
        try:
            answer = lookup.get("m-1")
            assert answer.cluster("repeat_buyer") == 1
            assert answer.clock_difference_ms is None
        finally:
            admin.acl_deluser("plain")
