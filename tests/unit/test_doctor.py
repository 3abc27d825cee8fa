"""`memberstream doctor`: each thing that can be wrong is one check, which says what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memberstream.models.log_record import NOTHING
from memberstream.models.registry import Registry
from memberstream.stream.doctor.checks import BEHIND, CHECKS, examine
from memberstream.stream.doctor.facts import Facts, Topic
from memberstream.stream.keyspace.formats import Beacon, Behind, Scored
from memberstream.stream.projection.surroundings import Said
from memberstream.stream.settings import Settings

SETTINGS = Settings(topic="docs", group="g")
NOW_MS = 1_000_000


def registry(*values: bytes | None) -> Registry:
    made = Registry()
    for offset, value in enumerate(values):
        made.take(offset, value)
    return made


PUBLISHED = (
    b'{"action":"publish","name":"a","version":1,"at_ms":1,"actor":"x","definition":{"name":"a","version":1,'
    b'"model":{"type":"logistic"},"clusters":[]}}'
)
TOPICS = {
    "docs": Topic(2, "delete", {0: 10, 1: 10}),
    SETTINGS.changelog_topic: Topic(2, "compact"),
    SETTINGS.models_topic: Topic(1, "compact"),
}
SAID = Said("valkey 9.0.1", "noeviction", 200, 10, 0, True, 5)
WELL = Facts(
    NOW_MS,
    brokers=3,
    cluster="k",
    owner="g@k",
    topics=TOPICS,
    registry=registry(PUBLISHED),
    round_trip_s=0.001,
    said={"here": SAID},
    is_whole=True,
    beacons={p: Beacon(10, NOW_MS, NOW_MS) for p in (0, 1)},
    scored={p: Scored(0, 0) for p in (0, 1)},
    behind={p: Behind(0, 4, 0, NOW_MS) for p in (0, 1)},
    known=0,
)
EXPIRING = Topic(2, "delete", {0: 10, 1: 12}, expiring={0: 10, 1: 12})
# The worker of partition 1 lives and tells what waits, but the partition's beacon stands.
HELD = replace(WELL, beacons={0: Beacon(10, NOW_MS, NOW_MS), 1: Beacon(10, NOW_MS - 40_000, NOW_MS - 40_000)})


def topics(**changed: Topic | None) -> dict[str, Topic]:
    named = {"topic": "docs", "changelog": SETTINGS.changelog_topic, "models": SETTINGS.models_topic}
    return {
        k: v for k, v in (TOPICS | {named[name]: topic for name, topic in changed.items()}).items() if v is not None
    }


def test_a_sound_installation_has_nothing_wrong() -> None:
    """All checks are made, in the order of the list; before anything was done, too."""
    assert [check.name for check in examine(SETTINGS, WELL) if check.ok] == [check.__name__ for check in CHECKS]
    fresh = Facts(NOW_MS, brokers=1, topics={"docs": Topic(2)}, round_trip_s=0.001)
    assert [check.name for check in examine(SETTINGS, fresh) if not check.ok] == ["workers"]


@pytest.mark.parametrize(
    ("facts", "name", "said"),
    [
        (replace(WELL, topics=topics(topic=Topic(2, "compact", {}))), "topic", "patches and appends"),
        (replace(WELL, topics=topics(topic=EXPIRING)), "topic", "partition 1 have waited for 75%"),
        (
            replace(WELL, topics=topics(topic=Topic(2, copies=3, in_sync=1))),
            "copies",
            "docs: a record counts",
        ),
        (replace(WELL, topics=topics(changelog=Topic(2, "compact,delete"))), "changelog", "quiet members"),
        (replace(WELL, topics=topics(changelog=Topic(4, "compact"))), "changelog", "4 partitions, docs 2"),
        (replace(WELL, topics=topics(changelog=None)), "changelog", "is gone"),
        (replace(WELL, topics=topics(models=Topic(1, "delete"))), "models_log", "old steps are removed"),
        (replace(WELL, known=7), "models_log", "readers know of step 7: it was lost"),
        (replace(WELL, registry=None, known=7), "models_log", "ends at step -1"),
        (replace(WELL, registry=registry(PUBLISHED, NOTHING)), "models_log", "isn't complete"),
        (replace(WELL, registry=None, models_problem="no right"), "models_log", "no right"),
        (replace(WELL, registry=registry(PUBLISHED, b"x", None)), "set_aside", "offset 2: a record without a value"),
        (replace(WELL, round_trip_s=0.2), "redis", "Redis answers after 200 ms"),
        (replace(WELL, said={"here": SAID._replace(policy="allkeys-lru")}), "surroundings", "here evicts"),
        (replace(WELL, said={"here": SAID._replace(used=190, maxmemory=200)}), "surroundings", "uses 95%"),
        (replace(WELL, said={"here": SAID._replace(is_saving_well=False)}), "surroundings", "couldn't save"),
        (replace(WELL, said={"here": SAID._replace(version="redis 6.2.7")}), "surroundings", "is redis 6.2.7"),
        (replace(WELL, said={"here": SAID._replace(ahead_ms=600_000)}), "surroundings", "clock is 600 s behind"),
        (
            replace(WELL, owner="prod@1"),
            "installation",
            "the keys ms:* are those of the installation prod@1, this is g@k",
        ),
        (replace(WELL, beacons={0: Beacon(10, NOW_MS, NOW_MS)}), "workers", "partition 1 for 30 s"),
        (replace(WELL, now_ms=NOW_MS + 40_000), "workers", "partitions 0, 1 for 30 s"),
        (HELD, "held", "the records of partition 1 wait for somebody"),
        (
            replace(HELD, topics=topics(topic=Topic(2, "delete", {}, {1: 12}))),
            "held",
            "Offsets 10 to 11 of partition 1",
        ),
        (replace(WELL, is_whole=False), "whole", "rebuilding"),
        (replace(WELL, scored={0: Scored(0, 0), 1: Scored(-1, 5)}), "scored", "versions yet: partition 1, about 5"),
        (replace(WELL, scored={0: Scored(0, 0), 1: Scored(0, 0, (0,))}), "scored", "can't use what step 0 of"),
        (
            replace(WELL, behind=dict(WELL.behind) | {1: Behind(0, 4, 3, NOW_MS)}),
            "scored",
            "lack a version, in partition 1",
        ),
        (replace(WELL, behind=dict(WELL.behind) | {0: Behind(BEHIND + 1, 4, 0, NOW_MS)}), "lag", "partition 0"),
        (
            replace(WELL, behind={}, topics=topics(topic=Topic(2, "delete", {0: 11 + BEHIND, 1: 10}))),
            "lag",
            "partition 0",
        ),
    ],
)
def test_each_trouble_is_one_check(facts: Facts, name: str, said: str) -> None:
    """The others stay ok, so that the answer points at the cause; it says what to do."""
    [wrong] = [check for check in examine(SETTINGS, facts) if not check.ok]
    assert wrong.name == name
    assert said in wrong.problem
    assert wrong.next


def test_what_another_installation_tells_is_not_held_against_this_one() -> None:
    """Before its first worker this one has no changelog and no steps; the other's partitions and steps say nothing."""
    fresh = replace(WELL, owner="prod@1", known=7, registry=None, topics={"docs": Topic(2)}, is_whole=False)
    assert [check.name for check in examine(SETTINGS, fresh) if not check.ok] == ["installation"]
    assert {check.name for check in examine(SETTINGS, fresh)}.isdisjoint({"workers", "held", "whole", "scored", "lag"})


