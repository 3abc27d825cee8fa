"""A member's state: document, position, version, memberships and cached predictors, and its bytes.

Format: u8 schema · i64 written_at (little-endian) · then, in schema 3, a MessagePack array of the stored attributes of
`Member` in their order. `past` has its place behind two empty ones, and is left out if there is nothing in it: the
version before skips it there, and then writes the member without it. `written_at` is the position that the whole
partition had reached when this was written. By it recovery recognises what a stale worker has written
(stream/faust_batch/store.py).
Schema 2 is still read. It has x and until of all models in the place of `rows`; they are evaluated anew.
Schema 1 is still read: struct "<BqqqqQHHH" (schema, the member's position, version, as_of_ms, valid_until_ms, plan id,
numbers of memberships, columns of x, columns of until) · memberships "<Qiq" · x · until · the document as JSON, empty
for a deleted member.

Laws: decode(encode(m)) == m in every stored attribute. Bytes of an unknown schema are refused, never guessed at.
Schemas are numbers below 32. A value that begins with a letter is of another kind (models/count_state.py).
docs/upgrades.md says what a version may change, and which version must read a change first.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import orjson

from memberstream.models.packed_list import LONG_BYTES, packing, unpack_document
from memberstream.models.past import Past
from memberstream.models.path import Path
from memberstream.models.plan import EVERYTHING
from memberstream.models.position import NOWHERE
from memberstream.models.timestamps import FOREVER

SCHEMA = 3
_SCHEMAS = range(1, 32)
#: Bytes of the largest state: what the changelog takes as one record, if the topic has its proper settings.
MAX_STATE_BYTES = 8 << 20
_PREFIX = struct.Struct("<Bq")
_HEADER_1 = struct.Struct("<BqqqqQHHH")
_MEMBERSHIP_1 = struct.Struct("<Qiq")


class StateError(ValueError):
    """Stored bytes that aren't a member's state. A fault of ours: the worker stops before it acknowledges anything.

    Action: move the worker's data directory aside and start it again: it rebuilds the state from the changelog.
    """


class NewerState(StateError):
    """State in a schema that this version doesn't know yet. Operator: run the version that wrote it, or a later one."""


def newer(what: str, found: int, known: int) -> NewerState:
    """Return the error about state whose schema is later than the latest that this version knows."""
    return NewerState(
        f"{what} in schema {found}, of a newer memberstream: this one reads schemas up to {known}. Nothing is applied "
        "or written meanwhile. Next: run the version that wrote it; a rollback goes one version back, no further "
        "(docs/upgrades.md)"
    )


#: Model key → (cluster id, since_ms).
Memberships = Mapping[int, tuple[int, int]]


class Move(NamedTuple):
    """The memberships of a member before and after a change of its state; None: it has no document then."""

    key: bytes
    was: Memberships | None
    now: Memberships | None


class Member(msgspec.Struct, array_like=True, gc=False):
    """The decoded state of one member. The batch that is applied to it owns it and changes it in place.

    Attributes:
        position: of the last applied event in the member's partition (models/position.py); -1 before the first.
        version: the producer's last version, or -1.
        as_of_ms: the `now` of the last scoring.
        document: None once deleted. The position and the version remain, so that a late event is recognised.
        memberships: model key → (cluster id, since_ms).
        plan_id: the scoring_id of the plan that made memberships and rows.
        rows: id of a part of a plan → its row: float64 columns of x, then int64 columns of until, ms. The row used
            last stands last. A part without a row is evaluated from scratch when it is needed.
        touched: paths changed since the rows were evaluated; not stored.
        document_bytes: upper estimate of the document's size as JSON; not stored.
        past: what the memberships were before.
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
    past: Past = {}

    def forget(self) -> None:
        """Drop everything but position and version. If it is created again, it is a fresh member."""
        self.document = None
        self.as_of_ms = 0
        self.memberships, self.past = {}, {}
        self.plan_id, self.rows = 0, {}
        self.valid_until_ms = FOREVER
        self.touched = set(EVERYTHING)
        self.document_bytes = 0


_pack = msgspec.msgpack.Encoder(enc_hook=packing).encode
_unpack = msgspec.msgpack.Decoder(Member).decode


def encode(member: Member, written_at: int, limit: int = MAX_STATE_BYTES) -> bytes:
    """Return the member's bytes in schema 3, as written when its partition has reached the position `written_at`.

    If they are more than `limit`, they leave out its rows, which are evaluated anew when they are needed.
    """
    m = member
    data = _PREFIX.pack(SCHEMA, written_at) + _pack(
        (m.position, m.version, m.as_of_ms, m.valid_until_ms, m.document, m.memberships, m.plan_id, m.rows)
        + (((), 0, m.past) if m.past else ())
    )
    if len(data) > limit and m.rows:
        m.rows = {}
        return encode(m, written_at, limit)
    return data


def document_size(document: dict[str, Any]) -> int:
    """Return how many bytes a document takes in a member's state."""
    return len(_pack(document))


