"""Traces of batches, by OpenTelemetry's own exporter into memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from memberstream.stream.partition.report import Report
from memberstream.stream.process.histogram import BUCKETS, Histogram
from memberstream.stream.process.tracing import MAX_LINKS, Tracer, TracesMissing
from memberstream.stream.tasks.stopwatch import Stopwatch

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass(frozen=True)
class Record:
    """A record of which only headers matter."""

    offset: int = 7
    key: bytes | None = b"m"
    value: bytes | None = b"{}"
    timestamp: int = 0
    headers: Sequence[tuple[str, bytes | None]] = ()


def sent_by(trace: str = TRACE, span: str = SPAN) -> Record:
    return Record(headers=[("other", None), ("traceparent", f"00-{trace}-{span}-01".encode())])


def report(records: Iterable[Record], partition: int = 3, **parts: tuple[float, float]) -> Report:
    """Return a report of a batch that took two seconds."""
    now = perf_counter()
    timeline = {"": (now - 2.0, now), **{part: (now + since, now + until) for part, (since, until) in parts.items()}}
    stages = dict.fromkeys(parts.keys() - {"redis"}, 0.25)
    found = list(records)
    return Report({"applied": len(found), "replayed": 0}, [], [], 0, stages, {}, 0, partition, found, timeline)


def traced(*reports: Report, commits: Sequence[dict[int, int]] = ()) -> tuple[list[str | None], list[Any]]:
    exporter = InMemorySpanExporter()
    tracer = Tracer("docs", "group", "memberstream-worker", exporter)
    found = [tracer.batch(one) for one in reports]
    for offsets in commits:
        tracer.commit(offsets, perf_counter() - 0.5, perf_counter())
    tracer.close()
    return found, list(exporter.get_finished_spans())


def test_a_batch_is_a_span_with_its_parts_and_links() -> None:
    """Times are those of the report, on the wall clock; the parts are children; its producers' spans are linked."""
    batch = report([sent_by(), Record(), sent_by()], decode=(-2.0, -1.5), changelog=(-1.0, 0.0), redis=(-1.0, -0.5))
    [trace_id], spans = traced(batch)
    named = {span.name: span for span in spans}
    whole = named["process docs"]
    assert named.keys() == {"process docs", "decode", "changelog", "redis"}
    assert f"{whole.context.trace_id:032x}" == trace_id
    assert whole.kind is SpanKind.CONSUMER
    assert whole.parent is None
    assert [f"{link.context.trace_id:032x}-{link.context.span_id:016x}" for link in whole.links] == [f"{TRACE}-{SPAN}"]
    assert whole.attributes["messaging.batch.message_count"] == 3
    assert whole.attributes["messaging.destination.partition.id"] == "3"
    assert whole.attributes["memberstream.records.applied"] == 3
    assert "memberstream.records.replayed" not in whole.attributes
    assert all(named[part].parent.span_id == whole.context.span_id for part in ("decode", "changelog", "redis"))
    assert named["decode"].attributes == {"memberstream.busy_seconds": 0.25}
    assert abs(whole.end_time - whole.start_time - 2e9) < 1e3
    assert abs(whole.end_time - time.time_ns()) < 60e9
    assert named["decode"].start_time == whole.start_time
    assert named["changelog"].end_time == whole.end_time
    assert whole.resource.attributes["service.name"] == "memberstream-worker"


def test_a_commit_is_linked_to_the_batches_since_the_last() -> None:
    """As far as it takes their offsets: a batch may end while the broker is asked. A commit without a new batch has no
    span."""
    batches = [report([Record(offset)], partition=partition) for partition, offset in ((0, 7), (0, 8), (0, 9), (1, 7))]
    commits = [{0: 9}, {0: 9}, {0: 10, 1: 8}]
    trace_ids, spans = traced(*batches, commits=commits)
    linked = [[f"{link.context.trace_id:032x}" for link in span.links] for span in spans if span.name == "commit docs"]
    assert linked == [trace_ids[:2], trace_ids[2:]]


def test_no_batch_has_more_links_than_a_span_may() -> None:
    batch = report(sent_by(span=f"{i + 1:016x}") for i in range(3 * MAX_LINKS))
    _, [span] = traced(batch)
    assert len(span.links) == MAX_LINKS
    batches = [report([Record()]) for _ in range(2 * MAX_LINKS)]
    trace_ids, spans = traced(*batches, commits=[{3: 8}])
    [commit] = [span for span in spans if span.name == "commit docs"]
    assert [f"{link.context.trace_id:032x}" for link in commit.links] == trace_ids[-MAX_LINKS:]


@given(
    st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate"]), st.none() | st.binary(max_size=60)), max_size=4)
)
def test_no_header_of_a_producer_is_an_error(headers: list[tuple[str, bytes | None]]) -> None:
    """What isn't a span's context is no link."""
    _, [span] = traced(report([Record(headers=headers)]))
    assert len(span.links) <= 1


def test_what_is_not_sampled_costs_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert traced(report([sent_by()], decode=(-1.0, 0.0)), commits=[{3: 8}]) == ([None], [])


def test_the_service_has_the_name_that_its_environment_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "scoring")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=shop")
    _, [span] = traced(report([Record()]))
    assert span.resource.attributes["service.name"] == "scoring"
    assert span.resource.attributes["deployment.environment.name"] == "shop"


def test_a_worker_without_the_libraries_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(TracesMissing, match=r"isn't installed. Next: pip install 'memberstream\[traces\]'"):
        Tracer("docs", "group", "memberstream-worker")


async def test_a_stopwatch_knows_when_each_part_went_on() -> None:
    """Of a stage in several pieces from its first beginning to its last end, also of a part that fails."""

    async def fails() -> None:
        raise ValueError

    watch = Stopwatch()
    watch.lap("decode")
    watch.lap("score")
    watch.lap("decode")
    with pytest.raises(ValueError, match=r"^$"):
        await watch.during("redis", fails)
    whole = watch.whole()
    assert list(whole) == ["", "decode", "score", "redis"]
    assert whole[""][0] == whole["decode"][0] <= whole["score"][0] <= whole["score"][1] <= whole["decode"][1]
    assert whole["decode"][1] <= whole["redis"][0] <= whole["redis"][1] <= whole[""][1]


def test_an_exemplar_is_of_the_largest_value() -> None:
    histogram = Histogram(BUCKETS)
    histogram.observe_many([0.01, 0.4, 0.0001], TRACE)
    histogram.observe_many([0.4])
    exemplars = {bucket[0]: bucket[2] for bucket in histogram.buckets()[0] if len(bucket) == 3}
    assert {bound: (one.labels, one.value) for bound, one in exemplars.items()} == {"0.5": ({"trace_id": TRACE}, 0.4)}
