"""Whole documents of members, a row each: from Parquet files, as warehouses write them, or from lines of JSON.

A row has the member's id in one column. Its document is the column `document` (JSON as text, or a struct), or else all
other columns together, each a field. What is null stays null.

Laws: every row comes out, with its number in the file from 1 on. One that makes no document says why. Memory holds some
thousand rows, however large the file is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from memberstream.stream.files.lines import lines
from memberstream.stream.files.parquet import ParquetError, key_of, opened

DOCUMENT = "document"
_ROWS = 2_000


class Row(NamedTuple):
    """A row.

    Attributes:
        key: of its record; None: no id, or none that can be a key.
        document: as JSON.
        version: as it stands in its column; None: no such column, or nothing in it.
        problem: why it makes no document; "": it does.
    """

    number: int
    key: bytes | None
    document: bytes
    version: Any = None
    problem: str = ""


class Columns(NamedTuple):
    """Names of the columns that aren't part of the document. `version`: None: there is none."""

    id: str = "member_id"
    version: str | None = None


def count_rows(path: Path) -> int:
    """Return how many rows a Parquet file has; of another file, its bytes. Raises ParquetError."""
    if path.suffix != ".parquet":
        return path.stat().st_size
    with opened(path) as file:
        n: int = file.metadata.num_rows
        return n


def fingerprint(path: Path) -> bytes:
    """Return what tells a file from another: its SHA-256. (A correction may keep size, edges and statistics.)"""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def read_documents(path: Path, columns: Columns) -> Iterator[tuple[list[Row], int]]:
    """Yield some thousand rows at a time, and how far they go: rows of a Parquet file, bytes of another.

    Raises:
        ParquetError: no Parquet file, or a column is missing.
        OSError: the file can't be read.
    """
    return _parquet(path, columns) if path.suffix == ".parquet" else _ndjson(path, columns)


def _parquet(path: Path, columns: Columns) -> Iterator[tuple[list[Row], int]]:
    with opened(path) as file:
        there = file.schema_arrow.names
        for name in filter(None, columns):
            if name not in there:
                raise ParquetError(f"{path}: expected a column {name}, found {', '.join(there)}. Next: name it")
        own = [DOCUMENT] if DOCUMENT in there else [name for name in there if name not in columns]
        chosen = [*filter(None, columns), *own]
        number = 0
        for batch in file.iter_batches(_ROWS, columns=chosen):
            ids = batch.column(columns.id).to_pylist()
            versions = batch.column(columns.version).to_pylist() if columns.version else [None] * len(ids)
            contents = batch.column(DOCUMENT).to_pylist() if own == [DOCUMENT] else batch.select(own).to_pylist()
            found = [
                _row(number + i, member_id, content, version)
                for i, (member_id, content, version) in enumerate(zip(ids, contents, versions, strict=True), 1)
            ]
            number += len(ids)
            yield found, number


def _ndjson(path: Path, columns: Columns) -> Iterator[tuple[list[Row], int]]:
    with path.open("rb") as file:
        numbered = enumerate(lines(file, path), 1)
        n_bytes = 0
        while some := list(islice(numbered, _ROWS)):
            n_bytes += sum(len(line) for _, line in some)
            yield [_of_line(number, line, columns) for number, line in some if line.strip()], n_bytes


def _of_line(number: int, line: bytes, columns: Columns) -> Row:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        return Row(number, None, b"", problem="expected a JSON object, found none")
    if not isinstance(fields, dict):
        return Row(number, None, b"", problem="expected a JSON object, found none")
    member_id = fields.pop(columns.id, None)
    version = fields.pop(columns.version, None) if columns.version else None
    return _row(number, member_id, fields.get(DOCUMENT, fields), version)


def _row(number: int, member_id: Any, content: Any, version: Any) -> Row:
    key = key_of(member_id)
    if not key:
        return Row(number, None, b"", problem="expected a member id, a text or a whole number, found none")
    if isinstance(content, (str, bytes)):
        document = content if isinstance(content, bytes) else content.encode(errors="surrogatepass")
        return Row(number, key, document, version)
    try:
        return Row(number, key, orjson.dumps(content, default=_plain, option=orjson.OPT_NAIVE_UTC), version)
    except TypeError as error:  # orjson says which type, never the value
        return Row(number, key, b"", problem=f"expected values that JSON can hold: {error.__cause__ or error}")


def _plain(value: Any) -> Any:
    """Return what JSON holds of a value that it doesn't know. Raises TypeError."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise TypeError("bytes that aren't UTF-8") from None
    raise TypeError(f"a {type(value).__name__}")
