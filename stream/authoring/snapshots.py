"""Snapshots of members' states, and their way back: the steps of `memberstream state …`.

Laws:
1. A partition is taken from the changelog, as a recovery reads it: the newest value of each key, up to where the
   partition ended when it was looked at. So it is what a worker would have gone on from after kill -9. Workers go on.
2. Nothing is overwritten: a snapshot is written to a changelog without records only. A second try after a crash is
   refused, too.
3. Along a changelog write positions never go down (partition/write_position.py). So records are written in their order.
4. What has been scored is forgotten: the mark of each partition names a step of a models' log that may be lost. The
   workers score all members again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from memberstream.models.position import NOWHERE
from memberstream.models.wording import counted
from memberstream.stream.authoring.state_reader import everything_of
from memberstream.stream.files import snapshot
from memberstream.stream.files.snapshot import Manifest, Part, SnapshotError
from memberstream.stream.kafka.topics import Found, create_missing, look_up
from memberstream.stream.partition.bookkeeping import APPLIED, SCORED, decode_progress
from memberstream.stream.partition.changelog_topic import CONFIGS, MESSAGE_BYTES
from memberstream.stream.partition.write_position import write_position
from memberstream.stream.settings import Settings
from memberstream.stream.tasks.meter import Meter

_IN_FLIGHT = 1_000  # records that wait for their acknowledgement


@dataclass(frozen=True)
class Restored:
    """What a restore has done. `epoch`: what MEMBERSTREAM_TOPIC_EPOCH has to be from now on."""

    members: int
    epoch: int
    is_topic_new: bool


class Snapshots:
    """Snapshots of one installation."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def take(self, directory: Path, progress: Meter) -> Manifest:
        """Write a snapshot to a new directory. Raises SnapshotError, TopicUnreadable."""
        settings, taken_at = self._settings, datetime.now(UTC)
        snapshot.begin(directory)
        parts: list[Part] = []
        async with aclosing(everything_of(settings.kafka, settings.changelog_topic, progress)) as partitions:
            async for values, _ in partitions:
                file, sha256 = snapshot.write_partition(directory, len(parts), values)
                applied = decode_progress(values.get(APPLIED))
                n_members = sum(not key.startswith(b"\0") for key in values)
                topic_id = applied.topic_id.hex()
                parts.append(Part(file, sha256, len(values), n_members, applied.epoch, applied.next_offset, topic_id))
        at = taken_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        manifest = Manifest(snapshot.FORMAT, at, settings.topic, settings.group, tuple(parts))
        snapshot.write_manifest(directory, manifest)
        return manifest

    async def restore(self, directory: Path, progress: Meter, said: bool | None = None) -> Restored:
        """Write a snapshot to the changelog of an installation that has lost its own.

        Args:
            said: whether the topic of events is another one than the snapshot's; None: its id is to tell.

        Raises:
            SnapshotError: the snapshot isn't whole, something is there that it would overwrite, or see `is_another`.
            TopicsUnreadable, TopicUnreadable: Kafka can't be used.
        """
        settings, manifest = self._settings, snapshot.read_manifest(directory)
        for part in manifest.partitions:  # all are looked at before anything is written
            snapshot.read_partition(directory, part)
        is_new = await self._admitted(manifest, said)
        changelog, total = settings.changelog_topic, sum(part.records for part in manifest.partitions)
        done = 0
        for number, part in enumerate(manifest.partitions):
            await self._write(number, _restorable(directory, part))
            done += part.records
            progress(done, total)
        async with aclosing(everything_of(settings.kafka, changelog)) as partitions:
            parts = iter(enumerate(manifest.partitions))
            async for written, _ in partitions:
                number, part = next(parts)
                if written != _restorable(directory, part):
                    raise SnapshotError(
                        f"partition {number} of {changelog} isn't what was written: somebody else writes there. Next: "
                        "stop all workers, delete the topic, and restore again"
                    )
        epoch = max((part.epoch for part in manifest.partitions), default=0)
        n_members = sum(part.members for part in manifest.partitions)
        return Restored(n_members, epoch + is_new, is_new)

    async def _admitted(self, manifest: Manifest, said: bool | None) -> bool:
        """Return whether the topic is another one, once nothing speaks against a restore. Makes the changelog."""
        settings, n = self._settings, len(manifest.partitions)
        source = await look_up(settings.kafka, settings.topic)
        if source.n_partitions != n:
            found = counted(source.n_partitions, "partition") if source.n_partitions else "isn't there"
            raise SnapshotError(
                f"the snapshot has {counted(n, 'partition')}, the topic {settings.topic}: {found}. Next: create it "
                f"with {counted(n, 'partition')}: members lie in the same ones again"
            )
        is_new = is_another(source, manifest.partitions, said)
        if n_records := await self._records_there():
            raise SnapshotError(
                f"{settings.changelog_topic} holds {counted(n_records, 'record')}: a state that may be newer than the "
                "snapshot. Next: if it is really lost, stop all workers and delete the topic"
            )
        admin = settings.kafka.admin()
        try:
            await admin.start()
            await create_missing(admin, settings.changelog_topic, n, settings.replication_factor, CONFIGS)
        except KafkaError as error:
            raise SnapshotError(settings.kafka.said(error)) from None
        finally:
            await admin.close()
        await self._until_there(n)
        return is_new

    async def _until_there(self, n: int) -> None:
        """Return when the changelog has its partitions. Raises SnapshotError."""
        found = 0
        for _ in range(100):  # a topic made a moment ago isn't known everywhere
            if (found := (await look_up(self._settings.kafka, self._settings.changelog_topic)).n_partitions) == n:
                return
            await asyncio.sleep(0.1)
        raise SnapshotError(
            f"{self._settings.changelog_topic} has {counted(found, 'partition')}, the snapshot {n}. Next: delete that "
            "topic, and restore again"
        )

    async def _records_there(self) -> int:
        """Return how many records the changelog has had, 0 also if there is none."""
        topic = self._settings.changelog_topic
        if not (n := (await look_up(self._settings.kafka, topic)).n_partitions):
            return 0
        consumer = self._settings.kafka.consumer()
        try:
            await consumer.start()
            return int(sum((await consumer.end_offsets([TopicPartition(topic, p) for p in range(n)])).values()))
        except KafkaError as error:
            raise SnapshotError(self._settings.kafka.said(error)) from None
        finally:
            await consumer.stop()

    async def _write(self, number: int, values: Mapping[bytes, bytes]) -> None:
        """Append the records of a partition in the order of their write positions."""
        settings = self._settings
        ordered = sorted(values.items(), key=lambda item: _written_at(item[1]))
        producer = settings.kafka.producer(
            max_request_size=MESSAGE_BYTES,
            enable_idempotence=settings.broker_kind != "embedded",  # which refuses such producers
        )
        try:
            await producer.start()
            for begin in range(0, len(ordered), _IN_FLIGHT):
                some = ordered[begin : begin + _IN_FLIGHT]
                acks = [await producer.send(settings.changelog_topic, v, k, partition=number) for k, v in some]
                await asyncio.gather(*acks)
        except KafkaError as error:
            raise SnapshotError(
                f"{settings.changelog_topic}: {error!r}. Next: see the brokers, delete the topic, and restore again"
            ) from None
        finally:
            await producer.stop()


