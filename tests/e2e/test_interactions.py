"""Interactions from the topic to the counts in Redis, with both workers running; a plain recount is the truth."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import cast

import orjson
import pytest
from e2e.commands import memberstream
from e2e.counting import (
    CAMPAIGNS,
    HALF_MS,
    IDS,
    T0,
    Counting,
    Load,
    change,
    check_counts,
    clusters_of,
    counting,
    expected,
    load,
    moves,
    put,
    world,
)
from e2e.system import Install, Pair, Sent
from keys import KEYS
from recount import DAY_MS

from memberstream.models.count_state import CELL_PREFIXES
from memberstream.models.counts import EXPOSED, UNIT, Cell, Tally
from memberstream.stream.authoring.exporting import exposed_members
from memberstream.stream.lookup.holdout import is_held_out
from memberstream.stream.projection.count_reader import CountsUnavailable, read


@pytest.fixture
async def system(embedded_pair: Pair, install: Install) -> AsyncIterator[Counting]:
    """Tansu and Valkey."""
    made = await counting(embedded_pair, install)
    yield made
    await made.close()


async def send_and_kill(
    system: Counting, part: Load, kills: int, dice: random.Random, moving: Sequence[Sent] = ()
) -> None:
    """Send in pieces; kill -9 and start again so many times on the way, at random moments.

    `moving`: events of members, sent in pieces beside. If there are some, both workers are killed at once.
    """
    moments = sorted(dice.sample(range(1, 20), kills))
    size, n_moving = len(part.records) // 20, -(-len(moving) // 20)
    workers = [system.members, system] if moving else [system]
    for piece in range(21):
        await system.members.send(moving[piece * n_moving : (piece + 1) * n_moving])
        await system.send(part.records[piece * size : (piece + 1) * size])
        if piece in moments:
            await asyncio.sleep(dice.random())
            for worker in workers:
                worker.kill()
            for worker in workers:
                worker.start()
    await system.members.applied(timeout_s=240)
    await system.applied(timeout_s=240)


async def test_counts_are_exact(system: Counting) -> None:
    """20,000 interactions with duplicates, late, bad and unknown ones, members held out and members who change their
    cluster, a promotion and campaigns that are changed meanwhile; kill -9 twice, an emptied Redis, a lost disk: the
    counts are those of a plain recount."""
    await run(system, 20_000, kills=1)


@pytest.mark.long
@pytest.mark.kafka
@pytest.mark.redis_server
async def test_counts_are_exact_under_many_kills(real_pair: Pair, install: Install) -> None:
    """60,000 interactions on Apache Kafka and redis-server, kill -9 a dozen times at random. Six times the members'
    worker dies with it, while it moves members as of a later time: what it had written of the time before holds."""
    system = await counting(real_pair, install)
    later = moves(clusters_of(moved=[*IDS[::5], *IDS[1::5]]), T0 + 15 * DAY_MS)
    try:
        await run(system, 60_000, kills=6, moving=later)
    finally:
        await system.close()


async def run(system: Counting, n: int, kills: int, moving: Sequence[Sent] = ()) -> None:
    dice = random.Random(n)
    system.start()
    first, second = load(n // 2, 0, 2), load(n // 2, 1, 2)
    await send_and_kill(system, first, kills, dice)
    check_counts(system.counts(), expected(first.shown, system.n_partitions))
    await put(system.members, clusters_of(moved=IDS[::5]), HALF_MS)
    await change(system)
    system.redis.flushall()  # with it goes what says up to where the models' log is known
    telling = asyncio.create_task(asyncio.to_thread(live_when_whole, system))
    await send_and_kill(system, second, kills, dice, moving)
    assert await telling == b"2"
    counts = expected([*first.shown, *second.shown], system.n_partitions, world(IDS[::5], has_changed=True))
    check_counts(system.counts(), counts)
    assert sum(tally.members for cell, tally in counts.items() if cell.kind == "switched") > 100
    assert {cell.is_held_out for cell in counts if cell.campaign == "for-all"} == {True, False}
    assert len({cell.period for cell in counts if cell.campaign == "for-all" and cell.kind == "exposed"}) == 2
    assert {cell.version for cell in counts if cell.kind == "exposed"} == {"level@1", "level@2"}
    assert {"!late", "!paused", "!unattributed", "!too_late", "!not_running"} <= {cell.kind for cell in counts}
    reasons = Counter(dict(letter.headers)["reason"] for letter in await system.dead_letters())
    assert reasons.keys() == {
        *(b"not_json", b"unknown_campaign", b"not_targeted", b"not_running", b"unknown_cluster", b"too_late"),
    }
    await check_rows(system, counts)
    system.stop()
    system.lose_disk()
    system.redis.flushall()
    await system.members.applied()
    with pytest.raises(CountsUnavailable, match=r"holds no counts .* Next: see whether `memberstream interactions"):
        system.counts()
    system.start()
    await system.applied()
    check_counts(system.counts(), counts)


def live_when_whole(system: Counting) -> bytes | None:
    """Return the version that readers are told first as Redis is whole again."""
    while True:
        with system.redis.pipeline() as both:  # in one step
            epoch, live = both.get(KEYS.epoch).hget(KEYS.live, "level").execute()
        if epoch is not None:
            return cast(bytes | None, live)
        time.sleep(0.002)


async def check_rows(system: Counting, counts: dict[Cell, Tally]) -> None:
    """What is exported of each member adds up to the counts."""
    settings = replace(system.settings, topic=system.members.settings.topic)
    for campaign in CAMPAIGNS:
        found: Counter[tuple[str, int, bool, str]] = Counter()
        for row in await exposed_members(settings, campaign):
            where = row["version"], row["cluster"], row["held_out"]
            found[*where, "exposed"] += 1
            found[*where, "impressions"] += row["impressions"]
            for kind in ("click", "purchase"):
                found[*where, kind] += row[f"{kind}_n"]
                found[*where, f"{kind} sum"] += round(row[f"{kind}_sum"] * UNIT)
        told: Counter[tuple[str, int, bool, str]] = Counter()
        for cell, tally in counts.items():
            where = cell.version, cell.cluster, cell.is_held_out
            if cell.campaign == campaign and cell.kind == EXPOSED:
                told[*where, "exposed"] += tally.members
                told[*where, "impressions"] += tally.events
            elif cell.campaign == campaign and cell.kind in ("click", "purchase"):
                told[*where, cell.kind] += tally.events
                told[*where, f"{cell.kind} sum"] += tally.value_sum
        assert found == told


async def test_who_is_deleted_is_forgotten(system: Counting) -> None:
    """Its record goes from state and changelog; counts and the others' records stay, and what is sent of it later makes
    no new one; whoever comes back begins anew."""

    def shown(m: str, id: str) -> Sent:
        return Sent(m.encode(), orjson.dumps({"kind": "impression", "campaign": "for-all", "id": id, "at": T0}))

    async def remembered() -> set[str]:
        return {key.decode() for key in await system.changelog() if not key.startswith(CELL_PREFIXES)}

    def exposed_and_refused() -> tuple[int, int]:
        counts = system.counts()
        exposed = sum(tally.members for cell, tally in counts.items() if cell.kind == EXPOSED)
        return exposed, sum(tally.events for cell, tally in counts.items() if cell.kind == "!unknown_cluster")

    system.start()
    await system.send([shown(m, "i-1") for m in IDS[:20]])
    await system.applied()
    assert await remembered() == set(IDS[:20])
    await system.members.send([Sent(m.encode(), None) for m in IDS[:10]])
    await system.members.applied()
    await system.until(
        lambda: system.metrics("memberstream_interactions_total")[("forgotten",)] == 10 * system.n_partitions, "them"
    )
    purchase = Sent(IDS[0].encode(), orjson.dumps({"kind": "purchase", "id": "p", "at": T0 + 1}))
    for n in (1, 2):
        await system.send([shown(IDS[0], "i-2"), purchase])  # who is deleted can't be shown anything
        await system.applied()
        assert exposed_and_refused() == (20, n)
        assert await remembered() == set(IDS[10:20])
        system.kill()
        system.lose_disk()
        system.start()
    await put(system.members, {IDS[0]: 1}, T0 - 1)
    await system.send([shown(IDS[0], "i-1")])
    await system.applied()
    assert exposed_and_refused() == (21, 2)
    assert await remembered() == {IDS[0], *IDS[10:20]}


async def test_the_commands(system: Counting) -> None:
    """A file is checked, sent, counted and reported; who is held out is counted as exposed to nothing."""
    system.start()
    file = system.directory / "interactions.ndjson"
    lines = [
        {"member_id": m, "kind": "impression", "campaign": "for-all", "id": f"i-{m}", "at": T0 + i}
        for i, m in enumerate(IDS[:200])
    ]
    lines += [
        {"member_id": m, "kind": "click", "campaign": "for-all", "id": f"c-{m}", "at": T0 + 500} for m in IDS[:60]
    ]
    file.write_bytes(b"\n".join(map(orjson.dumps, lines)) + b'\n{"member_id":"m1","kind":"share","id":"x"}\n')
    status, out, error = await memberstream(system, "interactions", "check", str(file))
    assert (status, out) == (1, "260 good, 1 bad (1 unknown_kind)\n")
    assert "docs/interactions.md" in error
    status, _, error = await memberstream(system, "interactions", "send", str(file))
    assert (status, "1 bad interaction, nothing was sent. Next: memberstream interactions check" in error) == (1, True)
    status, out, _ = await memberstream(system, "interactions", "send", str(file), "--force")
    assert (status, out) == (0, f"sent 261 interactions to {system.settings.topic}\n")
    held_out = sum(is_held_out("for-all", m, CAMPAIGNS["for-all"].holdout) for m in IDS[:200])

    def exposed() -> dict[bool, int]:
        found: Counter[bool] = Counter()
        for cell, tally in read(system.settings.redis_url, system.settings.keys, ["for-all"]).items():
            found[cell.is_held_out] += tally.members if cell.kind == EXPOSED else 0
        return dict(found)

    await system.until(lambda: exposed() == {True: held_out, False: 200 - held_out}, "all exposures counted")
    await system.until(lambda: system.metrics("memberstream_interactions_total")[("counted",)] == 260, "clicks, too")
    await system.until(
        lambda: system.metrics("memberstream_interaction_dead_letters_total")[("unknown_kind",)] == 1, "the bad one"
    )
    assert system.metrics("memberstream_ready") == {(): 1}
    to = system.directory / "rows.csv"
    status, out, error = await memberstream(system, "campaign", "export", "for-all", "--out", str(to))
    assert (status, out) == (0, f"{to}: 200 members of for-all\n"), error
    assert len(to.read_text().splitlines()) == 201
    status, _, error = await memberstream(system, "campaign", "export", "for-high", "--out", str(to))
    assert (status, "for-high: nobody was exposed yet" in error) == (1, True)
    clicked = [m for m in IDS[:60] if not is_held_out("for-all", m, CAMPAIGNS["for-all"].holdout)]
    status, out, error = await memberstream(system, "campaign", "report", "for-all", "--json")
    assert status == 0, error
    assert orjson.loads(out)["total"] == {"hits": len(clicked), "n": 200 - held_out}
