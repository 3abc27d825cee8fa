"""What the demo's console has to show beside members: a campaign with interactions, and a list.

Only made for an open console: the demo's own figures are taken before it. What members do here is made up, as CDNOW
knows no campaign. It is the same each time.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import orjson

from memberstream.models.terms import Terms
from memberstream.stream.authoring.campaigning import Campaigning
from memberstream.stream.authoring.uploading import Options, Uploading
from memberstream.stream.demo.history import histories
from memberstream.stream.demo.spawning import spawn
from memberstream.stream.files.lists import read_rows
from memberstream.stream.kafka.producer import Producer
from memberstream.stream.kafka.topics import create_topic
from memberstream.stream.local.server_process import ServerProcess, free_port
from memberstream.stream.lookup import AsyncLookup
from memberstream.stream.settings import Settings

CAMPAIGN, LIST = "come_back", "newsletter"
TERMS = Terms("repeat_buyer", (2, 3), holdout=3_000, title="Come back: 10% off your next CD")
N_PARTITIONS = 4
SEEN = 20_000  # members who come by after the campaign has begun
_CLICKS, _BUYS, _BUYS_HELD_OUT = 0.12, 0.11, 0.07  # shares of those who come by


@contextmanager
def shown_campaign(settings: Settings) -> Iterator[None]:
    """Make them, and count the interactions by a worker as long as the context lasts.

    It took 2.6 s on two cores with a load of 20.
    """
    asyncio.run(_make(settings))
    worker = ServerProcess("the interactions worker", settings.data_dir.parent / "interactions.log")
    spawn(
        worker, replace(settings, metrics_port=free_port()), "interactions", "worker"
    )  # the console is open meanwhile
    try:
        yield
    finally:
        worker.stop(grace_s=10.0)


async def _make(settings: Settings) -> None:
    await create_topic(settings.kafka, settings.interactions_topic, N_PARTITIONS)
    await Campaigning(settings, "demo").set(CAMPAIGN, TERMS, reason="do those who may come back need a push?")
    dice, members = random.Random(1997), list(histories())
    subscribed = read_rows({member: dice.choices((1, 2), (4, 1))[0] for member in dice.sample(members, 2_000)})
    await Uploading(settings, "demo").upload(
        subscribed, Options(LIST, description="Who wants to hear of new CDs", names={1: "weekly", 2: "rarely"})
    )
    came_by = sorted(dice.sample(members, SEEN))
    async with AsyncLookup(settings.redis_url) as client:
        answers = await client.get_many(came_by)
    async with Producer(settings.kafka, settings.interactions_topic, partitioner=settings.partitioner) as producer:
        at_ms = time.time_ns() // 1_000_000
        for member, answer in zip(came_by, answers, strict=True):
            visible = answer.visible
            for what in _done(dice, CAMPAIGN in visible.campaigns, CAMPAIGN in visible.held_out):
                envelope = {"id": f"{member}-{what['kind']}", "at": at_ms, **what}
                await producer.send(member.encode(), orjson.dumps(envelope))
        await producer.flush()


def _done(dice: random.Random, is_shown: bool, is_held_out: bool) -> list[dict[str, Any]]:
    """Return what a member does who comes by."""
    if not is_shown and not is_held_out:
        return []
    done: list[dict[str, Any]] = [{"kind": "impression", "campaign": CAMPAIGN}]
    if is_shown and dice.random() < _CLICKS:
        done.append({"kind": "click", "campaign": CAMPAIGN})
    if dice.random() < (_BUYS if is_shown else _BUYS_HELD_OUT):
        done.append({"kind": "purchase", "value": round(dice.lognormvariate(3.2, 0.6), 2)})
    return done
