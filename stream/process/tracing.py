"""Traces of batches, by OpenTelemetry: a span for each batch, one for each of its parts, one for each commit.

Laws:
- The path of events knows nothing of traces. Spans are made of a finished batch's report, with the times that it
  tells. A batch that fails, or that is cancelled, has none: it comes again.
- A batch has records of many producers, so it has no parent. It is linked to the spans that its records name in the
  header `traceparent` (W3C Trace Context), to each once.
- Sending goes on in a thread of the library. Nothing waits for a collector, and what it doesn't take is lost.

Names of spans and attributes: OpenTelemetry's semantic conventions for messaging and databases. Address, sampling and
resource come by OpenTelemetry's own variables.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from time import monotonic, perf_counter
from typing import Any

from memberstream.stream.partition.report import Report
from memberstream.stream.partition.source_topic import Record

log = logging.getLogger(__name__)

#: Links of one span. OpenTelemetry's own limit by default: a batch may hold records of ten thousand requests.
MAX_LINKS = 128
#: Parts whose time others tell more exactly.
_WHOLES = ("changelog_and_redis",)
_SAY_EVERY_S = 60.0
_CLOSE_S = 2.0  # how long the end of a worker waits for the last spans


class TracesMissing(RuntimeError):
    """The libraries that send traces aren't installed; the text says how to install them."""


class Untraced:
    """Makes no spans."""

    def batch(self, report: Report) -> str | None:
        return None

    def commit(self, offsets: Mapping[int, int], began: float, ended: float) -> None:
        pass

    def close(self) -> None:
        pass


class Tracer(Untraced):
    """Makes spans of what a worker has done.

    Args:
        topic: that the worker reads. group: its consumer group. service: its name, if OTEL_SERVICE_NAME gives none.
        exporter: sends spans; None: to a collector, by OTLP over HTTP.

    Raises TracesMissing.
    """

    def __init__(self, topic: str, group: str, service: str, exporter: Any = None) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.context import Context
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise TracesMissing(
                f"traces: {error.name} isn't installed. Next: pip install 'memberstream[traces]', or take "
                "MEMBERSTREAM_TRACES away"
            ) from None
        own = Resource.create({"service.version": version("memberstream")})
        named = Resource({"service.name": service}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=own.merge(named), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or _collector()))
        self._tracer, self._trace, self._root = self._provider.get_tracer("memberstream"), trace, Context()
        self._read = TraceContextTextMapPropagator().extract
        self._topic = topic
        self._of_all = {
            "messaging.system": "kafka", "messaging.destination.name": topic, "messaging.consumer.group.name": group,
        }  # fmt: skip
        self._uncommitted: dict[int, list[tuple[int, Any]]] = {}  # partition → (offset behind a batch, its context)

    def batch(self, report: Report) -> str | None:
        """Make the spans of a batch. Returns the id of its trace, None if it isn't sampled."""
        trace, at_ns = self._trace, _wall()
        began, ended = report.timeline[""]
        span = self._tracer.start_span(
            f"process {self._topic}",
            self._root,
            trace.SpanKind.CONSUMER,
            {
                **self._of_all,
                "messaging.operation.name": "process", "messaging.operation.type": "process",
                "messaging.destination.partition.id": str(report.partition),
                "messaging.batch.message_count": len(report.records),
                "messaging.kafka.offset": report.records[0].offset,
                **{f"memberstream.records.{outcome}": n for outcome, n in report.outcomes.items() if n},
            },
            self._links(report.records),
            at_ns(began),
        )  # fmt: skip
        if not span.is_recording():
            return None
        within = trace.set_span_in_context(span, self._root)
        for part, (since, until) in report.timeline.items():
            if part and part not in _WHOLES:
                busy = {"memberstream.busy_seconds": report.stages[part]} if part in report.stages else {}
                self._tracer.start_span(part, within, attributes=busy, start_time=at_ns(since)).end(at_ns(until))
        span.end(at_ns(ended))
        context = span.get_span_context()
        its = self._uncommitted.setdefault(report.partition, [])
        its.append((report.records[-1].offset + 1, context))
        del its[:-MAX_LINKS]
        return str(trace.format_trace_id(context.trace_id))

    def commit(self, offsets: Mapping[int, int], began: float, ended: float) -> None:
        """Make the span of a commit, linked to the batches that it commits (an `OnCommit`)."""
        done: list[Any] = []
        for partition, offset in sorted(offsets.items()):
            its = self._uncommitted.get(partition, [])
            done += [context for behind, context in its if behind <= offset]
            self._uncommitted[partition] = [one for one in its if one[0] > offset]
        if done:
            at_ns = _wall()
            self._tracer.start_span(
                f"commit {self._topic}",
                self._root,
                self._trace.SpanKind.CLIENT,
                {**self._of_all, "messaging.operation.name": "commit", "messaging.operation.type": "settle"},
                [self._trace.Link(context) for context in done[-MAX_LINKS:]],
                at_ns(began),
            ).end(at_ns(ended))

    def close(self) -> None:
        """Send what is left, for two seconds at most."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSE_S)

    def _links(self, records: Sequence[Record]) -> list[Any]:
        current = self._trace.get_current_span
        found = (current(self._read(parent, self._root)).get_span_context() for parent in _parents(records))
        return [self._trace.Link(context) for context in found if context.is_valid]


def _parents(records: Iterable[Record]) -> list[dict[str, str]]:
    """Return the different values of `traceparent`, each with its `tracestate`, up to MAX_LINKS."""

    def each() -> Iterable[tuple[str, str]]:
        for record in records:
            if record.headers:
                its = {name: value or b"" for name, value in record.headers}
                if parent := its.get("traceparent"):
                    yield parent.decode("latin-1"), its.get("tracestate", b"").decode("latin-1")

    different = islice(dict.fromkeys(each()), MAX_LINKS)
    return [{"traceparent": parent, "tracestate": state} for parent, state in different]


def _wall() -> Callable[[float], int]:
    """Return what makes a time of `perf_counter` nanoseconds since the epoch."""
    offset_ns = time.time_ns() - round(perf_counter() * 1e9)
    return lambda at: offset_ns + round(at * 1e9)


def _collector() -> Any:
    """Return the exporter to a collector. It says once a minute, with the next action, that nothing can be sent."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    class Exporter(OTLPSpanExporter):
        said_at = -_SAY_EVERY_S

        def export(self, spans: Any) -> Any:
            result = super().export(spans)
            if result is not SpanExportResult.SUCCESS and monotonic() - self.said_at >= _SAY_EVERY_S:
                self.said_at = monotonic()
                log.warning(
                    "traces can't be sent to %s; they are lost, nothing else is. Next: see the collector, and "
                    "OTEL_EXPORTER_OTLP_ENDPOINT",
                    self._endpoint,
                )
            return result

    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it says the same, and says it often
    return Exporter()
