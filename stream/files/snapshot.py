"""A snapshot of members' states on disk: a file for each partition, and a manifest.

Format: `partition-0000.bin` has one record behind the other: u32 bytes of the key, u32 bytes of the value (both
little-endian), key, value. `manifest.json` names the files with their records and SHA-256. It is written last, so a
snapshot without it isn't whole.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO

import msgspec

FORMAT = 1
_MANIFEST = "manifest.json"
_SIZES = Struct("<II")


class SnapshotError(ValueError):
    """A snapshot can't be written or read; the text says what to do next."""


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One partition. `epoch`, `next_offset`: up to where its events are applied. `topic_id`: of their topic, as hex."""

    file: str
    sha256: str
    records: int
    members: int
    epoch: int
    next_offset: int
    topic_id: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A snapshot. `taken_at`: when its reading began, in UTC."""

    format: int
    taken_at: str
    topic: str
    group: str
    partitions: tuple[Part, ...]


def begin(directory: Path) -> None:
    """Make the directory, for this user alone: it will hold personal data. Raises SnapshotError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise SnapshotError(f"{directory} isn't empty. Next: name a new directory")
        directory.chmod(0o700)  # it may have been there
    except OSError as error:
        raise _unwritable(directory, error) from None


def write_partition(directory: Path, number: int, values: Mapping[bytes, bytes]) -> tuple[str, str]:
    """Write one partition. Returns the file's name and its SHA-256. Raises SnapshotError."""
    path, digest = directory / f"partition-{number:04}.bin", hashlib.sha256()
    try:
        with _new(path) as file:
            for key, value in values.items():
                record = _SIZES.pack(len(key), len(value)) + key + value
                digest.update(record)
                file.write(record)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritable(path, error) from None
    return path.name, digest.hexdigest()


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest: with it the snapshot is whole. Raises SnapshotError."""
    path = directory / _MANIFEST
    try:
        with _new(directory / f".{_MANIFEST}") as file:
            file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(directory / f".{_MANIFEST}", path)
    except OSError as error:
        raise _unwritable(path, error) from None


def read_manifest(directory: Path) -> Manifest:
    """Return the manifest. Raises SnapshotError."""
    path = directory / _MANIFEST
    try:
        found: Any = msgspec.json.decode(path.read_bytes())
        if isinstance(found, dict) and isinstance(number := found.get("format"), int) and number > FORMAT:
            raise SnapshotError(
                f"{path}: format {number}, of a newer memberstream; this one reads format {FORMAT}. Next: restore with "
                "the version that took the snapshot"
            )
        return msgspec.convert(found, Manifest)
    except FileNotFoundError:
        raise SnapshotError(f"{directory} holds no whole snapshot: no {_MANIFEST}. Next: take another one") from None
    except OSError as error:
        raise SnapshotError(f"can't read {path} ({error.strerror}). Next: allow this user to") from None
    except msgspec.MsgspecError as error:
        raise SnapshotError(f"{path} is damaged ({error}). Next: take another snapshot") from None


def read_partition(directory: Path, part: Part) -> dict[bytes, bytes]:
    """Return key → value of one partition. Raises SnapshotError: the file isn't the one that was written."""
    path = directory / part.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SnapshotError(f"can't read {path} ({error.strerror}). Next: take another snapshot") from None
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise SnapshotError(f"{path} isn't the file that was written: its SHA-256 differs. Next: take another snapshot")
    values, at = {}, 0
    while at < len(data):
        n_key, n_value = _SIZES.unpack_from(data, at)
        begins = at + _SIZES.size + n_key
        at = begins + n_value
        values[data[begins - n_key : begins]] = data[begins:at]
    return values


def _new(path: Path) -> BinaryIO:
    """Open a file that isn't there yet, for this user alone."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _unwritable(path: Path, error: OSError) -> SnapshotError:
    return SnapshotError(f"can't write {path} ({error.strerror}). Next: make room there, or name another directory")
