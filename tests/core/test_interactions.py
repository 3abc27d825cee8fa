"""The envelope of an interaction: what is taken, and what is refused for which reason."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.event import BadEvent
from memberstream.models.event import Reason as EventReason
from memberstream.models.interaction import MAX_INTERACTION_BYTES, Interaction, Refusal, decode, is_kind

NOW_MS = 1_700_000_000_000
KINDS = ("impression", "click", "purchase")
GOOD = {"kind": "click", "id": "i-1", "campaign": "summer"}


def read(value: Any, key: bytes | None = b"m-1", timestamp_ms: int = NOW_MS) -> Interaction | None:
    """Decode an envelope, or bytes as they are."""
    data = value if isinstance(value, bytes | None) else orjson.dumps(value)
    return decode(key, data, timestamp_ms, NOW_MS, KINDS)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, Interaction("click", "i-1", NOW_MS, "summer", None, NOW_MS)),
        ({"at": "2023-11-14T22:13:20Z", "value": 2}, Interaction("click", "i-1", NOW_MS, "summer", 2.0, NOW_MS)),
        ({"at": 5, "value": -1.5, "meta": {"page": [1]}}, Interaction("click", "i-1", 5, "summer", -1.5, NOW_MS)),
        ({"at": 5.9, "member_id": "m-1", "campaign": None}, Interaction("click", "i-1", 5, None, None, NOW_MS)),
        ({"at": 5, "token": "t"}, Interaction("click", "i-1", 5, "summer", None, NOW_MS, "t")),
        ({"at": NOW_MS + 300_000}, Interaction("click", "i-1", NOW_MS + 300_000, "summer", None, NOW_MS)),
    ],
)
def test_what_is_taken(more: dict[str, Any], expected: Interaction) -> None:
    """Every field in its forms; without `at` the time is the record's."""
    assert read(GOOD | more) == expected


def test_a_record_without_a_value_says_to_forget_the_member() -> None:
    """Whatever its time; the key is read all the same."""
    assert read(None) is read(None, timestamp_ms=-1) is None
    with pytest.raises(BadEvent, match="key"):
        read(None, key=b"\xff")


BAD: list[tuple[Any, str, str]] = [
    (b"{", "not_json", "byte"),
    (b'{"kind":"\xff"}', "not_json", "byte"),
    ([1], "not_an_object", "found a list"),
    (GOOD | {"meta": "x" * MAX_INTERACTION_BYTES}, "too_large", "at most 10000 bytes"),
    (GOOD | {"meta": 1, "price": 3}, "unknown_field", "only the fields campaign, kind"),
    ({"kind": "click"}, "missing_field", "id: "),
    ({"id": "i-1"}, "missing_field", "kind: "),
    ({"id": "i-1", "kind": "impression"}, "missing_field", "campaign: "),
    (GOOD | {"kind": None}, "wrong_type", "kind: expected a text, found null"),
    (GOOD | {"campaign": 3}, "wrong_type", "campaign: expected a text, found a number"),
    (GOOD | {"value": "3"}, "wrong_type", "value: expected a number, found a text"),
    (GOOD | {"value": True}, "wrong_type", "value: expected a number, found a boolean"),
    (GOOD | {"value": 1.1e12}, "bad_value", "value: "),
    (GOOD | {"token": "1" * 101}, "bad_token", "token: expected at most 100 characters"),
    (GOOD | {"token": 5}, "wrong_type", "token: "),
    (GOOD | {"id": ""}, "bad_id", "found 0"),
    (GOOD | {"id": "x" * 65}, "bad_id", "found 65"),
    (GOOD | {"at": "soon"}, "bad_time", "at: expected ISO 8601 or ms since the epoch, found a text"),
    (GOOD | {"at": [1]}, "bad_time", "found a list"),
    (GOOD | {"at": True}, "bad_time", "found a boolean"),
    (GOOD | {"at": -1}, "bad_time", "found a number"),
    (GOOD | {"at": NOW_MS // 1_000}, "bad_time", "at: looks like seconds; ms since 1970 are wanted"),
    (GOOD | {"at": NOW_MS * 1_000}, "bad_time", "at: looks like µs; ms since 1970 are wanted"),
    (GOOD | {"at": NOW_MS + 300_001}, "future_time", "5 minutes"),
    (GOOD | {"member_id": "m-2"}, "member_id_mismatch", "another value"),
    (GOOD | {"kind": "share"}, "unknown_kind", "expected one of impression, click, purchase"),
    (GOOD | {"campaign": "Summer!"}, "unknown_campaign", "a campaign's id"),
    (b'{"kind":"click","id":"i-1","meta":' + b"[" * 1_023 + b"]" * 1_023 + b"}", "not_json", ""),
]


@pytest.mark.parametrize(
    ("value", "reason", "detail"), BAD, ids=[f"{i}-{reason}" for i, (_, reason, _) in enumerate(BAD)]
)
def test_what_is_refused(value: Any, reason: str, detail: str) -> None:
    """Each with its reason, and a detail that says what was expected."""
    with pytest.raises(BadEvent) as refused:
        read(value)
    assert refused.value.reason == reason
    assert detail in refused.value.detail


def test_keys_and_times_of_records() -> None:
    """The key is the member; a record without a timestamp needs `at`."""
    with pytest.raises(BadEvent, match="bad_key"):
        read(GOOD, key=None)
    with pytest.raises(BadEvent, match="bad_key"):
        decode(b'"m"', orjson.dumps(GOOD), 1, NOW_MS, KINDS, may_be_json=False)
    # Whoever has had such an id is forgotten all the same.
    assert decode(b'"m"', None, 1, NOW_MS, KINDS, may_be_json=False) is None
    with pytest.raises(BadEvent, match="neither here nor a timestamp on the record"):
        read(GOOD, timestamp_ms=-1)
    assert str(EventReason.BAD_KEY) == Refusal.BAD_KEY


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ).flatmap(
        lambda junk: st.sampled_from([*GOOD, "at", "value", "member_id", "meta"]).map(
            lambda field: GOOD | {field: junk}
        )
    )
    | st.binary(max_size=30)
)
def test_nothing_else_escapes(value: Any) -> None:
    """Whatever the bytes: an interaction or a BadEvent with a declared reason."""
    data = value if isinstance(value, bytes) else orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATETIME)
    try:
        found = decode(b"m-1", data, NOW_MS, NOW_MS, KINDS)
    except BadEvent as error:
        Refusal(error.reason)  # raises unless it is declared
    else:
        assert found is not None
        assert found.kind in KINDS
        assert 0 <= found.at_ms <= NOW_MS + 300_000


def test_kinds_are_identifiers_and_not_reserved() -> None:
    """As for campaign ids; `exposed` and `switched` are counted by the worker itself."""
    assert [is_kind(name) for name in ("click", "add-to_cart2", "Click", "2nd", "", "x" * 33)] == [True] * 2 + [
        False
    ] * 4
    assert not is_kind("exposed")
    assert not is_kind("switched")
