"""Interactions: the envelope of topic `member-interactions`, parsed once, here, into `Interaction`.

Laws: `decode` returns a valid interaction or raises `BadEvent`. Nothing else escapes it, whatever the bytes. The text
of a `BadEvent` names the path, what was expected and the *type* that was found, never a value.
docs/interactions.md describes the format for producers.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum
from typing import Any

import msgspec
import orjson

from memberstream.models.counts import EXPOSED, SWITCHED
from memberstream.models.event import FUTURE_TOLERANCE_MS, BadEvent, check_unit, decode_key
from memberstream.models.event import kind as kind_of
from memberstream.models.terms import is_id
from memberstream.models.timestamps import EARLIEST_MS, LATEST_MS, parse_ms

IMPRESSION = "impression"
#: Words for what is counted besides; producers can't use them as kinds.
RESERVED = (EXPOSED, SWITCHED)
MAX_INTERACTION_BYTES = 10_000  # the other fields take some 300; the rest is for `meta`, which nobody reads here
MAX_ID_CHARACTERS = 64  # a UUID has 36, a SHA-256 in hexadecimal digits 64; each is kept for the horizon
MAX_TOKEN_CHARACTERS = 100
MAX_VALUE = 1e12  # squares of it, a million times added, are still far from what a float can hold
_KIND = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_FIELDS = ("campaign", "kind", "id", "at", "value", "token", "member_id", "meta")


class Refusal(StrEnum):
    """Why an interaction isn't counted: the `reason` header of its dead letter and the label of the metric.

    (`bad_key` is defined in models/event.py, which reads the key.)
    """

    BAD_KEY = "bad_key"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    TOO_LARGE = "too_large"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    WRONG_TYPE = "wrong_type"
    BAD_ID = "bad_id"
    BAD_VALUE = "bad_value"
    BAD_TOKEN = "bad_token"
    BAD_TIME = "bad_time"
    FUTURE_TIME = "future_time"
    MEMBER_ID_MISMATCH = "member_id_mismatch"
    UNKNOWN_KIND = "unknown_kind"
    UNKNOWN_CAMPAIGN = "unknown_campaign"
    NOT_RUNNING = "not_running"
    NOT_TARGETED = "not_targeted"
    UNKNOWN_CLUSTER = "unknown_cluster"
    TOO_LATE = "too_late"
    TOO_MANY = "too_many"
    SKIPPED = "skipped"  # by an operator, whatever it is


class Interaction(msgspec.Struct, frozen=True, gc=False):
    """What a member did, or what was to be shown to the member.

    Attributes:
        campaign: None: it counts for every campaign that the member has been exposed to.
        value: of a purchase, say; None: it has none.
        sent_ms: the record's timestamp.
        token: of an impression, what the look-up told (models/token.py).
    """

    kind: str
    id: str
    at_ms: int
    campaign: str | None = None
    value: float | None = None
    sent_ms: int = 0
    token: str | None = None


class _Envelope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    kind: str
    id: str
    campaign: str | None = None
    at: int | float | str | None = None
    value: float | None = None
    token: str | None = None
    member_id: str | None = None
    meta: Any = None


_read = msgspec.json.Decoder(_Envelope).decode


def is_kind(name: str) -> bool:
    """Return whether this may be the name of a kind of interaction."""
    return _KIND.fullmatch(name) is not None and name not in RESERVED


def decode(
    key: bytes | None,
    value: bytes | None,
    timestamp_ms: int,
    now_ms: int,
    kinds: Collection[str],
    *,
    may_be_json: bool = True,
) -> Interaction | None:
    """Return the interaction of a Kafka record. None if the record has no value: the member is to be forgotten.

    Args:
        timestamp_ms: the record's timestamp, the time of an envelope without `at`.
        now_ms: wall clock; an interaction more than five minutes ahead of it is refused.
        kinds: those that are declared.
        may_be_json: as of `decode_key` (models/event.py). Of a record without a value it always may: whoever has such
            an id can be forgotten.

    Raises:
        BadEvent: with the first reason found.
    """
    member_id = decode_key(key, may_be_json=may_be_json or value is None)
    if value is None:
        return None
    if len(value) > MAX_INTERACTION_BYTES:
        raise BadEvent(Refusal.TOO_LARGE, f"expected at most {MAX_INTERACTION_BYTES} bytes, found {len(value)}")
    try:
        found = _read(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _judge(value) from None
    if found.member_id is not None and found.member_id != member_id:
        raise BadEvent(Refusal.MEMBER_ID_MISMATCH, "member_id: expected the record's key, found another value")
    if found.kind not in kinds:
        raise BadEvent(Refusal.UNKNOWN_KIND, f"kind: expected one of {', '.join(kinds)}, found another text")
    if not 0 < len(found.id) <= MAX_ID_CHARACTERS:
        raise BadEvent(Refusal.BAD_ID, f"id: expected 1 to {MAX_ID_CHARACTERS} characters, found {len(found.id)}")
    if found.campaign is None and found.kind == IMPRESSION:
        raise BadEvent(Refusal.MISSING_FIELD, "campaign: expected the campaign of the impression, found nothing")
    if found.campaign is not None and not is_id(found.campaign):
        raise BadEvent(Refusal.UNKNOWN_CAMPAIGN, "campaign: expected a campaign's id, found another text")
    if found.token is not None and len(found.token) > MAX_TOKEN_CHARACTERS:
        raise BadEvent(Refusal.BAD_TOKEN, f"token: expected at most {MAX_TOKEN_CHARACTERS} characters, found more")
    number = found.value
    if number is not None and not abs(number) <= MAX_VALUE:
        raise BadEvent(Refusal.BAD_VALUE, f"value: expected a number of at most {MAX_VALUE:g}, found a larger one")
    at_ms = found.at
    # The usual case in fewer steps. (No `isinstance`: a bool is no time.)
    if type(at_ms) is not int or not EARLIEST_MS <= at_ms <= now_ms + FUTURE_TOLERANCE_MS < LATEST_MS:
        at_ms = _time(at_ms, timestamp_ms, now_ms)
    return Interaction(found.kind, found.id, at_ms, found.campaign, number, timestamp_ms, found.token)


def _time(at: int | float | str | None, timestamp_ms: int, now_ms: int) -> int:
    check_unit(at, timestamp_ms, Refusal.BAD_TIME)
    at_ms = parse_ms(timestamp_ms if at is None else at)
    if at_ms is None or at_ms < 0:  # of a record: -1, it has no timestamp
        found = "neither here nor a timestamp on the record" if at is None else kind_of(at)
        raise BadEvent(Refusal.BAD_TIME, f"at: expected ISO 8601 or ms since the epoch, found {found}")
    if at_ms > now_ms + FUTURE_TOLERANCE_MS:
        raise BadEvent(Refusal.FUTURE_TIME, "at: expected a time not more than 5 minutes ahead of the worker's clock")
    return at_ms


def _judge(value: bytes) -> BadEvent:
    """Return what is wrong with bytes that aren't an envelope."""
    try:
        envelope = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return BadEvent(Refusal.NOT_JSON, f"expected one JSON object in UTF-8; byte {error.pos}")
    if not isinstance(envelope, dict):
        return BadEvent(Refusal.NOT_AN_OBJECT, f"expected a JSON object, found {kind_of(envelope)}")
    if not envelope.keys() <= set(_FIELDS):
        return BadEvent(Refusal.UNKNOWN_FIELD, f"expected only the fields {', '.join(_FIELDS)}")
    for field in ("kind", "id"):
        if field not in envelope:
            return BadEvent(Refusal.MISSING_FIELD, f"{field}: expected a text, found nothing")
    for field in ("kind", "id", "campaign", "token", "member_id"):
        given = envelope.get(field)
        if not isinstance(given, str) and (given is not None or field in ("kind", "id")):
            return BadEvent(Refusal.WRONG_TYPE, f"{field}: expected a text, found {kind_of(given)}")
    number = envelope.get("value")
    if isinstance(number, bool) or not isinstance(number, int | float | None):
        return BadEvent(Refusal.WRONG_TYPE, f"value: expected a number, found {kind_of(number)}")
    at = envelope.get("at")
    if isinstance(at, bool) or not isinstance(at, int | float | str | None):
        return BadEvent(Refusal.BAD_TIME, f"at: expected ISO 8601 or ms since the epoch, found {kind_of(at)}")
    return BadEvent(Refusal.NOT_JSON, "expected one JSON object in UTF-8, found one that not every reader takes")
