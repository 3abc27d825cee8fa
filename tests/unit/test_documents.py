"""Whole documents out of files: every row comes out, with its number, and one that makes none says why."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memberstream.stream.authoring.loading import Loading, Rejected
from memberstream.stream.files.documents import Columns, Row, count_rows, fingerprint, read_documents
from memberstream.stream.files.parquet import ParquetError
from memberstream.stream.settings import Settings


def rows(path: Path, columns: Columns = Columns()) -> list[Row]:  # noqa: B008  (a tuple)
    return [row for some, _ in read_documents(path, columns) for row in some]


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_the_columns_of_a_table_are_the_document(tmp_path: Path) -> None:
    """Ids as texts or whole numbers; times, decimals, lists and structs become JSON; null stays null."""
    path = parquet(
        tmp_path / "t.parquet",
        member_id=[1, 2],
        v=[7, None],
        at=[datetime(2026, 3, 1, 9, 30), None],
        zoned=[datetime(2026, 3, 1, 9, 30, tzinfo=UTC), None],
        day=[date(2026, 3, 1), None],
        spent=[Decimal("1.50"), None],
        apps=[[{"name": "a", "opens": 3}], None],
    )
    first, second = rows(path, Columns("member_id", "v"))
    assert (first.number, first.key, first.version) == (1, b"1", 7)
    assert orjson.loads(first.document) == {
        "at": "2026-03-01T09:30:00+00:00",
        "zoned": "2026-03-01T09:30:00+00:00",
        "day": "2026-03-01",
        "spent": 1.5,
        "apps": [{"name": "a", "opens": 3}],
    }
    assert (second.number, second.key, second.version) == (2, b"2", None)
    assert set(orjson.loads(second.document).values()) == {None}


@pytest.mark.parametrize("column", [['{"a": 1}'], [b'{"a": 1}'], [{"a": 1}]])
def test_a_column_document_is_the_document(tmp_path: Path, column: list[Any]) -> None:
    """As text, bytes or struct; other columns aren't looked at."""
    [row] = rows(parquet(tmp_path / "t.parquet", member_id=["m"], document=column, other=[5]))
    assert (row.key, orjson.loads(row.document), row.problem) == (b"m", {"a": 1}, "")


def test_lines_of_json_are_the_same(tmp_path: Path) -> None:
    """With blank lines between, whose numbers count."""
    path = tmp_path / "t.ndjson"
    path.write_bytes(
        b'{"member_id": "m", "a": 1}\n\n{"member_id": 2, "document": {"b": 2}, "v": 3}\n[]\n{"a"\n{"a": 1}'
    )
    found = rows(path, Columns("member_id", "v"))
    assert [(row.number, row.key, row.document, row.version) for row in found[:2]] == [
        (1, b"m", b'{"a":1}', None),
        (3, b"2", b'{"b":2}', 3),
    ]
    assert [(row.number, row.problem[:22]) for row in found[2:]] == [
        (4, "expected a JSON object"),
        (5, "expected a JSON object"),
        (6, "expected a member id, "),
    ]
    assert count_rows(path) == path.stat().st_size


def test_what_json_cannot_hold_is_said_by_its_type(tmp_path: Path) -> None:
    """Never by its value."""
    by_id = {
        "a": parquet(tmp_path / "a.parquet", member_id=["m"], x=pa.array([b"\xff"], pa.binary())),
        "b": parquet(tmp_path / "b.parquet", member_id=["m"], x=pa.array([1], pa.duration("s"))),
        "c": parquet(tmp_path / "c.parquet", member_id=["m"], x=[time(9)]),
    }
    assert rows(by_id["a"])[0].problem == "expected values that JSON can hold: bytes that aren't UTF-8"
    assert rows(by_id["b"])[0].problem == "expected values that JSON can hold: a timedelta"
    assert rows(by_id["c"])[0].problem == ""
    with pytest.raises(ParquetError, match=r"expected a column id, found member_id, x. Next: name it"):
        rows(by_id["a"], Columns("id"))


async def test_rows_are_checked_as_a_worker_would(tmp_path: Path) -> None:
    """Each bad one is told with its file and number; nothing in a text breaks out of the envelope."""
    path = tmp_path / "t.parquet"
    texts = ['{"a": 1}', "[1]", "{", None, '{}, "version": 9', "9" * 900_001, '{"a": 1}', '{"a": 1}']
    parquet(path, member_id=[*"abcdef", "", '"m"'], document=texts)
    bad: list[Rejected] = []
    found = await Loading(Settings(), [path], Columns(), 1_700_000_000_000, bad.append).check()
    assert (found.sent, found.rejected, found.rows) == (1, 7, 8)
    assert [(one.file, one.row, one.why.split(":")[0]) for one in bad] == [
        (path, 2, "wrong_type"),
        (path, 3, "not_json"),
        (path, 4, "wrong_type"),
        (path, 5, "not_json"),
        (path, 6, "too_large"),
        (path, 7, "expected a member id, a text or a whole number, found none"),
        (path, 8, "bad_key"),
    ]
    without: list[Rejected] = []
    await Loading(Settings(), [path], Columns(), None, without.append).check()
    assert {one.why.split(":")[0] for one in without} == {"bad_version", bad[5].why}


def test_a_load_is_known_by_its_files(tmp_path: Path) -> None:
    """The same bytes are the same file; any other byte makes another one, also in the middle of a large file."""
    one, same = (parquet(tmp_path / f"{name}.parquet", member_id=["a"], x=[1]) for name in "ab")
    other = parquet(tmp_path / "c.parquet", member_id=["a"], x=[2])
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    edge = b"x" * 200_000
    (tmp_path / "wrong.ndjson").write_bytes(edge + b"1" + edge)
    (tmp_path / "right.ndjson").write_bytes(edge + b"2" + edge)
    assert fingerprint(tmp_path / "wrong.ndjson") != fingerprint(tmp_path / "right.ndjson")
    assert count_rows(one) == 1
