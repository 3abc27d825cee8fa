"""Is the worker alive, is it ready, and if not: what is wrong and what to do. Values in, values out.

Laws:
1. Alive means that the event loop turns. Nothing outside the process can make a worker not alive: a restart would
   not help, and restarting all workers because Redis is down would add an outage to an outage.
2. Ready means that this worker's members are right in Redis and stay so. It has its partitions, and their state is
   recovered and in Redis. Kafka and Redis answer, no partition is held, and it finishes what it has to do.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from memberstream.models.wording import counted, named
from memberstream.stream.partition.transactions import HANGING_S
from memberstream.stream.process.vitals import DEAD_AFTER_S, Vitals, is_stalled


class Check(NamedTuple):
    """One line of a health answer. `problem` and `next` are empty if it is ok. `detail` may say how far it is."""

    name: str
    ok: bool
    detail: str = ""
    problem: str = ""
    next: str = ""


def alive(vitals: Vitals) -> list[Check]:
    """Return the checks of /healthz."""
    silent_s = vitals.loop_silent_s
    if silent_s <= DEAD_AFTER_S:
        return [Check("event_loop", True)]
    return [
        Check(
            "event_loop",
            False,
            problem=f"it hasn't turned for {silent_s:.0f} s (limit {DEAD_AFTER_S:g} s)",
            next="restart the worker; before that, `py-spy dump` shows where it hangs. Nothing is lost by kill -9",
        )
    ]


def ready(vitals: Vitals, stalled_s: float, stall_limit_s: float) -> list[Check]:
    """Return the checks of /readyz. `stalled_s`: of `StallClock`."""
    return [
        *alive(vitals),
        _kafka(vitals),
        _redis(vitals),
        _surroundings(vitals),
        _models(vitals),
        _tasks(vitals),
        _assigned(vitals),
        _recovered(vitals),
        _held(vitals),
        _topics(vitals),
        _transactions(vitals),
        _rebuilt(vitals),
        _scored(vitals),
        _progress(stalled_s, stall_limit_s),
    ]


def _kafka(vitals: Vitals) -> Check:
    if vitals.kafka_problem is None:
        return Check("kafka", True)
    why, _, action = vitals.kafka_problem.partition(". Next: ")
    return Check(
        "kafka",
        False,
        problem=f"unreachable for {vitals.kafka_down_s:.0f} s: {why}",
        next=f"{action or 'look at the brokers'}; the worker carries on by itself when they are back",
    )


def _redis(vitals: Vitals) -> Check:
    if vitals.redis_problem is None:
        return Check("redis", True)
    return Check(
        "redis",
        False,
        problem=f"takes no writes for {vitals.redis_down_s:.0f} s: {vitals.redis_problem}",
        next="repair Redis; the worker waits, commits nothing, and carries on by itself",
    )


def _models(vitals: Vitals) -> Check:
    if vitals.models_problem is None and vitals.models_unreadable is not None and vitals.kafka_problem is None:
        return Check(
            "models_log",
            False,
            problem=f"can't be read: {vitals.models_unreadable}",
            next="see the brokers, and this user's rights; counting, deletes and new partitions wait until it can",
        )
    if vitals.models_problem is None:
        return Check("models_log", True)
    return Check(
        "models_log",
        False,
        problem=f"lost for {vitals.models_lost_s:.0f} s: {vitals.models_problem}",
        next='bring the topic back, or begin it anew: docs/operations.md, "The models\' log is lost". Until then this '
        "worker goes by the models that it knows, and takes no partition if it knows none",
    )


def _tasks(vitals: Vitals) -> Check:
    if not vitals.tasks_down:
        return Check("tasks", True)
    return Check(
        "tasks",
        False,
        problem="; ".join(f"{task} is down for {down_s:.0f} s and is begun again: {why}"
                          for task, down_s, why in vitals.tasks_down),
        next="wait half a minute; if it goes on, restart the worker and report what its log says about the task",
    )  # fmt: skip


def _assigned(vitals: Vitals) -> Check:
    if vitals.partitions is None:
        return Check(
            "assigned",
            False,
            problem="the group hasn't given this worker its partitions yet",
            next="wait for the rebalance; if it lasts longer than a minute, look for a worker that hangs",
        )
    if not vitals.partitions:
        return Check("assigned", True, "no partitions: a spare worker")
    return Check("assigned", True, f"partitions {', '.join(map(str, sorted(vitals.partitions)))}")


def _recovered(vitals: Vitals) -> Check:
    if not vitals.is_recovering:
        return Check("recovered", True)
    if vitals.to_recover is None:
        problem = "state is being recovered; its size isn't known yet"
    else:
        problem = f"{vitals.recovered} of {vitals.recovered + vitals.to_recover} changelog records applied"
    return Check("recovered", False, problem=problem, next="wait; the log shows how fast it is")


def _held(vitals: Vitals) -> Check:
    if not vitals.held:
        return Check("held", True)
    held = sorted(vitals.held.items())
    problems = [f"partition {p} is held since {_utc(hold.since_ms)}: {hold.why}" for p, hold in held]
    return Check("held", False, problem="; ".join(problems), next="; ".join(dict.fromkeys(h.next for _, h in held)))


def _topics(vitals: Vitals) -> Check:
    return _listed("topics", vitals.topics)


def _surroundings(vitals: Vitals) -> Check:
    problems = tuple((what, next_) for what, next_, _ in vitals.surroundings)
    if any(falsifies for *_, falsifies in vitals.surroundings):
        return _listed("surroundings", problems)
    return Check("surroundings", True, " ".join(f"{what}. Next: {next_}." for what, next_ in problems))


def _listed(name: str, problems: tuple[tuple[str, str], ...]) -> Check:
    if not problems:
        return Check(name, True)
    problem, action = ("; ".join(dict.fromkeys(texts)) for texts in zip(*problems, strict=True))
    return Check(name, False, problem=problem, next=action)


def _transactions(vitals: Vitals) -> Check:
    if not vitals.transactions:
        return Check("transactions", True)
    said = "; ".join(one.problem(open_s) for one, open_s in vitals.transactions)
    hanging = [one for one, open_s in vitals.transactions if open_s >= HANGING_S]
    if not hanging:
        return Check("transactions", True, said)
    return Check("transactions", False, problem=said, next="; ".join(one.next for one in hanging))


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _rebuilt(vitals: Vitals) -> Check:
    if not vitals.rebuilding:
        return Check("rebuilt", True)
    remaining = sum(n for _, n in vitals.rebuilding)
    return Check(
        "rebuilt",
        False,
        problem=f"still to be written to Redis: about {counted(remaining, 'member')} of "
        f"{counted(len(vitals.rebuilding), 'partition')}",
        next="wait; the log shows how fast it is",
    )


def _scored(vitals: Vitals) -> Check:
    unscored = {partition: n for partition, n in vitals.unscored.items() if n}
    if not unscored:
        counting = sorted(partition for partition, n in vitals.unscored.items() if n is None)
        detail = f"members of {named('partition', counting)} are being counted" if counting else ""
        return Check("scored", True, detail)
    return Check(
        "scored",
        False,
        problem=f"{counted(sum(unscored.values()), 'member lacks', 'members lack')} a version that "
        f"{named('partition', sorted(unscored))} had been scored with; for it readers are told `rebuilding`",
        next="wait: the worker looks for them and scores them, and the log says how many. Please report that log",
    )


def _progress(stalled_s: float, stall_limit_s: float) -> Check:
    if not is_stalled(stalled_s, stall_limit_s):
        return Check("progress", True)
    return Check(
        "progress",
        False,
        problem=f"stalled: there is work and nothing was finished for {stalled_s:.0f} s",
        next=f"wait: after {stall_limit_s:g} s the worker ends and is started again. Its log shows where it hangs: "
        "please report that",
    )
