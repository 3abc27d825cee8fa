"""A snapshot on disk: what was written comes back, and what isn't whole is refused with what to do."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from memberstream.stream.files.snapshot import (
    FORMAT,
    Manifest,
    Part,
    SnapshotError,
    begin,
    read_manifest,
    read_partition,
    write_manifest,
    write_partition,
)

VALUES = {b"\0applied": b"x" * 40, b"m1": b"", b"m\xc3\xbc": bytes(range(256))}


def taken(directory: Path) -> Manifest:
    begin(directory)
    file, sha256 = write_partition(directory, 0, VALUES)
    manifest = Manifest(FORMAT, "2026-11-29T20:00:00Z", "docs", "group", (Part(file, sha256, 3, 2, 0, 7, "ab"),))
    write_manifest(directory, manifest)
    return manifest


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    """Whatever bytes keys and values have; nobody else may read them."""
    manifest = taken(tmp_path / "s")
    assert read_manifest(tmp_path / "s") == manifest
    assert read_partition(tmp_path / "s", manifest.partitions[0]) == VALUES
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    """Also if the directory was there, and the user's files are open to all."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s").chmod(0o755)
    before = os.umask(0)
    try:
        taken(tmp_path / "s")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "s").iterdir()} == {0o600}


def test_a_directory_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    taken(tmp_path / "s")
    with pytest.raises(SnapshotError, match=r"isn't empty\. Next: name a new directory"):
        begin(tmp_path / "s")
    (tmp_path / "file").touch()
    with pytest.raises(SnapshotError, match="can't write"):
        begin(tmp_path / "file" / "s")


def test_what_is_not_whole_is_refused(tmp_path: Path) -> None:
    """No manifest, a damaged one, one of a later version; a file that lacks a byte, and one that is gone."""
    directory = tmp_path / "s"
    manifest = taken(directory)
    file, path = directory / manifest.partitions[0].file, directory / "manifest.json"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(SnapshotError, match="SHA-256 differs"):
        read_partition(directory, manifest.partitions[0])
    file.unlink()
    with pytest.raises(SnapshotError, match="can't read"):
        read_partition(directory, manifest.partitions[0])
    path.write_text('{"format": 2}')
    with pytest.raises(SnapshotError, match="of a newer memberstream"):
        read_manifest(directory)
    path.write_text("{}")
    with pytest.raises(SnapshotError, match="damaged"):
        read_manifest(directory)
    path.unlink()
    with pytest.raises(SnapshotError, match="no whole snapshot"):
        read_manifest(directory)
