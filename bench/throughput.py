"""How many events a second, against the peers: the job of bench/job.py on Apache Kafka and Valkey.

    make bench [ONLY=ours,confluent-loop] [ROUNDS=3] [EVENTS_SCALE=0.1] [JSON=1]

Method, caveats and results: bench/README.md. Everybody runs once per round, each round beginning with another one; the
results file is written only by a whole run: all contenders, all events.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from bench import job
from bench.chart import publish
from bench.contenders import CONTENDERS, Contender, InstallError, choose, python_of
from bench.measured_kafka import MeasuredKafka
from bench.outcome import Check, End, Event, ends_of, partition_of
from bench.rig import Servers
from bench.run import Course, RunError
from bench.surroundings import surroundings

ROUNDS = 3
REPORTED = ("events_per_s", "cpu_s_per_100k", "peak_mb", "wrong")


def say(text: str) -> None:
    """Progress; the results alone go to stdout."""
    print(text, file=sys.stderr, flush=True)


def in_short(error: Exception) -> str:
    """What is kept of a failure: what happened, and the last words."""
    lines = str(error).splitlines()
    return " ".join(lines[:1] + lines[1:][-1:])


async def fill(servers: Servers, events: list[Event], ends: dict[bytes, End]) -> str:
    """Send the events to a new topic, each member to the partition that Kafka's producers choose; return its name."""
    async with servers.rig([], job.PARTITIONS) as rig:
        rig.partition = partition_of  # type: ignore[method-assign, assignment]  # as Kafka's own producers choose it
        await rig.send(events)
        for partition, (member, offset) in rig.last.items():
            if ends[member][2:4] != (partition, offset):
                raise SystemExit(
                    f"{member!r}: at {offset} of partition {partition}, counted: {ends[member]}. Run it again"
                )
        topic = rig.settings.topic
    await read_through(servers.kafka.bootstrap, topic, len(events))
    return topic


async def read_through(bootstrap: str, topic: str, n_events: int) -> None:
    """Read the topic once: the first contender shall not be the one that warms the broker's compilers up."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    async with consumer:
        while n_events > 0:
            n_events -= sum(map(len, (await consumer.getmany(timeout_ms=1000)).values()))


async def clear_topics(bootstrap: str, kept: str) -> None:
    """Delete what a run has left on the broker, so that the next one finds it as this one did."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        left = [t for t in await admin.list_topics() if t != kept and not t.startswith("__")]
        if left:
            await admin.delete_topics(left)
    finally:
        await admin.close()


def run_all(chosen: list[Contender], rounds: int | None, scale: float) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """All runs by contender, and why some have none or fewer: who fails once has no further round."""
    failed: dict[str, str] = {}
    pythons: dict[str, str] = {}
    for contender in chosen:
        try:
            pythons[contender.name] = python_of(contender)
        except InstallError as error:
            failed[contender.name] = in_short(error)
            say(str(error))
    events = list(job.events(int(job.MEMBERS * scale), int(job.PATCHES * scale)))
    ends = ends_of(events)
    runs: defaultdict[str, list[Any]] = defaultdict(list)
    with TemporaryDirectory(prefix="memberstream-bench-") as name:
        servers = Servers(Path(name))
        servers.kafka = MeasuredKafka(servers.directory / "kafka")
        with servers:
            say(f"filling the topic: {len(events):,} events of {len(ends):,} members")
            topic = asyncio.run(fill(servers, events, ends))
            n_events = len(events)
            del events
            course = Course(servers, topic, Check(redis.Redis.from_url(servers.valkey.url), ends), n_events)
            for number in range(ROUNDS if rounds is None else rounds):
                turn = number % len(chosen)
                for contender in chosen[turn:] + chosen[:turn]:
                    if contender.name in failed or (contender.is_slow and rounds is None and number > 0):
                        continue
                    try:
                        run = course.run(contender, pythons[contender.name], number)
                    except RunError as error:
                        failed[contender.name] = in_short(error)
                        say(f"round {number + 1}  {error}")
                    else:
                        runs[contender.name].append({"round": number + 1, **run})
                        say(f"round {number + 1}  {contender.name:15}" + "".join(f"  {k} {run[k]:,}" for k in REPORTED))
                    asyncio.run(clear_topics(servers.kafka.bootstrap, topic))
    return dict(runs), failed


def medians(runs: dict[str, list[Any]]) -> dict[str, dict[str, float]]:
    """Of each figure over a contender's rounds; of `wrong` the most."""
    return {
        name: {
            figure: max(run[figure] for run in of_one)
            if figure == "wrong"
            else statistics.median(run[figure] for run in of_one)
            for figure in of_one[0]
            if figure != "round"
        }
        for name, of_one in runs.items()
    }


def ratios(summary: dict[str, dict[str, float]]) -> dict[str, float]:
    """Our events per second against each other one's; only of those whose every member was right."""
    right = {name: row["events_per_s"] for name, row in summary.items() if row["wrong"] == 0}
    ours = right.pop("ours", None)
    return {} if ours is None else {name: round(ours / events_per_s, 3) for name, events_per_s in right.items()}


def main() -> int:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="contenders joined by commas; all by default")
    parser.add_argument("--rounds", type=int, help=f"of everybody; by default {ROUNDS}, and 1 of the slow ones")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the members and events, to try something")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    given = parser.parse_args()
    chosen = choose(given.only)
    about = surroundings(chosen)
    runs, failed = run_all(chosen, given.rounds, given.scale)
    summary = medians(runs)
    results = {**about, "medians": summary, "ratios": ratios(summary), "failed": failed, "runs": runs}
    if given.scale == 1.0 and len(chosen) == len(CONTENDERS):
        publish(results)
    else:
        say("a part of the job: bench/results/throughput.json stays as it is")
    for name, ratio in results["ratios"].items():
        say(f"ours / {name}: {ratio:.2f}")
    if given.json:
        shown: dict[str, Any] = {name: {figure: row[figure] for figure in REPORTED} for name, row in summary.items()}
        for name, text in failed.items():
            shown[name] = {**shown.get(name, {}), "error": text}
        print(json.dumps(shown))
    is_ours_right = "ours" not in failed and summary.get("ours", {"wrong": 0})["wrong"] == 0
    return 0 if summary and is_ours_right else 1


if __name__ == "__main__":
    sys.exit(main())
