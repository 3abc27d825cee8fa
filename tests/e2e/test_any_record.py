"""Legal and unusual records through a real broker: none stops a worker, letters are whole or say that they are not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from typing import Any

from aiokafka import AIOKafkaProducer
from e2e.definitions import level
from e2e.fuzzing import alter
from e2e.system import Install, Pair, Sent, System, event
from e2e.test_bad_input import origin
from servers import COMPACTED, create_topic

from memberstream.stream.kafka.outgoing import NONE, ZSTD, Batch, Outgoing

LARGE = 20 << 20


async def send(
    system: System, topic: str, records: list[Outgoing], compression: int = NONE, at_ms: int | None = None
) -> list[int]:
    """Send records by hand into partition 0, each in a batch of its own; returns their offsets."""
    producer = AIOKafkaProducer(bootstrap_servers=system.pair.broker.bootstrap)
    await producer.start()
    try:
        now_ms = time.time_ns() // 1_000_000 if at_ms is None else at_ms
        acks = [
            await producer.send_batch(Batch([record], now_ms, compression), topic, partition=0) for record in records
        ]
        offsets = [acked.offset for acked in await asyncio.gather(*acks)]
    finally:
        await producer.stop()
    if topic == system.settings.topic:
        system.next_offset[0] = max(offsets) + 1
    return offsets


def odd_records() -> list[Outgoing]:
    """All of them bad events, so that each must come back as it is."""
    headers: list[list[tuple[str, bytes | None]]] = [
        [("na\udcffme", b"x")],
        [("\udc80\udcfe", None), ("plain", b"1")],
        [("", b"no name"), ("", None)],
        [("twice", b"1"), ("twice", b"2"), ("reason", b"mine")],
        [("a\0b\n\x1b[31m", b"\0")],
        [(f"h{i}", b"%d" % i) for i in range(1_000)],
        [("ä\u202e", "ö".encode())],
    ]
    odd = [Outgoing(b"odd-%d" % i, b"[]", own, ()) for i, own in enumerate(headers)]
    keys = [None, b"", b"\0", b"\xff\xfe", b"x" * 600, b"\x1b[2J"]
    return odd + [Outgoing(key, value, headers[0], ()) for key in keys for value in (None, b"", b"{}")]


async def test_unusual_records_come_back_as_they_are(real_pair: Pair, install: Install) -> None:
    """Headers of any name and number, null and empty keys and values, no timestamp, the broker's own: each is a dead
    letter with its very bytes, between events that are applied. The models' log takes such headers, too."""
    system = await install(real_pair, [level()], n_partitions=1)
    records, places = odd_records(), dict[int, Outgoing]()
    for at_ms, config in ((None, "CreateTime"), (-1, "CreateTime"), (None, "LogAppendTime")):
        await alter(system, system.settings.topic, message_timestamp_type=config)
        places |= dict(zip(await send(system, system.settings.topic, records, at_ms=at_ms), records, strict=True))
        good = event("patch", patch={"n": len(places), "x": 1}, at=5, create=True)
        await send(system, system.settings.topic, [Outgoing(b"good", good, [("\udcff", None)], ())], at_ms=at_ms)
    [offset] = await send(system, system.settings.models_topic, [Outgoing(b"odd", b"[]", [("\udcff", b"")], ())])
    system.start()
    await system.applied()
    letters = {origin(letter)[1]: letter for letter in await system.dead_letters()}
    assert letters.keys() == places.keys()
    for offset, record in places.items():
        letter = letters[offset]
        assert (letter.key, letter.value) == (record.key, record.value)
        assert list(letter.headers[: len(record.headers)]) == list(record.headers)
        assert [name for name, _ in letter.headers[len(record.headers) :]][:2] == ["reason", "detail"]
    assert (await system.states())["good"].document == {"n": len(places), "x": 1}
    assert system.held("good")["level@1"].startswith("2:")
    await system.publish(level(version=2))


