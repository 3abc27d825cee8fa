"""Dashboards and alerts against what real workers of both kinds export, asked of a real Prometheus. About 30 s.

A panel whose expression is wrong shows nothing and nobody notices; an alert whose expression is wrong never rings.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from prefork import PythonProcess
from servers import Broker, RedisServer, create_topic, missing, unique

from memberstream.models.terms import Terms
from memberstream.stream.authoring.campaigning import Campaigning
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.demo.history import changes
from memberstream.stream.files.models import read_model
from memberstream.stream.kafka.producer import Producer
from memberstream.stream.local.server_process import ServerProcess, free_port
from memberstream.stream.process.metrics import INTERACTION_METRICS, METRICS
from memberstream.stream.settings import Settings, to_environment

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
}
RULES: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"][0]["rules"]
PLAYED = Path(__file__).with_name("alerts.test.yml")
EVENTS = 4_000
INTERACTIONS = 1_000
SECONDS = 10.0  # so many seconds the events are spread over: rates need several scrapes


@dataclass(frozen=True)
class Monitored:
    """A worker of each kind under load and the Prometheus that has watched them."""

    metrics_urls: tuple[str, str]
    prometheus_url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples that an expression gives now. Fails when Prometheus can't read it."""
        data = urllib.parse.urlencode({"query": expression}).encode()
        try:
            with urllib.request.urlopen(f"{self.prometheus_url}/api/v1/query", data, timeout=5) as reply:
                result: list[dict[str, Any]] = json.load(reply)["data"]["result"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{expression}: {error.read().decode()}")
        return result


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is missing. Install it (Debian: prometheus)")
    return found


async def _produce(settings: Settings) -> None:
    """Real purchases at an even pace, with a bad event after each hundred."""
    pause_s = SECONDS / (EVENTS / 100)
    async with Producer(settings.kafka, settings.topic) as producer:
        for i, change in enumerate(islice(changes(), EVENTS)):
            await producer.send(change.member_id.encode(), orjson.dumps(change.envelope))
            if i % 100 == 0:
                await producer.send(b"somebody", b"{}")
                await producer.flush()
                await asyncio.sleep(pause_s)
        await producer.flush()


async def _produce_interactions(settings: Settings) -> None:
    """The members' impressions at an even pace, with a bad one after each hundred."""
    async with Producer(settings.kafka, settings.interactions_topic) as producer:
        for i, change in enumerate(islice(changes(), INTERACTIONS)):
            shown = {"kind": "impression", "campaign": "spring", "id": str(i)}
            await producer.send(change.member_id.encode(), orjson.dumps(shown))
            if i % 100 == 0:
                await producer.send(b"somebody", b"{}")
                await producer.flush()
                await asyncio.sleep(SECONDS / (INTERACTIONS / 100))
        await producer.flush()


async def _produce_both(settings: Settings) -> None:
    """A member's impressions come after its events: there are fewer of them in the same time."""
    await asyncio.gather(_produce(settings), _produce_interactions(settings))


@pytest.fixture
def monitored(embedded_broker: Broker, tmp_path: Path) -> Iterator[Monitored]:
    prometheus = tool("prometheus")
    folder = tmp_path
    topic, interactions_topic = unique("docs"), unique("interactions")
    ports, listens = (free_port(), free_port()), free_port()
    for name in (topic, interactions_topic):
        asyncio.run(create_topic(embedded_broker.bootstrap, name, partitions=4))
    commands = (["worker"], ["interactions", "worker"])
    workers = [PythonProcess("-".join(words), folder / f"{'-'.join(words)}.log") for words in commands]
    server = ServerProcess("prometheus", folder / "prom.log")
    with RedisServer("valkey", folder / "valkey") as valkey:
        settings = Settings(
            kafka_bootstrap=(embedded_broker.bootstrap,),
            broker_kind="embedded",
            topic=topic,
            interactions_topic=interactions_topic,
            group=unique("group"),
            redis_url=valkey.url,
            data_dir=folder / "state",
            clock="event",
            replication_factor=1,
            session_timeout_s=1.5,  # as in tests/e2e/system.py
        )
        models = [
            read_model(Path(str(path)))
            for path in sorted((files("memberstream.stream.demo") / "models").iterdir(), key=str)
        ]
        asyncio.run(Publishing(settings, "test").install(models))
        everybody = Terms(models[0].name, tuple(cluster.id for cluster in models[0].clusters))
        asyncio.run(Campaigning(settings, "test").set("spring", everybody))
        urls = [f"http://127.0.0.1:{port}/metrics" for port in ports]
        watched = Monitored((urls[0], urls[1]), f"http://127.0.0.1:{listens}")
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(DEPLOY / "prometheus/alerts.yml")],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                for job, port in zip(("memberstream", "memberstream-interactions"), ports, strict=True)
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        try:
            for worker, words, port, url in zip(workers, commands, ports, urls, strict=True):
                environment = _environment(replace(settings, metrics_port=port))
                worker.spawn([sys.executable, "-m", "memberstream", *words], cwd=folder, env=environment)
                worker.wait_until(lambda url=url: bool(_get(url)), timeout_s=30)  # type: ignore[misc]
            options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
            server.spawn([prometheus, *options, f"--web.listen-address=127.0.0.1:{listens}"], cwd=folder)
            server.wait_until(lambda: bool(_get(f"{watched.prometheus_url}/-/ready")), timeout_s=20)
            asyncio.run(_produce_both(settings))
            _wait_until_seen(watched, 'memberstream_events_total{outcome="applied"}', EVENTS)
            _wait_until_seen(watched, 'memberstream_interactions_total{outcome="counted"}', INTERACTIONS)
            yield watched
        finally:
            server.stop(grace_s=5)
            for worker in workers:
                worker.stop(grace_s=10)


