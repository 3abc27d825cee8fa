"""Topics that lose records, or are gone: told at the start and while a worker runs, each with what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.definitions import level
from e2e.foreign import delete_topic, set_policy
from e2e.system import Install, Pair, Sent, System, event
from e2e.test_topic_and_changelog import ended
from e2e.test_transactions import checks, is_level
from servers import ApacheKafka, Broker, KafkaMissing, RedisServer, create_topic, missing

pytestmark = [pytest.mark.kafka, pytest.mark.redis_server]

#: The real command, except that it asks for policies at each look of the probe.
CURIOUS = """
import sys
from memberstream.stream.cli.main import main
from memberstream.stream.faust_batch import topic_watch
topic_watch.POLICIES_EVERY_S = 0.0
sys.argv = ["memberstream", "worker"]
main()
"""


class Curious(System):
    """See CURIOUS."""

    @staticmethod
    def command() -> list[str]:
        return [sys.executable, "-c", CURIOUS]


def document(member: str, x: float = 1) -> Sent:
    return Sent(member.encode(), event("replace", document={"x": x}))


def problem(system: System) -> tuple[str, str]:
    """Return what the check of topics says, and what is to be done."""
    check = checks(system)["topics"]
    return check.get("problem", ""), check.get("next", "")


async def test_a_compacted_topic_is_refused_unless_it_holds_whole_documents(real_pair: Pair, tmp_path: Path) -> None:
    """At the start: an error with the command. While a worker runs: told, and it goes on. Admitted, what isn't whole is
    a dead letter."""
    system = await Curious.create(real_pair, tmp_path, [level()])
    try:
        system.start()
        await system.send([document("m1")])
        await system.applied()
        await set_policy(system, "compact")
        await system.until(lambda: "cleanup.policy=compact" in problem(system)[0], "the policy to be told")
        assert "--add-config cleanup.policy=delete" in problem(system)[1]
        await system.send([document("m2")])
        await system.applied()
        await set_policy(system, "delete")
        await system.until(lambda: is_level(system), "the policy to be right again")
        await set_policy(system, "delete", system.settings.changelog_topic)
        await system.until(lambda: "the changelog" in problem(system)[0], "the changelog's policy to be told")
        await set_policy(system, "compact", system.settings.changelog_topic)
        system.stop()
        await set_policy(system, "compact")
        system.start()
        await ended(system)
        said = system.says().splitlines()[-1]
        assert "MEMBERSTREAM_COMPACTED_SOURCE=whole_documents" in said
        assert "Next: kafka-configs.sh" in said
        system.set(compacted_source="whole_documents")
        system.start()
        patch = Sent(b"m1", event("patch", patch={"x": -1}))
        await system.send([document("m3"), patch, Sent(b"m2", None)])
        await system.applied()
        await system.until(lambda: is_level(system), "ready")
        assert {m: state.document for m, state in (await system.states()).items()} == {"m1": {"x": 1}, "m3": {"x": 1}}
        [letter] = await system.dead_letters()
        assert (letter.value, dict(letter.headers)["reason"]) == (patch.value, b"not_whole")
    finally:
        await system.close()


@pytest.fixture
def creating_kafka(tmp_path: Path) -> Iterator[ApacheKafka]:
    """A broker that creates the topics that somebody asks for, as brokers do unless they are told not to."""
    broker = ApacheKafka(tmp_path / "kafka", settings={"auto.create.topics.enable": "true"})
    try:
        broker.start()
    except KafkaMissing as error:
        missing(str(error))
    yield broker
    broker.stop()


@pytest.mark.long
async def test_a_deleted_topic_is_named(
    creating_kafka: ApacheKafka, redis_server: RedisServer, install: Install
) -> None:
    """Each that a worker needs, also on a broker that creates what is asked for: the worker creates none, is excused
    for finding nothing to do, and goes on when one is there again that holds no state; the source topic made anew stops
    it."""
    system = await install(Pair(Broker("apache", creating_kafka.bootstrap), redis_server), [level()])
    system.set(stall_limit_s=20)
    dead = system.settings.dead_letter_topic
    system.start()
    await system.send([document("m1")])
    await system.applied()
    await delete_topic(system, dead)
    await system.send([Sent(b"m1", b"no event"), document("m2")])
    await system.until(lambda: dead in problem(system)[0], "the topic of dead letters")
    assert checks(system)["kafka"]["ok"]
    await create_topic(creating_kafka.bootstrap, dead, partitions=system.n_partitions)
    await system.applied()
    await delete_topic(system, system.settings.changelog_topic)
    await system.send([document("m3")])
    await system.until(lambda: "state is only on the workers' disks" in problem(system)[1], "the changelog")
    await delete_topic(system, system.settings.topic)
    await system.until(lambda: f"the topic {system.settings.topic} was deleted" in problem(system)[0], "the source")
    assert "re-created" in problem(system)[1]
    assert checks(system)["kafka"]["ok"]
    await create_topic(creating_kafka.bootstrap, system.settings.topic, partitions=system.n_partitions)
    await ended(system)
    assert "TopicChanged" in system.says()