def decode(data: bytes, *, is_packed: bool = False) -> Member:
    """Return the member of `encode`'s bytes.

    Args:
        is_packed: whether long lists of the document may stay packed (models/packed_list.py).

    Raises:
        StateError: another schema, or damaged bytes.
    """
    try:
        if data[0] == SCHEMA and is_packed and len(data) >= LONG_BYTES:
            member = _unpack_packed(data)
        elif data[0] == SCHEMA:
            member = _unpack(data[_PREFIX.size :])
        elif data[0] == 2:
            member = _decode_2(data)
        elif data[0] == 1:
            member = _decode_1(data)
        elif data[0] > SCHEMA and data[0] in _SCHEMAS:
            raise newer("member state", data[0], SCHEMA)
        else:
            raise StateError(f"member state: expected a schema up to {SCHEMA}, found {data[0]}")
    except (IndexError, struct.error, msgspec.MsgspecError, orjson.JSONDecodeError) as error:
        raise StateError(f"member state: damaged bytes ({error})") from None
    member.document_bytes = len(data)
    return member


class _PackedMember(msgspec.Struct, array_like=True, gc=False):
    """The stored attributes, of which the document isn't decoded."""

    position: int
    version: int
    as_of_ms: int
    valid_until_ms: int
    document: msgspec.Raw
    memberships: dict[int, tuple[int, int]]
    plan_id: int
    rows: dict[int, bytes]
    touched: tuple[()] = ()
    document_bytes: int = 0
    past: Past = {}


_decode_packed = msgspec.msgpack.Decoder(_PackedMember).decode


def _unpack_packed(data: bytes) -> Member:
    m = _decode_packed(memoryview(data)[_PREFIX.size :])
    document = unpack_document(m.document)
    return Member(
        *(m.position, m.version, m.as_of_ms, m.valid_until_ms, document, m.memberships, m.plan_id, m.rows), past=m.past
    )


class Head(msgspec.Struct, array_like=True, gc=False):
    """The stored attributes of a member without its rows; the document isn't decoded."""

    position: int
    version: int
    as_of_ms: int
    valid_until_ms: int
    document: msgspec.Raw
    memberships: dict[int, tuple[int, int]]
    plan_id: int

    @property
    def has_document(self) -> bool:
        return memoryview(self.document)[0] != _NIL[0]

    @property
    def held(self) -> Memberships | None:
        """The memberships of a member that has a document."""
        return self.memberships if self.has_document else None


_NIL, _EMPTY = msgspec.msgpack.encode(None), msgspec.msgpack.encode({})
_unpack_head = msgspec.msgpack.Decoder(Head).decode


def head_of(data: bytes) -> Head:
    """Return the head of `encode`'s bytes, without decoding the document.

    Raises:
        StateError: another schema, or damaged bytes.
    """
    if data[:1] != bytes((SCHEMA,)):
        m = decode(data)
        document = msgspec.Raw(_NIL if m.document is None else _EMPTY)
        return Head(m.position, m.version, m.as_of_ms, m.valid_until_ms, document, m.memberships, m.plan_id)
    try:
        return _unpack_head(memoryview(data)[_PREFIX.size :])
    except msgspec.MsgspecError as error:
        raise StateError(f"member state: damaged bytes ({error})") from None


class _Member2(msgspec.Struct, array_like=True, gc=False):
    """The attributes of schema 2 that are still used; the decoder skips the rest."""

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
