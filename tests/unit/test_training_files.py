"""Files around training data: histories and rows in, matrices out; what is wrong with them is said with its place."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import documents
import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e.definitions import level
from typer.testing import CliRunner, Result

from memberstream.models.timestamps import DAY_MS, parse_ms
from memberstream.models.training import Record
from memberstream.stream.cli.main import app
from memberstream.stream.cli.model import training as training_command
from memberstream.stream.files.history import ndjson_history, parquet_history
from memberstream.stream.files.parquet import ParquetError
from memberstream.stream.files.training import TrainingFileError, read_rows

PREDICTORS = [
    {"name": "n", "path": "seen", "aggregate": "count", "time": "at"},
    {"name": "x", "path": "x"},
    {"name": "country", "path": "country", "type": "text"},
]
DAY = parse_ms("2026-01-01") or 0
EVENTS = [
    {"op": "replace", "member_id": "a", "at": "2026-01-01", "document": {"x": 0.1, "country": "de"}},
    {"op": "append", "member_id": "a", "at": "2026-01-03", "path": "seen", "value": {"at": "2026-01-03"}},
    {"op": "replace", "member_id": "1", "at": "2026-01-02", "document": {"x": 1 / 3}},
]
ROWS = "member_id,label,at\n1,7,2026-01-02\na,7,2026-01-04\n\na,7,1767225600000\nnobody,7,2026-01-04\n"
EXPECTED: list[tuple[Any, ...]] = [
    ("1", "2026-01-02T00:00:00Z", True, 0.0, 1 / 3, None),
    ("a", "2026-01-04T00:00:00Z", True, 1.0, 0.1, "de"),
    ("a", "2026-01-01T00:00:00Z", True, 0.0, 0.1, "de"),
    ("nobody", "2026-01-04T00:00:00Z", False, None, None, None),
]


def write(path: Path, *lines: Any) -> Path:
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else orjson.dumps(line) for line in lines))
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Predictors, rows and a history with two lines that are no events, one that can't be applied."""
    bad = {"op": "append", "member_id": "1", "at": "2026-01-02", "path": "x", "value": 1}
    (tmp_path / "rows.csv").write_text("\ufeff" + ROWS)
    return {
        "predictors": write(tmp_path / "predictors.json", PREDICTORS),
        "rows": tmp_path / "rows.csv",
        "history": write(tmp_path / "history.ndjson", b"{", *EVENTS[:2], b"", {"op": "delete"}, EVENTS[2], bad),
    }


def training_data(files: dict[str, Path], out: Path, *more: object, **changed: Path) -> Result:
    """Run the command in this process."""
    given = files | changed
    command = ["model", "training-data", given["predictors"], "--rows", given["rows"], "--history", given["history"]]
    return CliRunner().invoke(app, [str(part) for part in [*command, "--out", out, *more]])


def says_of_csv(path: Path) -> list[tuple[Any, ...]]:
    header, *lines = path.read_text().splitlines()
    assert header == "member_id,at,is_known,n,x,country"
    rows = [line.split(",") for line in lines]
    return [
        (i, at, known == "True", *(float(v) if v else None for v in (n, x)), country or None)
        for i, at, known, n, x, country in rows
    ]


