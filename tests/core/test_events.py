"""Change events: whatever the bytes, an event or a BadEvent; no payload in its text; what each op does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import orjson
import pytest
from core import worlds
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models import event as event_module
from memberstream.models.apply import Outcome, apply_one, fitting
from memberstream.models.document import MAX_DEPTH, depth
from memberstream.models.event import (
    FUTURE_TOLERANCE_MS,
    MAX_KEY_BYTES,
    MAX_VALUE_BYTES,
    MAX_VERSION,
    BadEvent,
    ChangeEvent,
    Op,
    Reason,
    decode,
    kind,
)
from memberstream.models.member import MAX_STATE_BYTES, Member, StateError, document_size, encode, head_of
from memberstream.models.member import decode as decode_member

NOW = worlds.BASE_MS
MARKER = "s3cret"


def nested(levels: int) -> Any:
    """Return a value of so many levels, lists and objects in turn."""
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"x": value}
    return value


@given(st.one_of(st.none(), st.binary()), st.one_of(st.none(), st.binary()), st.integers(), st.integers())
def test_any_bytes_give_an_event_or_a_bad_event(
    key: bytes | None, value: bytes | None, timestamp_ms: int, now_ms: int
) -> None:
    """No key, value, timestamp or clock makes anything but a BadEvent escape."""
    try:
        event = decode(key, value, timestamp_ms, now_ms)
    except BadEvent as error:
        assert error.reason in Reason  # noqa: PT017 (either outcome is right)
        assert str(error) == f"{error.reason}: {error.detail}"  # noqa: PT017 (either outcome is right)
    else:
        assert event.at_ms <= now_ms + FUTURE_TOLERANCE_MS


_fields = st.sampled_from(["op", "member_id", "at", "version", "meta", "document", "patch", "path", "value", "create"])
_values = st.one_of(
    st.sampled_from(
        ["replace", "patch", "append", "delete", MARKER, "a.b", f"a..{MARKER}", [MARKER], {MARKER: MARKER}]
    ),
    worlds.scalars,
)


@given(st.dictionaries(st.one_of(_fields, st.just(MARKER)), _values))
def test_no_text_of_a_bad_event_repeats_the_payload(envelope: dict[str, Any]) -> None:
    """Keys and values of the envelope are personal data: they never reach a reason or a detail."""
    value = orjson.dumps(envelope)
    try:
        event = decode(b"m-" + MARKER.encode(), value, NOW, NOW)
        apply_one(Member(document={"a": MARKER, MARKER: MARKER}), 1, event, len(value))
    except BadEvent as error:
        assert MARKER not in str(error)  # noqa: PT017 (either outcome is right)
        assert MARKER not in repr(error)  # noqa: PT017 (either outcome is right)


_ops = st.sampled_from(["replace", "patch", "append", "delete"])
_bodies = st.one_of(worlds.documents, worlds.scalars, st.just([1, {"a": 2**70}]))
_envelopes = st.fixed_dictionaries(
    {},
    optional={
        "op": _ops,
        "at": st.one_of(st.just("2026-01-01T00:00:00Z"), st.integers(0, 2 * NOW), worlds.scalars),
        "version": st.one_of(st.integers(-1, 2**53), worlds.scalars),
        "member_id": st.sampled_from(["m", "n", None, 1]),
        "meta": _bodies,
        "document": _bodies,
        "patch": _bodies,
        "path": st.sampled_from(["a", "a.b", "a..b", "", 1]),
        "value": _bodies,
        "create": st.sampled_from([True, False, None, 1]),
    },
)


@given(_envelopes)
def test_reading_by_types_gives_the_same_event_as_asking_field_by_field(envelope: dict[str, Any]) -> None:
    """What the fast reading of an envelope takes for right is what the careful one makes of it, and all of that."""
    value = json.dumps(envelope).encode()  # also integers that orjson doesn't write
    typed = event_module._typed(value, "m", NOW, NOW)
    try:
        parsed = event_module._parse(orjson.loads(value), "m", NOW, NOW)
    except BadEvent:
        assert typed is None
    else:
        assert typed in (parsed, None)


@pytest.mark.parametrize(
    "envelope",
    [
        {"op": "replace", "document": {"a": [1]}, "at": NOW, "version": 1, "member_id": "m", "meta": {"x": [1]}},
        {"op": "patch", "patch": {"a": None}, "at": "2026-01-01T00:00:00Z", "create": True},
        {"op": "append", "path": "l", "value": {"a": 1}},
        {"op": "delete"},
    ],
)
def test_usual_envelopes_are_read_by_types(envelope: dict[str, Any]) -> None:
    """The fast reading takes what producers usually send, of each op."""
    assert event_module._typed(orjson.dumps(envelope), "m", NOW, NOW) is not None


REPLACE = {"op": "replace", "document": {"a": 1}}
BAD: list[tuple[Reason, bytes | None, Any]] = [
    (Reason.BAD_KEY, None, REPLACE),
    (Reason.BAD_KEY, b"", REPLACE),
    (Reason.BAD_KEY, b"\xff", REPLACE),
    (Reason.BAD_KEY, b"a\nb", REPLACE),
    (Reason.BAD_KEY, b"x" * (MAX_KEY_BYTES + 1), REPLACE),
    (Reason.NOT_JSON, b"m", b"{"),
    (Reason.NOT_JSON, b"m", b""),
    (Reason.NOT_JSON, b"m", b"\xff"),
    (Reason.NOT_JSON, b"m", b'{"op":"replace","document":{"a":NaN}}'),
    (Reason.NOT_JSON, b"m", b'{"op":"replace","document":{"a":1e999}}'),
    (Reason.NOT_AN_OBJECT, b"m", b"[]"),
    (Reason.NOT_AN_OBJECT, b"m", b"null"),
    (Reason.TOO_LARGE, b"m", b" " * (MAX_VALUE_BYTES + 1)),
    (Reason.TOO_DEEP, b"m", {"op": "replace", "document": nested(MAX_DEPTH)}),
    (Reason.TOO_DEEP, b"m", b"[" * 5_000),
    (Reason.MISSING_FIELD, b"m", {}),
    (Reason.UNKNOWN_OP, b"m", {"op": "upsert"}),
    (Reason.UNKNOWN_OP, b"m", {"op": None}),
    (Reason.UNKNOWN_OP, b"m", {"op": ["replace"]}),
    (Reason.MISSING_FIELD, b"m", {"op": "replace"}),
    (Reason.MISSING_FIELD, b"m", {"op": "patch"}),
    (Reason.MISSING_FIELD, b"m", {"op": "append", "path": "a"}),
    (Reason.MISSING_FIELD, b"m", {"op": "append", "value": 1}),
    (Reason.UNKNOWN_FIELD, b"m", REPLACE | {"patch": {}}),
    (Reason.UNKNOWN_FIELD, b"m", {"op": "delete", "document": {}}),
    (Reason.WRONG_TYPE, b"m", {"op": "replace", "document": [1]}),
    (Reason.WRONG_TYPE, b"m", {"op": "patch", "patch": None}),
    (Reason.WRONG_TYPE, b"m", {"op": "patch", "patch": {}, "create": 1}),
    (Reason.WRONG_TYPE, b"m", {"op": "append", "path": ["a"], "value": 1}),
    (Reason.BAD_TIME, b"m", REPLACE | {"at": "yesterday"}),
    (Reason.BAD_TIME, b"m", REPLACE | {"at": True}),
    (Reason.BAD_TIME, b"m", REPLACE | {"at": 1e300}),
    (Reason.BAD_TIME, b"m", REPLACE | {"at": NOW // 1_000}),
    (Reason.BAD_TIME, b"m", REPLACE | {"at": NOW * 1_000}),
    (Reason.FUTURE_TIME, b"m", REPLACE | {"at": NOW + FUTURE_TOLERANCE_MS + 1}),
    (Reason.BAD_VERSION, b"m", REPLACE | {"version": -1}),
    (Reason.BAD_VERSION, b"m", REPLACE | {"version": 1.0}),
    (Reason.BAD_VERSION, b"m", REPLACE | {"version": True}),
    (Reason.BAD_VERSION, b"m", REPLACE | {"version": MAX_VERSION + 1}),
    (Reason.BAD_PATH, b"m", {"op": "append", "path": "a..b", "value": 1}),
    (Reason.BAD_PATH, b"m", {"op": "append", "path": ".".join("a" * 33), "value": 1}),
    (Reason.MEMBER_ID_MISMATCH, b"m", REPLACE | {"member_id": "n"}),
    (Reason.MEMBER_ID_MISMATCH, b"1", REPLACE | {"member_id": 1}),
]


@pytest.mark.parametrize(("reason", "key", "value"), BAD, ids=lambda v: repr(v)[:40])
def test_each_fault_has_its_reason(reason: Reason, key: bytes | None, value: Any) -> None:
    """What is wrong with a record decides the reason of its dead letter."""
    data = value if isinstance(value, bytes) else orjson.dumps(value)
    with pytest.raises(BadEvent) as raised:
        decode(key, data, NOW, NOW)
    assert raised.value.reason is reason


@pytest.mark.parametrize(
    ("per_ms", "unit"), [(1e-3, "seconds"), (1_000, "µs"), (1_000_000, "ns")], ids=lambda found: str(found)
)
def test_a_time_of_another_unit_is_refused_by_its_name(per_ms: float, unit: str) -> None:
    """Seconds aren't taken for 1970, µs not for the far future: the reason says what they look like."""
    at = int(NOW * per_ms)
    cases = {"at": (REPLACE | {"at": at}, NOW), "the record's timestamp": (REPLACE, at)}
    for what, (envelope, timestamp_ms) in cases.items():
        with pytest.raises(BadEvent, match=f"bad_time: {what}: looks like {unit}; ms since 1970 are wanted"):
            decode(b"m", orjson.dumps(envelope), timestamp_ms, NOW)
    assert decode(b"m", orjson.dumps(REPLACE | {"at": NOW}), at, NOW).at_ms == NOW
    assert decode(b"m", None, at, NOW).op is Op.DELETE


