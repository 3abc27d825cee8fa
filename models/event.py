"""Change events: the envelope of topic `member-docs`, parsed once, here, into `ChangeEvent`.

Laws:
- `decode` returns a valid event or raises `BadEvent`. Nothing else escapes it, whatever the bytes.
- The text of a `BadEvent` names the path, what was expected and the *type* that was found. It never holds a value:
  values are personal data.

docs/events.md describes the format for producers. Reading an envelope by types is faster than asking field by field. So
`read_typed` (models/envelope.py) takes well-formed ones, and `_parse` judges the rest and gives reasons. Where both
give an event, it is the same.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
import orjson

from memberstream.models.document import MAX_DEPTH, depth
from memberstream.models.envelope import MAX_VERSION, Append, Patch, Replace, read_typed
from memberstream.models.path import Path, parse_path
from memberstream.models.timestamps import EARLIEST_MS, LATEST_MS, UNIT_WORDS, looks_like, parse_ms

MAX_KEY_BYTES = 512  # a member id is part of a Redis key and of every index entry
MAX_VALUE_BYTES = 900_000  # a document must fit one changelog record below Kafka's default of 1 MiB
FUTURE_TOLERANCE_MS = 300_000  # producers' clocks differ by seconds; five minutes is a wrong clock or a wrong unit
_BRACE, _BRACKET = b"{["
_JSON_KEY = frozenset(b'"{[')  # how a key begins that a converter for JSON has written
_FIRST_S, _END_S = EARLIEST_MS // 1_000, LATEST_MS // 1_000  # seconds that can be meant, taken for ms


class Op(StrEnum):
    """What an event does to the member's document."""

    REPLACE = "replace"
    PATCH = "patch"
    APPEND = "append"
    DELETE = "delete"


class Order(StrEnum):
    """An operator's command: what it does to the data that a partition holds of a member (models/command.py)."""

    FORGET = "forget"
    REWRITE = "rewrite"


# To find a member of an enum takes Python 3.11 a tenth of a microsecond: too long for something that each event needs.
REPLACE, PATCH, APPEND, DELETE = Op
FORGET, REWRITE = Order


class Reason(StrEnum):
    """Why an event can't be applied: the `reason` header of its dead letter and the label of the metric."""

    BAD_KEY = "bad_key"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    UNKNOWN_OP = "unknown_op"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    WRONG_TYPE = "wrong_type"
    BAD_TIME = "bad_time"
    FUTURE_TIME = "future_time"
    BAD_VERSION = "bad_version"
    BAD_PATH = "bad_path"
    MEMBER_ID_MISMATCH = "member_id_mismatch"
    UNKNOWN_MEMBER = "unknown_member"
    NOT_A_LIST = "not_a_list"
    NOT_WHOLE = "not_whole"  # of a topic that keeps only the last record of a key
    SKIPPED = "skipped"  # by an operator, whatever it is
    WRONG_PARTITION = "wrong_partition"
    SUPERSEDED = "superseded"  # sent again, but its member has had a later event


