"""The status rules and the formats, without a server."""

import pytest
from believing import format_beacon

from memberstream.stream.keyspace import formats as keyspace
from memberstream.stream.keyspace.formats import Beacon, KeyspaceError, Position, PublishedModel
from memberstream.stream.lookup.answer import Answer, Meta, Reading, parse_meta
from memberstream.stream.lookup.values import Membership

NOW = 1_700_000_100_000
LIVE = {b"repeat_buyer": b"2", b"buying_style": b"1"}
MODELS = {b"repeat_buyer@2": b'{"type":"logistic","clusters":{"1":"low","3":"high"}}'}


def meta(**beacons: Beacon) -> Meta:
    told = {key[1:].encode(): format_beacon(beacon) for key, beacon in beacons.items()}
    return parse_meta(LIVE, MODELS, told)


POS, MEMBERSHIPS = b"0:0:41:1700000000000:", b"|buying_style@1=4:7|repeat_buyer@2=3:1600000000000"
ROW, FOREVER = POS + b"1700000100000" + MEMBERSHIPS, POS + MEMBERSHIPS
TOMBSTONE = POS + b"gone"
UNSCORED = POS + b"|buying_style@1=4:7"


@pytest.mark.parametrize(
    ("row", "complete", "beacon", "status"),
    [
        (ROW, False, Beacon(42, NOW, NOW), "rebuilding"),
        (None, False, Beacon(42, NOW, NOW), "rebuilding"),
        (TOMBSTONE, False, None, "rebuilding"),
        (None, True, Beacon(42, NOW, NOW), "unknown member"),
        (None, True, None, "unknown member"),
        (TOMBSTONE, True, Beacon(42, NOW, NOW), "unknown member"),
        (UNSCORED, True, Beacon(42, NOW, NOW), "rebuilding"),  # a live version that is still being computed
        (FOREVER.replace(b"repeat_buyer", b"not_repeat_buyer"), True, Beacon(42, NOW, NOW), "rebuilding"),
        (FOREVER.replace(b"buyer@2", b"buyer@22"), True, Beacon(42, NOW, NOW), "rebuilding"),
        (FOREVER, True, None, "stale"),
        (FOREVER, True, Beacon(42, NOW, NOW - 30_001), "stale"),
        (FOREVER, True, Beacon(42, NOW, NOW - 30_000), "current"),
        # valid_until is 1_700_000_100_000 = NOW, by the system's own clock:
        (ROW, True, Beacon(42, NOW, NOW), "stale"),
        (ROW, True, Beacon(42, NOW - 1, NOW), "current"),
        (ROW, True, Beacon(42, NOW - 1, NOW - 1), "stale"),  # a millisecond has passed since the beacon
        (ROW, True, Beacon(42, NOW - 9_000, NOW - 8_000), "current"),
        (ROW, True, Beacon(42, 850_000_000_000, NOW), "current"),  # a replay that is still in 1996
        (FOREVER, True, Beacon(42, NOW, NOW + 60_000), "current"),  # the reader's clock is a minute behind
        (ROW, True, Beacon(42, NOW - 1, NOW + 60_000), "current"),
    ],
)
def test_status_rules(row: bytes | None, complete: bool, beacon: Beacon | None, status: str) -> None:
    """Each rule of stream/lookup/answer.py, on both sides of its bound."""
    answer = Answer("m", row, Reading(meta(p0=beacon) if beacon else meta(), complete, NOW))
    assert answer.status == status
    assert answer.as_dict()["status"] == status
    assert answer.status == status


LISTED_LIVE = {b"a_list": b"1", b"buying_style": b"1", b"z_list": b"2"}
LISTED_MODELS = dict.fromkeys((b"a_list@1", b"z_list@2"), b'{"type":"list","clusters":{"2":"high"}}')


@pytest.mark.parametrize(
    ("row", "status"),
    [
        (POS + b"|buying_style@1=4:7", "current"),  # on no list, which isn't a gap
        (POS + b"|buying_style@1=4:7||a_list@1=2:7", "current"),
        (POS + b"||z_list@2=2:7|a_list@1=2:7", "rebuilding"),  # the computed one is missing
        (b"||z_list@2=2:7", "current"),  # no document
        (b"||z_list@1=2:7", "unknown member"),  # not on the live version
        (None, "unknown member"),
        (TOMBSTONE, "unknown member"),
    ],
)
def test_who_is_not_on_a_list_is_not_waited_for(row: bytes | None, status: str) -> None:
    """A member that is only on lists is known, and current."""
    told = parse_meta(LISTED_LIVE, LISTED_MODELS, {b"0": format_beacon(Beacon(42, NOW, NOW))})
    answer = Answer("m", row, Reading(told, True, NOW))
    assert answer.status == status
    assert list(answer.memberships) == sorted(answer.memberships)
    if row is not None and b"z_list@2" in row:
        assert answer.memberships["z_list"] == Membership("z_list", 2, 2, "high", 7)
    assert Answer("m", row, Reading(told, False, NOW)).status == "rebuilding"