def test_texts_and_other_numbers_stay_times() -> None:
    """January 1970 as a text is January 1970; so is a number that no unit makes a time of these years."""
    for at, at_ms in [("1970-01-20", 19 * 86_400_000), (0, 0), (20_000, 20_000), (631_151_999, 631_151_999)]:
        assert decode(b"m", orjson.dumps(REPLACE | {"at": at}), 5, NOW).at_ms == at_ms


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        (b'"m1"', "StringConverter"),
        (b'{"id": "m1"}', r"ExtractField\$Key"),
        (b'{"schema": {"type": "string"}, "payload": "m1"}', r"ExtractField\$Key"),
        (b'["m1"]', r"ExtractField\$Key"),
    ],
)
def test_a_key_that_is_json_itself_says_which_converter_to_set(key: bytes, advice: str) -> None:
    """Look-ups would ask for m1 in vain. A setting takes such keys as they stand; the reason holds nothing of a key."""
    with pytest.raises(BadEvent, match=f"bad_key: key: expected the bare member id, found JSON, .*{advice}") as raised:
        decode(key, orjson.dumps(REPLACE), NOW, NOW, may_be_json=False)
    assert "m1" not in str(raised.value)
    assert decode(key, orjson.dumps(REPLACE), NOW, NOW).op is Op.REPLACE


