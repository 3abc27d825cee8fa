"""The packaged purchases are CDNOW's, all of them, and become one valid change event each."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from itertools import pairwise
from pathlib import Path

import orjson
import pytest

from memberstream.models.apply import apply_one
from memberstream.models.event import decode
from memberstream.models.member import Member
from memberstream.models.timestamps import parse_ms
from memberstream.stream.demo import history

ROOT = Path(__file__).parents[2]
PACKED = ROOT / "stream" / "demo" / "data" / "cdnow.csv.gz"
ORIGINAL_SHA256 = "eff6889ed364c5199d6eacbbeb7a6d559971df4406ac876f322c373f00a072ef"
NOW_MS = parse_ms("2026-01-01") or 0


@pytest.fixture(scope="module")
def changes() -> list[history.Change]:
    return list(history.changes())


def test_the_original_file_can_be_made_from_the_copy_byte_for_byte() -> None:
    """Nothing was lost or altered in packing: the original's SHA-256 comes out, and PROVENANCE.md states it."""
    rows = csv.reader(io.StringIO(gzip.decompress(PACKED.read_bytes()).decode("ascii")))
    next(rows)
    lines = [" customer_id  date number_of_cds  dollar_value\r\n"]
    for customer, day, units, amount in rows:
        lines.append(f" {customer} {day.replace('-', '')} {units:>2} {float(amount):>7.2f}\r\n")
    assert hashlib.sha256("".join(lines).encode("ascii")).hexdigest() == ORIGINAL_SHA256
    assert ORIGINAL_SHA256 in (PACKED.parent / "PROVENANCE.md").read_text(encoding="utf-8")


def test_the_packed_bytes_hold_no_time_of_packing() -> None:
    """mtime 0, so that packing again gives the same bytes."""
    assert PACKED.read_bytes()[4:8] == b"\0\0\0\0"


def test_one_event_for_each_purchase_in_date_order(changes: list[history.Change]) -> None:
    """69,659 events of 23,570 members, times never going back; each member starts with a replace, then appends."""
    assert len(changes) == history.N_PURCHASES
    assert len({change.member_id for change in changes}) == history.N_MEMBERS
    assert all(a.at_ms <= b.at_ms for a, b in pairwise(changes))
    assert sum(change.envelope["op"] == "replace" for change in changes) == history.N_MEMBERS
    assert {change.envelope["op"] for change in changes} == {"replace", "append"}


def test_purchases_of_one_day_keep_the_order_of_the_file() -> None:
    """c00002 bought twice on its first day: the file has 1 CD for 12.00 before 5 for 77.00."""
    bought = history.histories()["c00002"]
    assert [(units, amount) for _, units, amount in bought.purchases[:2]] == [(1, 12.0), (5, 77.0)]
    assert bought.joined_ms == parse_ms("1997-01-12")


def test_every_event_is_valid_and_together_they_make_the_documents(changes: list[history.Change]) -> None:
    """Applied by the core one by one, the events give the documents that the fits and the oracle start from."""
    members: dict[str, Member] = {}
    for offset, change in enumerate(changes):
        event = decode(change.member_id.encode(), orjson.dumps(change.envelope), 0, NOW_MS)
        assert event.at_ms == change.at_ms
        apply_one(members.setdefault(change.member_id, Member()), offset, event)
    assert {i: member.document for i, member in members.items()} == history.documents(changes[-1].at_ms)


def test_a_document_of_a_day_holds_what_was_known_that_day() -> None:
    """A purchase counts on its own day and not before, so no fit can look ahead."""
    day_ms = history.day_ms("1997-02-01")
    documents = history.documents(day_ms)
    latest = max(purchase["at"] for document in documents.values() for purchase in document["purchases"])
    assert latest == "1997-02-01"
    assert set(documents) == {i for i, h in history.histories().items() if h.joined_ms <= day_ms}