class BadEvent(ValueError):
    """An event that its producer must correct; it goes whole to the dead-letter topic.

    Attributes:
        reason: a `Reason`; for an interaction a `Refusal` (models/interaction.py).
        detail: path, expected and found type; free of personal data.
    """

    def __init__(self, reason: StrEnum, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Again(NamedTuple):
    """By what a dead letter that is sent again is judged (models/apply.py): positions (models/position.py).

    Attributes:
        origin: where the event first stood.
        seen_to: what stands before it was known when the letter was sent.
        before: where earlier letters of the same member were sent again.
    """

    origin: int
    seen_to: int
    before: tuple[int, ...] = ()


class ChangeEvent(msgspec.Struct, frozen=True, gc=False):
    """One change of one member's document. (A struct: made in a fifth of the time of a frozen dataclass.)

    Attributes:
        at_ms: when the change happened, ms since the epoch.
        version: the producer's number for this member's change, or None. An older or equal one is ignored.
        body: the document (replace), the merge patch (patch), the new element (append), None (delete).
        path: the list that an append adds to.
        create: whether a patch or append may start an unknown member from an empty document.
        again: None but of a dead letter that is sent again.
    """

    op: Op | Order
    at_ms: int
    version: int | None = None
    body: Any = None
    path: Path = ()
    create: bool = False
    again: Again | None = None


_COMMON = frozenset({"op", "member_id", "at", "version", "meta"})
_FIELDS = {
    Op.REPLACE: _COMMON | {"document"},
    Op.PATCH: _COMMON | {"patch", "create"},
    Op.APPEND: _COMMON | {"path", "value", "create"},
    Op.DELETE: _COMMON,
}
_OPS = {str(op): (op, allowed) for op, allowed in _FIELDS.items()}


def decode_key(key: bytes | None, *, may_be_json: bool = True) -> str:
    """Return the member id of a record's key.

    Args:
        may_be_json: whether a key that is JSON itself, a text in quotes, an object or a list, is an id as it stands.
            Nearly always the producer's converter has made it, and the member has another id elsewhere.

    Raises:
        BadEvent: no key, not UTF-8, longer than 512 bytes, with control characters, or JSON that it may not be.
    """
    if not key:
        raise BadEvent(Reason.BAD_KEY, "key: expected the member id, found no key")
    if len(key) > MAX_KEY_BYTES:
        raise BadEvent(Reason.BAD_KEY, f"key: expected at most {MAX_KEY_BYTES} bytes, found {len(key)}")
    try:
        member_id = key.decode()
    except UnicodeDecodeError:
        raise BadEvent(Reason.BAD_KEY, "key: expected UTF-8 text, found other bytes") from None
    if not member_id.isprintable():
        raise BadEvent(Reason.BAD_KEY, "key: expected printable text, found control characters")
    if not may_be_json and (refusal := json_key(key)) is not None:
        raise refusal
    return member_id


def json_key(key: bytes) -> BadEvent | None:
    """Return why a key is refused that is JSON itself; None if it isn't."""
    if key[0] not in _JSON_KEY or not (found := _json_of(key)):
        return None
    return BadEvent(Reason.BAD_KEY, f"key: expected the bare member id, found {found}")


def _json_of(key: bytes) -> str:
    """Return what a key is that is JSON itself, and what to set in Kafka Connect; "" if it isn't."""
    try:
        value = orjson.loads(key)
    except orjson.JSONDecodeError:
        return ""
    if isinstance(value, str):
        return (
            "JSON, a text in quotes. Next: set key.converter=org.apache.kafka.connect.storage.StringConverter, or in "
            "a client the serializer of texts; MEMBERSTREAM_JSON_KEYS=allow if the quotes belong to the id"
        )
    return (
        f"JSON, {kind(value)}. Next: take the field of the id out of it, in Kafka Connect by the transform "
        "org.apache.kafka.connect.transforms.ExtractField$Key, and set "
        "key.converter=org.apache.kafka.connect.storage.StringConverter; MEMBERSTREAM_JSON_KEYS=allow if it is the id"
    )


def decode(
    key: bytes | None, value: bytes | None, timestamp_ms: int, now_ms: int, *, may_be_json: bool = True
) -> ChangeEvent:
    """Return the change event of a Kafka record; a null value is a delete.

    Args:
        timestamp_ms: the record's timestamp, the event time of an envelope without `at`.
        now_ms: wall clock; an event more than five minutes ahead of it is refused.
        may_be_json: as of `decode_key`.

    Raises:
        BadEvent: with the first reason found.
    """
    return decode_value(decode_key(key, may_be_json=may_be_json), value, timestamp_ms, now_ms)


def decode_value(member_id: str, value: bytes | None, timestamp_ms: int, now_ms: int) -> ChangeEvent:
    """Do what `decode` does, for a record whose key has been read already: one key has many records."""
    if value is None:
        return ChangeEvent(DELETE, min(timestamp_ms, now_ms))  # a wrong clock must not stop a delete
    if len(value) > MAX_VALUE_BYTES:
        raise BadEvent(Reason.TOO_LARGE, f"expected at most {MAX_VALUE_BYTES} bytes, found {len(value)}")
    # Counting brackets costs a tenth of walking; only a value with many of them can be deep. (As numbers, because `in`
    # first takes whatever it is given for one.)
    may_be_deep = value.count(_BRACE) + (value.count(_BRACKET) if _BRACKET in value else 0) > MAX_DEPTH
    if not may_be_deep and (event := _typed(value, member_id, timestamp_ms, now_ms)) is not None:
        return event
    try:
        envelope = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error):
            raise BadEvent(Reason.TOO_DEEP, f"expected at most {MAX_DEPTH} levels of nesting") from None
        raise BadEvent(Reason.NOT_JSON, f"expected one JSON object in UTF-8; byte {error.pos}") from None
    if not isinstance(envelope, dict):
        raise BadEvent(Reason.NOT_AN_OBJECT, f"expected a JSON object, found {kind(envelope)}")
    if may_be_deep and depth(envelope) > MAX_DEPTH:
        raise BadEvent(Reason.TOO_DEEP, f"expected at most {MAX_DEPTH} levels of nesting")
    return _parse(envelope, member_id, timestamp_ms, now_ms)


def _typed(value: bytes, member_id: str, timestamp_ms: int, now_ms: int) -> ChangeEvent | None:
    """Return the event of an envelope that is right in every respect; None: `_parse` is to judge it."""
    envelope = read_typed(value)
    if envelope is None or (envelope.member_id is not None and envelope.member_id != member_id):
        return None
    at = envelope.at
    at_ms = timestamp_ms if at is None else at if type(at) is int else parse_ms(at)
    if at_ms is None or not 0 <= at_ms <= now_ms or _FIRST_S <= at_ms < _END_S:
        return None
    version = envelope.version
    try:
        if type(envelope) is Patch:  # isinstance takes the long way round: a struct's class is an ABC
            patch = orjson.loads(bytes(envelope.patch))
            return ChangeEvent(PATCH, at_ms, version, patch, (), envelope.create) if type(patch) is dict else None
        if type(envelope) is Replace:
            document = orjson.loads(bytes(envelope.document))
            return ChangeEvent(REPLACE, at_ms, version, document) if type(document) is dict else None
        if type(envelope) is Append:
            element = orjson.loads(bytes(envelope.value))
            return ChangeEvent(APPEND, at_ms, version, element, parse_path(envelope.path), envelope.create)
    except ValueError:  # not JSON to orjson, or no path
        return None
    return ChangeEvent(DELETE, at_ms, version)


