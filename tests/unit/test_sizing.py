"""Sizes are sums of what was measured; synthetic events have the shape and the rate that were asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from e2e.definitions import demo_models
from typer.testing import CliRunner, Result

from bench import sizing as bench
from bench.results_file import HERE
from memberstream.models.event import DELETE, PATCH, REPLACE, decode
from memberstream.models.model_file import parse
from memberstream.stream.cli import sizing as cli
from memberstream.stream.cli.main import app
from memberstream.stream.kafka.producer import Producer
from memberstream.stream.sizing.load import Achieved, send
from memberstream.stream.sizing.plan import BUSY, Coefficients, Job, Linear, coefficients, plan
from memberstream.stream.sizing.shape import Shape, ShapeError, deletes, documents, firsts, steady

SHAPE = Shape(members=50, document_bytes=1_500, list_length=7, patch_share=0.75)
JOB = Job(members=1_000_000, document_bytes=2_000, events_per_s=4_000, models=3, columns=40)


def memberstream(*arguments: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_documents_have_the_size_and_the_list_that_were_asked_for() -> None:
    """To the byte, and the same for the same seed."""
    made = documents(SHAPE, 1)
    assert {len(orjson.dumps(document)) for document in made} == {1_500}
    assert {len(document["items"]) for document in made} == {7}
    assert documents(SHAPE, 1) == made != documents(SHAPE, 2)


def test_large_documents_take_no_more_memory_than_small_ones() -> None:
    """There are fewer of them."""
    assert len(documents(Shape(1, 4_000_000), 1)) == 8


def test_a_document_too_small_for_its_list_is_refused() -> None:
    """The text says what would do, and it does."""
    with pytest.raises(ShapeError, match=r"a document with 7 elements takes (\d+) bytes") as caught:
        documents(replace(SHAPE, document_bytes=100), 1)
    least = int(str(caught.value).split("takes ")[1].split()[0])
    assert documents(replace(SHAPE, document_bytes=least), 1)


def test_events_are_what_workers_take() -> None:
    """Each decodes. Every member gets a document first; then the share of patches is the one asked for."""

    def op(event: tuple[bytes, bytes]) -> str:
        return decode(event[0], event[1], 1_800_000_000_000, 1_800_000_000_000).op

    first, then = list(firsts(SHAPE, 1)), list(islice(steady(SHAPE, 1), 4_000))
    keys = [key for key, _ in first]
    assert len(set(keys)) == 50
    assert {len(key) for key in keys} == {24}
    assert {op(event) for event in first} == {REPLACE}
    assert {key for key, _ in then} == set(keys)
    assert sum(op(event) == PATCH for event in then) / 4_000 == pytest.approx(0.75, abs=0.03)
    assert [(key, op((key, value))) for key, value in deletes(SHAPE)] == [(key, DELETE) for key in keys]


class FakeProducer:
    """Acknowledges at once. `stall_s`: before its hundredth record it keeps its sender waiting for so long."""

    def __init__(self, stall_s: float = 0.0) -> None:
        self.stall_s, self.n = stall_s, 0

    async def send(self, key: bytes, value: bytes) -> asyncio.Future[Any]:
        self.n += 1
        if self.n == 100:
            await asyncio.sleep(self.stall_s)
        future = asyncio.get_running_loop().create_future()
        future.set_result(SimpleNamespace())
        return future

    async def flush(self) -> None:
        pass


def sent(producer: FakeProducer, n: int, rate: float) -> Achieved:
    return asyncio.run(send(cast(Producer, producer), islice(firsts(Shape(n), 1), n), rate))


def test_no_event_goes_before_it_is_due() -> None:
    """So the rate is at most what was asked for, however fast the broker is."""
    achieved = sent(FakeProducer(), 400, 1_000)
    assert achieved.events == 400
    assert achieved.seconds >= 399 / 1_000
    assert achieved.events_per_s <= 400 / 0.399


def test_what_a_pause_holds_up_is_made_up_for_and_told() -> None:
    """The events held up go at once when it is over; how late they were is in the figures."""
    achieved = sent(FakeProducer(stall_s=0.2), 400, 2_000)
    assert achieved.events == 400
    assert achieved.late_p99_ms is not None
    assert achieved.late_p99_ms > 100


def test_coefficients_are_those_of_the_results() -> None:
    """The package's file says what bench/results say: nobody has written a number by hand."""
    sizing, scaling = (json.loads((HERE / "results" / f"{name}.json").read_text()) for name in ("sizing", "scaling"))
    written = json.loads(bench.COEFFICIENTS.read_text())
    assert written == json.loads(json.dumps(bench.coefficients(sizing, scaling)))
    assert all(one["from"].startswith("bench/results/") for one in written.values())


