"""Versions and deletes, from the envelope to what readers see."""

from __future__ import annotations

import asyncio

from e2e.definitions import level
from e2e.system import Install, Pair, Sent, event

from memberstream.stream.lookup import Lookup, Status


async def test_versions_and_deletes_as_readers_see_them(embedded_pair: Pair, install: Install) -> None:
    """Older and equal versions are ignored and counted; both forms of delete make a member unknown; a late event
    doesn't bring it back; what is created after a delete is a fresh member."""
    system = await install(embedded_pair, [level()])
    system.start()
    await system.send(
        [
            *(Sent(b"steady", event("replace", version=v, document={"x": x})) for v, x in [(5, 1), (5, -1), (4, -1)]),
            *(Sent(name, event("replace", version=7, document={"x": 1, "old": True})) for name in (b"late", b"again")),
            Sent(b"null", event("replace", document={"x": 1})),
            Sent(b"back", event("patch", patch={"x": 1, "old": True}, create=True)),
        ]
    )
    await system.applied()
    with Lookup(system.settings.redis_url) as lookup:

        def clusters(*names: str) -> list[int | Status | None]:
            answers = lookup.get_many(names)
            return [a.cluster("level") if a.status == "current" else a.status for a in answers]

        assert clusters("steady", "late", "again", "null", "back") == [2, 2, 2, 2, 2]
        since_before = lookup.get("back").memberships["level"].since_ms
        await system.send(
            [
                Sent(b"late", event("delete", version=9)),
                Sent(b"late", event("replace", version=8, document={"x": 1})),
                Sent(b"again", event("delete", version=9)),
                Sent(b"null", None),
                Sent(b"back", None),
            ]
        )
        await system.applied()
        unknown = "unknown member"
        await asyncio.to_thread(lookup.get_patiently, "late")
        assert clusters("steady", "late", "again", "null", "back") == [2, unknown, unknown, unknown, unknown]
        await system.send(
            [
                Sent(b"again", event("patch", version=10, patch={"y": 1}, create=True)),
                Sent(b"back", event("patch", patch={"x": 2}, create=True)),
            ]
        )
        await system.applied()
        assert clusters("steady", "late", "again", "null", "back") == [2, unknown, 1, unknown, 2]
        assert lookup.get("back").memberships["level"].since_ms > since_before
    states = await system.states()
    assert {name: (state.document, state.version) for name, state in states.items()} == {
        "steady": ({"x": 1}, 5),
        "late": (None, 9),
        "again": ({"y": 1}, 10),
        "back": ({"x": 2}, -1),
    }
    assert system.metrics("memberstream_events_total") == {
        ("applied",): 11,
        ("ignored_version",): 3,
        ("replayed",): 0,
        ("dead_letter",): 0,
    }
    assert 0 < system.redis.ttl("ms:member:null") <= 86_400
    assert system.redis.ttl("ms:member:back") == -1