def says_of_parquet(path: Path) -> list[tuple[Any, ...]]:
    frame = pl.read_parquet(path).with_columns(pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    assert frame.columns == ["member_id", "at", "is_known", "n", "x", "country"]
    return [tuple(None if value != value else value for value in row) for row in frame.iter_rows()]


def test_every_form_of_the_matrix(files: dict[str, Path], tmp_path: Path) -> None:
    """CSV, Parquet and npz read back to the same bits, in the order of the rows; every event left out is told of."""
    result = training_data(files, tmp_path / "x.csv")
    assert result.exit_code == 0, result.output
    assert says_of_csv(tmp_path / "x.csv") == EXPECTED
    assert result.stdout.startswith(f"written {tmp_path}/x.csv: 4 rows, 3 columns\nmembers not known then: 1 row; ")
    assert "left out, as a worker would: 3 events (" in result.stdout
    history = files["history"]
    for line, reason in ((1, "not_json"), (5, "missing_field"), (7, "not_a_list")):
        assert f"{history}:{line}: {reason}: " in result.stderr
    assert training_data(files, tmp_path / "x.parquet").exit_code == 0
    assert says_of_parquet(tmp_path / "x.parquet") == EXPECTED
    nobody = write(tmp_path / "nobody.csv", b"member_id,at", b"nobody,2026-01-01")
    assert training_data(files, tmp_path / "none.parquet", rows=nobody).exit_code == 0
    assert pl.read_parquet_schema(tmp_path / "none.parquet")["country"] == pl.String  # as where some are known
    numbers = write(tmp_path / "numbers.json", {"predictors": PREDICTORS[:2]})
    as_json = orjson.loads(training_data(files, tmp_path / "x.npz", "--json", predictors=numbers).stdout)
    assert (as_json["rows"], as_json["known"], as_json["columns"], len(as_json["problems"])) == (4, 3, ["n", "x"], 3)
    with np.load(tmp_path / "x.npz") as npz:
        assert npz["x"][:3].tolist() == [[0.0, 1 / 3], [1.0, 0.1], [0.0, 0.1]]
        assert npz["member_ids"].tolist() == [row[0] for row in EXPECTED]
        assert npz["at_ms"].tolist() == [DAY + DAY_MS * n for n in (1, 3, 0, 3)]
        assert (npz["columns"].tolist(), npz["is_known"].tolist()) == (["n", "x"], [True, True, True, False])
    assert sorted(path.suffix for path in tmp_path.glob("x.*")) == [".csv", ".npz", ".parquet"]


def test_a_model_file_gives_its_inputs(files: dict[str, Path], tmp_path: Path) -> None:
    """The columns are the model's, scaled as in production; processes give what one does."""
    model = write(tmp_path / "level.json", level())
    assert training_data(files, tmp_path / "x.csv", predictors=model).exit_code == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_command, "_WORTH_PROCESSES", 1)
        result = training_data(files, tmp_path / "y.csv", "--processes", "2", predictors=model)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "x.csv").read_text().splitlines()[1:3] == ["1,2026-01-02T00:00:00Z,True,0.3333333333333333",
                                                                  "a,2026-01-04T00:00:00Z,True,0.1"]  # fmt: skip
    assert (tmp_path / "x.csv").read_bytes() == (tmp_path / "y.csv").read_bytes()
    toml = tmp_path / "predictors.toml"
    toml.write_text('[[predictors]]\nname = "x"\npath = "x"\n')
    assert training_data(files, tmp_path / "z.csv", predictors=toml).exit_code == 0


def records(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "key": [event["member_id"].encode() for event in events],
        "value": [orjson.dumps(event) for event in events],
    }


