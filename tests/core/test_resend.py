"""A dead letter that is sent again changes no member that has had a later event."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.apply import Outcome, apply_one
from memberstream.models.event import Again, BadEvent, ChangeEvent, Op, Reason, decode
from memberstream.models.member import Member
from memberstream.models.resend import decode_resend, encode_resend, resent_event, resent_in
from memberstream.models.training import Record, from_history

PATCH = b'{"op": "patch", "patch": {"a": 1}, "create": true}'


def again(origin: int, *before: int, version: int | None = None, op: Op = Op.REPLACE, seen_to: int = 60) -> ChangeEvent:
    return ChangeEvent(op, 5, version, {"a": "again"}, again=Again(origin, seen_to, before))


@pytest.mark.parametrize("value", [PATCH, None])
def test_it_holds_in_its_partition_only(value: bytes | None) -> None:
    """The event inside is the very one, with its time; elsewhere, and to whoever decodes events, it is an unknown op;
    damaged it is nothing."""
    wrapped = encode_resend(value, 1, 17, 40, [20, 30], 1_000, "alice")
    resend = decode_resend(wrapped, 1)
    assert resend is not None
    assert (resend.value, resend.origin, resend.seen_to, resend.by) == (value, 17, 40, "alice")
    assert (decode_resend(wrapped, 0), resent_in(wrapped)) == (None, resend)
    assert [resent_in(other) for other in (None, b"{}", b"\xff", wrapped[:-1], PATCH)] == [None] * 5
    event = resent_event(resend, "m", 0, 2_000)
    assert event.again == Again(17, 40, (20, 30))
    assert (event.op, event.body, event.at_ms, event.create) == (
        (Op.PATCH, {"a": 1}, 1_000, True) if value else (Op.DELETE, None, 1_000, False)
    )
    with pytest.raises(BadEvent) as caught:
        decode(b"m", wrapped, 5, 9)
    assert caught.value.reason is Reason.UNKNOWN_OP


def test_positions_are_of_the_epoch_and_a_foreign_partition_says_nothing() -> None:
    """Offset -1, as of an event from another partition, is before everything in any epoch."""
    resend = decode_resend(encode_resend(PATCH, 0, -1, 7, [3], 5, ""), 0)
    assert resend is not None
    assert resent_event(resend, "m", 2, 9).again == Again(-1, (2 << 48) + 7, ((2 << 48) + 3,))


def test_what_still_cannot_be_read_is_refused_again() -> None:
    """Here: an event of the future whose time hasn't come."""
    resend = decode_resend(encode_resend(b'{"op": "delete", "at": 400000}', 0, 1, 2, [], 5, ""), 0)
    assert resend is not None
    with pytest.raises(BadEvent) as caught:
        resent_event(resend, "m", 0, 9)
    assert caught.value.reason is Reason.FUTURE_TIME


def refused(member: Member, event: ChangeEvent) -> bool:
    before = (member.document, member.position, member.version)
    try:
        apply_one(member, 100, event)
    except BadEvent as error:
        return (error.reason, member.document, member.position, member.version) == (Reason.SUPERSEDED, *before)
    return False


def test_without_a_version_the_position_decides() -> None:
    """No event since: applied. One since: refused, unless that was an earlier letter of the member sent again."""
    assert not refused(Member(), again(17))
    assert not refused(Member(50), again(17))
    assert not refused(Member(16, document={}), again(17))
    assert refused(Member(17, document={}), again(17)), "it was applied after all: a crash came behind its letter"
    assert refused(Member(18, document={}), again(17))
    assert not refused(Member(18, document={}), again(17, 12, 18))
    assert refused(Member(0, document={}), again(-1))


def test_with_versions_they_decide_unless_there_is_nothing_to_compare_with() -> None:
    """A later event of a lower version is older. A member without a version, or deleted, is judged by its position."""
    assert not refused(Member(50, 6, document={}), again(17, version=7))
    assert apply_one(Member(50, 7, document={}), 100, again(17, version=7)) is Outcome.IGNORED_VERSION
    assert refused(Member(50, -1, document={}), again(17, version=7))
    assert refused(Member(50, 6), again(17, version=7))
    assert not refused(Member(16, 6), again(17, version=7))


def test_behind_what_the_sender_had_seen_a_version_proves_nothing() -> None:
    """An event without a version leaves the member's version as it is. So whatever came there stays, unless it is an
    earlier letter."""
    member = Member()
    apply_one(member, 10, ChangeEvent(Op.REPLACE, 5, 6, {"a": 1}))
    apply_one(member, 60, ChangeEvent(Op.PATCH, 5, None, {"a": "newer"}))
    assert (member.version, member.position) == (6, 60)
    assert refused(member, again(17, version=7, seen_to=60))
    assert not refused(Member(60, 6, document={}), again(17, 60, version=7, seen_to=60))
    assert not refused(member, again(17, version=7, seen_to=61))


EVENTS = st.lists(st.tuples(st.sampled_from(Op), st.none() | st.integers(0, 3)), max_size=8)


@given(EVENTS, EVENTS, st.sampled_from([Op.REPLACE, Op.DELETE]), st.integers(0, 3))
def test_it_never_changes_a_member_that_had_a_later_event_without_a_version(
    earlier: list[tuple[Op, int | None]], later: list[tuple[Op, int | None]], op: Op, version: int
) -> None:
    """Whatever came before and after the letter. (What a delete without a version leaves nothing of, nobody can know:
    the command looks for those in the topic.)"""
    member = Member()

    def apply(offset: int, op: Op, version: int | None) -> None:
        body = [] if op is Op.APPEND else {"at": offset}
        apply_one(member, offset, ChangeEvent(op, 5, version, body, ("list",), create=True))

    for offset, event in enumerate(earlier):
        apply(offset, *event)
    origin = len(earlier)
    for offset, event in enumerate(later, origin + 1):
        apply(offset, *event)
    is_unknown = member.document is None and member.version < 0
    has_later = member.position > origin and not is_unknown
    before = (member.document, member.version)
    try:
        outcome = apply_one(member, 100, again(origin, op=op))
    except BadEvent:
        outcome = Outcome.REPLAYED
    assert not has_later or ((member.document, member.version) == before and outcome is not Outcome.APPLIED)


def test_training_data_reads_it_as_a_worker_does() -> None:
    """A letter that is sent again behind what came since changes nothing and is listed; else it is applied."""
    replace = b'{"op": "replace", "at": 10, "document": {"a": 3}}'

    def value(origin: int) -> bytes:
        return encode_resend(b'{"op": "patch", "at": 20, "patch": {"a": 1}}', 0, origin, 4, [], 20, "")

    def matrix(origin: int) -> tuple[float, list[str]]:
        records = [Record(b"m", replace, 10, 2), Record(b"m", value(origin), 30, 4)]
        predictors = [{"name": "a", "path": "a", "missing": 0}]
        found = from_history(predictors, records, [("m", 50)])
        return float(found.x[0, 0]), [one.reason for one in found.refused]

    assert matrix(3) == (1.0, [])
    assert matrix(2) == matrix(1) == (3.0, ["superseded"])
    found = from_history([{"name": "a", "path": "a", "missing": 0}], [Record(b"m", b'{"op": "x"}', 30, 3)], [("m", 50)])
    assert [one.reason for one in found.refused] == ["unknown_op"]
    assert orjson.loads(value(2))["op"] == "resend"
