"""Malformed events: 20 kinds, at least one for each `Reason`, with markers where personal data would be.

Each has a member id of its own, so that a good member's document never depends on them. MARKER stands in every key
and value; it must be found nowhere but there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import orjson
from e2e.system import Sent, event

from memberstream.models.event import MAX_VALUE_BYTES, Reason

MARKER = "zorbelius"  # stands for a name, an address, a diagnosis
_HOUR_MS = 3_600_000


class Bad(NamedTuple):
    """A malformed event, and why it can't be applied."""

    record: Sent
    reason: Reason


def _nested(levels: int) -> bytes:
    return b'{"op":"replace","document":{"%b":%b1%b}}' % (MARKER.encode(), b"[" * levels, b"]" * levels)


def _later() -> int:
    return time.time_ns() // 1_000_000 + _HOUR_MS


# What follows a good `replace` of the same member, {"x": MARKER}, in the tests: "on" in the name.
KINDS: dict[str, tuple[Reason, Callable[[], bytes]]] = {
    "cut off": (Reason.NOT_JSON, lambda: b'{"op":"replace","document":{"name":"%b"' % MARKER.encode()),
    "not UTF-8": (Reason.NOT_JSON, lambda: b'{"op":"delete","meta":"%b\xff"}' % MARKER.encode()),
    "empty": (Reason.NOT_JSON, lambda: b""),
    "NaN": (Reason.NOT_JSON, lambda: b'{"op":"replace","document":{"%b":NaN}}' % MARKER.encode()),
    "a list": (Reason.NOT_AN_OBJECT, lambda: orjson.dumps([MARKER])),
    "a text": (Reason.NOT_AN_OBJECT, lambda: orjson.dumps(MARKER)),
    "70 levels": (Reason.TOO_DEEP, lambda: _nested(70)),
    "300 levels": (Reason.TOO_DEEP, lambda: _nested(300)),
    "no op": (Reason.MISSING_FIELD, lambda: orjson.dumps({"document": {"name": MARKER}})),
    "no document": (Reason.MISSING_FIELD, lambda: event("replace", meta=MARKER)),
    "no path": (Reason.MISSING_FIELD, lambda: event("append", value=MARKER)),
    "another op": (Reason.UNKNOWN_OP, lambda: event(MARKER, document={})),
    "one field too many": (Reason.UNKNOWN_FIELD, lambda: event("replace", document={}, **{MARKER: 1})),
    "patch is a text": (Reason.WRONG_TYPE, lambda: event("patch", patch=MARKER)),
    "at is a word": (Reason.BAD_TIME, lambda: event("replace", document={}, at=MARKER)),
    "at in seconds": (Reason.BAD_TIME, lambda: event("replace", document={"name": MARKER}, at=_later() // 1_000)),
    "at in an hour": (Reason.FUTURE_TIME, lambda: event("replace", document={"name": MARKER}, at=_later())),
    "version is a text": (Reason.BAD_VERSION, lambda: event("replace", document={}, version=MARKER)),
    "a path with an empty key": (Reason.BAD_PATH, lambda: event("append", path=f"a..{MARKER}", value=1, create=True)),
    "another member's": (Reason.MEMBER_ID_MISMATCH, lambda: event("replace", document={}, member_id=MARKER)),
    "patch for nobody": (Reason.UNKNOWN_MEMBER, lambda: event("patch", patch={"name": MARKER})),
    "append to a text": (Reason.NOT_A_LIST, lambda: event("append", path="x", value=MARKER)),
}
_KEYS: list[bytes | None] = [
    *(None, b"\xff" + MARKER.encode(), MARKER.encode() * 100, f"{MARKER}\n".encode(), b'"%b"' % MARKER.encode()),
]


def malformed(n: int) -> list[Bad]:
    """Return n malformed events of all kinds in turn; "append to a text" needs `prepared()` to be sent first."""
    bad = [
        Bad(Sent(b"large", event("replace", document={"x": MARKER * (MAX_VALUE_BYTES // 9)})), Reason.TOO_LARGE),
        *(Bad(Sent(key, event("replace", document={"name": MARKER})), Reason.BAD_KEY) for key in _KEYS),
    ]
    kinds = list(KINDS.items())
    for i in range(n - len(bad)):
        kind, (reason, value) = kinds[i % len(kinds)]
        member_id = _prepared_id(i % 5) if kind == "append to a text" else f"{MARKER}-{i}".encode()
        own = (("trace", b"own-%d" % i), ("reason", MARKER.encode())) if i % 3 == 0 else ()
        bad.append(Bad(Sent(member_id, value(), own), reason))
    return bad


def prepared() -> list[Sent]:
    """Return good events of members whose document has no list at `x`."""
    return [Sent(_prepared_id(i), event("replace", document={"x": MARKER})) for i in range(5)]


def _prepared_id(i: int) -> bytes:
    return f"{MARKER}-prepared-{i}".encode()
