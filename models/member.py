"""A member's state: document, position, version, memberships and cached predictors, and its bytes.

Format: u8 schema · i64 written_at (little-endian) · then, in schema 3, a MessagePack array of the stored attributes of
`Member` in their order. `written_at` is the position that the whole partition had reached when this was written; by it
recovery knows what a stale worker has written (stream/state_store.py).
Schema 2, still read, has x and until of all models in the place of `rows`: they are evaluated anew.
Schema 1, still read: struct "<BqqqqQHHH" (schema, the member's position, version, as_of_ms, valid_until_ms, plan id,
numbers of memberships, columns of x, columns of until) · memberships "<Qiq" · x · until · the document as JSON, empty
for a deleted member.

Laws: decode(encode(m)) == m in every stored attribute. Bytes of an unknown schema are refused, never guessed at.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import orjson

from models.path import Path
from models.plan import EVERYTHING
from models.position import NOWHERE
from models.timestamps import FOREVER

SCHEMA = 3
_PREFIX = struct.Struct("<Bq")
_HEADER_1 = struct.Struct("<BqqqqQHHH")
_MEMBERSHIP_1 = struct.Struct("<Qiq")


class StateError(ValueError):
    """Stored bytes that aren't a member's state. Ours to solve: the worker stops before it acknowledges anything.

    Action: if a newer memberstream wrote this state, run that version; otherwise move the worker's data directory aside
    and start it again: it rebuilds the state from the changelog.
    """


class Member(msgspec.Struct, array_like=True, gc=False):
    """The state of one member, decoded; owned by the batch that is applied to it and changed in place.

    Attributes:
        position: of the last applied event in the member's partition (models/position.py); -1 before the first.
        version: the producer's last version, or -1.
        as_of_ms: the `now` of the last scoring.
        document: None once deleted; the position and the version remain, so that a late event is known as one.
        memberships: model key → (cluster id, since_ms).
        plan_id: the scoring_id of the plan that made memberships and rows.
        rows: id of a part of a plan → its row: float64 columns of x, then int64 columns of until, ms. What is needed
            latest stands last; a part that has none is evaluated from scratch when it is needed.
        touched: paths changed since the rows were evaluated; not stored.
        document_bytes: upper estimate of the document's size as JSON; not stored.
    """

    position: int = NOWHERE
    version: int = -1
    as_of_ms: int = 0
    valid_until_ms: int = FOREVER
    document: dict[str, Any] | None = None
    memberships: dict[int, tuple[int, int]] = {}
    plan_id: int = 0
    rows: dict[int, bytes] = {}
    touched: set[Path] = set()
    document_bytes: int = 0

    def forget(self) -> None:
        """Drop everything but position and version; what is created after it is a fresh member."""
        self.document = None
        self.as_of_ms = 0
        self.memberships = {}
        self.plan_id, self.rows = 0, {}
        self.valid_until_ms = FOREVER
        self.touched = set(EVERYTHING)
        self.document_bytes = 0


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Member).decode


def encode(member: Member, written_at: int) -> bytes:
    """Return the member's bytes in schema 3, as written when its partition has reached the position `written_at`."""
    m = member
    return _PREFIX.pack(SCHEMA, written_at) + _pack(
        (m.position, m.version, m.as_of_ms, m.valid_until_ms, m.document, m.memberships, m.plan_id, m.rows)
    )


def decode(data: bytes) -> Member:
    """Return the member of `encode`'s bytes.

    Raises:
        StateError: another schema, or damaged bytes.
    """
    try:
        if data[0] == SCHEMA:
            member = _unpack(data[_PREFIX.size :])
        elif data[0] == 2:
            member = _decode_2(data)
        elif data[0] == 1:
            member = _decode_1(data)
        else:
            raise StateError(f"member state: expected a schema up to {SCHEMA}, found {data[0]}")
    except (IndexError, struct.error, msgspec.MsgspecError, orjson.JSONDecodeError) as error:
        raise StateError(f"member state: damaged bytes ({error})") from None
    member.document_bytes = len(data)
    return member


class _Times(msgspec.Struct, array_like=True, gc=False):
    """The first of the stored attributes; the decoder skips the rest."""

    position: int
    version: int
    as_of_ms: int
    valid_until_ms: int


_unpack_times = msgspec.msgpack.Decoder(_Times).decode


def valid_until_of(data: bytes) -> int:
    """Return the `valid_until_ms` of `encode`'s bytes without decoding the document.

    Raises:
        StateError: another schema, or damaged bytes.
    """
    if data[:1] != bytes((SCHEMA,)):
        return decode(data).valid_until_ms
    try:
        return _unpack_times(memoryview(data)[_PREFIX.size :]).valid_until_ms
    except msgspec.MsgspecError as error:
        raise StateError(f"member state: damaged bytes ({error})") from None


class _Member2(msgspec.Struct, array_like=True, gc=False):
    """The attributes of schema 2 that are still of use; the decoder skips the rest."""

    position: int
    version: int
    as_of_ms: int
    valid_until_ms: int
    document: dict[str, Any] | None
    memberships: dict[int, tuple[int, int]]


_unpack_2 = msgspec.msgpack.Decoder(_Member2).decode


def _decode_2(data: bytes) -> Member:
    m = _unpack_2(memoryview(data)[_PREFIX.size :])
    return Member(m.position, m.version, m.as_of_ms, m.valid_until_ms, m.document, m.memberships)


def _decode_1(data: bytes) -> Member:
    _, offset, version, as_of_ms, valid_until_ms, _, n_memberships, n_x, n_until = _HEADER_1.unpack_from(data)
    start = _HEADER_1.size
    end = start + n_memberships * _MEMBERSHIP_1.size
    memberships = {key: (cluster, since) for key, cluster, since in _MEMBERSHIP_1.iter_unpack(data[start:end])}
    document_start = end + 8 * (n_x + n_until)
    if len(data) < document_start:
        raise StateError(f"member state: expected at least {document_start} bytes, found {len(data)}")
    document = orjson.loads(data[document_start:]) if len(data) > document_start else None
    return Member(offset, version, as_of_ms, valid_until_ms, document, memberships)
