"""What must hold in the broker before the worker joins: source topic, changelog, and the topics it writes to.

A missing source topic is waited for, then an error: in a fresh installation the topic is often created seconds after
the worker, so failing at once would be a restart loop for the normal case; waiting for ever would hide a misspelt name.
It is never created here: its partition count decides where every member's state lives, so that is the operator's.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from stream.faust_batch.changelog import CHANGELOG_MESSAGE_BYTES
from stream.faust_batch.errors import StartError
from stream.topic_id import topic_id

if TYPE_CHECKING:
    from stream.faust_batch.app import BatchApp

log = logging.getLogger(__name__)


async def prepare_topics(app: BatchApp) -> int:
    """Returns the number of partitions of the source topic. Raises StartError."""
    deadline = monotonic() + app.source_topic_wait_s
    admin = await _connect(app, deadline)
    try:
        count = await _source_partitions(admin, app, deadline)
        app.topic_id = await topic_id(admin._client, app.source_topic)
        if not app.topic_id:
            log.info(
                "this broker gives topics no id: that %s was deleted and created again shows only by where it ends. "
                "Next: nothing, unless you do that; then raise MEMBERSTREAM_TOPIC_EPOCH",
                app.source_topic,
            )
        topics = set(await admin.list_topics())
        await _create(admin, app, topics, app.changelog_topic, count, {
            "cleanup.policy": "compact",  # retention by time would forget members that are quiet
            "max.message.bytes": str(CHANGELOG_MESSAGE_BYTES),
        })  # fmt: skip
        for topic, configs in app.created_topics.items():
            # A dead letter is the whole record with headers added: what the source took must fit here, too.
            await _create(
                admin, app, topics, topic, count, {"max.message.bytes": str(CHANGELOG_MESSAGE_BYTES), **configs}
            )
        await _check_changelog(admin, app, count)
        return count
    finally:
        await admin.close()


async def _connect(app: BatchApp, deadline: float) -> Any:
    while True:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=app.bootstrap,
            client_id="memberstream",
            **credentials_to_aiokafka_auth(app.conf.broker_credentials, app.conf.ssl_context),
        )
        try:
            await admin.start()
            return admin
        except KafkaError as error:
            await admin.close()
            if monotonic() > deadline:
                raise StartError(
                    f"no Kafka broker answers at {', '.join(app.bootstrap)} ({error}). "
                    "Next: start the broker, or correct the address."
                ) from error
            log.warning("waiting for a Kafka broker at %s", ", ".join(app.bootstrap))
            await asyncio.sleep(1.0)


async def _source_partitions(admin: Any, app: BatchApp, deadline: float) -> int:
    said = 0.0
    while app.source_topic not in await admin.list_topics():  # asking for all: asking for one may create it
        if monotonic() > deadline:
            raise StartError(
                f"the topic {app.source_topic} doesn't exist. Next: create it (kafka-topics.sh --bootstrap-server "
                f"{app.bootstrap[0]} --create --topic {app.source_topic} --partitions 8), or correct its name."
            )
        if monotonic() - said > 5:
            log.warning("waiting for the topic %s to be created", app.source_topic)
            said = monotonic()
        await asyncio.sleep(0.25)
    return await _partitions(admin, app.source_topic)


async def _partitions(admin: Any, topic: str) -> int:
    for _ in range(40):  # a topic made a moment ago may have no leader yet
        (described,) = await admin.describe_topics([topic])
        if not described["error_code"] and described["partitions"]:
            return len(described["partitions"])
        await asyncio.sleep(0.25)
    raise StartError(f"the topic {topic} has no partitions with a leader. Next: look at the broker's log.")


async def _create(
    admin: Any, app: BatchApp, existing: set[str], topic: str, partitions: int, configs: dict[str, str]
) -> None:
    if topic in existing:
        return
    replication = int(app.conf.topic_replication_factor)
    new = NewTopic(name=topic, num_partitions=partitions, replication_factor=replication, topic_configs=configs)
    try:
        response = await admin.create_topics([new])
        for _, code, *reason in response.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:  # another worker was first
                raise StartError(
                    f"can't create the topic {topic}: {for_code(code).__name__} {reason[0] if reason else ''}. Next: "
                    f"create it yourself ({partitions} partitions, {configs or 'default settings'}), allow this user "
                    f"to, or lower the replication factor ({replication}) to the number of brokers."
                )
    except TopicAlreadyExistsError:
        return
    log.info("topic %s created with %d partitions", topic, partitions)


async def _check_changelog(admin: Any, app: BatchApp, partitions: int) -> None:
    topic = app.changelog_topic
    found = await _partitions(admin, topic)
    if found != partitions:
        raise StartError(
            f"{app.source_topic} has {partitions} partitions and its changelog {topic} {found}: members have moved to "
            "other partitions than their state. Next: replay the topic under a new group name."
        )
    try:
        responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        entries = {
            entry[0]: entry[1] for response in responses for resource in response.resources for entry in resource[4]
        }
    except (KafkaError, AttributeError, IndexError, TypeError, ValueError) as error:
        log.info("the broker doesn't tell the settings of %s (%s): not checked", topic, type(error).__name__)
        return
    policy = entries.get("cleanup.policy", "compact")
    if policy != "compact":
        raise StartError(
            f"the changelog {topic} has cleanup.policy={policy}: state of quiet members would be deleted. Next: "
            f"kafka-configs.sh --bootstrap-server {app.bootstrap[0]} --alter --topic {topic} "
            "--add-config cleanup.policy=compact"
        )
