"""Facts judged: each check is one function, and says what to do if something is wrong. Values in, values out.

Law: a check whose facts can't be known is left out. Another check tells what keeps them from being known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from memberstream.models.wording import counted, named
from memberstream.stream.doctor.facts import EXPIRING, Facts, Topic
from memberstream.stream.kafka.cluster_id import UNTOLD
from memberstream.stream.keyspace.formats import BEACON_STALE_MS, Behind
from memberstream.stream.partition.holds import held_by_now
from memberstream.stream.process.health import Check
from memberstream.stream.projection.calls import members_per_second, next_of_another
from memberstream.stream.projection.installation import id_of
from memberstream.stream.projection.surroundings import judge
from memberstream.stream.settings import Settings, variable
from memberstream.stream.wire.endpoint import parse_url
from memberstream.stream.wire.round_trip import SLOW_S, advice

#: Records that a partition may be behind without being mentioned: some seconds of a worker's work.
BEHIND = 100_000


def examine(settings: Settings, facts: Facts) -> list[Check]:
    """Return all checks that can be made, in the order in which to act."""
    checks = CHECKS
    if (ours := installation(settings, facts)) is not None and not ours.ok:
        # What Redis tells of partitions and steps is another installation's: of ours nothing is known there.
        facts = replace(facts, beacons={}, scored={}, behind={}, known=-1)
        checks = tuple(check for check in CHECKS if check is not workers)
    return [found for check in checks if (found := check(settings, facts)) is not None]


def failed(checks: Iterable[Check]) -> bool:
    return any(not check.ok for check in checks)


def kafka(settings: Settings, facts: Facts) -> Check | None:
    if facts.kafka_problem is not None:
        problem, _, next_ = facts.kafka_problem.partition(". Next: ")
        return Check("kafka", False, problem=problem, next=next_ or "see the brokers' logs")
    return Check("kafka", True, counted(facts.brokers, "broker"))


def topic(settings: Settings, facts: Facts) -> Check | None:
    if facts.kafka_problem is not None:
        return None
    name = settings.topic
    found = facts.topics.get(name)
    if found is None:
        next_ = f'create it (docs/operations.md, "Topics"), or correct {variable("topic")}'
        return Check("topic", False, problem=f"{name} doesn't exist", next=next_)
    if found.policy is not None and "compact" in found.policy:
        problem = f"{name} has cleanup.policy={found.policy}: patches and appends of the same member are removed"
        return Check("topic", False, problem=problem, next=_set_policy(settings, name, "delete"))
    beacons = facts.beacons
    late = [p for p, offset in sorted(found.expiring.items()) if p in beacons and beacons[p].next_offset < offset]
    if late:
        problem = (
            f"{name}: records of {named('partition', late)} have waited for {EXPIRING:.0%} of the retention time: the "
            "broker will remove them unread"
        )
        next_ = "run more workers, or see what holds these up; until then " + _alter(settings, name, "retention.ms=-1")
        return Check("topic", False, problem=problem, next=next_)
    return Check("topic", True, _described(name, found))


def changelog(settings: Settings, facts: Facts) -> Check | None:
    if facts.kafka_problem is not None:
        return None
    name, of = settings.changelog_topic, facts.topics.get(settings.topic)
    found = facts.topics.get(name)
    if found is None:
        if not facts.beacons:
            return Check("changelog", True, f"{name} doesn't exist yet: no worker has run")
        problem, next_ = (
            f"{name} is gone, though workers have run",
            'docs/operations.md, "Backups": see what became of it',
        )
        return Check("changelog", False, problem=problem, next=next_)
    if found.policy not in (None, "compact"):
        problem = f"{name} has cleanup.policy={found.policy}: state of quiet members is removed"
        return Check("changelog", False, problem=problem, next=_set_policy(settings, name, "compact"))
    if of is not None and of.n_partitions != found.n_partitions:
        problem = f"{name} has {counted(found.n_partitions, 'partition')}, {settings.topic} {of.n_partitions}"
        next_ = 'docs/operations.md, "A topic re-created or re-partitioned"'
        return Check("changelog", False, problem=problem, next=next_)
    return Check("changelog", True, _described(name, found))


def copies(settings: Settings, facts: Facts) -> Check | None:
    if facts.kafka_problem is not None:
        return None
    unsafe = [name for name, found in facts.topics.items() if found.copies > 1 and (found.in_sync or 2) < 2]
    if unsafe:
        problem = (
            f"{', '.join(unsafe)}: a record counts as written when one copy has it, though there are more: it is lost "
            "with that broker"
        )
        next_ = "; ".join(_alter(settings, name, "min.insync.replicas=2") for name in unsafe)
        return Check("copies", False, problem=problem, next=next_)
    least = min([found.copies for found in facts.topics.values()], default=0)
    return Check("copies", True, f"{counted(least, 'copy', 'copies')} of each topic" if least else "")


def models_log(settings: Settings, facts: Facts) -> Check | None:
    if facts.kafka_problem is not None:
        return None
    name, lost = settings.models_topic, 'docs/operations.md, "The models\' log is lost"'
    if facts.models_problem is not None:
        return Check("models_log", False, problem=facts.models_problem, next="see the brokers, and this user's rights")
    registry = facts.registry
    if registry is None and facts.known < 0:
        return Check("models_log", True, f"{name} doesn't exist yet: nothing was published")
    end = -1 if registry is None else registry.offset
    if end < facts.known:
        problem = f"{name} ends at step {end}, but readers know of step {facts.known}: it was lost"
        return Check("models_log", False, problem=problem, next=lost)
    if registry is None:
        return None
    if not registry.is_complete:
        problem, next_ = (
            f"{name} was begun anew and isn't complete",
            "memberstream model complete-log, when everything is published again",
        )
        return Check("models_log", False, problem=problem, next=next_)
    policy = facts.topics[name].policy if name in facts.topics else None
    if policy not in (None, "compact"):
        problem = f"{name} has cleanup.policy={policy}: old steps are removed, and models with them"
        return Check("models_log", False, problem=problem, next=_set_policy(settings, name, "compact"))
    live = ", ".join(f"{model}@{version}" for model, version in sorted(registry.live.items())) or "none"
    n = counted(len(registry.scored()), "version is", "versions are")
    return Check("models_log", True, f"{n} scored; live: {live}")


def set_aside(settings: Settings, facts: Facts) -> Check | None:
    if facts.registry is None:
        return None
    if not facts.registry.n_set_aside:
        return Check("set_aside", True)
    last = "; ".join(f"offset {one.offset}: {one.why}" for one in list(facts.registry.set_aside)[-5:])
    n = counted(facts.registry.n_set_aside, "record of it is no step", "records of it are no steps")
    problem = f"{settings.models_topic}: {n}: {last}"
    next_ = 'find out who writes there and take that right away (docs/operations.md, "Models"); nothing else is wrong'
    return Check("set_aside", False, problem=problem, next=next_)


def redis(settings: Settings, facts: Facts) -> Check | None:
    if facts.redis_problem is not None:
        problem, _, next_ = facts.redis_problem.partition(". Next: ")
        return Check("redis", False, problem=problem, next=next_ or f"repair Redis, or correct {variable('redis_url')}")
    took = f"answers within {1000 * facts.round_trip_s:.2f} ms"
    if facts.round_trip_s >= SLOW_S:
        most = members_per_second(parse_url(settings.redis_url), facts.round_trip_s)
        problem, _, next_ = advice(facts.round_trip_s, most).partition(" Next: ")
        return Check("redis", False, problem=problem, next=next_)
    return Check("redis", True, took)


def installation(settings: Settings, facts: Facts) -> Check | None:
    if facts.redis_problem is not None or (facts.kafka_problem is not None and facts.cluster == UNTOLD):
        return None
    own, owner = id_of(settings.group, facts.cluster), facts.owner
    if owner is not None and owner != own:
        problem = f"the keys {settings.redis_prefix}:* are those of the installation {owner}, this is {own}"
        return Check("installation", False, problem=problem, next=next_of_another(owner).removeprefix("Next: "))
    return Check("installation", True, own if owner else f"{own}; no keys {settings.redis_prefix}:* yet")


def surroundings(settings: Settings, facts: Facts) -> Check | None:
    if facts.redis_problem is not None:
        return None
    if not facts.said:
        return Check("surroundings", True, "Redis may not be asked: its user lacks +info")
    if problems := [problem for where, said in facts.said.items() for problem in judge(said, where)]:
        what, next_ = ("; ".join(dict.fromkeys(texts)) for texts in zip(*[one[:2] for one in problems], strict=True))
        return Check("surroundings", False, problem=what, next=next_)
    return Check("surroundings", True, ", ".join(sorted({said.version for said in facts.said.values()})))


def workers(settings: Settings, facts: Facts) -> Check | None:
    found = facts.topics.get(settings.topic)
    if facts.redis_problem is not None or found is None:
        return None
    limit_ms = facts.now_ms - BEACON_STALE_MS
    told = {partition for partition, beacon in facts.beacons.items() if beacon.written_ms >= limit_ms}
    told.update(held_by_now(facts.beacons, facts.behind, facts.now_ms))
    without = [partition for partition in range(found.n_partitions) if partition not in told]
    if without:
        problem = f"no worker has told of {named('partition', without)} for {BEACON_STALE_MS // 1000} s"
        next_ = "start workers; if they run, each one's /readyz says what it waits for"
        return Check("workers", False, problem=problem, next=next_)
    return Check("workers", True, f"{counted(found.n_partitions, 'partition has', 'partitions have')} one")


def held(settings: Settings, facts: Facts) -> Check | None:
    found = facts.topics.get(settings.topic)
    if facts.redis_problem is not None or found is None or not facts.beacons:
        return None
    partitions = held_by_now(facts.beacons, facts.behind, facts.now_ms)
    if not partitions:
        return Check("held", True)
    problem = f"the records of {named('partition', partitions)} wait for somebody to act; the others go on"
    first = partitions[0]
    at, begins = facts.beacons[first].next_offset, found.begins.get(first, 0)
    if at < begins:
        problem = f"{problem}. Offsets {at} to {begins - 1} of partition {first} are gone from the topic"
        next_ = f'/readyz of the worker of partition {first} says what to do (docs/operations.md, "A gap in the topic")'
    else:
        next_ = (
            f"/readyz of the worker of partition {first} says why; `memberstream events skip {first} {at}` shows the "
            "record, asks, and sets it aside"
        )
    return Check("held", False, problem=problem, next=next_)


def whole(settings: Settings, facts: Facts) -> Check | None:
    if facts.redis_problem is not None or not facts.beacons:
        return None
    if not facts.is_whole:
        problem, next_ = (
            "Redis isn't whole: readers are told `rebuilding`",
            "wait for the workers; /readyz says how far",
        )
        return Check("whole", False, problem=problem, next=next_)
    return Check("whole", True)


def scored(settings: Settings, facts: Facts) -> Check | None:
    found = facts.topics.get(settings.topic)
    if facts.redis_problem is not None or facts.registry is None or found is None or not facts.beacons:
        return None
    asked = max((entry.offset for entry in facts.registry.scored()), default=-1)
    told = facts.scored
    refused = sorted({offset for one in told.values() for offset in one.refused})
    behind = [p for p in range(found.n_partitions) if p not in told or told[p].offset < asked]
    if refused:
        problem = f"workers can't use what {named('step', refused)} of the models' log published"
        return Check("scored", False, problem=problem, next="update the workers; their logs say why they can't")
    if behind:
        n = sum(told[p].remaining for p in behind if p in told)
        problem = f"not scored with all versions yet: {named('partition', behind)}, about {counted(n, 'member')} left"
        return Check("scored", False, problem=problem, next="wait; memberstream_backfill_remaining_members falls")
    now = _behind(facts)
    if lacking := {p: one.unscored for p, one in now.items() if one.unscored}:
        n_lacking = counted(sum(lacking.values()), "member lacks", "members lack")
        problem = f"{n_lacking} a version, in {named('partition', sorted(lacking))}"
        next_ = "wait: the workers look for them and score them, and their logs say how many. Please report it"
        return Check("scored", False, problem=problem, next=next_)
    if uncounted := sorted(p for p, one in now.items() if one.members is None):
        return Check(
            "scored", True, f"all versions; members of {named('partition', uncounted)} are still being counted"
        )
    if len(now) < found.n_partitions:
        return Check("scored", True, "all members, with all versions")
    n_members = sum(one.members or 0 for one in now.values())
    return Check("scored", True, f"{counted(n_members, 'member')}, with all versions")


def lag(settings: Settings, facts: Facts) -> Check | None:
    found = facts.topics.get(settings.topic)
    if facts.redis_problem is not None or found is None or not facts.beacons:
        return None
    # Some offsets have no record to apply: ends of transactions, and records that were aborted. Workers know which.
    waiting = {p: max(0, end - facts.beacons[p].next_offset) for p, end in found.ends.items() if p in facts.beacons}
    waiting |= {p: one.waiting for p, one in _behind(facts).items() if one.waiting is not None}
    total = sum(waiting.values())
    if worst := [p for p, n in sorted(waiting.items()) if n > BEHIND]:
        problem = f"about {counted(total, 'record waits', 'records wait')}, most of them in {named('partition', worst)}"
        return Check(
            "lag",
            False,
            problem=problem,
            next="wait if the number falls; otherwise run more workers, or see which stage is slow",
        )
    return Check("lag", True, f"about {counted(total, 'record waits', 'records wait')}")


CHECKS: tuple[Callable[[Settings, Facts], Check | None], ...] = (
    *(kafka, topic, changelog, copies, models_log, set_aside),
    *(redis, installation, surroundings, workers, held, whole, scored, lag),
)


def _behind(facts: Facts) -> dict[int, Behind]:
    """Return what workers tell now. What a worker told that is gone only says how far it was then."""
    return {p: one for p, one in facts.behind.items() if one.written_ms >= facts.now_ms - BEACON_STALE_MS}


def _described(name: str, found: Topic) -> str:
    policy = "" if found.policy is None else f", cleanup.policy={found.policy}"
    return f"{name}: {counted(found.n_partitions, 'partition')}{policy}"


def _set_policy(settings: Settings, name: str, policy: str) -> str:
    return _alter(settings, name, f"cleanup.policy={policy}")


def _alter(settings: Settings, name: str, setting: str) -> str:
    return (
        f"kafka-configs.sh --bootstrap-server {settings.kafka_bootstrap[0]} --alter --topic {name} "
        f"--add-config {setting}"
    )
