"""Dead letters that come back: what is newer stays, nothing comes twice, also after kill -9 in the middle."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import orjson
from e2e.commands import memberstream
from e2e.counting import IDS, T0, counting
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, System, event
from prefork import PythonProcess

from memberstream.models.resend import resent_in

N = 200
NEWER, DELETED, UNKNOWN = range(50), range(50, 60), range(5)  # who has had an event since, a delete; who never was


def sent_again(records: list[Any]) -> Counter[bytes]:
    """Return which failed records were sent again, and how often."""
    return Counter(dict(record.headers)["resent_origin"] for record in records if resent_in(record.value))


async def resend(system: System, *arguments: str) -> Any:
    status, out, error = await memberstream(system, "dead-letters", "resend", "--yes", "--json", *arguments)
    assert status == 0, error
    return orjson.loads(out)


async def test_patches_that_failed_come_back_where_nothing_is_newer(pair: Pair, install: Install) -> None:
    """Patches refused by a setting come back once it is right, but not over what came since, or to who is gone. The
    command is killed in the middle; its next run sends the rest, once. What fails again is left after two times."""
    system = await install(pair, [level()])
    system.set(compacted_source="whole_documents")
    ids = [f"m{i}" for i in range(N)]
    await system.send([Sent(m.encode(), event("replace", document={"x": -1})) for m in ids])
    patches = [Sent(m.encode(), event("patch", patch={"x": 1, "m": m}), (("trace", b"\xff"),)) for m in ids]
    patches += [Sent(b"u%d" % i, event("patch", patch={"x": 1})) for i in UNKNOWN]
    await system.send([*patches, Sent(b"bad", b"{")])
    await system.send([Sent(b"m%d" % i, event("replace", document={"x": 2})) for i in NEWER])
    await system.send([Sent(b"m%d" % i, None) for i in DELETED])
    system.start()
    await system.applied()
    system.stop()
    system.set(compacted_source="refuse")
    system.start()

    status, out, error = await memberstream(system, "dead-letters", "list", "--json")
    assert status == 0, error
    listed = Counter[str]()
    for group in orjson.loads(out)["groups"]:
        listed[group["reason"]] += group["letters"]
    assert listed == {"not_whole": N + len(UNKNOWN), "not_json": 1}
    status, out, error = await memberstream(system, "dead-letters", "list", "--reason", "not_json")
    heads, row, total = out.splitlines()
    assert (heads.split()[0], row.split()[0], total[:13]) == ("reason", "not_json", "1 dead letter"), error
    status, out, error = await memberstream(system, "dead-letters", "show", "--reason", "not_whole", "--data")
    assert (status, "not_whole" in out, '"op":"patch"' in out) == (0, True, True), error
    status, out, _ = await memberstream(system, "dead-letters", "show", "--reason", "not_json")
    assert (status, "SHA-256" in out, "bad" in out) == (0, True, False)
    status, out, error = await memberstream(system, "dead-letters", "resend", "--dry-run", "--json")
    assert status == 0, error
    n_good = N - len(NEWER) - len(DELETED)
    told = orjson.loads(out)
    assert told["would_send"] == {"not_whole": n_good + len(UNKNOWN)}
    why = Counter(one["why"].split("(")[0].split(":")[0].strip() for one in told["not_sent"])
    assert why == {
        "its member has had an event since": len(NEWER),
        "its member was deleted since": len(DELETED),
        "would fail again": 1,
    }
    status, out, error = await memberstream(system, "dead-letters", "resend", "--dry-run")
    assert f"{n_good + len(UNKNOWN)} dead letters can be sent again ({n_good + len(UNKNOWN)} not_whole)\n" in out
    assert error.count("Next: ") == 20, "the first twenty that aren't sent, each with its reason"
    assert f"… and {len(NEWER) + len(DELETED) + 1 - 20} more, all of them with --json" in error
    assert sent_again(await system.read(system.settings.topic)) == {}

    command = PythonProcess("dead-letters resend", system.directory / "resend.log")
    argv = [sys.executable, "-m", "memberstream", "dead-letters", "resend", "--yes", "--rate", "25"]
    command.spawn(argv, cwd=system.directory, env=system.environment())
    try:
        await system.until(lambda: system.metrics("memberstream_resent_events_total")[()] > 30, "some of them")
    finally:
        command.kill()
    before = sent_again(await system.read(system.settings.topic))
    assert 30 < len(before) < n_good
    told = await resend(system)
    assert told["sent_before"] == len(before)
    assert told["sent"] == {"not_whole": n_good + len(UNKNOWN) - len(before)}
    topic = await system.read(system.settings.topic)
    again = sent_again(topic)
    assert set(again.values()) == {1}
    assert len(again) == n_good + len(UNKNOWN)
    for record in topic:
        system.next_offset[record.partition] = max(system.next_offset[record.partition], record.offset + 1)
    await system.applied()

    states = await system.states()
    expected = {m: {"x": 1, "m": m} for m in ids}
    expected |= {f"m{i}": {"x": 2} for i in NEWER}
    for i in DELETED:
        del expected[f"m{i}"]
    assert {m: state.document for m, state in states.items()} == expected
    reasons = Counter(dict(letter.headers)["reason"] for letter in await system.dead_letters())
    assert reasons == {b"not_whole": N + len(UNKNOWN), b"not_json": 1, b"unknown_member": len(UNKNOWN)}
    told = await resend(system)
    assert (told["sent"], told["sent_before"]) == ({}, n_good + len(UNKNOWN))
    assert Counter(one["reason"] for one in told["not_sent"])["unknown_member"] == len(UNKNOWN)


async def test_interactions_come_back_once(embedded_pair: Pair, install: Install) -> None:
    """A kind that wasn't declared is, now: its interactions come back and count; not those of who was forgotten since,
    and none a second time."""
    system = await counting(embedded_pair, install)
    try:
        kinds = system.settings.interaction_kinds
        system.start()
        shown = {"kind": "impression", "campaign": "for-all", "at": T0}
        shares = {"kind": "share", "at": T0 + 1}
        await system.send([Sent(m.encode(), orjson.dumps(shown | {"id": "i"})) for m in IDS[:20]])
        await system.send([Sent(m.encode(), orjson.dumps(shares | {"id": "s"})) for m in IDS[:20]])
        await system.send([Sent(m.encode(), None) for m in IDS[:3]])
        await system.applied()
        system.stop()
        system.set(interaction_kinds=(*kinds, "share"))
        system.start()
        # The commands know the installation by its members' settings.
        its = replace(system.members.settings, interaction_kinds=system.settings.interaction_kinds)
        system.members.settings = its
        told = await resend(system.members, "--interactions")
        assert told["sent"] == {"unknown_kind": 17}
        assert {one["why"] for one in told["not_sent"]} == {"its member was forgotten since. Next: nothing"}
        await system.until(lambda: system.metrics("memberstream_resent_interactions_total")[()] == 17, "the letters")
        counted = sum(tally.events for cell, tally in system.counts().items() if cell.kind == "share")
        assert counted == 17
        told = await resend(system.members, "--interactions")
        assert (told["sent"], told["sent_before"]) == ({}, 17)
    finally:
        await system.close()
