"""A worker of interactions beside an installation that scores the members, and loads whose counts are known."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import orjson
import redis
from aiokafka.partitioner import DefaultPartitioner
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, System, event
from keys import KEYS
from nodes import Cluster
from recount import DAY_MS, Shown, Stretch, World, recount
from servers import create_topic, unique

from memberstream.models.counts import Cell, Tally, plus
from memberstream.models.log_steps import Authorship, PauseCampaign, Promote, ResumeCampaign, SetCampaign, Step
from memberstream.models.model_file import parse
from memberstream.models.terms import Terms
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.authoring.steps import Steps
from memberstream.stream.keyspace.formats import parse_beacon
from memberstream.stream.local.server_process import free_port
from memberstream.stream.lookup.holdout import is_held_out
from memberstream.stream.projection.count_reader import read

IDS = [f"m{i}" for i in range(1_500)]
HORIZON_MS = 7 * DAY_MS
T0 = 19_000 * DAY_MS
#: When half of what is shown is over: some members move then, and campaigns and the live version change.
HALF_MS = T0 + 7 * DAY_MS
CAMPAIGNS = {
    "for-all": Terms("level", (1, 2), holdout=3_000, windows={"purchase": 2 * DAY_MS}),
    "for-high": Terms("level", (2,)),
    "some-low": Terms("level", (1,), holdout=5_000, until_ms=T0 + 12 * DAY_MS),
}
ROLLED_OUT = Terms("level", (1, 2), windows={"purchase": 2 * DAY_MS})


def by(at_ms: int) -> Authorship:
    return {"at_ms": at_ms, "actor": "author@notebook", "reason": "", "forced": False}


def _stretch(name: str, at_ms: int, terms: Terms) -> Stretch:
    def holds_out(member: str) -> bool:
        return is_held_out(name, member, terms.holdout)

    windows = dict(terms.windows)
    ends_ms = 2**62 if terms.until_ms is None else terms.until_ms
    return Stretch(at_ms, at_ms, terms.model, terms.clusters, holds_out, 7 * DAY_MS, windows, ends_ms=ends_ms)


def world(moved: Sequence[str] = (), has_changed: bool = False) -> World:
    """Return what was the case when, with or without the changes of `change`."""
    before, after = clusters_of(), clusters_of(moved)
    campaigns = {name: [_stretch(name, T0 - DAY_MS, terms)] for name, terms in CAMPAIGNS.items()}
    live = [(T0 - DAY_MS, "level@1")]
    if has_changed:
        high = campaigns["for-high"][0]
        campaigns["for-all"].append(_stretch("for-all", HALF_MS, ROLLED_OUT))
        campaigns["for-high"].append(high._replace(from_ms=HALF_MS + 1, is_paused=True))
        campaigns["for-high"].append(high._replace(from_ms=HALF_MS + 2 * DAY_MS))
        live.append((HALF_MS + DAY_MS, "level@2"))

    def stood(member: str, label: str, at_ms: int) -> int | None:
        if at_ms < T0 - DAY_MS or member not in before:
            return None
        cluster = (before if at_ms < HALF_MS else after)[member]
        return cluster if label == "level@1" else 3 - cluster

    return World(campaigns, {"level": live}, stood, HORIZON_MS)


async def change(system: Counting) -> None:
    """Roll a campaign out, pause one and resume it, and make another version live, as of the second half."""
    steps: list[Step] = [
        SetCampaign("for-all", await system.seen("for-all"), ROLLED_OUT, **by(HALF_MS)),
        PauseCampaign("for-high", await system.seen("for-high"), **by(HALF_MS + 1)),
        Promote("level", 2, 1, **by(HALF_MS + DAY_MS)),
    ]
    for step in steps:
        await system.author.take(step)
    await system.author.take(ResumeCampaign("for-high", await system.seen("for-high"), **by(HALF_MS + 2 * DAY_MS)))


class Counting(System):
    """A worker of interactions on the servers of another installation; `send` sends interactions."""

    def __init__(self, members: System) -> None:
        directory = members.directory / "interactions"
        directory.mkdir()
        super().__init__(members.pair, directory, members.n_partitions)
        self.members, self.redis = members, members.redis
        self.author = Steps(members.settings, "author@notebook")
        self.settings = replace(
            members.settings,
            topic=members.settings.interactions_topic,
            data_dir=directory / "worker",
            metrics_port=free_port(),
        )

    def colleague(self) -> Counting:
        """Return another worker of the same group, on a disk of its own; what either has sent, both wait for."""
        directory = self.directory / "colleague"
        directory.mkdir()
        other = Counting.__new__(Counting)
        System.__init__(other, self.pair, directory, self.n_partitions)
        other.author = self.author
        other.members, other.redis, other.next_offset = self.members, self.redis, self.next_offset
        other.settings = replace(self.settings, data_dir=directory / "worker", metrics_port=free_port())
        return other

    @staticmethod
    def command() -> list[str]:
        return [sys.executable, "-m", "memberstream", "interactions", "worker"]

    async def changelog(self) -> dict[bytes, bytes]:
        """Return the compacted view of the changelog, without bookkeeping."""
        newest = {r.key: r.value for r in await self.read(f"{self.settings.interaction_group}-state-changelog")}
        return {key: value for key, value in newest.items() if value is not None and not key.startswith(b"\0")}

    @property
    def beacons_key(self) -> bytes:
        return KEYS.counted

    def is_applied(self) -> bool:
        """Return whether the beacons say that all that was sent is counted."""
        told = self.redis.hgetall(self.beacons_key)
        counted = {int(p): parse_beacon(value).next_offset for p, value in told.items() if p != b"partitions"}
        return all(counted.get(p, 0) >= end for p, end in self.next_offset.items())

    def counts(self) -> dict[Cell, Tally]:
        return read(self.settings.redis_url, self.settings.keys, list(CAMPAIGNS))

    async def seen(self, campaign: str) -> int:
        """Return the offset of a campaign's latest step."""
        return (await self.author.registry()).campaigns[campaign].offset


