"""How long memberships hold: a timer at the end of their validity misses no change."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from core import worlds
from core.worlds import BASE_MS
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.member import Member, decode, encode, head_of
from memberstream.models.model import Model
from memberstream.models.model_file import parse
from memberstream.models.plan import Plan
from memberstream.models.rescore import look_ahead, rescore_many
from memberstream.models.timestamps import DAY_MS, FOREVER

two_models = st.tuples(worlds.models(1), worlds.models(2))
moments = st.integers(worlds.BASE_MS - 90 * DAY_MS, worlds.BASE_MS + 60 * DAY_MS)


def scored(plan: Plan, document: dict[str, Any], now_ms: int) -> Member:
    """Return a member scored from scratch."""
    member = Member(document=document)
    rescore_many(plan, [member], [now_ms])
    return member


def outcome(plan: Plan, member: Member) -> tuple[list[bytes], dict[int, int]]:
    """Return x and the clusters."""
    x = [member.rows[part.id][: 8 * part.n_columns] for part in plan.parts]
    return x, {key: cluster for key, (cluster, _) in member.memberships.items()}


@given(two_models, worlds.documents, moments)
def test_nothing_changes_before_the_end_of_validity(models: tuple[Model, Model], document: Any, now_ms: int) -> None:
    """Scored just before `valid_until`, and at times in between, a member is as it is now; the end lies ahead."""
    plan = Plan(models)
    member = scored(plan, document, now_ms)
    end_ms = member.valid_until_ms
    assert end_ms > now_ms
    if end_ms == FOREVER:
        end_ms = now_ms + 1_000 * DAY_MS
    for at_ms in {end_ms - 1, now_ms + (end_ms - now_ms) // 2, min(now_ms + 1, end_ms - 1)}:
        later = scored(plan, document, at_ms)
        assert outcome(plan, later) == outcome(plan, member)
        assert later.valid_until_ms == member.valid_until_ms


@given(two_models, worlds.documents, moments, st.integers(1, 3 * DAY_MS))
def test_timers_agree_with_a_recomputation_at_every_instant(
    models: tuple[Model, Model], document: Any, start_ms: int, step_ms: int
) -> None:
    """One member is rescored at the end of its validity only, time after time; on a grid of times, and just before and
    at each end, it is what a recomputation gives."""
    plan = Plan(models)
    member = scored(plan, document, start_ms)
    ends = []
    grid = [start_ms + i * step_ms for i in range(40)]
    for before_ms, now_ms in pairwise(grid):
        for _ in range(50):
            if member.valid_until_ms > now_ms:
                break
            due_ms = member.valid_until_ms
            assert before_ms < due_ms
            assert outcome(plan, member) == outcome(plan, scored(plan, document, due_ms - 1))
            ends.append(due_ms)
            rescore_many(plan, [member], [due_ms])
            assert outcome(plan, member) == outcome(plan, scored(plan, document, due_ms))
        else:  # a clock of seconds: not every tick of days
            rescore_many(plan, [member], [now_ms])
        assert outcome(plan, member) == outcome(plan, scored(plan, document, now_ms))
    assert ends == sorted(set(ends))


#: Days since `t`, `old` from the fourth on or with less than two visits in `l` within six days.
MOVING = parse(
    {
        "format": 1,
        "name": "recent",
        "version": 9,
        "predictors": [
            {"name": "days", "path": "t", "aggregate": "days_since", "missing": 0},
            {"name": "n", "path": "l", "time": "t", "aggregate": "count", "window_days": 6},
        ],
        "model": {"type": "logistic", "coef": [1.0, -2.0], "intercept": 0.5, "thresholds": [0.5]},
        "clusters": [{"id": 1, "name": "new"}, {"id": 2, "name": "old"}],
    }
)
moving_documents = st.fixed_dictionaries(
    {"t": worlds.times, "l": st.lists(st.fixed_dictionaries({"t": worlds.times}), max_size=6)}
)


def test_the_moment_of_a_flip_is_found() -> None:
    """Each of several members goes its own way: to a flip, to where nothing moves any more, or as far as was said."""
    plan, now_ms = Plan([MOVING]), BASE_MS
    visits = [{"t": BASE_MS}] * 2  # they outweigh three days and a half
    documents: list[dict[str, Any]] = [
        {"t": BASE_MS, "l": visits},
        {"t": BASE_MS - 3 * DAY_MS, "l": visits},
        {},
        {"l": visits},
        {"t": 0},
    ]

    def ends(n_moments: list[int]) -> list[int]:
        members = [scored(plan, document, now_ms) for document in documents]
        look_ahead(plan, members, n_moments)
        return [FOREVER if m.valid_until_ms == FOREVER else (m.valid_until_ms - BASE_MS) // DAY_MS for m in members]

    assert ends([9, 9, 9, 9, 9]) == [4, 1, FOREVER, 6, 10]
    assert ends([2, 0, 0, 0, 2]) == [3, 1, FOREVER, 6, 3]


@given(
    worlds.models(1),
    st.lists(worlds.documents | moving_documents, min_size=1, max_size=4),
    moments,
    st.integers(0, 30),
)
def test_looking_ahead_skips_only_what_changes_no_cluster(
    model: Model, documents: list[Any], now_ms: int, n: int
) -> None:
    """Up to the later end of validity a recomputation at each moment at which a predictor changes, and just before it,
    finds the same clusters; at the end another one, or as many moments were looked at as was said."""
    plan = Plan([model, MOVING])
    members = [scored(plan, document, now_ms) for document in documents]
    before = [outcome(plan, member) for member in members]
    ahead = [n + i for i in range(len(members))]
    look_ahead(plan, members, ahead)
    assert [outcome(plan, member) for member in members] == before
    for member, document, n_moments in zip(members, documents, ahead, strict=True):
        _, clusters = outcome(plan, member)
        walked, passed = scored(plan, document, now_ms), 0
        while walked.valid_until_ms < member.valid_until_ms:
            passed += 1
            for at_ms in (walked.valid_until_ms - 1, walked.valid_until_ms):
                walked = scored(plan, document, at_ms)
                assert outcome(plan, walked)[1] == clusters
        assert walked.valid_until_ms == member.valid_until_ms
        assert passed <= n_moments
        if member.valid_until_ms < FOREVER and passed < n_moments:
            assert outcome(plan, scored(plan, document, member.valid_until_ms))[1] != clusters


@given(two_models, worlds.documents, moments, st.integers(0, 90 * DAY_MS))
def test_a_timer_that_comes_late_catches_up(
    models: tuple[Model, Model], document: Any, now_ms: int, late_ms: int
) -> None:
    """After an outage one rescoring gives what a recomputation gives, however many ends have passed."""
    plan = Plan(models)
    member = scored(plan, document, now_ms)
    if member.valid_until_ms == FOREVER:
        return
    late_ms += member.valid_until_ms
    rescore_many(plan, [member], [late_ms])
    fresh = scored(plan, document, late_ms)
    assert outcome(plan, member) == outcome(plan, fresh)
    assert member.valid_until_ms == fresh.valid_until_ms


@given(st.none() | worlds.documents, st.integers(-5, FOREVER), st.integers(-1, 2**62))
def test_the_head_is_read_without_the_document(document: Any, valid_until_ms: int, written_at: int) -> None:
    """From the stored bytes, as the whole member gives it."""
    held = {2**64 - 1: (3, 4)}
    data = encode(Member(valid_until_ms=valid_until_ms, document=document, memberships=held, plan_id=7), written_at)
    head, member = head_of(data), decode(data)
    assert head.valid_until_ms == member.valid_until_ms == valid_until_ms
    assert head.plan_id == member.plan_id == 7
    assert head.held == (None if document is None else held)