def test_parquet_histories_and_rows(files: dict[str, Path], tmp_path: Path) -> None:
    """Key or member_id, text or bytes, timestamps of any unit or ms, offsets that bring the order; folders of files."""
    folder = tmp_path / "events"
    folder.mkdir()
    table = records(EVENTS)
    backwards = {name: values[::-1] for name, values in (table | {"offset": [0, 1, 2]}).items()}
    pq.write_table(pa.table(backwards), folder / "1.parquet")
    pq.write_table(pa.table(table | {"offset": [0, 1, 2]}), folder / "2.parquet")
    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"at": [DAY + DAY_MS], "member_id": [1]}), rows)
    for kind in (pa.string(), pa.int64(), pa.timestamp("us")):
        values = pa.array([DAY + DAY_MS, DAY + 3 * DAY_MS, DAY, DAY + 3 * DAY_MS], pa.timestamp("ms")).cast(kind)
        pq.write_table(pa.table({"member_id": ["1", "a", "a", "nobody"], "at": values}), rows)
        result = training_data(files, tmp_path / "x.csv", history=folder, rows=rows)
        assert result.exit_code == 0, result.output
        assert says_of_csv(tmp_path / "x.csv") == EXPECTED
    times = [DAY, None, DAY + 2]
    texts = {"member_id": ["a", "b", None], "value": ["{}", None, "{}"]}
    expected = [Record(b"a", b"{}", DAY), Record(b"b", None), Record(None, b"{}", DAY + 2)]
    for kind in (pa.int64(), pa.timestamp("ms", "UTC"), pa.timestamp("ns")):
        scale = 1_000_000 if kind == pa.timestamp("ns") else 1
        values = pa.array([None if t is None else t * scale for t in times], kind)
        pq.write_table(pa.table(texts | {"timestamp": values}), tmp_path / "h.parquet")
        history = parquet_history(tmp_path / "h.parquet")
        assert list(history.records) == expected
        assert history.place_of(0).endswith("h.parquet, record 1")


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (
            {"timestamp": ["2026-01-01"]},
            "column timestamp: expected timestamps or whole numbers, ms since 1970, found str",
        ),
        ({"timestamp": [1.5]}, "column timestamp: expected timestamps or whole numbers, ms since 1970, found double"),
        ({"offset": ["1"]}, "column offset: expected whole numbers, found string"),
        ({"value": [{"op": "delete"}]}, "column value: expected texts or bytes, found struct"),
        ({"key": [1.0]}, "column key: expected texts or bytes, found double"),
    ],
)
def test_columns_of_another_kind(changed: dict[str, Any], problem: str, tmp_path: Path) -> None:
    """A history whose columns hold something else says which one, what was expected, and what it holds."""
    pq.write_table(pa.table({"key": ["a"], "value": ["{}"]} | changed), tmp_path / "h.parquet")
    with pytest.raises(ParquetError, match=rf"h\.parquet: {problem}.*Next: convert it"):
        list(parquet_history(tmp_path / "h.parquet").records)


def test_member_ids_and_times_of_any_kind(tmp_path: Path) -> None:
    """Ids that are texts, also undeclared ones, and whole numbers; times as ISO 8601 has them, or ms. No id is made up
    of a number with gaps, and no date without dashes is taken for ms."""
    pq.write_table(pa.table({"key": [17], "value": ["{}"]}), tmp_path / "h.parquet")
    assert [record.key for record in parquet_history(tmp_path / "h.parquet").records] == [b"17"]
    table = tmp_path / "rows.parquet"
    for member_id, expected in ((b"17", "17"), (17, "17"), ("ä", "ä")):
        pq.write_table(pa.table({"member_id": [member_id], "at": [date(2026, 1, 1)]}), table)
        assert read_rows(table) == [(expected, DAY)]
    pq.write_table(pa.table({"member_id": [17.0], "at": [DAY]}), table)
    with pytest.raises(TrainingFileError, match=r"row 1: expected a member id, a text or a whole number, found none"):
        read_rows(table)
    path = tmp_path / "rows.csv"
    path.write_text(f"member_id,at\na,20260101\na,{DAY}\na,2026-01-01T01:00:00+01:00\na,-86400000\na,5\n")
    assert read_rows(path) == [*[("a", DAY)] * 3, ("a", -DAY_MS), ("a", 5)]


@pytest.mark.parametrize(
    "content", [b"a,--5", "a,²".encode(), b"\xff,2026-01-01", b"a," + b"1" * 5_000, b"a," + b"1" * 200_000]
)
def test_no_row_ends_in_a_traceback(content: bytes, tmp_path: Path) -> None:
    """Whatever stands in a file of rows, the error is of the file, with its place."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"member_id,at\n" + content)
    with pytest.raises(TrainingFileError, match=r"(?s)rows\.csv(:|, behind line )\d+: expected .*Next: correct "):
        read_rows(path)


def test_a_matrix_is_as_private_as_the_process_makes_files(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds personal data: the umask decides who may read it. Where it can't be written nothing is computed."""
    before = os.umask(0o077)
    try:
        assert training_data(files, tmp_path / "x.csv").exit_code == 0
    finally:
        os.umask(before)
    assert (tmp_path / "x.csv").stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(training_command, "from_history", None)
    for out in (tmp_path / "x.xlsx", tmp_path / "nowhere/x.csv"):
        result = training_data(files, out)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"error: {out}: expected "), result.stderr


