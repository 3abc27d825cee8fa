"""What can be found out about an installation from where the command runs. It asks and changes nothing.

Law: if something can't be found out, that is a fact, too, with its reason. It doesn't keep other facts from being
found.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from memberstream.models.registry import Registry
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.kafka.cluster_id import UNTOLD
from memberstream.stream.keyspace.formats import Beacon, Behind, KeyspaceError, Scored, Sizes
from memberstream.stream.projection.calls import NotPermitted, RedisFault, RedisUnavailable
from memberstream.stream.projection.installation import owner_of
from memberstream.stream.projection.projection import Glance
from memberstream.stream.projection.surroundings import Said, ask
from memberstream.stream.registry.log import ModelsLog, ModelsLogError
from memberstream.stream.settings import Settings
from memberstream.stream.wire.replies import ReplyError, WireError
from memberstream.stream.wire.round_trip import measure

#: Share of the retention time after which a record that waits is mentioned.
EXPIRING = 0.75


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the broker describes it. `policy` None: not told. `begins`, `ends`: partition → offset.

    Attributes:
        copies: of each partition. `in_sync`: how many must have a record before it is acknowledged; None: not told.
        expiring: partition → the offset below which records have lived EXPIRING of the retention time.
    """

    n_partitions: int
    policy: str | None = None
    ends: Mapping[int, int] = field(default_factory=dict)
    begins: Mapping[int, int] = field(default_factory=dict)
    copies: int = 1
    in_sync: int | None = None
    expiring: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about an installation at one moment.

    Attributes:
        brokers: how many there are. `cluster`: the id of Kafka's cluster, or, with a `kafka_problem`, the one that was
            known before. `kafka_problem`: why Kafka can't be asked.
        topics: name → topic, for those that exist.
        registry: what the models' log says; None: there is none. `models_problem`: why it can't be read.
        said: what each Redis says about itself; none if this user may not ask.
        round_trip_s: to Redis. `redis_problem`: why that can't be known.
        owner: id of the installation whose keys are in Redis; None: nobody's.
        is_whole: whether Redis says that it holds all members.
        behind: how far the partitions' workers say that they are behind. Older versions of workers don't tell.
        sizes: how many members the partitions' workers say that are in which cluster.
        known: the last step of the models' log that readers know.
    """

    now_ms: int
    brokers: int = 0
    cluster: str = UNTOLD
    kafka_problem: str | None = None
    topics: Mapping[str, Topic] = field(default_factory=dict)
    registry: Registry | None = None
    models_problem: str | None = None
    round_trip_s: float = 0.0
    redis_problem: str | None = None
    said: Mapping[str, Said] = field(default_factory=dict)
    owner: str | None = None
    is_whole: bool = False
    beacons: Mapping[int, Beacon] = field(default_factory=dict)
    scored: Mapping[int, Scored] = field(default_factory=dict)
    behind: Mapping[int, Behind] = field(default_factory=dict)
    sizes: Mapping[int, Sizes] = field(default_factory=dict)
    known: int = -1


async def gather(settings: Settings, registry: Registry | None = None) -> Facts:
    """Return what can be found out. `registry`: of somebody who follows the models' log; None: the log is read."""
    found: dict[str, Any] = {"registry": registry}
    for find in (_kafka, _models, _redis):
        found |= await find(settings, found)
    return Facts(now_ms=time.time_ns() // 1_000_000, **found)


async def _kafka(settings: Settings, _: Mapping[str, Any]) -> dict[str, Any]:
    names = (settings.topic, settings.changelog_topic, settings.models_topic)
    try:
        async with asyncio.timeout(30):
            return await _topics(settings.kafka, names)
    except TimeoutError:
        return {"kafka_problem": f"no answer from {settings.kafka} within 30 s. Next: check the brokers"}
    except (KafkaError, OSError) as error:
        return {"kafka_problem": settings.kafka.said(error)}


async def _topics(kafka: Kafka, names: tuple[str, ...]) -> dict[str, Any]:
    admin, consumer = kafka.admin(), kafka.consumer()
    try:
        await admin.start()
        await consumer.start()
        existing = set(await admin.list_topics())  # asking for a missing topic may create it
        cluster = await admin.describe_cluster()
        topics = {}
        for name in sorted(existing & set(names)):
            [described] = await admin.describe_topics([name])
            n = len(described["partitions"])
            partitions = [TopicPartition(name, partition) for partition in range(n)]
            ends, begins = await consumer.end_offsets(partitions), await consumer.beginning_offsets(partitions)
            said = await _settings_of(admin, name)
            topics[name] = Topic(
                n,
                said.get("cleanup.policy"),
                {tp.partition: end for tp, end in ends.items()},
                {tp.partition: begin for tp, begin in begins.items()},
                min([len(part["replicas"]) for part in described["partitions"]], default=1),
                int(said["min.insync.replicas"]) if "min.insync.replicas" in said else None,
                await _expiring(consumer, partitions, said),
            )
        return {
            "brokers": len(cluster["brokers"]),
            "cluster": cluster.get("cluster_id") or UNTOLD,
            "topics": topics,
        }
    finally:
        await consumer.stop()
        await admin.close()


async def _settings_of(admin: Any, topic: str) -> Mapping[str, str]:
    try:
        [response] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {entry[0]: entry[1] for resource in response.resources for entry in resource[4]}
    except (KafkaError, AttributeError, IndexError, TypeError, ValueError):
        return {}  # an old broker, the embedded one, or this user may not ask


async def _expiring(consumer: Any, partitions: list[TopicPartition], said: Mapping[str, str]) -> dict[int, int]:
    """Return what the attribute of Topic says. Nothing expires without a retention time."""
    retention_ms = int(said.get("retention.ms", -1))
    if retention_ms < 0 or "delete" not in said.get("cleanup.policy", ""):
        return {}
    before_ms = time.time_ns() // 1_000_000 - int(EXPIRING * retention_ms)
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, max(0, before_ms)))
    ends = await consumer.end_offsets(partitions)
    return {tp.partition: ends[tp] if at is None else at.offset for tp, at in found.items()}


