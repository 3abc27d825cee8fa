"""Members as rows: what stands in the files."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from unit.test_stale_records import Record

from memberstream.models.count_state import encode
from memberstream.models.engagement import Done, Engagement, Met
from memberstream.stream.authoring import state_reader
from memberstream.stream.authoring.exporting import exposed_members, row_of, write_rows
from memberstream.stream.files import parquet
from memberstream.stream.settings import Settings

BOUGHT = Met(
    1_000, "i", 500, "level@1", 2, True, 3, has_switched=True, done={"purchase": Done(2, 1_001, 2_000, "2500000")}
)
ROWS = [
    row_of("m1", BOUGHT, ["click", "purchase"]),
    row_of("m,2", Met(7, "i", 500, "level@1", 1, False, 1), ["click", "purchase"]),
]


def test_csv(tmp_path: Path) -> None:
    """Times in ms, truths as 1 and 0; who did nothing of a kind has 0 and no times."""
    write_rows(ROWS, tmp_path / "x.csv", "csv")
    assert (tmp_path / "x.csv").read_text().splitlines() == [
        "member_id,exposed_at,held_out,version,cluster,period,impressions,switched,"
        "click_n,click_first,click_last,click_sum,purchase_n,purchase_first,purchase_last,purchase_sum",
        "m1,1000,1,level@1,2,500,3,1,0,,,0.0,2,1001,2000,2.5",
        '"m,2",7,0,level@1,1,500,1,0,0,,,0.0,0,,,0.0',
    ]


def test_parquet(tmp_path: Path) -> None:
    """The same with types, also where nobody did something of a kind."""
    write_rows(ROWS, tmp_path / "x.parquet", "parquet")
    with parquet.opened(tmp_path / "x.parquet") as file:
        table = file.read()
    types = {name: str(table.schema.field(name).type) for name in ("held_out", "exposed_at", "click_first", "click_n")}
    assert types == {
        "held_out": "bool",
        "exposed_at": "timestamp[ms, tz=UTC]",
        "click_first": "timestamp[ms, tz=UTC]",
        "click_n": "int64",
    }
    assert table.column("purchase_sum").to_pylist() == [2.5, 0.0]


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(parquet.ParquetError, match=r"Next: pip install 'memberstream\[parquet\]'"):
        write_rows(ROWS, tmp_path / "x.parquet", "parquet")


async def test_what_a_stale_worker_wrote_last_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a recovery: a lower write position than an earlier record's, whosever that was."""
    moved = Met(2_000, "j", 500, "level@1", 1, True, 1)
    log = [
        [Record(b"m1", encode(Engagement(met={"summer": BOUGHT}), 5))],
        [Record(b"m2", encode(Engagement(met={"summer": BOUGHT}), 7))],
        [Record(b"m1", encode(Engagement(met={"summer": moved}), 6)), Record(b"m3", encode(Engagement(), 6))],
    ]

    class Consumer:
        async def end_offsets(self, partitions: list[int]) -> dict[int, int]:
            return {0: 4}

    @asynccontextmanager
    async def connected(*its: Any) -> AsyncIterator[tuple[Consumer, list[int]]]:
        yield Consumer(), [0]

    async def records(*its: Any) -> AsyncIterator[list[Record]]:
        for some in log:
            yield some

    monkeypatch.setattr(state_reader, "connected", connected)
    monkeypatch.setattr(state_reader, "records", records)
    rows = await exposed_members(Settings(), "summer")
    assert [(row["member_id"], row["exposed_at"]) for row in rows] == [("m1", 1_000), ("m2", 1_000)]
