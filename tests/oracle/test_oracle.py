"""The oracle itself: it knows nothing of memberstream's code, it reproduces what the documents show, and on random
documents, models and events it says what the core says. What the stream makes of them: chaos/test_second_oracle.py."""

from __future__ import annotations

import ast
import json
import re
import time
from enum import StrEnum
from pathlib import Path

import pytest
from aiokafka.partitioner import DefaultPartitioner
from oracle.campaigns import draw
from oracle.events import Change, Member, read
from oracle.predictors import columns
from oracle.replay import home
from oracle.scorers import clusters
from oracle.worlds import Sending, World

from memberstream.models.event import BadEvent, ChangeEvent
from memberstream.models.event import decode as decode_event
from memberstream.models.model_file import parse
from memberstream.models.plan import Plan

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
NOW_MS = time.time_ns() // 1_000_000


def test_it_imports_nothing_of_what_it_judges() -> None:
    """Only the standard library and itself: a fault that two programs share would be found by neither."""
    for file in HERE.glob("*.py"):
        if file.name.startswith("test_"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] in ("memberstream", "bench", "chaos")], file


def test_it_reproduces_the_example_of_the_model_file() -> None:
    """docs/model-file.md, the complete example: predictors and cluster."""
    [text] = re.findall(r"## A complete example\n\n```json\n(.*?)```", (DOCS / "model-file.md").read_text(), re.DOTALL)
    file = json.loads(text)
    [example] = file["examples"]
    at_ms = 1_768_867_200_000  # 2026-01-20
    found = columns(file["predictors"], example["document"], at_ms)
    assert {name: found[name] for name in example["predictors"]} == example["predictors"]
    assert clusters(file, example["document"], at_ms) == {example["cluster"]}


def test_it_draws_as_the_test_vectors() -> None:
    """docs/campaigns.md: who is held out."""
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| (\d+) \| ", (DOCS / "campaigns.md").read_text(), re.MULTILINE)
    assert len(rows) >= 8
    assert [draw(campaign, member) for campaign, member, _ in rows] == [int(x) for _, _, x in rows]


@pytest.mark.parametrize("seed", range(8))
def test_it_scores_as_the_core_does(seed: int) -> None:
    """Random models over random documents, at random times: the same clusters, or one of the two on a border."""
    world = World(seed, 3)
    files = [world.model("m", version) for version in range(1, 6)]
    plan = Plan([parse(file) for file in files])
    documents = [world.document() for _ in range(120)]
    times = [world.now_ms + seed * 3_600_000 * i for i in range(len(documents))]
    x, _ = plan.evaluate_many(documents, times)
    on_border = 0
    for model, file in zip(plan.models, files, strict=True):
        index = model.scorer.score_many(x.take(plan.inputs(model), axis=1)).index
        for document, at_ms, cluster in zip(documents, times, model.cluster_ids[index].tolist(), strict=True):
            expected = clusters(file, document, at_ms)
            on_border += len(expected) > 1
            assert cluster in expected, (document, at_ms, file)
    assert on_border < 10


def test_it_reads_events_as_the_core_does() -> None:
    """Random records, good and bad: read by both, or refused by both for a reason that is true."""
    world = World(77, 40)
    refused: set[str] = set()
    for record in [*world.everyone(), *world.some(6_000)]:
        mine = read(record.key, record.value, NOW_MS, NOW_MS)
        theirs = decoded(record)
        if not isinstance(theirs, ChangeEvent):
            assert not isinstance(mine, Change), (record, theirs)
            assert theirs in mine, record
            refused.add(theirs)
        else:
            assert isinstance(mine, Change), (record, mine)
            own = mine.op, mine.version, mine.at_ms, mine.create
            assert own == (theirs.op, theirs.version, theirs.at_ms, theirs.create)
    assert len(refused) == 13


def test_members_have_their_home_where_kafka_puts_them() -> None:
    """murmur2 as a client that isn't ours has it."""
    choose, keys = DefaultPartitioner(), [f"m{'x' * (i % 9)}{i}".encode() for i in range(500)]
    assert [home(key, 7) for key in keys] == [choose(key, list(range(7)), list(range(7))) for key in keys]


def decoded(record: Sending) -> ChangeEvent | StrEnum:
    """What the core makes of a record."""
    try:
        return decode_event(record.key, record.value, NOW_MS, NOW_MS)
    except BadEvent as error:
        return error.reason


def test_a_member_keeps_every_document_that_it_had() -> None:
    """Versions, deletes and creation as docs/events.md says; and the document as of each offset."""
    member = Member(0)

    def take(offset: int, op: str, version: int | None = None, body: object = None, create: bool = False) -> set[str]:
        path = ("list",) if op == "append" else ()
        return set(member.take(offset, 0, Change(op, 0, version, body, path, create)))

    assert take(0, "patch", body={"a": 1}) == {"unknown_member"}
    assert take(1, "patch", 5, {"a": {"b": 1, "c": 2}}, create=True) == set()
    assert take(2, "patch", 5, {"a": 9}) == set()  # late: ignored
    assert take(3, "patch", None, {"a": {"b": None}}) == set()
    assert take(4, "append", 6, 7) == set()
    assert take(5, "delete") == set()
    assert take(6, "replace", 6, {"late": True}) == set()  # ignored
    assert take(7, "replace", 7, {"list": "text"}) == set()
    assert take(8, "append", 8, 1) == {"not_a_list"}
    assert [member.as_of(offset) for offset in (0, 1, 2, 3, 4, 5, 6, 7, 8)] == [
        None, {"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}, {"a": {"c": 2}, "list": [7]}, None,
        None, {"list": "text"}, {"list": "text"},
    ]  # fmt: skip
    assert (member.version, member.at) == (7, [1, 3, 4, 5, 7])
