"""The files around training data: the rows that are asked for (CSV, Parquet), and the matrix (Parquet, CSV, npz).

Laws: every bad row is reported with its place. A matrix is written whole or not at all, and reads back bit for bit.
"""

from __future__ import annotations

import csv
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from memberstream.models.timestamps import format_ms
from memberstream.models.training import TrainingMatrix
from memberstream.models.training.rows import to_ms
from memberstream.models.wording import counted
from memberstream.stream.files.lines import lines
from memberstream.stream.files.parquet import arrow, key_of, read_batches, write

OUTPUTS = (".parquet", ".csv", ".npz")
_MS = re.compile(r"-?[0-9]{1,19}")


class TrainingFileError(OSError):
    """A file that can't be read or written; the text says what to do next."""


def read_rows(path: Path) -> list[tuple[str, int]]:
    """Return the (member id, as-of ms) of a file with the columns member_id and at. Other columns are ignored.

    Raises:
        TrainingFileError: no such columns, or bad rows. Lists all of them.
    """
    rows: list[tuple[str, int]] = []
    problems: list[str] = []
    for place, member_id, at in _parquet_rows(path) if path.suffix == ".parquet" else _csv_rows(path):
        at_ms = _to_ms(at)
        if not member_id:
            problems.append(f"{place}: expected a member id, a text or a whole number, found none")
        elif at_ms is None:
            problems.append(f"{place}: expected a time in at, ISO 8601 or ms since 1970, found {str(at)[:60]!r}")
        else:
            rows.append((member_id, at_ms))
    if problems:
        raise TrainingFileError("\n".join([*problems, f"Next: correct {counted(len(problems), 'row')}"]))
    return rows


def _to_ms(at: Any) -> int | None:
    """Return ms since 1970. Digits count as ms, unless they are a date without dashes: 20260131."""
    if not (isinstance(at, str) and _MS.fullmatch(at)):
        return to_ms(at, is_utc_assumed=True)
    as_date = to_ms(at) if len(at) == len("20260131") else None
    return to_ms(int(at)) if as_date is None else as_date


def _csv_rows(path: Path) -> Iterator[tuple[str, str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(lines(file, path))
        try:
            header = next(rows, [])
            if not {"member_id", "at"} <= set(header):
                raise TrainingFileError(
                    f"{path}:1: expected a header with member_id and at, found {', '.join(header)[:100] or 'nothing'}. "
                    "Next: name the columns in the first line, with commas between them"
                )
            member, at = header.index("member_id"), header.index("at")
            for row in rows:
                if row:
                    cells = [*row, *[""] * len(header)]
                    yield f"{path}:{rows.line_num}", cells[member], cells[at]
        except (csv.Error, UnicodeDecodeError) as error:
            where = f"{path}, behind line {rows.line_num}"
            raise TrainingFileError(f"{where}: expected CSV in UTF-8 ({error}). Next: correct it") from None


def _parquet_rows(path: Path) -> Iterator[tuple[str, str, Any]]:
    number = 0
    for batch in read_batches(path, ["member_id", "at"]):
        for member_id, at in zip(batch["member_id"].to_pylist(), batch["at"].to_pylist(), strict=True):
            number += 1
            key = key_of(member_id)
            yield f"{path}, row {number}", "" if key is None else key.decode(errors="replace"), at


def check_output(path: Path) -> None:
    """Check that a matrix may be written to a path, before it is computed. Raises TrainingFileError."""
    if path.suffix not in OUTPUTS:
        raise TrainingFileError(f"{path}: expected an ending of {', '.join(OUTPUTS)}. Next: choose one")
    if not path.parent.is_dir():
        raise TrainingFileError(f"{path}: expected a folder {path.parent}, found none. Next: make it")
    if path.suffix == ".parquet":
        arrow()


def write_matrix(matrix: TrainingMatrix, path: Path) -> None:
    """Write a matrix in the form that the path's ending names.

    Raises:
        TrainingFileError: as `check_output`, or texts in an npz.
        TrainingError: a predictor has the name of a column that stands before the predictors.
    """
    check_output(path)
    if path.suffix == ".npz" and matrix.texts:
        raise TrainingFileError(
            f"{path}: {', '.join(sorted(matrix.texts))}: texts don't go into npz. Next: use .parquet"
        )
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        written = Path(folder) / path.name  # a new file there has the permissions that this process gives files
        _WRITERS[path.suffix](matrix, written)
        os.replace(written, path)


def _write_csv(matrix: TrainingMatrix, path: Path) -> None:
    """Floats as Python prints them, which reads back to the same bits; NaN as nothing."""
    table = matrix.to_table()
    columns = [_cells(values) for values in table.values()]
    columns[1] = [format_ms(at_ms) for at_ms in columns[1]]
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(table)
        lines.writerows(zip(*columns, strict=True))


def _cells(values: Any) -> list[Any]:
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    return ["" if value is None or value != value else value for value in listed]


def _write_npz(matrix: TrainingMatrix, path: Path) -> None:
    np.savez_compressed(
        path,
        x=matrix.x,
        columns=np.array(matrix.columns),
        member_ids=np.array(matrix.member_ids),
        at_ms=matrix.at_ms,
        is_known=matrix.is_known,
    )


_WRITERS = {
    ".parquet": lambda matrix, path: write(path, matrix.to_table(), matrix.texts),
    ".csv": _write_csv,
    ".npz": _write_npz,
}
