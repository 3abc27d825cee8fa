"""What must hold in the broker before the worker joins: source topic, changelog, and the topics it writes to.

A missing source topic is waited for; then it is an error. In a fresh installation the topic is often created seconds
after the worker, and failing at once would restart the worker again and again. Waiting for ever would hide a misspelt
name. The topic is never created here: its number of partitions decides where every member's state lives, and the
operator decides that.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from time import monotonic
from typing import Any, NamedTuple

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from memberstream.models.member import MAX_STATE_BYTES
from memberstream.models.wording import counted
from memberstream.stream.faust_batch.changelog import BATCH_BYTES
from memberstream.stream.faust_batch.errors import StartError
from memberstream.stream.faust_batch.topics import Topics
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.kafka.policies import cleanup_policies
from memberstream.stream.kafka.topic_id import topic_id
from memberstream.stream.partition.changelog_topic import CONFIGS as CHANGELOG_CONFIGS
from memberstream.stream.partition.changelog_topic import FRAME_BYTES, MESSAGE_BYTES
from memberstream.stream.partition.skip_log import CONFIGS as SKIP_CONFIGS

log = logging.getLogger(__name__)
#: Bytes that a dead letter takes beyond the record's own: the headers that say why, and the framing of its batch.
LETTER_BYTES = 65_536


class Prepared(NamedTuple):
    """What the broker says of the topics. `largest`: bytes of the largest state value that the changelog takes."""

    partition_count: int
    topic_id: bytes
    largest: int


async def prepare_topics(kafka: Kafka, topics: Topics, replication_factor: int, wait_s: float) -> Prepared:
    """Check and create what must be there; waits so long for a broker and the source topic. Raises StartError."""
    deadline = monotonic() + wait_s
    admin = await _connect(kafka, deadline)
    try:
        count = await _source_partitions(admin, kafka, topics.source, deadline)
        found = await topic_id(admin._client, topics.source)
        if not found:
            log.info(
                "this broker gives topics no id: that %s was deleted and created again shows only by where it ends. "
                "Next: nothing, unless you do that; then raise MEMBERSTREAM_TOPIC_EPOCH",
                topics.source,
            )
        existing = set(await admin.list_topics())
        create = partial(_create, admin, existing, replication_factor)
        await create(topics.changelog, count, CHANGELOG_CONFIGS)
        # A dead letter is the whole record with added headers: what the source topic takes must fit there, too.
        sizes = await _settings(admin, topics.source)
        most = max(MESSAGE_BYTES, int(sizes.get("max.message.bytes", 0)) + LETTER_BYTES)
        for topic, configs in topics.created.items():
            await create(topic, count, {"max.message.bytes": str(most), **configs})
        if topics.skips is not None:
            await create(topics.skips, 1, dict(SKIP_CONFIGS))
        largest = await _check_changelog(admin, kafka, topics, count)
        await _check_policies(admin, kafka, topics)
        return Prepared(count, found, largest)
    finally:
        await admin.close()


async def _settings(admin: Any, topic: str) -> dict[str, str]:
    """Return a topic's settings; none if the broker doesn't tell them."""
    try:
        responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        resources = [resource for response in responses for resource in response.resources]
        return {entry[0]: entry[1] for resource in resources for entry in resource[4]}
    except (KafkaError, AttributeError, IndexError, TypeError, ValueError) as error:
        log.info("the broker doesn't tell the settings of %s (%s): not checked", topic, type(error).__name__)
        return {}


async def _connect(kafka: Kafka, deadline: float) -> Any:
    while True:
        admin = kafka.admin(client_id="memberstream")
        try:
            await admin.start()
            return admin
        except KafkaError as error:
            await admin.close()
            if monotonic() > deadline:
                raise StartError(kafka.said(error)) from error
            log.warning("waiting for Kafka: %s", kafka.said(error))
            await asyncio.sleep(1.0)


async def _source_partitions(admin: Any, kafka: Kafka, topic: str, deadline: float) -> int:
    said = 0.0
    while topic not in await admin.list_topics():  # asks for all topics: asking for one may create it
        if monotonic() > deadline:
            raise StartError(
                f"the topic {topic} doesn't exist. Next: create it (kafka-topics.sh --bootstrap-server "
                f"{kafka.bootstrap[0]} --create --topic {topic} --partitions 8), correct its name, or allow "
                "this user to see it."
            )
        if monotonic() - said > 5:
            log.warning("waiting for the topic %s to be created (or for this user's right to see it)", topic)
            said = monotonic()
        await asyncio.sleep(0.25)
    return await _partitions(admin, topic)


async def _partitions(admin: Any, topic: str) -> int:
    for _ in range(40):  # a topic made a moment ago may have no leader yet
        (described,) = await admin.describe_topics([topic])
        if not described["error_code"] and described["partitions"]:
            return len(described["partitions"])
        await asyncio.sleep(0.25)
    raise StartError(f"the topic {topic} has no partitions with a leader. Next: look at the broker's log.")


async def _create(
    admin: Any, existing: set[str], replication: int, topic: str, partitions: int, configs: dict[str, str]
) -> None:
    if topic in existing:
        return
    new = NewTopic(name=topic, num_partitions=partitions, replication_factor=replication, topic_configs=configs)
    try:
        response = await admin.create_topics([new])
        for _, code, *reason in response.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:  # another worker was first
                raise StartError(
                    f"can't create the topic {topic}: {for_code(code).__name__} {reason[0] if reason else ''}. Next: "
                    f"create it yourself ({counted(partitions, 'partition')}, {configs or 'default settings'}), allow "
                    f"this user to, or lower the replication factor ({replication}) to the number of brokers."
                )
    except TopicAlreadyExistsError:
        return
    log.info("topic %s created with %s", topic, counted(partitions, "partition"))


async def _check_changelog(admin: Any, kafka: Kafka, topics: Topics, partitions: int) -> int:
    """Check the changelog. Returns how many bytes the largest state value may have."""
    topic = topics.changelog
    found = await _partitions(admin, topic)
    if found != partitions:
        raise StartError(
            f"{topics.source} has {counted(partitions, 'partition')} and its changelog {topic} {found}: members "
            "have moved to other partitions than their state. Next: replay the topic under a new group name."
        )
    settings = await _settings(admin, topic)
    takes = int(settings.get("max.message.bytes", MESSAGE_BYTES))
    if takes < BATCH_BYTES + FRAME_BYTES:
        raise StartError(
            f"the changelog {topic} takes batches of {takes} bytes, workers send up to {BATCH_BYTES + FRAME_BYTES}. "
            f"Next: kafka-configs.sh --bootstrap-server {kafka.bootstrap[0]} --alter --topic {topic} "
            f"--add-config max.message.bytes={MESSAGE_BYTES}"
        )
    if takes < MESSAGE_BYTES:
        log.warning(
            "the changelog %s takes records of %d bytes: events that make a member's state larger are refused "
            "(too_large). Next: kafka-configs.sh --bootstrap-server %s --alter --topic %s --add-config "
            "max.message.bytes=%d, then start the workers again",
            topic, takes, kafka.bootstrap[0], topic, MESSAGE_BYTES,
        )  # fmt: skip
    return min(takes - FRAME_BYTES, MAX_STATE_BYTES)


async def _check_policies(admin: Any, kafka: Kafka, topics: Topics) -> None:
    policies = await cleanup_policies(admin._client, topics.guarded)
    if untold := [topic for topic in topics.guarded if topic not in policies]:
        log.info("the broker doesn't tell the settings of %s: not checked", ", ".join(untold))
    if problems := topics.lossy(policies, kafka.bootstrap[0]).values():
        raise StartError("\n".join(f"{problem.what}. Next: {problem.next}" for problem in problems))