async def _models(settings: Settings, found: Mapping[str, Any]) -> dict[str, Any]:
    if settings.models_topic not in found.get("topics", ()):
        return {"registry": None}  # reading a missing topic would create it
    if found["registry"] is not None:
        return {}
    try:
        models_log = ModelsLog(settings.kafka, settings.models_topic, settings.replication_factor)
        return {"registry": await models_log.read()}
    except (ModelsLogError, KafkaError) as error:
        return {"models_problem": str(error)}


async def _redis(settings: Settings, _: Mapping[str, Any]) -> dict[str, Any]:
    try:
        round_trip_s = await asyncio.to_thread(measure, settings.redis_url)
        async with aclosing(Glance(settings.redis_url, settings.keys)) as glance:
            return {"round_trip_s": round_trip_s, "said": await _said(glance)} | await told(glance)
    except REDIS_FAULTS as error:
        return {"redis_problem": str(error) or type(error).__name__}


#: What `told` raises.
REDIS_FAULTS = (RedisUnavailable, RedisFault, WireError, ReplyError, KeyspaceError, ValueError, OSError)


async def told(glance: Glance) -> dict[str, Any]:
    """Return what the small keys of an installation tell, as attributes of Facts. Raises REDIS_FAULTS."""
    look = await glance.partitions.look()
    return {
        "owner": await owner_of(glance.calls),
        "is_whole": look.epoch,
        "beacons": look.beacons,
        "scored": await glance.partitions.scored(),
        "behind": await glance.partitions.behind(),
        "sizes": await glance.partitions.sizes(),
        "known": await glance.readers.known(),
    }


async def _said(glance: Glance) -> Mapping[str, Said]:
    try:
        return await ask(glance.calls, lambda: time.time_ns() // 1_000_000)
    except (NotPermitted, RedisFault, ValueError):
        return {}
