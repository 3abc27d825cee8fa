"""The bench itself: who is measured, what counts as right, and that tables and chart say what the results file says."""

from __future__ import annotations

import json
import os
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import redis
from servers import RedisServer

from bench import chart, contenders, job, run, throughput
from bench.contenders import CONTENDERS, Contender, choose, pins
from bench.outcome import Check, End, ends_of, is_right_ours, is_right_peer, partition_of
from bench.run import Course, RunError

README = Path(chart.HERE) / "README.md"
END = End(activity=2, style=5, partition=3, offset=70, at_ms=1_000)


def test_unknown_contenders_are_refused_with_the_known_ones() -> None:
    """ONLY takes names in any order and answers a wrong one with the right ones."""
    assert [c.name for c in choose("confluent-loop, ours")] == ["ours", "confluent-loop"]
    assert [c.name for c in choose("")] == list(CONTENDERS)
    with pytest.raises(SystemExit, match=r"unknown flink.* ours, faust"):
        choose("ours,flink")


def test_everybody_has_a_script_and_pinned_packages() -> None:
    """No floating version, no index of its own; what all share (redis-py, NumPy, orjson) is the same for all."""
    shared = defaultdict(set)
    for contender in CONTENDERS.values():
        assert (contenders.HERE / "peers" / f"{contender.script}.py").exists()
        if contender.is_ours:
            continue
        for pin in pins(contender):
            name, equals, version = pin.partition("==")
            assert (equals, "/" in pin) == ("==", False), pin
            shared[name].add(version)
    assert {len(shared[name]) for name in ("redis[hiredis]", "numpy", "orjson")} == {1}


def test_members_go_where_kafkas_producers_send_them() -> None:
    """Vectors of Kafka's own test of murmur2 (UtilsTest)."""
    java = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}
    assert {key: partition_of(key) for key in java} == {key: (h & 0x7FFFFFFF) % 4 for key, h in java.items()}


def test_the_end_of_each_member_is_that_of_its_last_record() -> None:
    """Offsets are places in the partition; documents are what the changes make of each other."""
    events = list(job.events(20, 100))
    topic: dict[int, list[tuple[bytes, bytes]]] = {partition: [] for partition in range(4)}
    for member, value in events:
        topic[partition_of(member)].append((member, value))
    ends = ends_of(events)
    assert len(ends) == 20
    for partition, records in topic.items():
        for member in {member for member, _ in records}:
            own = [(offset, orjson.loads(value)) for offset, (m, value) in enumerate(records) if m == member]
            document = own[0][1]["document"]
            for _, event in own[1:]:
                document = job.change(document, event)
            [activity], [style] = job.score_many([document])
            assert ends[member] == (activity, style, partition, own[-1][0], own[-1][1]["at"])


def test_right_means_clusters_and_position() -> None:
    """One wrong field is enough; a member that isn't there is wrong, too."""
    assert is_right_peer([b"2", b"5", b"3:70:1000"], END)
    assert is_right_ours([b"2:900", b"5:7", b"0:3:70:1000:"], END)
    assert is_right_ours([b"2:900", b"5:7", b"4:3:70:5000:9000"], END)
    for wrong in ([b"1", b"5", b"3:70:1000"], [b"2", b"5", b"3:69:1000"], [b"2", None, b"3:70:1000"], [None] * 3):
        assert not is_right_peer(wrong, END)
    for wrong in (
        [b"1:900", b"5:7", b"0:3:70:1000:"],
        [b"2:900", b"4:7", b"0:3:70:1000:"],
        [b"2:900", b"5:7", b"0:3:69:1000:"],
        [b"2:900", b"5:7", b"0:2:70:1000:"],
        [b"2:900", b"5:7", b"0:3:70:999:"],
        [None] * 3,
    ):
        assert not is_right_ours(wrong, END)


PEER = """
import os, sys, time, redis
client, how = redis.Redis.from_url(os.environ["REDIS_URL"]), {how!r}
print("starting\\nFIRST", time.time_ns(), flush=True)
if how == "ends":
    sys.exit("no broker")
ends = {ends!r}
for i, (member, (activity, style, *pos)) in enumerate(ends.items()):
    late = i == 0 and how != "right"
    client.set(b"ms:member:" + member, "%d:%d:%d|activity@1=%d|style@1=%d" % (*pos, activity, 9 if late else style))
if how == "late":
    time.sleep(0.5)
    member, (activity, style, *pos) = next(iter(ends.items()))
    client.set(b"ms:member:" + member, "%d:%d:%d|activity@1=%d|style@1=%d" % (*pos, activity, style))
time.sleep(60)
"""