@pytest.mark.parametrize("key", [b"12", b"true", b"null", b'"m1', b"{m1}", b"[m1", b"m-{1}"])
def test_a_key_that_only_looks_like_json_is_an_id(key: bytes) -> None:
    """Numbers and words are usual ids, and a bracket alone makes no JSON."""
    assert decode(key, orjson.dumps(REPLACE), NOW, NOW, may_be_json=False).op is Op.REPLACE


def test_reasons_of_apply() -> None:
    """An event can also clash with the member's state; the member stays as it was."""
    member = Member(document={"a": 1, "o": {"l": 5}})
    before = encode(member, 0)
    for reason, target, event in [
        (Reason.UNKNOWN_MEMBER, Member(), ChangeEvent(Op.PATCH, NOW, body={})),
        (Reason.UNKNOWN_MEMBER, Member(), ChangeEvent(Op.APPEND, NOW, body=1, path=("l",))),
        (Reason.NOT_A_LIST, member, ChangeEvent(Op.APPEND, NOW, body=1, path=("a",))),
        (Reason.NOT_A_LIST, member, ChangeEvent(Op.APPEND, NOW, body=1, path=("a", "b"))),
        (Reason.NOT_A_LIST, member, ChangeEvent(Op.APPEND, NOW, body=1, path=("o", "l"))),
        (Reason.TOO_LARGE, member, ChangeEvent(Op.PATCH, NOW, body={"b": "x" * MAX_VALUE_BYTES})),
    ]:
        with pytest.raises(BadEvent) as raised:
            apply_one(target, 1, event, MAX_VALUE_BYTES)
        assert raised.value.reason is reason
        assert target.position == -1
    assert encode(member, 0) == before
    reached = {reason for reason, _, _ in BAD} | {Reason.UNKNOWN_MEMBER, Reason.NOT_A_LIST}
    # What a worker knows, and no event by itself.
    others = {Reason.SKIPPED, Reason.WRONG_PARTITION, Reason.NOT_WHOLE, Reason.SUPERSEDED}
    assert reached == set(Reason) - others


