"""Files of uploaded lists, read a chunk at a time: CSV (also gzipped), Parquet, and rows from a program.

Laws:
- Memory is bounded by a chunk, whatever the file's length.
- Only the shape of a row is judged here. What its cells may be is judged in stream/lists/check.py.
- A quote that isn't closed is an error of the file, because nobody knows how many rows it would swallow.
- A row's line is where it begins in the file, from 1. In Parquet and from a program it is the row's number.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from memberstream.models.event import MAX_KEY_BYTES
from memberstream.models.wording import counted
from memberstream.stream.files.lines import lines
from memberstream.stream.files.parquet import arrow, opened

#: Rows read together; some 10 ms.
CHUNK = 10_000
#: Bytes of ids in a Parquet file's row group, once it is unpacked: at most, and beside those that its rows may have.
LARGEST_GROUP, MARGIN = 1_000_000_000, 1_000_000
_DELIMITERS = ",;\t"


class ListFileError(ValueError):
    """A file that can't be read as a list; the text says what to do next. Its author corrects it."""


class Rejected(NamedTuple):
    """A row that can't be taken."""

    line: int
    reason: str


@dataclass(slots=True)
class RawChunk:
    """Some rows as they stand in the file. `done` of `total`: how far it is read, in its own unit; 0: not known."""

    lines: list[int] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)
    clusters: list[Any] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns. None: the file has two, the member id first."""

    member_id: str | None = None
    cluster: str | None = None

    @property
    def are_named(self) -> bool:
        return self.member_id is not None or self.cluster is not None


def read_file(path: Path, columns: Columns = Columns()) -> Iterator[RawChunk]:
    """Yield the rows of a file. Its ending decides: `.parquet`; `.gz` is gzipped CSV; anything else is CSV.

    Raises:
        ListFileError: no such columns, or not such a file.
        ParquetError: it isn't one, or pyarrow isn't there.
        OSError: it can't be opened.
    """
    ending = path.suffix.lower()
    if ending == ".parquet":
        yield from _read_parquet(path, columns)
        return
    with path.open("rb") as raw:
        opened = gzip.GzipFile(fileobj=raw) if ending == ".gz" else raw
        # What isn't UTF-8 is noticed cell by cell: one bad byte spoils one row.
        with TextIOWrapper(cast(BinaryIO, opened), encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            try:
                yield from _read_csv(text, columns, raw, path.stat().st_size)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise ListFileError(f"{path}: expected gzipped CSV ({error}). Next: is its name right?") from None


def read_rows(rows: Iterable[Any]) -> Iterator[RawChunk]:
    """Yield rows from a program: pairs of member id and cluster, or a mapping from id to cluster."""
    pairs = iter(rows.items() if isinstance(rows, Mapping) else rows)
    line = 0
    while part := list(islice(pairs, CHUNK)):
        chunk = RawChunk()
        for row in part:
            line += 1
            try:
                member_id, cluster = row
            except (TypeError, ValueError):
                chunk.rejected.append(Rejected(line, "expected a pair of member id and cluster"))
                continue
            chunk.lines.append(line)
            chunk.ids.append(member_id)
            chunk.clusters.append(cluster)
        chunk.done = line
        yield chunk


def _read_csv(text: TextIOWrapper, columns: Columns, raw: BinaryIO, total: int) -> Iterator[RawChunk]:
    rest = lines(text)
    first_line = next(rest, "")
    delimiter = max(_DELIMITERS, key=first_line.count)  # if equal the first of them: the comma
    reader = csv.reader(chain([first_line], rest), delimiter=delimiter)  # read once: the file may be a pipe
    at, width, chunk, began = (0, 1), 2, RawChunk(), 1
    is_first = True
    while True:
        try:
            for row in reader:
                if reader.line_num > began and _has_swallowed(row, at, width, is_first and columns.are_named):
                    raise _unclosed(began, reader.line_num)
                if is_first and row:
                    is_first = False
                    at, width, is_header = _columns(row, columns)
                    if is_header:
                        began = reader.line_num + 1
                        continue
                if len(row) == width:
                    chunk.lines.append(began)
                    chunk.ids.append(row[at[0]])
                    chunk.clusters.append(row[at[1]])
                elif row:  # an empty line is no row
                    found = f"expected {counted(width, 'column')}, found {counted(len(row), 'column')}"
                    chunk.rejected.append(Rejected(began, found))
                began = reader.line_num + 1
                if len(chunk.lines) >= CHUNK or len(chunk.rejected) >= CHUNK:
                    chunk.done, chunk.total = raw.tell() if total else 0, total
                    yield chunk
                    chunk = RawChunk()
            break
        except csv.Error as error:
            if reader.line_num > began:  # in the middle of a quoted cell that is too long
                raise _unclosed(began, reader.line_num) from None
            chunk.rejected.append(Rejected(began, f"not CSV: {error}"))
            began = reader.line_num + 1
    chunk.done, chunk.total = total, total
    yield chunk


def _has_swallowed(row: list[str], at: tuple[int, int], width: int, is_header: bool) -> bool:
    """Return whether a row of several lines has swallowed others: no id or cluster can contain a line break."""
    return not is_header and (len(row) != width or any("\n" in row[i] or "\r" in row[i] for i in at))


def _unclosed(began: int, ended: int) -> ListFileError:
    return ListFileError(
        f"line {began}: a quote (\") isn't closed in its row, so lines {began} to {ended} are read as one. "
        "Next: close it, or remove it"
    )


def _columns(first: list[str], columns: Columns) -> tuple[tuple[int, int], int, bool]:
    """Return where id and cluster stand, how many columns there are, and whether the first row is a header."""
    if columns.are_named:
        return _named(first, columns), len(first), True
    if len(first) != 2:
        if len(first) < 2:
            raise ListFileError(
                "expected two columns, member id and cluster, found one. Next: separate them by a comma"
            )
        raise ListFileError(
            f"{counted(len(first), 'column')}: {', '.join(first)}. Next: --id-column and --cluster-column"
        )
    return (0, 1), 2, not _may_be_cluster(first[1])


def _may_be_cluster(text: str) -> bool:
    """Return whether a cell is a number or empty, whether or not it is a valid cluster. Then it isn't a header."""
    try:
        float(text.strip() or 0)
    except ValueError:
        return False
    return True