def test_the_fit_goes_through_its_jobs() -> None:
    """Each of the four jobs is met to the last digit; of Redis the mean of those that differ in nothing there."""
    results = json.loads((HERE / "results" / "sizing.json").read_text())
    rows = bench.undisturbed(results["jobs"], results["yardstick_us"])
    for size in bench.SIZES:
        fit = bench.fitted(rows, size)
        for row in rows[: bench.FITTED]:
            job = Job(row["members"], row["document_bytes"], 0, row["models"], row["columns"])
            assert fit.of(job) == pytest.approx(row[size], rel=0.1 if size == "redis_bytes" else 1e-9)


def test_models_of_the_bench_are_models() -> None:
    """As many columns as their job says."""
    for job in bench.JOBS:
        made = [parse(definition) for definition in bench.models(job.models, job.columns)]
        assert len(made) == job.models
        assert sum(len(model.predictors) for model in made) == job.columns


FLAT = Linear(0, 0, 0, 0)
BY = Coefficients(
    record_bytes=Linear(100, 1, 0, 0),
    redis_bytes=Linear(150, 0, 0, 10),
    document_us=FLAT,
    patch_us=Linear(0, 0, 5, 0),
    disk_share=0.5,
    worker_mb=300,
    member_kb=1,
    yardstick_us=1,
    machine="",
)


def test_a_plan_is_the_sum_of_its_coefficients() -> None:
    """Worked out by hand: 200 µs for each of 4,000 events are 0.8 cores, so two workers at half of theirs."""
    found = plan(JOB, BY)
    assert (found.cpu_us, found.cores, found.workers, found.partitions) == (200, 0.8, 2, 4)
    assert (found.memory_mb_per_worker, found.disk_mb_per_worker) == (800, 525)
    assert (found.redis_mb, found.changelog_mb) == (180, 2_100)
    assert found.changelog_mb_per_s == pytest.approx(8.4)
    assert plan(replace(JOB, patch_share=0), BY).cpu_us == 0
    assert plan(JOB, BY, speed=2).cores == 0.4


def test_workers_are_planned_for_half_of_what_they_could_do() -> None:
    """Whatever the rate, a backlog is caught up while events go on."""
    for events_per_s in (1, 2_500, 2_501, 100_000):
        found = plan(replace(JOB, events_per_s=events_per_s), BY)
        assert found.cores <= BUSY * found.workers
        assert found.partitions >= found.workers


def test_plan_says_the_same_as_json_and_as_a_table(tmp_path: Path) -> None:
    """Models and predictors may be counted from files: shared predictors once, a one-hot as its columns."""
    paths = []
    for definition in demo_models():
        paths.append(tmp_path / f"{definition['name']}.json")
        paths[-1].write_bytes(orjson.dumps(definition))
    job = ("--members", 2_000_000, "--events-per-s", 900, "--document-bytes", 1_200)
    told = memberstream("plan", *job, *(part for path in paths for part in ("--model", path)), "--json")
    assert told.exit_code == 0, told.output
    found = orjson.loads(told.stdout)
    assert found["models"] == 2
    n_predictors = [len(definition["predictors"]) for definition in demo_models()]
    assert max(n_predictors) <= found["columns"] <= sum(n_predictors)
    expected = plan(Job(2_000_000, 1_200, 900, 2, found["columns"]), coefficients())
    assert found["redis_mb"] == expected.redis_mb
    shown = memberstream("plan", *job, "--models", 2, "--predictors", found["columns"])
    assert shown.exit_code == 0, shown.output
    assert f"{expected.redis_mb:,.0f} MB of memory for members' rows" in shown.stdout


def test_a_shape_that_cannot_be_is_said_before_kafka_is_reached_for() -> None:
    """No broker runs here."""
    refused = memberstream("load", "--members", 5, "--rate", 10, "--document-bytes", 50)
    assert refused.exit_code == 1
    assert "Next: allow at least" in refused.stderr


def test_a_load_asks_before_it_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how much goes where; without an answer nothing does, and Kafka isn't reached for."""
    monkeypatch.setenv("MEMBERSTREAM_TOPIC", "live-docs")
    monkeypatch.setenv("MEMBERSTREAM_KAFKA_BOOTSTRAP", "kafka-1.invalid:9092,kafka-2.invalid:9092")
    refused = memberstream("load", "--members", 5, "--rate", 10, "--seconds", 1, "--json")
    assert (refused.exit_code, refused.stdout.strip()) == (1, "")
    assert "Send 15 synthetic events to live-docs on kafka-1.invalid:9092, kafka-2.invalid:9092" in refused.stderr


def test_a_load_says_the_command_that_removes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it has to be typed, rate included."""
    commands: list[int] = []

    async def sent(events: Iterator[Any], rate: float, total: int) -> Achieved:
        commands.append(len(list(events)))
        return Achieved(total, 1_000, 1.0, None, None)

    monkeypatch.setattr(cli, "_send", sent)
    done = memberstream("load", "--members", 5, "--rate", 2.5, "--seconds", 2, "--yes")
    said = " ".join(done.stderr.split())
    _, _, removal = said.partition("remove the members by memberstream ")
    assert removal == "load --members 5 --rate 2.5 --delete"
    assert memberstream(*removal.split(), "--yes").exit_code == 0
    assert commands == [10, 5]