def test_good_envelopes_become_events() -> None:
    """Each op by example, with and without the optional fields."""
    common = {"member_id": "m", "at": "2025-12-31T23:00:00-01:00", "version": 3, "meta": {"any": "thing"}}
    cases: list[tuple[dict[str, Any], ChangeEvent]] = [
        ({"op": "replace", "document": {"a": 1}}, ChangeEvent(Op.REPLACE, NOW, 3, {"a": 1})),
        ({"op": "patch", "patch": {"a": None}}, ChangeEvent(Op.PATCH, NOW, 3, {"a": None})),
        ({"op": "patch", "patch": {}, "create": True}, ChangeEvent(Op.PATCH, NOW, 3, {}, create=True)),
        ({"op": "append", "path": r"a.b\.c", "value": None}, ChangeEvent(Op.APPEND, NOW, 3, None, ("a", "b.c"))),
        ({"op": "delete"}, ChangeEvent(Op.DELETE, NOW, 3)),
    ]
    for envelope, expected in cases:
        assert decode(b"m", orjson.dumps(envelope | common), 5, NOW) == expected
    bare = {"op": "delete", "member_id": None, "at": None, "version": None}
    assert decode("mé r".encode(), orjson.dumps(bare), 5, NOW) == ChangeEvent(Op.DELETE, 5)
    assert decode(b"m", orjson.dumps({"op": "replace", "document": nested(MAX_DEPTH - 1)}), 5, NOW).op is Op.REPLACE
    flat = {"op": "replace", "document": {"l": [[]] * 100}}
    assert decode(b"m", orjson.dumps(flat), 5, NOW).body == flat["document"]


def test_a_wrong_clock_of_the_record_is_a_fault_but_does_not_stop_a_delete() -> None:
    """Without `at` the record's timestamp must be one; a null value deletes whatever the timestamp, at most at now."""
    for timestamp_ms, reason in [(-1, Reason.BAD_TIME), (2**62, Reason.BAD_TIME), (NOW + 600_000, Reason.FUTURE_TIME)]:
        with pytest.raises(BadEvent) as raised:
            decode(b"m", orjson.dumps(REPLACE), timestamp_ms, NOW)
        assert raised.value.reason is reason
        assert decode(b"m", None, timestamp_ms, NOW) == ChangeEvent(Op.DELETE, min(timestamp_ms, NOW))
        assert decode(b"m", orjson.dumps(REPLACE | {"at": NOW}), timestamp_ms, NOW).at_ms == NOW