def is_another(source: Found, parts: Sequence[Part], said: bool | None) -> bool:
    """Return whether a topic is another one than that of a snapshot's newest events.

    Only the parts of the highest epoch say so: those of a lower one have had no event since an earlier re-creation.

    Raises:
        SnapshotError: nobody knows (the broker has no ids, or had none), or the ids say otherwise than `said`.
    """
    newest = max((part.epoch for part in parts), default=0)
    ids = {part.topic_id for part in parts if part.topic_id and part.epoch == newest}
    if source.id and len(ids) == 1:
        found = source.id.hex() not in ids
        if said in (None, found):
            return found
        raise SnapshotError(
            f"by its id the topic {'is another one than' if found else 'is'} the snapshot's. Next: restore "
            f"with {'--new-topic' if found else '--same-topic'}"
        )
    if said is None:
        raise SnapshotError(
            "no id tells whether the topic is the one of the snapshot. A wrong guess would apply its old events to "
            "newer states, or skip new ones. Next: restore with --same-topic, or with --new-topic if it was created "
            "again since the snapshot"
        )
    return said


def _restorable(directory: Path, part: Part) -> dict[bytes, bytes]:
    """Return what is written of a partition (law 4)."""
    return {key: value for key, value in snapshot.read_partition(directory, part).items() if key != SCORED}


def _written_at(value: bytes) -> int:
    position = write_position(value, ())
    return NOWHERE if position is None else position
