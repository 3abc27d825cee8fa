"""What change events make of member documents, and which are dead letters: written from docs/events.md alone.

Laws:
1. Nothing of memberstream is imported, nor was it read for this: where this and the worker differ, the document or the
   worker is wrong.
2. Of an event with several faults the document says which kind comes first (key, size, JSON, fields), not which field:
   so `Faults` holds all reasons that are true of it, and a dead letter may name any of them.
3. A member keeps every document that it ever had, with the offset that made it, so that an answer about an earlier
   moment can be judged as of that moment.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

LIMIT_BYTES, LIMIT_LEVELS, LIMIT_KEYS = 900_000, 64, 32
AHEAD_MS = 5 * 60_000
VERSIONS = 2**53
YEAR_1_MS, YEAR_10000_MS = -62_135_596_800_000, 253_402_300_800_000
COMMON = {"op", "at", "version", "member_id", "meta"}
NEEDS = {"replace": {"document"}, "patch": {"patch"}, "append": {"path", "value"}, "delete": set[str]()}
MAY = {"replace": set[str](), "patch": {"create"}, "append": {"create"}, "delete": set[str]()}
Faults = frozenset[str]
FINE: Faults = frozenset()


class Change(NamedTuple):
    """An event that can be read. `at_ms` None: of a tombstone without a time."""

    op: str
    at_ms: int | None
    version: int | None = None
    body: Any = None
    path: tuple[str, ...] = ()
    create: bool = False


def read(key: bytes | None, value: bytes | None, timestamp_ms: int, now_ms: int) -> Change | Faults:
    """Return the change of a record, or what is wrong with it."""
    if key is None or not _is_id(key):
        return frozenset({"bad_key"})
    if value is None:
        return Change("delete", timestamp_ms if 0 <= timestamp_ms <= now_ms + AHEAD_MS else None)
    if len(value) > LIMIT_BYTES:
        return frozenset({"too_large"})
    try:
        envelope = json.loads(value.decode("utf-8"), parse_constant=_refused, parse_float=_finite, parse_int=_whole)
        json.dumps(envelope, ensure_ascii=False).encode()  # half a surrogate pair is no character
    except (ValueError, RecursionError):
        return frozenset({"not_json", "too_deep"} if value.count(b"[") > LIMIT_LEVELS else {"not_json"})
    faults = {"too_deep"} if levels(envelope) > LIMIT_LEVELS else set()
    if not isinstance(envelope, dict):
        faults.add("not_an_object")
    if faults:
        return frozenset(faults)
    return _fields(key.decode(), envelope, timestamp_ms, now_ms)


def _is_id(key: bytes) -> bool:
    try:
        return 1 <= len(key) <= 512 and key.decode("utf-8").isprintable()
    except UnicodeDecodeError:
        return False


def _refused(text: str) -> Any:
    raise ValueError(text)


def _finite(text: str) -> float:
    if math.isinf(float(text)):
        raise ValueError(text)
    return float(text)


def _whole(text: str) -> float:
    number = _finite(text)
    return int(text) if -(2**63) <= int(text) < 2**64 else number


def levels(value: Any) -> int:
    """How deep a JSON value nests; a number has none."""
    deepest, level = 0, [value]
    while level := [v for v in level if isinstance(v, dict | list)]:
        deepest += 1
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
    return deepest


def _fields(member_id: str, envelope: dict[str, Any], timestamp_ms: int, now_ms: int) -> Change | Faults:
    faults: set[str] = set()
    op = envelope.get("op")
    if "op" not in envelope:
        faults.add("missing_field")
    elif not isinstance(op, str) or op not in NEEDS:
        faults.add("unknown_op")
    else:
        faults |= {"missing_field"} if NEEDS[op] - envelope.keys() else set()
        faults |= {"unknown_field"} if envelope.keys() - COMMON - NEEDS[op] - MAY[op] else set()
        for name in ("document", "patch"):
            if name in NEEDS[op] and name in envelope and not isinstance(envelope[name], dict):
                faults.add("wrong_type")
    if not isinstance(envelope.get("create", False), bool):
        faults.add("wrong_type")
    path = None
    if "path" in envelope:
        if not isinstance(envelope["path"], str):
            faults.add("wrong_type")
        elif (path := split_path(envelope["path"])) is None:
            faults.add("bad_path")
    at_ms: int | None = timestamp_ms
    if envelope.get("at") is not None:
        at_ms = moment(envelope["at"])
    if at_ms is None or (at_ms < 0 and envelope.get("at") is None):
        faults |= {"bad_time", "future_time"} if number_beyond(envelope.get("at")) else {"bad_time"}
    elif at_ms > now_ms + AHEAD_MS:
        faults.add("future_time")
    at = timestamp_ms if envelope.get("at") is None else envelope["at"]
    if type(at) in (int, float) and any(1990 <= year_of(at / per_s) < 2100 for per_s in (1, 10**6, 10**9)):
        faults.add("bad_time")
    version = envelope.get("version")
    if version is not None and (type(version) is not int or not 0 <= version < VERSIONS):
        faults.add("bad_version")
    if envelope.get("member_id") is not None and envelope["member_id"] != member_id:
        faults.add("member_id_mismatch")
    if faults:
        return frozenset(faults)
    body = envelope.get({"replace": "document", "patch": "patch", "append": "value"}.get(str(op), ""))
    return Change(str(op), at_ms, version, body, path or (), envelope.get("create", False))


def year_of(at_s: float) -> int:
    """The year of a time in seconds, or 0 where Python's calendar doesn't reach."""
    try:
        return datetime.fromtimestamp(at_s, UTC).year
    except (OverflowError, ValueError):
        return 0


def split_path(text: str) -> tuple[str, ...] | None:
    """Keys joined by dots, `\\.` and `\\\\` inside a key; None: empty keys, a lone backslash, more than 32 keys."""
    keys = [""]
    for piece in re.findall(r"\\.|[^\\]|\\$", text, re.DOTALL):
        if piece == ".":
            keys.append("")
        elif piece in ("\\.", "\\\\"):
            keys[-1] += piece[1]
        elif piece.startswith("\\"):
            return None
        else:
            keys[-1] += piece
    return tuple(keys) if all(keys) and len(keys) <= LIMIT_KEYS else None


def number_beyond(value: Any) -> bool:
    """Whether it is a number of ms after the year 9999: no point in time, and one that lies ahead."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= YEAR_10000_MS


