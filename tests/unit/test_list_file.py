"""Files of lists: what is read of them, and why each row that isn't taken wasn't."""

from __future__ import annotations

import gzip
import math
import os
import random
import stat
import threading
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memberstream.stream.files import lists as list_file
from memberstream.stream.files.lines import LineTooLong
from memberstream.stream.files.lists import Columns, ListFileError, RawChunk, read_file, read_rows
from memberstream.stream.files.pipes import rereadable
from memberstream.stream.lists.check import ListCheck

NOTHING = "member id: expected a text, found nothing"
OTHER_BYTES = "member id: expected UTF-8 text, found other bytes"
ONE_COLUMN = "expected 2 columns, found 1 column"
CONTROL = "member id: expected printable text, found control characters"


def judged(chunks: Iterable[RawChunk]) -> tuple[dict[str, int], dict[int, str]]:
    """Return the rows that can be taken, and line → reason of the others."""
    checked, rows, rejected = ListCheck(), dict[str, int](), dict[int, str]()
    for chunk in chunks:
        ids, clusters, wrong = checked.take(chunk)
        rows |= {member_id.decode(): cluster for member_id, cluster in zip(ids, clusters, strict=True)}
        rejected |= dict(wrong)
    return rows, rejected


def no_cluster(found: str) -> str:
    return f"cluster: expected a whole number from 0 to 2147483647, found {found}"


@pytest.mark.parametrize(
    ("content", "rows", "rejected"),
    [
        (b"", {}, {}),
        (b"id,cluster\n", {}, {}),
        (b"\xef\xbb\xbfid;cluster\r\na;1\r\n\r\nb;007", {"a": 1, "b": 7}, {}),
        (b"a\t1\rb\t2\r", {"a": 1, "b": 2}, {}),
        (b'"a,b",1\n" c",2\n', {"a,b": 1, " c": 2}, {}),
        (b"a,1.0\nb,2\n", {"b": 2}, {1: no_cluster("'1.0'")}),  # a number, so no header
        (b"a,\nb,2\n", {"b": 2}, {1: no_cluster("nothing")}),
        (b"a, 1\nb,-1\nc,x\n", {}, {1: no_cluster("' 1'"), 2: no_cluster("'-1'"), 3: no_cluster("'x'")}),
        (b"a,2147483648\nb,2147483647\n", {"b": 2**31 - 1}, {1: no_cluster("'2147483648'")}),
        (b",1\nb\0,2\n\xff,3\nc\n", {}, {1: NOTHING, 2: CONTROL, 3: OTHER_BYTES, 4: ONE_COLUMN}),
        (b"a,1\n\"b,2\n", {"a": 1}, {2: ONE_COLUMN}),  # the last line: it swallows nothing
        (b"x" * 513 + b",1\n", {}, {1: "member id: expected at most 512 bytes, found 513"}),
    ],
)  # fmt: skip
def test_what_is_read_of_a_csv_file(content: bytes, rows: Any, rejected: Any, tmp_path: Path) -> None:
    """Each row is taken or told of with its line; gzipped it is the same, whatever the ending's case."""
    for name, data in (("list.csv", content), ("list.CSV.GZ", gzip.compress(content))):
        (tmp_path / name).write_bytes(data)
        assert judged(read_file(tmp_path / name)) == (rows, rejected)


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b'a,1\n"b,2\nc,3\n', "line 2: .* lines 2 to 3"),  # to the end
        (b'a,1\n"b,2\nc,3\n"d",4\ne,5\n', "line 2: .* lines 2 to 4"),  # to the next quote, of two columns
        (b'a,1\nb,"2\nc,3\nd"\n', "line 2: .* lines 2 to 4"),
        (b'"a,1\nb,2\n', "line 1: .* lines 1 to 2"),
        (b'id,"cluster\na,1\n', "line 1: .* lines 1 to 2"),
        (b'a,1\n"' + b"b,2\n" * 50_000, "line 2: .* lines 2 to "),  # longer than a cell may be
    ],
)
def test_a_quote_that_is_not_closed_is_an_error_of_the_file(content: bytes, where: str, tmp_path: Path) -> None:
    """It swallows rows, nobody knows how many: they can't be left out knowingly."""
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(ListFileError, match=where + r".*Next: close it"):
        judged(read_file(tmp_path / "list.csv"))


