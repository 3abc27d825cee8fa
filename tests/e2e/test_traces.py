"""Traces of a real worker, at a collector that reads them by OpenTelemetry's own types; exemplars of metrics."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, event
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from servers import missing

from memberstream.stream.local.server_process import ServerProcess, free_port

pytestmark = pytest.mark.long

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """Takes traces by OTLP over HTTP. `status`: what it answers."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.status = 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if collector.status == 200:
                    collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(collector.status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, request: Any) -> None:
        for resource in request.resource_spans:
            attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.services.add(attributes["service.name"])
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    made = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.endpoint)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    yield made
    made.close()


def exemplars(port: int) -> list[dict[str, str]]:
    """Return those of freshness, as OpenMetrics tells them."""
    accepted = {"Accept": "application/openmetrics-text; version=1.0.0"}
    with urlopen(Request(f"http://127.0.0.1:{port}/metrics", headers=accepted), timeout=20) as response:
        families = text_string_to_metric_families(response.read().decode())
    [freshness] = [family for family in families if family.name == "memberstream_freshness_seconds"]
    return [sample.exemplar.labels for sample in freshness.samples if sample.exemplar is not None]


def kept_by_prometheus(port: int, directory: Path) -> set[str]:
    """Return the traces that Prometheus knows as exemplars of freshness, once it knows some."""
    program = shutil.which("prometheus")
    if program is None:
        missing("prometheus is missing. Install it (Debian: prometheus)")
    (directory / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: worker, static_configs: "
        f'[{{targets: ["127.0.0.1:{port}"]}}]}}]\n'
    )
    url = f"http://127.0.0.1:{(listens := free_port())}/api/v1/query_exemplars"
    asked = urlencode({"query": "memberstream_freshness_seconds_bucket", "start": time.time() - 600, "end": 2**32})
    found: set[str] = set()

    def is_kept() -> bool:
        with urlopen(f"{url}?{asked}", timeout=5) as response:
            series = json.load(response)["data"]
        found.update(one["labels"]["trace_id"] for its in series for one in its["exemplars"])
        return bool(found)

    server = ServerProcess("prometheus", directory / "prometheus.log")
    try:
        where = [f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/tsdb"]
        options = [f"--web.listen-address=127.0.0.1:{listens}", "--enable-feature=exemplar-storage"]
        server.spawn([program, *where, *options], cwd=directory)
        server.wait_until(is_kept, timeout_s=60)
    finally:
        server.stop(grace_s=5)
    return found


async def test_a_batch_is_traced_from_its_producer_to_the_commit(
    embedded_pair: Pair, install: Install, collector: Collector, tmp_path: Path
) -> None:
    """The batch is linked to its producer's span, its parts lie within it, the commit is linked to it, and the exemplar
    of freshness names its trace; Prometheus keeps it."""
    system = await install(embedded_pair, [level()], n_partitions=1)
    system.set(traces="otlp")
    system.start()
    await system.applied()
    await system.send([Sent(b"m1", event("replace", document={"x": 1.0}), (("traceparent", PARENT.encode()),))])
    await system.applied()
    whole, commit = f"process {system.settings.topic}", f"commit {system.settings.topic}"
    await system.until(lambda: len(collector.named(commit)) == 1, "the trace of the commit")
    [batch], [committed] = collector.named(whole), collector.named(commit)
    assert [f"00-{link.trace_id.hex()}-{link.span_id.hex()}-01" for link in batch.links] == [PARENT]
    assert [link.trace_id for link in committed.links] == [batch.trace_id]
    parts = {span.name: span for span in collector.spans if span.parent_span_id == batch.span_id}
    assert {"decode", "score", "changelog", "redis", "store"} <= parts.keys()
    assert all(
        batch.start_time_unix_nano <= part.start_time_unix_nano <= part.end_time_unix_nano <= batch.end_time_unix_nano
        for part in parts.values()
    )
    assert parts["changelog"].start_time_unix_nano < parts["redis"].end_time_unix_nano
    assert parts["redis"].start_time_unix_nano < parts["changelog"].end_time_unix_nano
    assert committed.end_time_unix_nano > batch.end_time_unix_nano
    assert collector.services == {"memberstream-worker"}
    assert exemplars(system.settings.metrics_port) == [{"trace_id": batch.trace_id.hex()}]
    assert "trace_id" not in system.scrape()
    kept = await asyncio.to_thread(kept_by_prometheus, system.settings.metrics_port, tmp_path)
    assert kept == {batch.trace_id.hex()}


async def test_a_collector_that_is_away_costs_one_line_and_no_event(
    embedded_pair: Pair, install: Install, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits for it, also not the end of the worker."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    collector.status = 503
    system = await install(embedded_pair, [level()], n_partitions=1)
    system.set(traces="otlp")
    system.start()
    await system.applied()
    for i in range(5):
        await system.send([Sent(b"m1", event("replace", document={"x": float(i)}))])
        await system.applied()
    await system.until(lambda: "traces can't be sent" in system.says(), "the worker to say so")
    await system.send([Sent(b"m1", event("replace", document={"x": 9.0}))])
    await system.applied()
    system.stop()
    said = [line for line in system.says().splitlines() if re.search("trace|export|span", line.lower())]
    assert len(said) == 1
    assert f"traces can't be sent to {collector.endpoint}/v1/traces; they are lost, nothing else is. Next: " in said[0]
    assert "did not end within" not in system.says()
