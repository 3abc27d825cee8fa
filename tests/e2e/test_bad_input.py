"""A thousand malformed events in a stream of good ones: each is kept whole, none stops or bends the rest."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any

from e2e.bad_events import KINDS, MARKER, malformed, prepared
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, event

from memberstream.models.event import Reason

_ADDED = (
    "reason",
    "detail",
    "origin_topic",
    "origin_partition",
    "origin_offset",
    "origin_timestamp_ms",
    "failed_at_ms",
)


def origin(letter: Any) -> tuple[int, int]:
    """Return the partition and offset that a dead letter comes from."""
    headers = dict(letter.headers)
    return int(headers["origin_partition"]), int(headers["origin_offset"])


async def test_a_thousand_bad_events_are_kept_whole_and_leave_the_good_ones_right(pair: Pair, install: Install) -> None:
    """Each bad event is in the dead-letter topic with its key, value, headers, reason and origin; nothing of it is in
    the added headers or in the log; every good member is right."""
    system = await install(pair, [level()])
    chance = random.Random(3)
    good = [
        Sent(b"good-%d" % (i % 200), event("append", path="all", value=i, create=True))
        if i % 2
        else Sent(b"good-%d" % (i % 200), event("patch", patch={"x": i % 3 - 1}, create=True))
        for i in range(3_000)
    ]
    bad = malformed(1_000)
    assert len(KINDS) >= 12
    assert {reason for _, reason in bad} == set(Reason) - {
        *(Reason.SKIPPED, Reason.WRONG_PARTITION, Reason.NOT_WHOLE, Reason.SUPERSEDED)
    }
    stream: list[Sent] = [*good]
    reasons: dict[int, Reason] = {}
    slots = sorted(chance.sample(range(len(good) + len(bad)), len(bad)))
    for slot, (record, reason) in zip(slots, bad, strict=True):
        stream.insert(slot, record)
        reasons[slot] = reason
    started_ms = time.time_ns() // 1_000_000
    await system.send(prepared())
    places = await system.send(stream)
    system.start()
    await system.applied()

    letters = {origin(letter): letter for letter in await system.dead_letters()}
    assert len(letters) == len(bad)
    for slot, reason in reasons.items():
        sent, place = stream[slot], places[slot]
        letter = letters[place.partition, place.offset]
        assert (letter.key, letter.value) == (sent.key, sent.value)
        own, added = letter.headers[: len(sent.headers)], letter.headers[len(sent.headers) :]
        assert tuple(own) == sent.headers
        assert tuple(name for name, _ in added) == _ADDED
        values = dict(added)
        assert values["reason"].decode() == reason
        assert values["origin_topic"].decode() == system.settings.topic
        assert int(values["origin_timestamp_ms"]) == place.timestamp_ms
        assert started_ms <= int(values["failed_at_ms"]) <= time.time_ns() // 1_000_000
        assert MARKER.encode() not in b" ".join(values.values())
    assert MARKER not in system.says()

    last = {record.key: place for record, place in zip(stream, places, strict=True) if record in good}
    states = await system.states()
    for i in range(200):
        expected = {"all": [j for j in range(3_000) if j % 200 == i and j % 2]} if i % 2 else {"x": (2_800 + i) % 3 - 1}
        assert states[f"good-{i}"].document == expected
        held, place = system.held(f"good-{i}"), last[b"good-%d" % i]
        assert held["level@1"].split(":")[0] == ("2" if expected.get("x") == 1 else "1")
        assert held["pos"].split(":")[1:3] == [str(place.partition), str(place.offset)]
    by_reason = Counter(str(reason) for reason in reasons.values())
    counted = {reason: n for reason, n in system.metrics("memberstream_dead_letters_total").items() if n}
    assert counted == {(reason,): n for reason, n in by_reason.items()}
    assert system.metrics("memberstream_events_total")[("dead_letter",)] == len(bad)