def test_an_answer_holds_live_versions_only() -> None:
    """By model name, with cluster names where the model gives them."""
    answer = Answer("m", ROW, Reading(meta(p0=Beacon(42, NOW, NOW)), True, NOW))
    assert answer.memberships == {
        "buying_style": Membership("buying_style", 1, 4, None, 7),
        "repeat_buyer": Membership("repeat_buyer", 2, 3, "high", 1_600_000_000_000),
    }
    assert (answer.cluster("repeat_buyer"), answer.cluster("buying_style"), answer.cluster("other")) == (3, 4, None)
    assert (answer.partition, answer.offset) == (0, 41)
    assert (answer.as_of_ms, answer.valid_until_ms) == (1_700_000_000_000, 1_700_000_100_000)
    assert repr(answer) == "<Answer 'm' stale: buying_style@1=4, repeat_buyer@2=3>"


def test_an_unknown_member_has_neither_position_nor_membership() -> None:
    """Also a tombstone, whose position is nobody's business."""
    for row in (None, TOMBSTONE):
        answer = Answer("m", row, Reading(meta(), True, NOW))
        assert answer.memberships == {}
        assert answer.as_dict() == {
            "member_id": "m", "status": "unknown member", "memberships": {},
            "partition": None, "offset": None, "as_of_ms": None, "valid_until_ms": None,
        }  # fmt: skip
        assert (answer.partition, answer.offset, answer.as_of_ms, answer.valid_until_ms) == (None,) * 4


def test_a_row_is_read_as_it_is_written() -> None:
    """Position, computed versions, lists; and what isn't there."""
    fields = [b"a@1", b"b@2"]
    row = keyspace.row_format(fields) % (1, 2, 3, 4, b"5", 6, 7, 8, 9)
    assert row == b"1:2:3:4:5|a@1=6:7|b@2=8:9"
    held = {b"pos": b"1:2:3:4:5", b"a@1": b"6:7", b"b@2": b"8:9"}
    assert keyspace.parse_row(row) == held
    assert keyspace.parse_row(row + b"||c@1=1:1|d@1=2:2") == {**held, b"c@1": b"1:1", b"d@1": b"2:2"}
    assert keyspace.parse_row(b"||c@1=1:1") == {b"c@1": b"1:1"}
    assert keyspace.parse_row(None) == {}
    assert [keyspace.cluster_in(row, keyspace.marker(field)) for field in (*fields, b"a@11")] == [b"6", b"8", b""]


@pytest.mark.parametrize(("until", "valid_until_ms"), [(b"", None), (b"0", 0), (b"9007199254740992", 2**53)])
def test_formats_are_read_as_they_are_written(until: bytes, valid_until_ms: int | None) -> None:
    """Position and beacon, also with an empty end."""
    assert keyspace.parse_position(b"1:3:0:1:" + until) == Position(1, 3, 0, 1, valid_until_ms)
    assert keyspace.parse_beacon(b"1:2:3") == Beacon(1, 2, 3)
    model = PublishedModel("m", 1, "logistic", {2: "é", 10: ""})
    assert keyspace.parse_model(keyspace.format_model(model)) == ("logistic", {2: "é", 10: ""})


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        (keyspace.parse_position, b"1:2:3:4"),
        (keyspace.parse_position, b"0:1:2:x:4"),
        (keyspace.parse_beacon, b"1:2"),
        (keyspace.parse_membership, b"1"),
        (keyspace.parse_row, b"0:1:2:3:|a@1"),
        (keyspace.parse_model, b"[]"),
        (keyspace.split_field, b"repeat_buyer"),
        (keyspace.split_field, b"@1"),
        (keyspace.split_field, b"repeat_buyer@one"),
    ],
)
def test_a_malformed_value_says_what_was_expected_and_found(parse: object, value: bytes) -> None:
    """Something else wrote to our keys: nothing is guessed."""
    assert callable(parse)
    with pytest.raises(KeyspaceError, match=r"expected .* found"):
        parse(value)