def _environment(settings: Settings) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("MEMBERSTREAM_")}
    return kept | to_environment(settings)


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=2) as reply:
        text: str = reply.read().decode()
        return text


def _wait_until_seen(watched: Monitored, done: str, n: int) -> None:
    """Until Prometheus has scraped a worker that has done so many and has nothing left to do."""
    give_up_at = time.monotonic() + 15
    while not any(float(x["value"][1]) >= n for x in watched.query(f"sum({done})")):
        assert time.monotonic() < give_up_at, f"the worker hasn't done all: {done}"
        time.sleep(0.5)


def expressions() -> Iterator[tuple[str, str]]:
    """Yield (place, expression) of the dashboards, with Grafana's variables put in as its defaults would be."""
    for name, dashboard in DASHBOARDS.items():
        for panel, target in targets(dashboard):
            expression = target["expr"].replace("$worker", ".*").replace("$__rate_interval", "30s")
            yield f"{name}: {panel['title']}-{target['refId']}", expression


def targets(dashboard: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield (panel, one of its expressions). A row has none."""
    return ((panel, target) for panel in dashboard["panels"] for target in panel.get("targets", ()))


def test_operators_see_a_worker_that_works(monitored: Monitored) -> None:
    """Each panel of the dashboard shows a number, only the dead letters raise alerts, Prometheus evaluates each rule,
    and promtool has nothing to say of the metrics. One test, because what it looks at takes long to be there."""
    assert _empty_panels(monitored) == []
    rings = {rule["alert"] for rule in RULES if monitored.query(rule["expr"])}
    assert rings == {"MemberstreamDeadLetters", "MemberstreamInteractionDeadLetters"}
    [group] = json.loads(_get(f"{monitored.prometheus_url}/api/v1/rules"))["data"]["groups"]
    assert {rule["name"]: rule["health"] for rule in group["rules"]} == {rule["alert"]: "ok" for rule in RULES}
    for url in monitored.metrics_urls:
        run = subprocess.run([tool("promtool"), "check", "metrics"], input=_get(url), capture_output=True, text=True)
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def _empty_panels(monitored: Monitored) -> list[str]:
    """Return the places of expressions that give no number.

    (A standby's lag is the metric of a second worker: tests/chaos/test_standby.py reads it.)
    """
    empty = []
    for place, expression in expressions():
        assert "$" not in expression, place
        found = [float(sample["value"][1]) for sample in monitored.query(expression)]
        if "memberstream_standby_lag_records" in expression:
            assert found == [], place
        elif all(map(math.isnan, found)):
            empty.append(place)
    return empty


def test_promtool_accepts_configuration_and_rules() -> None:
    """The files as they are mounted, the rule file included."""
    for kind, name in (("config", "prometheus.yml"), ("rules", "alerts.yml")):
        path = DEPLOY / "prometheus" / name
        run = subprocess.run([tool("promtool"), "check", kind, str(path)], capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


def test_alerts_ring_when_they_must() -> None:
    """Each rule at a moment of silence and at one when it rings, with its sentence: promtool plays the series."""
    run = subprocess.run([tool("promtool"), "test", "rules", str(PLAYED)], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_alert_is_played() -> None:
    """Both ways: a rule without an entry in alerts.test.yml may never ring, or always, and nobody has tried."""
    entries = [one for group in yaml.safe_load(PLAYED.read_text())["tests"] for one in group["alert_rule_test"]]
    for is_ringing in (False, True):
        played = {one["alertname"] for one in entries if bool(one["exp_alerts"]) is is_ringing}
        assert played == {rule["alert"] for rule in RULES}


def test_every_metric_is_on_the_operators_dashboard() -> None:
    """A metric that nobody looks at isn't worth its cost; and no panel asks for one that doesn't exist."""
    declared = {name for name, *_ in (*METRICS, *INTERACTION_METRICS)}
    for name, dashboard in DASHBOARDS.items():
        text = json.dumps([target["expr"] for _, target in targets(dashboard)])
        asked = {re.sub(r"_(bucket|sum|count)$", "", metric) for metric in re.findall(r"memberstream_\w+", text)}
        assert asked == declared if name == "memberstream" else asked < declared


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboard_structure(name: str) -> None:
    """Panels have distinct ids, don't overlap, fit the 24 columns, and all read the provisioned data source."""
    [source] = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    panels = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        if panel["type"] != "row":
            assert all(one["datasource"]["uid"] == source["uid"] for one in [panel, *panel["targets"]])