def test_line_breaks_in_other_columns_are_read(tmp_path: Path) -> None:
    """Of a file with more columns, also in its header; the lines told are where rows begin."""
    content = b'id,"what\nfor",cluster\na,"two\nlines",1\nb,one,x\nc,"two\nlines",3\n'
    (tmp_path / "list.csv").write_bytes(content)
    rows, rejected = judged(read_file(tmp_path / "list.csv", Columns("id", "cluster")))
    assert (rows, rejected) == ({"a": 1, "c": 3}, {5: no_cluster("'x'")})


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    """As a shell gives it for <(a command): it can't be read twice."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = "".join(f"m{i},1\n" for i in range(list_file.CHUNK + 1))
    writing = threading.Thread(target=pipe.write_text, args=(content,))
    writing.start()
    rows, rejected = judged(read_file(pipe))
    writing.join()
    assert (len(rows), rejected) == (list_file.CHUNK + 1, {})


def test_a_pipe_is_copied_for_who_reads_it_twice(tmp_path: Path) -> None:
    """Whole, for this user's eyes alone, and only as long as it is needed; a file is read where it lies."""
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    content = "".join(f"m{i},1\n" for i in range(list_file.CHUNK + 1))
    writing = threading.Thread(target=pipe.write_text, args=(content,))
    writing.start()
    with rereadable(pipe) as copy:
        assert [len(judged(read_file(copy))[0]) for _ in range(2)] == [list_file.CHUNK + 1] * 2
        assert [stat.S_IMODE(one.stat().st_mode) for one in (copy.parent, copy)] == [0o700, 0o600]
        with rereadable(copy) as itself:
            assert itself == copy
    writing.join()
    assert not copy.parent.exists()


