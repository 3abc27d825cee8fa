"""Parquet files, read in batches and written whole. pyarrow is loaded when the first one is used, and only then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np


class ParquetError(OSError):
    """A Parquet file that can't be used; the text says what to do next."""


def arrow() -> Any:
    """Return pyarrow with its Parquet part. Raises ParquetError: it isn't installed."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise ParquetError("Parquet files need pyarrow. Next: pip install 'memberstream[parquet]'") from None
    return pyarrow


def is_there() -> bool:
    """Return whether Parquet files can be read here."""
    return find_spec("pyarrow") is not None


def opened(path: Path, as_dictionaries: Sequence[str] = ()) -> Any:
    """Return a pyarrow.parquet.ParquetFile, to be closed. Raises ParquetError: it isn't one, or pyarrow is missing.

    Args:
        as_dictionaries: columns of texts that are read as the file stores them, each different text once.
    """
    pyarrow = arrow()
    try:
        return pyarrow.parquet.ParquetFile(path, read_dictionary=list(as_dictionaries))
    except pyarrow.ArrowInvalid as error:
        raise ParquetError(f"{path}: expected a Parquet file ({error}). Next: check the file") from None


def read_batches(path: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield name → pyarrow array of the columns, some ten thousand rows at a time. Optional columns may be missing.

    Args:
        needed: names. Names that may stand for one another are joined by `|`; the first is the name that is returned.

    Raises:
        ParquetError: as `opened`, or a column is missing.
    """
    with opened(path) as file:
        there = file.schema_arrow.names
        chosen: dict[str, str] = {name: name for name in optional if name in there}
        for names in needed:
            given = next((name for name in names.split("|") if name in there), None)
            if given is None:
                expected = names.replace("|", " or ")
                raise ParquetError(f"{path}: expected a column {expected}, found {', '.join(there)}. Next: rename one")
            chosen[names.split("|")[0]] = given
        for batch in file.iter_batches(columns=list(chosen.values())):
            yield {name: batch.column(given) for name, given in chosen.items()}


def key_of(member_id: Any) -> bytes | None:
    """Return the record key for a member id in a table: a text, also as bytes, or a whole number.

    Other kinds give None; no text is made up for them. 17.0, say, is what a column of numbers with gaps makes of 17.
    """
    if isinstance(member_id, str):
        return member_id.encode(errors="surrogatepass")
    if isinstance(member_id, bytes):  # texts, where they aren't declared as such
        return member_id
    is_whole = isinstance(member_id, (int, np.integer)) and not isinstance(member_id, bool)
    return b"%d" % member_id if is_whole else None


def write(path: Path, columns: dict[str, Any], texts: Iterable[str]) -> None:
    """Write a table. The key `at` holds ms since 1970 and becomes a timestamp. `texts`: texts even if all are None."""
    pyarrow = arrow()
    at = pyarrow.array(columns["at"], pyarrow.timestamp("ms", "UTC"))
    typed = {name: pyarrow.array(columns[name], pyarrow.string()) for name in texts}
    table = pyarrow.table(columns | typed | {"at": at})
    pyarrow.parquet.write_table(table, path)
