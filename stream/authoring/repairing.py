"""An operator has one partition drop what it holds of a member: the steps of `memberstream members …`.

The partition's owner does it, told by a record in that partition (models/command.py). So it happens in order with the
member's events, and a crash repeats it.

    1  `forget` is sent to the partition    a crash after it: the owner does it, only nobody waits for it
    2  the owner has handled it             Redis holds no row of that partition; the own partition hasn't written yet
    3  `rewrite` is sent to the own one     sent again it does the same again
    4  that owner has handled it
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from memberstream.models.command import Command, encode_command
from memberstream.models.event import Order
from memberstream.models.placement import Placement
from memberstream.models.wording import counted
from memberstream.stream.authoring.handling import handled
from memberstream.stream.authoring.state_reader import is_held, misplaced_members
from memberstream.stream.kafka.producer import SendError
from memberstream.stream.kafka.topics import count_partitions
from memberstream.stream.settings import Settings
from memberstream.stream.tasks.meter import Meter, Waits, unheard

Copy = tuple[str, int]  # a member's id, the partition that holds it


class Repairing:
    """Repairs of one installation. `actor`: who asks for them."""

    def __init__(self, settings: Settings, actor: str) -> None:
        self._settings, self._actor = settings, actor

    async def misplaced(self, progress: Meter) -> list[tuple[str, int, int]]:
        """Return (id, partition, own partition) of members in a wrong partition. Raises TopicUnreadable."""
        settings = self._settings
        return await misplaced_members(settings.kafka, settings.changelog_topic, settings.partitioner, progress)

    async def holds(self, copy: Copy) -> bool:
        """Return whether a partition holds anything of a member. Raises TopicUnreadable."""
        return await is_held(self._settings.kafka, self._settings.changelog_topic, *copy)

    async def forget(self, copies: Sequence[Copy], why: str, waits: Waits = unheard) -> None:
        """Have copies dropped, and have the members' own partitions write what they hold to Redis.

        Raises:
            SendError: no topic, no such partition, or Kafka doesn't take the records.
            NotHandled: no worker does it.
        """
        topic = self._settings.topic
        n_partitions = await count_partitions(self._settings.kafka, topic)
        if wrong := [partition for _, partition in copies if not 0 <= partition < n_partitions]:
            raise SendError(
                f"topic {topic}: {counted(n_partitions, 'partition')}, no partition {wrong[0]}. Next: check --partition"
            )
        placement = Placement(self._settings.partitioner, n_partitions)
        own = [
            (member_id, theirs)
            for member_id, partition in copies
            for theirs in (
                range(n_partitions) if placement.partitioner == "any" else [placement.partition_of(member_id.encode())]
            )
            if theirs != partition
        ]
        for order, members in ((Order.FORGET, copies), (Order.REWRITE, own)):
            last = await self._send(order, members, why)  # 1; 3
            await handled(self._settings, last, "the command stands", waits=waits)  # 2; 4

    async def _send(self, order: Order, members: Sequence[Copy], why: str) -> dict[int, int]:
        """Send a command for each member. Returns partition → offset of its last command."""
        last: dict[int, int] = {}
        producer = self._settings.kafka.producer()
        try:
            with self._settings.kafka.explained(SendError, self._settings.topic):
                await producer.start()
                acks = []
                for member_id, partition in members:
                    value = encode_command(Command(order, partition, self._actor, why))
                    acks.append(await producer.send(self._settings.topic, value, member_id.encode(), partition))
                for acked in await asyncio.gather(*acks):
                    last[acked.partition] = max(last.get(acked.partition, -1), acked.offset)
        finally:
            await producer.stop()
        return last