def _parse(envelope: dict[str, Any], member_id: str, timestamp_ms: int, now_ms: int) -> ChangeEvent:
    get = envelope.get
    name = get("op")
    known = _OPS.get(name) if type(name) is str else None
    if known is None:
        if "op" not in envelope:
            raise BadEvent(Reason.MISSING_FIELD, f"op: expected one of {', '.join(Op)}, found nothing")
        found = "another text" if isinstance(name, str) else kind(name)
        raise BadEvent(Reason.UNKNOWN_OP, f"op: expected one of {', '.join(Op)}, found {found}")
    op, allowed = known
    if not envelope.keys() <= allowed:
        raise BadEvent(Reason.UNKNOWN_FIELD, f"expected only the fields {', '.join(sorted(allowed))} with op {op}")
    stated = get("member_id")
    if stated is not None and stated != member_id:
        raise BadEvent(Reason.MEMBER_ID_MISMATCH, "member_id: expected the record's key, found another value")
    at = get("at")
    at_ms = _time(at, timestamp_ms, now_ms)
    version = get("version")
    if version is not None and (type(version) is not int or not 0 <= version <= MAX_VERSION):
        raise BadEvent(Reason.BAD_VERSION, f"version: expected an integer from 0 to 2^53 - 1, found {kind(version)}")
    if op is DELETE:
        return ChangeEvent(op, at_ms, version)
    if op is REPLACE:
        return ChangeEvent(op, at_ms, version, _object(envelope, "document"))
    create = get("create", False)
    if create is not False and create is not True:
        raise BadEvent(Reason.WRONG_TYPE, f"create: expected a boolean, found {kind(create)}")
    if op is PATCH:
        return ChangeEvent(op, at_ms, version, _object(envelope, "patch"), (), create)
    if "value" not in envelope:
        raise BadEvent(Reason.MISSING_FIELD, "value: expected the element to append, found nothing")
    return ChangeEvent(op, at_ms, version, envelope["value"], _path(envelope), create)


def _time(value: Any, timestamp_ms: int, now_ms: int) -> int:
    check_unit(value, timestamp_ms)
    at_ms = parse_ms(timestamp_ms if value is None else value)
    if at_ms is None or (value is None and at_ms < 0):  # Kafka's -1: the record has no timestamp
        found = "neither here nor a timestamp on the record" if value is None else kind(value)
        raise BadEvent(Reason.BAD_TIME, f"at: expected ISO 8601 or ms since the epoch, found {found}")
    if at_ms > now_ms + FUTURE_TOLERANCE_MS:
        raise BadEvent(Reason.FUTURE_TIME, "at: expected a time not more than 5 minutes ahead of the worker's clock")
    return at_ms


def check_unit(at: Any, timestamp_ms: int, reason: StrEnum = Reason.BAD_TIME) -> None:
    """Check that a time isn't of another unit than ms. Raises BadEvent, with this reason, if it must be.

    Args:
        at: what an envelope says, None if nothing. Then it is the record's timestamp.
    """
    unit = looks_like(timestamp_ms if at is None else at)
    if unit in ("s", "us", "ns"):
        what = "the record's timestamp" if at is None else "at"
        raise BadEvent(reason, f"{what}: looks like {UNIT_WORDS[unit]}; ms since 1970 are wanted")


def _object(envelope: dict[str, Any], field: str) -> dict[str, Any]:
    value = envelope.get(field)
    if isinstance(value, dict):
        return value
    if field not in envelope:
        raise BadEvent(Reason.MISSING_FIELD, f"{field}: expected an object, found nothing")
    raise BadEvent(Reason.WRONG_TYPE, f"{field}: expected an object, found {kind(value)}")


def _path(envelope: dict[str, Any]) -> Path:
    if "path" not in envelope:
        raise BadEvent(Reason.MISSING_FIELD, "path: expected the path of a list, found nothing")
    text = envelope["path"]
    if not isinstance(text, str):
        raise BadEvent(Reason.WRONG_TYPE, f"path: expected a text, found {kind(text)}")
    try:
        return parse_path(text)
    except ValueError as error:
        raise BadEvent(Reason.BAD_PATH, f"path: {error}") from None


def kind(value: Any) -> str:
    """Return the JSON type of a value in words, for messages that must not repeat the value."""
    names = {type(None): "null", bool: "a boolean", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")