async def counting(pair: Pair, install: Install, cluster: Cluster | None = None) -> Counting:
    """Members in two clusters, scored by a running worker, and three campaigns; the other worker isn't started yet.
    Under the second version, a candidate, everybody is in the other cluster.

    With `cluster` all that goes to Redis goes there.
    """
    members = await install(pair, [])
    publishing, turned = Publishing(members.settings, "author@notebook"), level(2)
    turned["model"]["coef"] = [-1.0]
    await publishing.registry()  # the first look makes the topic
    for definition in (level(), turned):
        await publishing.publish(parse(definition))
    await Steps(members.settings, "author@notebook").take(Promote("level", 1, None, **by(T0 - DAY_MS)))
    members.set(interactions_topic=unique("interactions"), query_secret=unique("a-secret"))
    if cluster is not None:
        members.set(redis_url=cluster.url)
        members.redis = redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port)
    members.start()
    await put(members, clusters_of(), T0 - DAY_MS)
    made = Counting(members)
    for name, terms in CAMPAIGNS.items():
        await made.author.take(SetCampaign(name, None, terms, **by(T0 - DAY_MS)))
    await create_topic(pair.broker.bootstrap, made.settings.topic, partitions=members.n_partitions)
    return made


def clusters_of(moved: Sequence[str] = ()) -> dict[str, int]:
    """Where members stand, before or after some have moved to the other cluster."""
    before = {m: 2 if i % 3 == 2 else 1 for i, m in enumerate(IDS)}
    return {m: 3 - cluster if m in moved else cluster for m, cluster in before.items()}


async def put(members: System, clusters: dict[str, int], at_ms: int) -> None:
    """Write documents that put members into clusters at a time; returns when Redis says so."""
    await members.send(moves(clusters, at_ms))
    await members.applied()


def moves(clusters: dict[str, int], at_ms: int) -> list[Sent]:
    """Return the events that put members into clusters at a time."""
    return [
        Sent(m.encode(), event("replace", at=at_ms, document={"x": 2 * cluster - 3})) for m, cluster in clusters.items()
    ]


class Load(NamedTuple):
    """Interactions in the order in which they are sent, some twice, some late and some bad."""

    records: list[Sent]
    shown: list[Shown]


def load(n: int, part: int, n_parts: int) -> Load:
    """Return about `n` interactions, of one of several parts of a fortnight."""
    dice = random.Random(part)
    records: list[Sent] = []
    shown: list[Shown] = []
    while len(records) < n:
        at_ms = T0 + (part * n + len(records)) * 14 * DAY_MS // (n_parts * n)
        member = dice.choice(IDS)
        kind = dice.choices(["impression", "click", "purchase"], [5, 2, 3])[0]
        campaign = None if kind == "purchase" else dice.choice([*CAMPAIGNS, "unknown"])
        late_ms = dice.choice([0, 0, 0, 0, dice.randrange(HORIZON_MS), 8 * DAY_MS])
        value = dice.randrange(40_000) / 100 if kind == "purchase" and dice.random() < 0.9 else None
        new = [Shown(member, kind, f"{part}-{len(records)}", at_ms - late_ms, campaign, value)]
        new *= 1 if dice.random() < 0.9 else 2
        if shown and dice.random() < 0.1:
            new.append(dice.choice(shown[-2_000:]))
        shown += new
        records += [Sent(one.member.encode(), envelope(one)) for one in new]
        if dice.random() < 0.01:
            records.append(Sent(member.encode(), b"no envelope"))
    return Load(records, shown)


def check_counts(found: dict[Cell, Tally], expected: dict[Cell, Tally]) -> None:
    """Raise AssertionError with the first cells that differ. (Two large dictionaries say nothing in one line.)"""
    cells = sorted(cell for cell in found.keys() | expected.keys() if found.get(cell) != expected.get(cell))
    if cells:
        shown = "\n".join(f"{cell}: {found.get(cell)}, expected {expected.get(cell)}" for cell in cells[:8])
        more = f"{len(found)} cells, expected {len(expected)}, {len(cells)} differ. "
        raise AssertionError(more + shown)


def envelope(one: Shown) -> bytes:
    """Return an interaction as it is sent."""
    fields = {"kind": one.kind, "id": one.id, "at": one.at_ms, "campaign": one.campaign, "value": one.value}
    return orjson.dumps({name: value for name, value in fields.items() if value is not None})


def expected(shown: Sequence[Shown], n_partitions: int, its: World | None = None) -> dict[Cell, Tally]:
    """Return what interactions must count: each partition has a clock of its own."""
    choose, partitions = DefaultPartitioner(), list(range(n_partitions))
    counts: dict[Cell, Tally] = {}
    for partition in partitions:
        own = [
            one._replace(sent_ms=2**60)
            for one in shown
            if choose(one.member.encode(), partitions, partitions) == partition
        ]
        for cell, tally in recount(own, its or world()).items():
            counts[cell] = plus(counts.get(cell, Tally()), tally)
    return counts
