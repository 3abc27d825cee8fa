"""A member's state: document, position, version, memberships and cached predictors, and its bytes.

Format (schema 1, little-endian): u8 schema · i64 offset · i64 version (-1: none) · i64 as_of_ms · i64 valid_until_ms ·
u64 plan id · u16 memberships · u16 columns of x · u16 columns of until · memberships (u64 model key, i32 cluster,
i64 since_ms) · x f64… · until i64… · the document as JSON, empty for a deleted member.
Recovery relies on the first nine bytes: schema and offset.

Laws: decode(encode(m)) == m. Bytes of an unknown schema are refused, never guessed at.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import orjson

from models.path import Path
from models.plan import EVERYTHING
from models.timestamps import FOREVER

SCHEMA = 1
_HEADER = struct.Struct("<BqqqqQHHH")
_MEMBERSHIP = struct.Struct("<Qiq")


class StateError(ValueError):
    """Stored bytes that aren't a member's state. Ours to solve: the worker stops before it acknowledges anything.

    Action: if a newer memberstream wrote this state, run that version; otherwise move the worker's data directory aside
    and start it again: it rebuilds the state from the changelog.
    """


@dataclass(slots=True)
class Member:
    """The state of one member, decoded; owned by the batch that is applied to it and changed in place.

    Attributes:
        offset: of the last applied event in the member's partition; -1 before the first.
        version: the producer's last version, or -1.
        as_of_ms: the `now` of the last scoring.
        document: None once deleted; the position and the version remain, so that a late event is known as one.
        memberships: model key → (cluster id, since_ms).
        plan_id: of the plan that made x and until; another plan evaluates from scratch.
        x: float64 columns as bytes; until: int64 ms as bytes.
        touched: paths changed since x was evaluated; not stored.
        document_bytes: upper estimate of the document's size as JSON; not stored.
    """

    offset: int = -1
    version: int = -1
    as_of_ms: int = 0
    valid_until_ms: int = FOREVER
    document: dict[str, Any] | None = None
    memberships: dict[int, tuple[int, int]] = field(default_factory=dict)
    plan_id: int = 0
    x: bytes = b""
    until: bytes = b""
    touched: set[Path] = field(default_factory=set, compare=False)
    document_bytes: int = field(default=0, compare=False)

    def forget(self) -> None:
        """Drop everything but position and version; what is created after it is a fresh member."""
        self.document = None
        self.as_of_ms = 0
        self.memberships = {}
        self.plan_id, self.x, self.until = 0, b"", b""
        self.valid_until_ms = FOREVER
        self.touched = set(EVERYTHING)
        self.document_bytes = 0


def encode(member: Member) -> bytes:
    """Return the member's bytes in schema 1."""
    memberships = member.memberships
    parts = [
        _HEADER.pack(
            SCHEMA,
            member.offset,
            member.version,
            member.as_of_ms,
            member.valid_until_ms,
            member.plan_id,
            len(memberships),
            len(member.x) >> 3,
            len(member.until) >> 3,
        )
    ]
    parts += [_MEMBERSHIP.pack(key, cluster, since_ms) for key, (cluster, since_ms) in memberships.items()]
    parts += (member.x, member.until)
    if member.document is not None:
        parts.append(orjson.dumps(member.document))
    return b"".join(parts)


def decode(data: bytes) -> Member:
    """Return the member of `encode`'s bytes.

    Raises:
        StateError: another schema, or damaged bytes.
    """
    try:
        schema, offset, version, as_of_ms, valid_until_ms, plan_id, n_memberships, n_x, n_until = _HEADER.unpack_from(
            data
        )
        if schema != SCHEMA:
            raise StateError(f"member state: expected schema {SCHEMA}, found {schema}")
        start = _HEADER.size
        end = start + n_memberships * _MEMBERSHIP.size
        memberships = {key: (cluster, since) for key, cluster, since in _MEMBERSHIP.iter_unpack(data[start:end])}
        until_start = end + 8 * n_x
        document_start = until_start + 8 * n_until
        if len(data) < document_start:
            raise StateError(f"member state: expected at least {document_start} bytes, found {len(data)}")
        document = orjson.loads(data[document_start:]) if len(data) > document_start else None
    except (struct.error, orjson.JSONDecodeError) as error:
        raise StateError(f"member state: damaged bytes ({error})") from None
    return Member(
        offset,
        version,
        as_of_ms,
        valid_until_ms,
        document,
        memberships,
        plan_id,
        data[end:until_start],
        data[until_start:document_start],
        document_bytes=len(data) - document_start,
    )