def moment(value: Any) -> int | None:
    """A point in time as ms since 1970: an ISO 8601 text or a number of ms; None: it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return math.floor(value) if YEAR_1_MS <= value < YEAR_10000_MS else None
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    since = found - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


@dataclass
class Member:
    """A member as its events make it. `at`: offsets of the events that took effect; `documents`: what each left."""

    partition: int
    version: int = -1
    at: list[int] = field(default_factory=list)
    documents: list[dict[str, Any] | None] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    deletes: list[tuple[int, int]] = field(default_factory=list)  # offset and record timestamp of each that took effect

    @property
    def document(self) -> dict[str, Any] | None:
        return self.documents[-1] if self.documents else None

    def as_of(self, offset: int) -> dict[str, Any] | None:
        """The document once all events up to an offset had taken effect."""
        n = bisect_right(self.at, offset)
        return self.documents[n - 1] if n else None

    def take(self, offset: int, timestamp_ms: int, change: Change) -> Faults:
        """Let an event take effect; returns why it can't. (One that its version makes late is ignored.)"""
        if change.version is not None and change.version <= self.version:
            return FINE
        if change.op in ("patch", "append") and self.document is None and not change.create:
            return frozenset({"unknown_member"})
        if change.op == "append" and not _has_room(self.document or {}, change.path):
            return frozenset({"not_a_list"})
        if change.version is not None:
            self.version = change.version
        self.at.append(offset)
        self.documents.append(changed(self.document, change))
        self.times_ms.append(0 if change.at_ms is None else change.at_ms)
        if change.op == "delete":
            self.deletes.append((offset, timestamp_ms))
        return FINE


def changed(document: dict[str, Any] | None, change: Change) -> dict[str, Any] | None:
    """The document after a change that it takes."""
    if change.op == "delete":
        return None
    if change.op == "replace":
        return dict(change.body)
    if change.op == "patch":
        return dict(merged(document or {}, change.body))
    return dict(_appended(document or {}, change.path, change.body))


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396: null removes a key, objects merge, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    kept = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            kept.pop(key, None)
        else:
            kept[key] = merged(kept.get(key), value)
    return kept


def _has_room(target: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if target is None:
            return True
        if not isinstance(target, dict):
            return False
        target = target.get(key)
    return target is None or isinstance(target, list)


def _appended(target: Any, path: tuple[str, ...], value: Any) -> Any:
    if not path:
        return [*(target or []), value]
    held = target or {}
    return {**held, path[0]: _appended(held.get(path[0]), path[1:], value)}