def test_a_held_partition_is_named_with_the_command() -> None:
    """The record that it stands at is what the beacon says; a worker that is gone holds nothing."""

    def advice(facts: Facts) -> dict[str, str]:
        return {check.name: check.next for check in examine(SETTINGS, facts) if not check.ok}

    assert "`memberstream events skip 1 10`" in advice(HELD)["held"]
    gone = replace(HELD, behind=dict(HELD.behind) | {1: Behind(5, 4, 0, NOW_MS - 40_000)})
    assert list(advice(gone)) == ["workers"]


def test_what_workers_tell_counts_while_it_is_fresh() -> None:
    """A topic may end with a transaction's mark, which nobody applies. An older version's workers tell nothing."""

    def said(facts: Facts) -> dict[str, str]:
        return {check.name: check.detail for check in examine(SETTINGS, facts) if check.ok}

    ends = replace(WELL, topics=topics(topic=Topic(2, "delete", {0: 15, 1: 10})))
    assert said(ends)["lag"] == "about 0 records wait"
    assert said(ends)["scored"] == "8 members, with all versions"
    old = replace(ends, behind={p: Behind(7, 4, 3, NOW_MS - 60_000) for p in (0, 1)})
    for facts in (old, replace(ends, behind={})):
        assert said(facts)["lag"] == "about 5 records wait"
        assert said(facts)["scored"] == "all members, with all versions"
    counting = replace(WELL, behind=dict(WELL.behind) | {1: Behind(0, None, None, NOW_MS)})
    assert said(counting)["scored"] == "all versions; members of partition 1 are still being counted"


def test_what_cant_be_known_is_left_out() -> None:
    """Without Kafka or Redis only what the other tells is judged."""
    no_kafka = Facts(NOW_MS, kafka_problem="away", round_trip_s=0.001, is_whole=True, beacons=WELL.beacons)
    assert [(check.name, check.ok) for check in examine(SETTINGS, no_kafka)] == [
        ("kafka", False),
        ("redis", True),
        ("surroundings", True),
        ("whole", True),
    ]
    no_redis = replace(WELL, redis_problem="away", is_whole=False, beacons={}, scored={}, known=-1)
    assert [check.name for check in examine(SETTINGS, no_redis) if not check.ok] == ["redis"]