@pytest.fixture
def course(tmp_path: Path) -> Iterator[Course]:
    """Runs against a Valkey, with this process in the broker's place. The first member isn't in the tails."""
    ends = {b"m%d" % i: End(1, 2, i % 4, i // 4, 1_000 + i) for i in range(400)}
    with RedisServer("valkey", tmp_path / "valkey") as store:
        kafka = SimpleNamespace(bootstrap="", pid=os.getpid())
        servers: Any = SimpleNamespace(directory=tmp_path, kafka=kafka, valkey=store)
        with redis.Redis.from_url(store.url) as client:
            yield Course(servers, "topic", Check(client, ends), n_events=400)


def run_peer(course: Course, how: str) -> dict[str, Any]:
    script = course.servers.directory / "peer"
    script.with_suffix(".py").write_text(PEER.format(how=how, ends={m: tuple(e) for m, e in course.check.ends.items()}))
    return course.run(Contender("peer", "a peer", str(script), "none", "a dict", False), sys.executable, 0)


def test_a_run_is_timed_until_everybody_is_right(course: Course) -> None:
    """The tails alone don't end the clock: it waits for the member that comes half a second later."""
    measured = run_peer(course, "late")
    assert measured["wrong"] == 0
    assert 0.5 <= measured["seconds"] < 20
    assert measured["events_per_s"] == pytest.approx(400 / measured["seconds"], rel=0.01, abs=1)
    assert measured["peak_mb"] > 5


def test_a_member_that_stays_wrong_is_counted(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of the tails, where only the comparison of all members finds it."""
    monkeypatch.setattr(run, "RIGHT_LIMIT_S", 0.5)
    assert run_peer(course, "wrong")["wrong"] == 1


def test_a_contender_that_ends_is_shown_with_its_last_words(course: Course) -> None:
    """Else nobody could tell why it has no row."""
    with pytest.raises(RunError, match=r"a peer has ended:\n(.|\n)*no broker"):
        run_peer(course, "ends")


def test_a_failure_is_kept_in_two_lines() -> None:
    """The log's tail is for the terminal; the results file gets what happened and the last words."""
    assert (
        throughput.in_short(RunError("a peer has ended:\nTraceback\nValueError: no"))
        == "a peer has ended: ValueError: no"
    )
    assert throughput.in_short(RunError("one line")) == "one line"


def test_medians_and_ratios() -> None:
    """The most wrong members of all rounds count, and who is wrong has no ratio."""
    rounds = [{"round": 1, "events_per_s": 10, "wrong": 0}, {"round": 2, "events_per_s": 30, "wrong": 0}]
    broken = [{"round": 1, "events_per_s": 99, "wrong": 0}, {"round": 2, "events_per_s": 99, "wrong": 3}]
    summary = throughput.medians({"ours": [*rounds, rounds[0]], "quix": rounds, "faust": broken})
    assert summary["ours"] == {"events_per_s": 10, "wrong": 0}
    assert summary["faust"]["wrong"] == 3
    assert throughput.ratios(summary) == {"quix": 0.5}


def results() -> dict[str, Any]:
    figures = {"cpu_s_per_100k": 1.5, "peak_mb": 99, "wrong": 0, "broker_cpu_s_per_100k": 1, "store_cpu_s_per_100k": 1}
    rates = {"quix": 20_000, "ours": 80_000, "confluent-loop": 90_000}
    runs = {name: [{"round": 1, "events_per_s": rate, **figures}] for name, rate in rates.items()}
    summary = throughput.medians(runs)
    machine = {"cores": 2, "cpu": "R&D <1>", "python": "3.11", "date": "2026-01-01", "load_1m_at_start": 0.1}
    failed = {"pathway": "pathway can't be installed: no wheel"}
    return {
        "machine": machine,
        "medians": summary,
        "ratios": throughput.ratios(summary),
        "runs": runs,
        "failed": failed,
    }


def test_the_chart_is_sorted_and_says_who_is_not_durable() -> None:
    """Well-formed XML with a bar for each, the fastest first; the machine's name can't break it."""
    root = ElementTree.fromstring(chart.svg(results()))
    bars = [e for e in root.iter("{http://www.w3.org/2000/svg}rect") if e.get("class") in ("ours", "peer", "hollow")]
    assert [bar.get("class") for bar in bars] == ["hollow", "ours", "peer"]
    widths = [float(bar.get("width", "0")) for bar in bars]
    assert widths[1] / widths[0] == pytest.approx(80 / 90, rel=0.01)
    said = ["".join(e.itertext()) for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in said if text.endswith("not durable")] == ["90,000ours is 0.89 × · not durable"]
    assert "20,000ours is 4.00 ×" in said


def test_the_table_names_who_could_not_be_measured() -> None:
    """A peer without a row isn't forgotten."""
    text = "\n".join(chart.section(results()))
    assert text.index("plain confluent-kafka loop") < text.index("**memberstream**") < text.index("Quix Streams")
    assert "Pathway, its fastest mode was not measured to the end: pathway can't be installed: no wheel" in text


def test_the_readme_shows_the_results_file() -> None:
    """Table and chart were written from the file that is kept beside them; without it there are none."""
    file = README.parent / "results" / "throughput.json"
    shown = README.read_text().partition("<!-- throughput: begin -->")[2].partition("<!-- throughput: end -->")[0]
    if not file.exists():
        assert shown.strip() == ""
        return
    kept = json.loads(file.read_text())
    assert shown.strip() == "\n".join(chart.section(kept))
    assert file.with_suffix(".svg").read_text() == chart.svg(kept)