def test_files_that_are_no_lists(tmp_path: Path) -> None:
    """The error says what is wrong with the file and what to do next, never a library's exception."""
    noise = bytearray(gzip.compress(b"".join(b"m%d,%d\n" % (i * 7919 % 100_003, i % 3) for i in range(20_000))))
    noise[500:540] = b"\x55" * 40
    files = {
        "corrupt.csv.gz": bytes(noise),
        "cut.csv.gz": gzip.compress(b"a,1\n" * 50_000)[:60],
        "plain.csv.gz": b"a,1\n",
        "one.csv": b"a\nb\n",
        "three.csv": b"a,b,c\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ListFileError, match="Next: "):
            judged(read_file(tmp_path / name))
    with pytest.raises(ListFileError, match=r"no column segment\. Next: one of a, b, c"):
        judged(read_file(tmp_path / "three.csv", Columns("a", "segment")))


@pytest.mark.parametrize(
    ("ids", "rows", "rejected"),
    [
        (["a", None], {"a": 1}, {2: NOTHING}),
        ([b"a", b"\xff", b""], {"a": 1}, {2: OTHER_BYTES, 3: NOTHING}),  # texts that aren't declared as such
        ([17, 18], {"17": 1, "18": 1}, {}),
        ([1.0, math.nan], {}, dict.fromkeys((1, 2), "member id: expected a text or a whole number, found float")),
        ([date(2026, 1, 1)], {}, {1: "member id: expected a text or a whole number, found date"}),
    ],
)
def test_member_ids_of_any_kind(ids: list[Any], rows: Any, rejected: Any, tmp_path: Path) -> None:
    """Texts and whole numbers are ids, in Parquet and from a program; of other kinds no text is made up."""
    pq.write_table(pa.table({"id": ids, "cluster": [1] * len(ids)}), tmp_path / "list.parquet")
    assert judged(read_file(tmp_path / "list.parquet")) == (rows, rejected)
    assert judged(read_rows([(i, 1) for i in ids])) == (rows, rejected)


def test_rows_of_a_program() -> None:
    """NumPy's whole numbers are as good; what is no pair, and what only looks like a number, is told of."""
    rows, rejected = judged(
        read_rows([("a", np.int8(1)), (np.int64(7), 2), ("b", True), (False, 1), ("c", 1.0), "d", ("\ud800", 1)])
    )
    assert rows == {"a": 1, "7": 2}
    assert rejected == {
        3: no_cluster("True"),
        4: "member id: expected a text or a whole number, found bool",
        5: no_cluster("1.0"),
        6: "expected a pair of member id and cluster",
        7: OTHER_BYTES,
    }
    assert judged(read_rows({"a": 1})) == ({"a": 1}, {})


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 2)), max_size=40), st.integers(1, 7))
def test_who_stands_there_twice(pairs: list[tuple[str, int]], size: int) -> None:
    """Of each member the first row counts, however the rows are cut into chunks; the others repeat or contradict it."""
    first: dict[str, tuple[int, int]] = {}
    repeated, expected = 0, {}
    for line, (member_id, cluster) in enumerate(pairs, 1):
        stands_at, stands = first.setdefault(member_id, (line, cluster))
        if stands != cluster:
            expected[line] = f"cluster {cluster}, but line {stands_at} has the same member in cluster {stands}"
        repeated += stands == cluster and stands_at != line
    checked, rows, rejected = ListCheck(), dict[bytes, int](), dict[int, str]()
    for at in range(0, len(pairs), size):
        part = pairs[at : at + size]
        lines = list(range(at + 1, at + 1 + len(part)))
        ids, clusters, wrong = checked.take(RawChunk(lines, [i for i, _ in part], [c for _, c in part]))
        rows |= dict(zip(ids, clusters, strict=True))
        rejected |= dict(wrong)
    assert rows == {member_id.encode(): cluster for member_id, (_, cluster) in first.items()}
    assert (rejected, checked.repeated) == (expected, repeated)
    asked = [b"nobody", *random.Random(1).sample(sorted(rows), len(rows))]
    assert checked.clusters_of(asked).tolist() == [rows.get(member_id, -1) for member_id in asked]


def test_a_file_without_lines_is_refused_before_memory_is_full(tmp_path: Path) -> None:
    """Seventeen megabytes without a line break are no list."""
    file = tmp_path / "list.csv"
    file.write_bytes(b"m1,1\n" + b"x" * (17 << 20))
    with pytest.raises(LineTooLong, match=r"^line 2: longer than 16,777,216 characters"):
        list(read_file(file))


def test_a_long_text_that_parquet_stores_once_is_refused(tmp_path: Path) -> None:
    """A file of 700 bytes: 10,000 rows with the same text of 30,000 bytes. The rows are never made."""
    file = tmp_path / "a.parquet"
    ids = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000), ["x" * 30_000])
    pq.write_table(pa.table({"id": ids, "cluster": [1] * 10_000}), file)
    assert file.stat().st_size < 10_000
    with pytest.raises(ListFileError, match=r"column id: a text of 30,000 bytes, a member id has at most 512\. Next"):
        next(read_file(file))
    ids = pa.array([["x"]] * 3)
    pq.write_table(pa.table({"id": ids, "cluster": [1] * 3}), file)
    with pytest.raises(ListFileError, match="column id: expected texts or whole numbers, found list"):
        next(read_file(file))
    pq.write_table(pa.table({"id": ["x" * 2_000_000], "cluster": [1]}), file, compression="zstd", use_dictionary=False)
    assert file.stat().st_size < 10_000
    with pytest.raises(ListFileError, match=r"column id: 2,\d+,\d+ bytes in row group 1 once it is unpacked"):
        next(read_file(file))