def test_life_of_a_member() -> None:
    """Create, append, patch, replay, an older version, delete and a fresh start, by example."""
    member = Member()
    steps: list[tuple[int, ChangeEvent, Outcome, Any]] = [
        (0, ChangeEvent(Op.PATCH, NOW, 1, {"a": {"b": 1}}, create=True), Outcome.APPLIED, {"a": {"b": 1}}),
        (1, ChangeEvent(Op.APPEND, NOW, 2, 7, ("a", "l")), Outcome.APPLIED, {"a": {"b": 1, "l": [7]}}),
        (1, ChangeEvent(Op.APPEND, NOW, 2, 7, ("a", "l")), Outcome.REPLAYED, {"a": {"b": 1, "l": [7]}}),
        (2, ChangeEvent(Op.PATCH, NOW, 2, {"z": 1}), Outcome.IGNORED_VERSION, {"a": {"b": 1, "l": [7]}}),
        (3, ChangeEvent(Op.PATCH, NOW, None, {"a": {"b": None}}), Outcome.APPLIED, {"a": {"l": [7]}}),
        (4, ChangeEvent(Op.REPLACE, NOW, 9, {"c": 1}), Outcome.APPLIED, {"c": 1}),
        (5, ChangeEvent(Op.DELETE, NOW), Outcome.APPLIED, None),
        (6, ChangeEvent(Op.REPLACE, NOW, 9, {"late": 1}), Outcome.IGNORED_VERSION, None),
        (7, ChangeEvent(Op.APPEND, NOW, 10, 1, ("l",), create=True), Outcome.APPLIED, {"l": [1]}),
    ]
    for offset, event, outcome, document in steps:
        assert apply_one(member, offset, event, 50) is outcome
        assert member.document == document
    assert (member.position, member.version) == (7, 10)


def test_a_document_may_grow_up_to_its_limit_only() -> None:
    """The bound is on what is stored, measured: short numbers that JSON writers expand count as expanded."""
    member = Member()
    apply_one(member, 0, ChangeEvent(Op.REPLACE, NOW, body={"a": "x" * 500_000}), 500_050)
    apply_one(member, 1, ChangeEvent(Op.PATCH, NOW, body={"a": "y" * 500_000}), 500_050)  # replaces, doesn't add
    with pytest.raises(BadEvent, match="too_large"):
        apply_one(member, 2, ChangeEvent(Op.PATCH, NOW, body={"b": "y" * 500_000}), 500_050)
    value = b'{"op":"replace","document":{"a":[' + b",".join([b"9e15"] * 60_000) + b"]}}"
    event = decode(b"m", value, NOW, NOW)
    with pytest.raises(BadEvent, match="too_large"):  # 300 kB of record, 1.1 MB of document
        apply_one(member, 3, event, len(value))
    assert len(encode(member, 0)) <= MAX_VALUE_BYTES + 100


def test_depth_counts_containers() -> None:
    """0 for a scalar, 1 for an empty object or list, and one more for each level around it."""
    values: list[Any] = [1, "x", {}, [], [1], [[]], {"a": [{}]}]
    assert [depth(v) for v in values] == [0, 0, 1, 1, 1, 2, 3]
    assert depth(nested(500)) == 500


def test_kinds_are_named() -> None:
    """Every JSON type has a name for messages."""
    named = ["null", "a boolean", "a number", "a number", "a text", "a list", "an object"]
    values: list[Any] = [None, True, 1, 1.5, "x", [], {}]
    assert [kind(v) for v in values] == named


@pytest.mark.parametrize("read", [decode_member, head_of])
@given(st.binary(max_size=80))
def test_bytes_that_are_no_state_are_refused(read: Callable[[bytes], Any], data: bytes) -> None:
    """Stored bytes of another schema, or damaged ones, raise StateError and nothing else."""
    try:
        read(data)
    except StateError as error:
        assert "member state" in str(error)  # noqa: PT017 (either outcome is right)
    else:
        assert data[0] in (1, 2, 3)