def _named(names: list[str], columns: Columns) -> tuple[int, int]:
    """Return where the named columns stand. If only one of two is named, the other is the other one."""
    at = []
    for name in (columns.member_id, columns.cluster):
        if name is not None and name not in names:
            raise ListFileError(f"no column {name}. Next: one of {', '.join(names)}")
        at.append(None if name is None else names.index(name))
    member_id, cluster = at
    if None in at and len(names) != 2:
        raise ListFileError(
            f"{counted(len(names), 'column')}: {', '.join(names)}. Next: name both --id-column and --cluster-column"
        )
    if member_id is None:
        member_id = 1 - cast(int, cluster)
    if cluster is None:
        cluster = 1 - member_id
    return member_id, cluster


def _read_parquet(path: Path, columns: Columns) -> Iterator[RawChunk]:
    with opened(path) as file:
        schema = file.schema_arrow
        names = list(schema.names)
        if not columns.are_named and len(names) != 2:
            raise ListFileError(
                f"{counted(len(names), 'column')}: {', '.join(names)}. Next: --id-column and --cluster-column"
            )
        at = _named(names, columns) if columns.are_named else (0, 1)
        member_id, cluster = names[at[0]], names[at[1]]
        if not arrow().types.is_integer(schema.field(cluster).type):
            kind = schema.field(cluster).type
            raise ListFileError(f"column {cluster}: expected whole numbers, found {kind}. Next: store it as integers")
        _refuse_swollen(path, file.metadata, schema, member_id)
        line, total = 0, file.metadata.num_rows
        for batch in file.iter_batches(batch_size=CHUNK, columns=[member_id, cluster]):
            found = batch.to_pydict()
            n = batch.num_rows
            yield RawChunk(list(range(line + 1, line + n + 1)), found[member_id], found[cluster], [], line + n, total)
            line += n


def _refuse_swollen(path: Path, metadata: Any, schema: Any, member_id: str) -> None:
    """Refuse what would become far more in memory than the file is: a text that is stored once may stand in each row.

    Raises:
        ListFileError: a row group is too large, or ids can't be texts or numbers, or one of them is far too long.
    """
    kind, types = schema.field(member_id).type, arrow().types
    if types.is_nested(kind) or (types.is_fixed_size_binary(kind) and kind.byte_width > MAX_KEY_BYTES):
        raise ListFileError(f"column {member_id}: expected texts or whole numbers, found {kind}. Next: is it the ids'?")
    with opened(path, [member_id]) as file:
        for i in range(metadata.num_row_groups):
            group = metadata.row_group(i)
            sizes = {one["path_in_schema"]: one["total_uncompressed_size"] for one in group.to_dict()["columns"]}
            most = min(LARGEST_GROUP, MARGIN + group.num_rows * (MAX_KEY_BYTES + 8))
            if (size := sizes.get(member_id, 0)) > most:
                raise ListFileError(
                    f"column {member_id}: {size:,} bytes in row group {i + 1} once it is unpacked, at most {most:,} "
                    f"are taken for {counted(group.num_rows, 'row')}. Next: is it the ids'? "
                    "If so, write smaller row groups"
                )
            for batch in file.iter_batches(batch_size=1, row_groups=[i], columns=[member_id]):
                if (longest := _longest(batch.column(0))) > MAX_KEY_BYTES:
                    raise ListFileError(
                        f"column {member_id}: a text of {longest:,} bytes, a member id has at most {MAX_KEY_BYTES}. "
                        "Next: is it the ids'?"
                    )
                break  # the first row comes with all texts that the row group stores once


def _longest(ids: Any) -> int:
    """Return the bytes of the longest text that a column stores once."""
    if not arrow().types.is_dictionary(ids.type) or arrow().types.is_integer(ids.type.value_type):
        return 0
    return arrow().compute.max(arrow().compute.binary_length(ids.dictionary)).as_py() or 0
