"""What a member's clusters were before: kept with the member, bounded, and never wrong about a time."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models import past
from memberstream.models.member import Member, decode, encode, head_of
from memberstream.models.model_file import parse
from memberstream.models.past import KEPT, KEPT_MS, Past
from memberstream.models.plan import Plan
from memberstream.models.rescore import rescore_many
from memberstream.models.rules import cluster_at
from memberstream.models.timestamps import DAY_MS
from memberstream.stream.keyspace.formats import course_in, format_past, membership_field, parse_row, row_format

MODEL = parse({
    "format": 1, "name": "level", "version": 1, "predictors": [{"name": "x", "path": "x", "missing": 0}],
    "model": {"type": "logistic", "coef": [1.0], "intercept": 0.0, "thresholds": [0.5]},
    "clusters": [{"id": 1, "name": "low"}, {"id": 2, "name": "high"}],
})  # fmt: skip
FIELD = membership_field("level", 1)


def row_of(member: Member) -> bytes:
    """Return a member's row, as it stands in Redis before the lists."""
    row = row_format([FIELD]) % (0, 0, 1, member.as_of_ms, b"", *member.memberships[MODEL.key])
    return row + format_past([(FIELD, its) for its in member.past.values()])


def scored(moves: list[tuple[int, int]]) -> Member:
    """Return a member whose document was x at each of some times."""
    member, plan = Member(document={"x": 0}), Plan([MODEL])
    member.touched = {()}
    for at_ms, x in moves:
        member.document = {"x": x}
        member.touched.add(("x",))
        rescore_many(plan, [member], [at_ms])
        member = decode(encode(member, 0))
    return member


def check(moves: list[tuple[int, int]], times: list[int]) -> None:
    course = course_in(row_of(scored(moves)) + b"||tried@1=3:5", FIELD)
    for at_ms in times:
        before = [x for then_ms, x in moves if then_ms <= at_ms]
        found = cluster_at(course, at_ms)
        if found is not None:
            assert found == (2 if before[-1] > 0 else 1)
        elif before:  # only what is older than is kept isn't known
            changes = [i for i in range(1, len(moves)) if (moves[i][1] > 0) != (moves[i - 1][1] > 0)]
            later = [i for i in changes if moves[i][0] > at_ms]
            assert len(later) > KEPT or moves[later[0]][0] <= moves[-1][0] - KEPT_MS


STEPS = st.lists(st.tuples(st.integers(0, 12 * DAY_MS), st.sampled_from([-1, 1])), min_size=1, max_size=20)


@given(STEPS, st.lists(st.integers(0, 200 * DAY_MS), max_size=10))
def test_a_row_says_where_a_member_stood(gaps: list[tuple[int, int]], times: list[int]) -> None:
    """At any time that it reaches, as the moves say; the state carries it through its bytes."""
    at_ms, moves = 0, []
    for gap_ms, x in gaps:
        at_ms += gap_ms + 1
        moves.append((at_ms, x))
    check(moves, times)


def test_a_row_by_example() -> None:
    """The clusters of now first; what isn't in it is unknown, and who doesn't ask for it isn't disturbed."""
    moves = [(10, -1), (20, 1), (30, -1)]
    check(moves, [5, 10, 15, 20, 25, 30, 99])
    row = row_of(scored(moves))
    assert row == b"0:0:1:30:|level@1=1:30|level@1~=2:20,1:10"
    assert parse_row(row) == {b"pos": b"0:0:1:30:", FIELD: b"1:30"}
    assert course_in(row, b"level@10") == ()
    assert course_in(row, FIELD) == ((1, 30), (2, 20), (1, 10))


def test_what_is_kept() -> None:
    """The last changes, those that ended not long ago, of versions that are still scored."""
    held: Past = {}
    for i in range(KEPT + 3):
        held = past.moved(held, 7, (i, i * DAY_MS))
    assert [cluster for cluster, _ in held[7]] == list(range(KEPT + 2, 2, -1))
    present = {7: (99, 11 * DAY_MS)}
    assert past.kept(held, present, 11 * DAY_MS) == held
    assert past.kept(held, present, 9 * DAY_MS + KEPT_MS) == {7: ((10, 10 * DAY_MS), (9, 9 * DAY_MS))}
    assert past.kept(held, present, 11 * DAY_MS + KEPT_MS) == {}
    assert past.kept(held, {}, 0) == {}


class Before(msgspec.Struct, array_like=True):
    """A member as the version before reads it."""

    position: int
    version: int
    as_of_ms: int
    valid_until_ms: int
    document: dict[str, int]
    memberships: dict[int, tuple[int, int]]
    plan_id: int
    rows: dict[int, bytes]
    touched: set[tuple[str, ...]] = set()
    document_bytes: int = 0


def test_the_version_before_reads_it() -> None:
    """It finds its own attributes, and nothing in the two places that it doesn't store. Who is deleted has no past."""
    member = scored([(10, -1), (20, 1)])
    data = encode(member, 3)
    found = msgspec.msgpack.decode(data[9:], type=Before)
    assert (found.memberships, found.touched, found.document_bytes) == (member.memberships, set(), 0)
    assert head_of(data).memberships == member.memberships
    member.forget()
    assert (member.past, len(msgspec.msgpack.decode(encode(member, 3)[9:]))) == ({}, 8)