def test_cut_off_state_is_refused() -> None:
    """Bytes cut off anywhere aren't taken for a shorter state, and neither are those of a later schema."""
    member = Member(5, 6, 7, 8, {"a": 1}, {2**64 - 1: (1, 2)}, 3, {2**64 - 1: b"x" * 24})
    data = encode(member, 0)
    assert encode(decode_member(data), 0) == data
    for end in range(len(data)):
        for read in (decode_member, head_of):
            with pytest.raises(StateError):
                read(data[:end])
    with pytest.raises(StateError, match="in schema 4, of a newer memberstream: this one reads schemas up to 3"):
        decode_member(b"\x04" + data[1:])


SCHEMA_1 = bytes.fromhex(
    "0105000000000000000600000000000000070000000000000008000000000000000300000000000000010002000100"  # header
    "ffffffffffffffff01000000020000000000000078787878787878787878787878787878757575757575757"  # membership, x, until
    "57b2261223a317d"  # document
)


#: What the two earlier schemas hold of it; the rows are evaluated anew.
OLD_MEMBER = Member(5, 6, 7, 8, {"a": 1}, {2**64 - 1: (1, 2)})


def test_state_of_schema_1_is_read() -> None:
    """Bytes written by the first release give the same member, cut off ones are refused (except at the document)."""
    member = decode_member(SCHEMA_1)
    assert encode(member, 0) == encode(OLD_MEMBER, 0)
    assert head_of(SCHEMA_1).valid_until_ms == 8
    assert decode_member(SCHEMA_1[: -len(b'{"a":1}')]).document is None
    for end in set(range(len(SCHEMA_1))) - {len(SCHEMA_1) - len(b'{"a":1}')}:
        with pytest.raises(StateError):
            decode_member(SCHEMA_1[:end])


def test_state_of_schema_2_is_read() -> None:
    """So do bytes in which all models had one row."""
    held = (5, 6, 7, 8, {"a": 1}, {2**64 - 1: (1, 2)}, 3, b"x" * 16, b"u" * 8)
    data = b"\x02" + bytes(8) + msgspec.msgpack.encode(held)
    assert encode(decode_member(data), 0) == encode(OLD_MEMBER, 0)
    assert head_of(data).valid_until_ms == 8
    for end in range(len(data)):
        with pytest.raises(StateError):
            decode_member(data[:end])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner, max_size=8),
)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=6))
def test_a_document_takes_at_most_three_times_its_json_in_a_state(document: dict[str, Any]) -> None:
    """What `fitting` counts on; numbers of few digits are the worst."""
    assert document_size(document) <= 3 * len(orjson.dumps(document))
    assert document_size({"l": [1.5] * 1_000}) > 2.2 * len(orjson.dumps([1.5] * 1_000))


def test_a_document_must_fit_into_its_state() -> None:
    """Where the changelog takes less, an event that makes more of it is refused. Of a state that has no room for them
    rows are left out."""
    fits = fitting(400_000)
    assert (fitting(MAX_STATE_BYTES), fitting(1_000)) == (MAX_VALUE_BYTES, 0)
    member = Member(rows={7: b"x" * 500})
    for size, outcome in ((150_000, Outcome.APPLIED), (330_000, Outcome.APPLIED), (340_000, None)):
        event = ChangeEvent(Op.REPLACE, NOW, body={"a": "x" * size})
        if outcome is None:
            with pytest.raises(BadEvent) as raised:
                apply_one(member, size, event, size, fits)
            assert raised.value.reason is Reason.TOO_LARGE
        else:
            assert apply_one(member, size, event, size, fits) is outcome
    whole = encode(member, 0)
    assert len(encode(member, 0, len(whole))) == len(whole)
    assert len(encode(member, 0, len(whole) - 1)) < len(whole) - 500
    assert member.rows == {}
    assert encode(member, 0, 10) == encode(member, 0)  # nothing is left that could be left out
