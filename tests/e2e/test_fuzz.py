"""Random records through a real broker into real workers: each is applied, ignored or a dead letter, and rightly so.

FUZZ_SEED (random, printed) chooses the records.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from typing import Any

import pytest
from e2e.counting import Counting
from e2e.definitions import level
from e2e.fuzzing import Fuzz, change, expected, read_back, send
from e2e.system import Install, Pair
from e2e.test_bad_input import origin
from servers import create_topic

from memberstream.models.event import BadEvent, Reason
from memberstream.models.interaction import decode as decode_interaction
from memberstream.models.member import decode as decode_state

N = 4  # partitions
TRANSACTIONS = True


def seed() -> int:
    chosen = int(os.environ.get("FUZZ_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"FUZZ_SEED={chosen}")
    return chosen


async def fuzz_events(pair: Pair, install: Install, n: int, kills: int) -> None:
    system = await install(pair, [level()], n_partitions=N)
    fuzz = Fuzz(seed(), change)
    system.start()
    sent: dict[Any, Any] = {}
    for _ in range(kills + 1):
        sent |= await send(system, fuzz, n // (kills + 1), wrong=0.05, transactions=TRANSACTIONS)
        if kills:
            system.kill()
            system.start()
    found = await asyncio.to_thread(read_back, pair.broker.bootstrap, system.settings.topic, N)
    assert found.n >= n
    system.next_offset = found.next_offsets()
    await system.applied(timeout_s=240)
    is_alive = system.pid is not None
    assert is_alive, system.says()[-4000:]

    expectation = expected(found, "murmur2", time.time_ns() // 1_000_000)
    letters = {origin(letter): letter for letter in await system.dead_letters()}
    reasons = {place: Reason(dict(letter.headers)["reason"].decode()) for place, letter in letters.items()}
    assert reasons == expectation.reasons
    values = {(part, at): (key, value) for part, its in found.records.items() for at, key, value, _ in its}
    for place, letter in letters.items():
        assert (letter.key, letter.value) == values[place]
        if place in sent:
            assert list(letter.headers[: len(sent[place].headers)]) == list(sent[place].headers)
    states = {
        (r.partition, r.key): r.value
        for r in await system.read(system.settings.changelog_topic)
        if not r.key.startswith(b"\0")
    }
    documents = {place: decode_state(value).document for place, value in states.items() if value is not None}
    assert documents == expectation.documents
    if not kills:
        counted = {name: n for (name,), n in system.metrics("memberstream_events_total").items()}
        assert counted["applied"] == expectation.n_applied
        assert counted["dead_letter"] == len(reasons)
    print(f"{found.n} records: {expectation.n_applied} applied, {dict(Counter(map(str, reasons.values())))}")
    assert len(set(reasons.values())) > 12  # of 18; the others have tests of their own


async def test_two_thousand_random_events(real_pair: Pair, install: Install) -> None:
    """Each ends as an independent fold of what another client reads says; letters hold the very bytes."""
    await fuzz_events(real_pair, install, 2_000, kills=0)


@pytest.mark.long
async def test_a_hundred_thousand_random_events(real_pair: Pair, install: Install) -> None:
    """And with kill -9 in between."""
    await fuzz_events(real_pair, install, 100_000, kills=3)


def interaction(dice: random.Random, i: int) -> object:
    """Return a good envelope of an interaction, or None."""
    if dice.random() < 0.02:
        return None
    shown = {"kind": dice.choice(("impression", "click", "purchase")), "id": str(dice.randrange(10_000))}
    more = {"campaign": dice.choice(("spring", "none"))} if dice.random() < 0.7 else {}
    return {**shown, **more, "value": dice.choice((1, 2.5, None)), "at": dice.choice((i, "2026-01-01", None))}


async def fuzz_interactions(pair: Pair, install: Install, n: int) -> None:
    members = await install(pair, [level()], n_partitions=N)
    members.set(interactions_topic=f"{members.settings.topic}-interactions")
    await create_topic(pair.broker.bootstrap, members.settings.interactions_topic, partitions=N)
    system = Counting(members)
    try:
        members.start()
        await members.applied()
        system.start()
        sent = await send(system, Fuzz(seed(), interaction), n, wrong=0.05, transactions=TRANSACTIONS)
        found = await asyncio.to_thread(read_back, pair.broker.bootstrap, system.settings.topic, N)
        system.next_offset = found.next_offsets()
        await system.applied(timeout_s=240)
        now_ms, refused = time.time_ns() // 1_000_000, {}
        values = {(part, at): (key, value) for part, its in found.records.items() for at, key, value, _ in its}
        for part, its in found.records.items():
            for at, key, value, timestamp in its:
                try:
                    decode_interaction(
                        key, value, timestamp, now_ms, system.settings.interaction_kinds, may_be_json=False
                    )
                except BadEvent as error:
                    refused[part, at] = str(error.reason)
        letters = {origin(letter): letter for letter in await system.dead_letters()}
        assert refused.items() <= {at: dict(o.headers)["reason"].decode() for at, o in letters.items()}.items()
        assert len(set(refused.values())) > 8
        for place, letter in letters.items():
            assert (letter.key, letter.value) == values[place]
            if place in sent:
                assert list(letter.headers[: len(sent[place].headers)]) == list(sent[place].headers)
        outcomes = {name: n for (name,), n in system.metrics("memberstream_interactions_total").items()}
        assert outcomes["dead_letter"] == len(letters)
        assert sum(outcomes.values()) == found.n
    finally:
        await system.close()


async def test_random_interactions(real_pair: Pair, install: Install) -> None:
    """Each is counted for nobody or a dead letter; all that can't be read is one, with its very bytes."""
    await fuzz_interactions(real_pair, install, 1_500)


@pytest.mark.long
async def test_many_random_interactions(real_pair: Pair, install: Install) -> None:
    """Twenty times as many."""
    await fuzz_interactions(real_pair, install, 30_000)