async def test_a_letter_that_its_topic_does_not_take_whole(real_pair: Pair, install: Install) -> None:
    """9 MB that travelled compressed in a topic of default settings come back whole; what is too large even so is cut:
    the value, headers, the key, and says it."""
    system = await install(real_pair, [level()], n_partitions=1)
    dead = system.settings.dead_letter_topic
    squeezed = Outgoing(b"squeezed", b"[" + b"0," * 4_500_000, [("h", b"1")], ())
    await send(system, system.settings.topic, [squeezed], ZSTD)
    await create_topic(real_pair.broker.bootstrap, dead)
    await alter(system, system.settings.topic, max_message_bytes=str(LARGE))
    noise = os.urandom(9_000_000)
    headers = [(f"h{i}", os.urandom(10_000)) for i in range(900)]
    large = [
        Outgoing(b"value", noise, [("h", b"1"), ("\udcff", None)], ()),
        Outgoing(b"headers", b"{}", headers, ()),
        Outgoing(noise, noise[:100], [("h", b"1")], ()),
    ]
    await send(system, system.settings.topic, large)
    await send(system, system.settings.topic, [Outgoing(b"good", event("replace", document={"x": 1}), [], ())])
    system.start()
    await system.applied()
    assert system.held("good")["level@1"].startswith("2:")

    def added(letter: Any, n: int) -> dict[str, bytes]:
        return dict(letter.headers[n:])

    whole, value, many, key = await system.dead_letters()
    assert (whole.key, whole.value, whole.headers[0]) == (b"squeezed", squeezed.value, ("h", b"1"))
    assert "cut" not in added(whole, 1)
    assert (value.key, value.headers[:2]) == (b"value", (("h", b"1"), ("\udcff", None)))
    assert noise.startswith(value.value)
    assert len(value.value) > 1_000_000
    marks = added(value, 2)
    assert (marks["cut"], marks["value_bytes"]) == (b"value", b"9000000")
    assert marks["value_sha256"].decode() == hashlib.sha256(noise).hexdigest()
    assert (many.key, many.value) == (b"headers", b"{}")
    kept = [pair for pair in many.headers if pair[0][0] == "h" and pair[0][1:].isdigit()]
    assert kept == headers[: len(kept)]
    assert 95 < len(kept) < 105
    marks = added(many, len(kept))
    assert (marks["cut"], marks["header_count"]) == (b"headers", b"900")
    marks = added(key, 1)
    assert (marks["cut"], marks["key_bytes"], key.value) == (b"key", b"9000000", noise[:100])
    assert noise.startswith(key.key)
    assert [origin(letter) for letter in (whole, value, many, key)] == [(0, i) for i in range(4)]
    assert {m["reason"] for m in (marks, added(value, 2))} == {b"bad_key", b"too_large"}
    assert "raise its max.message.bytes" in system.says()
    assert system.metrics("memberstream_dead_letters_total")[("too_large",)] == 2


async def test_dead_letters_of_a_large_source_are_whole(real_pair: Pair, install: Install) -> None:
    """A worker makes their topic so that it takes what the source takes; made smaller since, letters are cut to it."""
    system = await install(real_pair, [level()], n_partitions=1)
    await alter(system, system.settings.topic, max_message_bytes=str(LARGE))
    noise = os.urandom(19_000_000)
    await send(system, system.settings.topic, [Outgoing(b"large", noise, [], ())])
    system.start()
    await system.applied()
    [letter] = await system.dead_letters()
    assert letter.value == noise
    await alter(system, system.settings.dead_letter_topic, max_message_bytes="3000")
    await send(system, system.settings.topic, [Outgoing(b"large", noise, [], ())])
    await system.send([Sent(b"bad", b"[" + b"1," * 5_000 + b"1]")])
    await system.applied()
    _, large, bad = await system.dead_letters()
    for letter, whole in ((large, noise), (bad, b"[" + b"1," * 5_000 + b"1]")):
        assert whole.startswith(letter.value)
        assert 500 < len(letter.value) < 3_000
        assert dict(letter.headers)["value_sha256"].decode() == hashlib.sha256(whole).hexdigest()


async def test_a_changelog_that_takes_less_than_a_state_may_have(real_pair: Pair, install: Install) -> None:
    """Made by hand it takes 1 MiB: the worker says so; the event by which a member would outgrow it is refused, those
    that fit are applied, and scored under a new model. With room for more the member goes on growing."""
    system = await install(real_pair, [level()], n_partitions=1)
    changelog = system.settings.changelog_topic
    await create_topic(real_pair.broker.bootstrap, changelog, config=COMPACTED)
    numbers = [1.5] * 100_000  # 400 KB of JSON, 900 KB of state
    grown = [event("patch", patch={"x": i, f"l{i}": numbers}, create=True) for i in range(2)]
    system.start()
    await system.send([Sent(b"m", grown[0]), Sent(b"m", grown[1]), Sent(b"m", event("patch", patch={"x": 1}))])
    await system.send([Sent(b"s", event("replace", document={"x": 1, "s": "y" * 850_000}))])
    await system.applied()
    [letter] = await system.dead_letters()
    assert (origin(letter), dict(letter.headers)["reason"]) == ((0, 1), b"too_large")
    await system.publish(level(version=2))
    await system.until(
        lambda: all(system.held(member).get("level@2", "").startswith("2:") for member in "ms"), "the backfill"
    )
    assert "takes records of 1048588 bytes" in system.says()
    system.stop()
    await alter(system, changelog, max_message_bytes=str(9 << 20))
    system.start()
    await system.send([Sent(b"m", grown[1])])
    await system.applied()
    assert (await system.states())["m"].document == {"x": 1, "l0": numbers, "l1": numbers}
    assert len(await system.dead_letters()) == 1