def test_every_bad_row_is_told_of(tmp_path: Path) -> None:
    """With line numbers, in CSV and Parquet; a file without the columns says which it has."""
    path = tmp_path / "rows.csv"
    path.write_text("at,member_id\n2026-01-01,a\nyesterday,b\n2026-01-01,\n2026-01-01\n,c\n")
    with pytest.raises(TrainingFileError) as error:
        read_rows(path)
    lines = str(error.value).splitlines()
    assert [line.partition(": ")[0] for line in lines[:-1]] == [f"{path}:{n}" for n in (3, 4, 5, 6)]
    assert lines[-1] == "Next: correct 4 rows"
    path.write_text("id,when\n")
    with pytest.raises(TrainingFileError, match="expected a header with member_id and at, found id, when"):
        read_rows(path)
    table = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"member_id": ["a", None], "at": ["soon", "2026-01-01"]}), table)
    with pytest.raises(TrainingFileError, match=r"row 1: expected a time.*\n.*row 2: expected a member id"):
        read_rows(table)
    pq.write_table(pa.table({"member": ["a"]}), table)
    with pytest.raises(ParquetError, match=r"expected a column member_id, found member\. Next: rename one"):
        read_rows(table)


def test_errors_end_with_the_next_action(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with a file: exit status 1, and nothing is left where the matrix was to be."""
    bad = write(
        tmp_path / "bad.json", [{"name": "a", "path": "a."}, {"name": "b", "path": "b", "transforms": ["log1p"]}]
    )
    clash = write(tmp_path / "clash.json", [{"name": "at", "path": "at", "missing": 0}])
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "x.csv"
    results = [
        training_data(files, out, predictors=bad),
        training_data(files, out, predictors=clash),
        training_data(files, out, predictors=write(tmp_path / "cut.json", b"[")),
        training_data(files, out, predictors=write(tmp_path / "cut.toml", b"[")),
        training_data(files, out, predictors=write(tmp_path / "numbers.json", [1])),
        training_data(files, out, predictors=write(tmp_path / "object.json", {"predictors": [], "name": 1})),
        training_data(files, out, predictors=tmp_path / "missing"),
        training_data(files, out, rows=tmp_path / "missing"),
        training_data(files, out, history=tmp_path / "missing"),
        training_data(files, out, history=empty),
        training_data(files, out, history=write(tmp_path / "cut.parquet", b"no")),
        training_data(files, out, "--by", "arrival"),
        training_data(files, tmp_path / "x.xlsx"),
        training_data(files, tmp_path / "x.npz"),
    ]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    results.append(training_data(files, tmp_path / "x.parquet"))
    for result in results:
        assert result.exit_code == 1, result.output
        assert result.stderr.startswith("error: "), result.stderr
        assert "Next: " in result.stderr.splitlines()[-1]
        assert result.stdout == ""
    assert "predictors[0].path: expected keys" in results[0].stderr
    assert "pip install 'memberstream[parquet]'" in results[-1].stderr
    assert not list(tmp_path.glob("x.*"))
    assert not list(tmp_path.glob("tmp*"))


def test_a_line_without_its_time_is_told_of(tmp_path: Path) -> None:
    """A file has no timestamps beside its events: places stay right although lines were left out."""
    history = ndjson_history(
        write(tmp_path / "h.ndjson", b"1", EVENTS[0], b"", b"", EVENTS[1], {"member_id": 3}, EVENTS[2])
    )
    assert [record.key for record in history.records] == [b"a", b"a", b"1"]
    assert [history.place_of(i).rpartition(":")[2] for i in range(3)] == ["2", "5", "7"]
    assert [problem.split(": ")[1] for problem in history.problems] == ["not_an_object", "missing_field"]


def test_the_document_does_what_it_says(tmp_path: Path) -> None:
    """Each command of docs/training.md prints what is shown below it."""
    root = Path(__file__).parents[2]
    assert documents.run(root / "docs/training.md", tmp_path, {"PYTHONPATH": str(root)}) > 2
