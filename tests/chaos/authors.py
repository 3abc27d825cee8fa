"""People who publish, promote, retire, upload lists and set campaigns while the workers work; all of it journalled."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable

from chaos.sampler import now_ms
from e2e.system import PATIENCE_S, System
from oracle.campaigns import Campaign
from oracle.journal import Journal, Listed, Span, Steps
from oracle.worlds import World

from memberstream.models.model_file import parse
from memberstream.models.terms import Terms
from memberstream.stream.authoring.campaigning import Campaigning
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.authoring.steps import find
from memberstream.stream.authoring.uploading import Options, Uploading
from memberstream.stream.files.lists import read_rows

MOST_STANDING = 7  # versions that are computed at a time
NAMES = ("alpha", "beta", "gamma")


class Authors:
    """What they do, one step after another, by the same code as the commands."""

    def __init__(self, system: System, world: World, seed: int) -> None:
        self._world, self._chance = world, random.Random(seed)
        self._publishing = Publishing(system.settings, "author@notebook")
        self._campaigning = Campaigning(system.settings, "manager@notebook")
        self._uploading = Uploading(system.settings, "author@notebook")
        self.journal = Journal()
        self.steps: list[str] = []

    async def _timed(self, what: str, work: Awaitable[object]) -> Span:
        began_ms = now_ms()
        async with asyncio.timeout(PATIENCE_S):
            await work
        self.steps.append(what)
        return Span(began_ms, now_ms())

    async def publish(self, name: str) -> str:
        """A next version as a candidate; returns its label."""
        version = self.journal.next_version(name)
        file = self._world.model(name, version)
        label = f"{name}@{version}"
        self.journal.files[label] = file
        await self._timed(f"publish {label}", self._publishing.publish(parse(file), force=True))
        return label

    async def complete(self, label: str) -> None:
        """Return when all partitions have a version."""
        entry = find(await self._publishing.registry(), label)
        async with asyncio.timeout(PATIENCE_S):
            async for _ in self._publishing.wait(entry):
                pass

    async def promote(self, label: str, *, force: bool = False) -> None:
        name, version = label.split("@")
        # Campaigns choose clusters at random here: whoever promotes a version that lacks one is asked to force it.
        force = force or any(c.last is not None and c.last.model == name for c in self.journal.campaigns.values())
        work = self._publishing.promote(name, int(version), max_flips=1.0, force=force)
        span = await self._timed(f"promote {label}", work)
        self.journal.live.setdefault(name, Steps()).add(span, int(version))

    async def first_models(self) -> None:
        """Two live models, before there is anybody to be scored."""
        for name in NAMES[:2]:
            await self.promote(await self.publish(name), force=True)

    async def a_model(self) -> None:
        """A next version, mostly waited for and promoted; or back to the one before; or the end of one."""
        chance, live = self._chance, self.journal.live
        roll = chance.random()
        idle = [
            v for v in self.journal.standing() if live.get(v.split("@")[0], Steps[int]()).last != int(v.split("@")[1])
        ]
        if len(self.journal.standing()) >= MOST_STANDING or (idle and roll < 0.15):
            await self._retire(chance.choice(idle))
        before = [name for name, steps in live.items() if self._previous(name, steps) is not None]
        if before and roll > 0.85:
            await self._rollback(chance.choice(before))
            return
        label = await self.publish(chance.choice(NAMES))
        if roll < 0.7:
            await self.complete(label)
            await self.promote(label)

    def _previous(self, name: str, steps: Steps[int]) -> int | None:
        others = [version for _, version in reversed(steps.done) if version != steps.last]
        return next((v for v in others if f"{name}@{v}" not in self.journal.retired), None)

    async def _rollback(self, name: str) -> None:
        steps = self.journal.live[name]
        version = self._previous(name, steps)
        assert version is not None
        steps.add(await self._timed(f"rollback {name} to {version}", self._publishing.rollback(name)), version)

    async def _retire(self, label: str) -> None:
        name, version = label.split("@")
        await self._timed(f"retire {label}", self._publishing.retire(name, int(version)))
        self.journal.retired.add(label)

    async def a_list(self) -> None:
        """Somebody's list, whole, and live in the end."""
        name = "tried"
        version = self.journal.next_version(name)
        members = self._chance.sample(self._world.members, len(self._world.members) // 2)
        rows = {member: self._chance.randrange(3) for member in members}
        label = f"{name}@{version}"
        given = read_rows({member.decode(): cluster for member, cluster in rows.items()})
        span = await self._timed(f"upload {label}", self._uploading.upload(given, Options(name)))
        self.journal.lists[label] = Listed(rows, span)
        await self.complete(label)
        await self.promote(label)

    async def a_campaign(self) -> None:
        """One more campaign, other terms, a pause or an end."""
        name = self._chance.choice(["spring", "summer", "winter"])
        steps = self.journal.campaigns.setdefault(name, Steps())
        last, roll = steps.last, self._chance.random()
        if last is None or roll < 0.6:
            await self._set(name, steps)
        elif roll < 0.85:
            work = self._campaigning.resume(name) if last.is_paused else self._campaigning.pause(name)
            paused = Campaign(last.model, last.clusters, last.holdout, last.from_ms, last.until_ms, not last.is_paused)
            steps.add(await self._timed(f"pause or resume {name}", work), paused)
        else:
            steps.add(await self._timed(f"delete {name}", self._campaigning.delete(name)), None)

    async def _set(self, name: str, steps: Steps[Campaign | None]) -> None:
        chance, last = self._chance, steps.last
        model = chance.choice(list(self.journal.live))
        clusters = tuple(sorted(chance.sample(range(9), 4)))
        soon = time.time_ns() // 1_000_000 + chance.randrange(-10_000, 10_000)
        from_ms, until_ms = chance.choice([(None, None), (soon, None), (None, soon), (None, None)])
        holdout = chance.choice([0, 250, 5_000])
        work = self._campaigning.set(name, Terms(model, clusters, from_ms, until_ms, holdout), force=True)
        is_paused = last is not None and last.is_paused
        steps.add(
            await self._timed(f"set {name}", work), Campaign(model, clusters, holdout, from_ms, until_ms, is_paused)
        )
