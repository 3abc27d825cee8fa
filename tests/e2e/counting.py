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
from nodes import Cluster
from recount import DAY_MS, Shown, Target, recount
from servers import create_topic, unique

from models.campaigns import Terms
from models.counts import Cell, Tally, plus
from stream.campaigning import Campaigning
from stream.counts import read
from stream.keyspace import COUNTED, parse_beacon
from stream.lookup.holdout import is_held_out
from stream.server_process import free_port

IDS = [f"m{i}" for i in range(1_500)]
HORIZON_MS = 7 * DAY_MS
T0 = 19_000 * DAY_MS
CAMPAIGNS = {
    "for-all": Terms("level", (1, 2), holdout=3_000),
    "for-high": Terms("level", (2,)),
    "some-low": Terms("level", (1,), holdout=5_000),
}
TARGETS = {
    name: Target(t.model, t.clusters, lambda m, name=name, t=t: is_held_out(name, m, t.holdout))  # type: ignore[misc]
    for name, t in CAMPAIGNS.items()
}


class Counting(System):
    """A worker of interactions on the servers of another installation; `send` sends interactions."""

    def __init__(self, members: System) -> None:
        directory = members.directory / "interactions"
        directory.mkdir()
        super().__init__(members.pair, directory, members.n_partitions)
        self.members, self.redis = members, members.redis
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
        other.members, other.redis, other.next_offset = self.members, self.redis, self.next_offset
        other.settings = replace(self.settings, data_dir=directory / "worker", metrics_port=free_port())
        return other

    @staticmethod
    def command() -> list[str]:
        return [sys.executable, "-m", "stream.cli", "interactions", "worker"]

    async def changelog(self) -> dict[bytes, bytes]:
        """Return the compacted view of the changelog, without bookkeeping."""
        newest = {r.key: r.value for r in await self.read(f"{self.settings.interaction_group}-state-changelog")}
        return {key: value for key, value in newest.items() if value is not None and not key.startswith(b"\0")}

    def is_applied(self) -> bool:
        """Return whether the beacons say that all that was sent is counted."""
        told = self.redis.hgetall(COUNTED)
        counted = {int(p): parse_beacon(value).next_offset for p, value in told.items() if p != b"partitions"}
        return all(counted.get(p, 0) >= end for p, end in self.next_offset.items())

    def counts(self) -> dict[Cell, Tally]:
        return read(self.settings.redis_url, list(CAMPAIGNS))


async def counting(pair: Pair, install: Install, cluster: Cluster | None = None) -> Counting:
    """Members in two clusters, scored by a running worker, and three campaigns; the other worker isn't started yet.

    With `cluster` all that goes to Redis goes there.
    """
    members = await install(pair, [level()])
    members.set(interactions_topic=unique("interactions"))
    if cluster is not None:
        members.set(redis_url=cluster.url)
        members.redis = redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port)
    members.start()
    await put(members, clusters_of())
    for name, terms in CAMPAIGNS.items():
        await Campaigning(members.settings, "author@notebook").set(name, terms)
    made = Counting(members)
    await create_topic(pair.broker.bootstrap, made.settings.topic, partitions=members.n_partitions)
    return made


def clusters_of(moved: Sequence[str] = ()) -> dict[str, int]:
    """Where members stand, before or after some have moved to the other cluster."""
    before = {m: 2 if i % 3 == 2 else 1 for i, m in enumerate(IDS)}
    return {m: 3 - cluster if m in moved else cluster for m, cluster in before.items()}


async def put(members: System, clusters: dict[str, int]) -> None:
    """Write documents that put members into clusters; returns when Redis says so."""
    await members.send(
        [Sent(m.encode(), event("replace", document={"x": 2 * cluster - 3})) for m, cluster in clusters.items()]
    )
    await members.applied()


class Load(NamedTuple):
    """Interactions in the order in which they are sent, some twice, some late and some bad."""

    records: list[Sent]
    shown: list[Shown]


def load(n: int, clusters: dict[str, int], part: int, n_parts: int) -> Load:
    """Return about `n` interactions, of one of several parts of a fortnight, with values that floats add up exactly."""
    dice = random.Random(part)
    records: list[Sent] = []
    shown: list[Shown] = []
    while len(records) < n:
        at_ms = T0 + (part * n + len(records)) * 14 * DAY_MS // (n_parts * n)
        member = dice.choice(IDS)
        kind = dice.choices(["impression", "click", "purchase"], [5, 2, 3])[0]
        campaign = None if kind == "purchase" else dice.choice([*CAMPAIGNS, "unknown"])
        at_ms -= dice.choice([0, 0, 0, 0, dice.randrange(HORIZON_MS), 8 * DAY_MS])
        value = dice.randrange(400) / 4 if kind == "purchase" and dice.random() < 0.9 else None
        stood = {"level": ("level@1", clusters[member])}
        new = [Shown(member, kind, f"{part}-{len(records)}", at_ms, campaign, value, stood)]
        new *= 1 if dice.random() < 0.9 else 2
        if shown and dice.random() < 0.1:
            new.append(dice.choice(shown[-2_000:]))
        shown += new
        records += [Sent(one.member.encode(), envelope(one)) for one in new]
        if dice.random() < 0.01:
            records.append(Sent(member.encode(), b"no envelope"))
    return Load(records, shown)


def envelope(one: Shown) -> bytes:
    """Return an interaction as it is sent."""
    fields = {"kind": one.kind, "id": one.id, "at": one.at_ms, "campaign": one.campaign, "value": one.value}
    return orjson.dumps({name: value for name, value in fields.items() if value is not None})


def expected(shown: Sequence[Shown], n_partitions: int) -> dict[Cell, Tally]:
    """Return what interactions must count: each partition has a clock of its own."""
    choose, partitions = DefaultPartitioner(), list(range(n_partitions))
    counts: dict[Cell, Tally] = {}
    for partition in partitions:
        own = [one for one in shown if choose(one.member.encode(), partitions, partitions) == partition]
        for cell, tally in recount(own, TARGETS, HORIZON_MS).items():
            counts[cell] = plus(counts.get(cell, Tally()), tally)
    return counts
