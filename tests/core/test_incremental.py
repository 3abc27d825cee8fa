"""Laws of state: however a member's row came about, it is what a from-scratch evaluation gives, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from core import worlds
from core.evaluation import rows_of, x_of
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.apply import Outcome, apply_one
from memberstream.models.event import BadEvent, ChangeEvent, Op
from memberstream.models.member import Member, decode, encode
from memberstream.models.model import Model
from memberstream.models.model_file import parse
from memberstream.models.plan import Plan
from memberstream.models.rescore import rescore_many
from memberstream.models.timestamps import DAY_MS

Batches = list[tuple[int, list[ChangeEvent]]]
two_models = st.tuples(worlds.models(1), worlds.models(2))


def apply_all(member: Member, events: list[tuple[int, ChangeEvent]]) -> list[Outcome]:
    """Apply events with their offsets; those that can't be applied change nothing."""
    outcomes = []
    for offset, event in events:
        before = encode(member, 0)
        try:
            outcomes.append(apply_one(member, offset, event, 200))
        except BadEvent:
            assert encode(member, 0) == before
    return outcomes


def numbered(history: Batches) -> list[tuple[int, list[tuple[int, ChangeEvent]]]]:
    """Return the history with the offsets that a partition would give its events."""
    offset, result = 0, []
    for advance, events in history:
        result.append((advance, [(offset + i, event) for i, event in enumerate(events)]))
        offset += len(events)
    return result


@given(two_models, worlds.histories)
def test_incremental_equals_full_at_every_prefix(models: tuple[Model, Model], history: Batches) -> None:
    """After each batch, through encoded state, rows and clusters are those of a fresh evaluation."""
    plan = Plan(models)
    state, now_ms = encode(Member(), 0), worlds.BASE_MS
    for advance, events in numbered(history):
        now_ms += advance
        member = decode(state)
        apply_all(member, events)
        if member.document is not None:
            rescore_many(plan, [member], [now_ms])
            x, _ = Plan(models).evaluate_many([member.document], [now_ms])
            assert member.rows == rows_of(plan, member.document, now_ms)
            assert member.valid_until_ms > now_ms
            for model in models:
                index = model.scorer.score_many(x.take(plan.inputs(model), axis=1)).index[0]
                assert member.memberships[model.key][0] == model.clusters[index].id
        state = encode(member, 0)
        assert encode(decode(state), 0) == state


@given(two_models, worlds.documents, st.lists(worlds.advances, min_size=1, max_size=6))
def test_time_alone_keeps_incremental_equal_to_full(
    models: tuple[Model, Model], document: dict[str, Any], advances: list[int]
) -> None:
    """A member from whom nothing arrives is brought forward to what a fresh evaluation gives at each time."""
    plan = Plan(models)
    member = Member(document=orjson.loads(orjson.dumps(document)))
    now_ms = worlds.BASE_MS
    for advance in advances:
        now_ms += advance
        rescore_many(plan, [member], [now_ms])
        assert member.rows == rows_of(plan, member.document, now_ms)


@given(two_models, st.lists(worlds.histories, min_size=2, max_size=4), st.integers(0, 20 * DAY_MS))
def test_members_rescored_together_are_as_alone(
    models: tuple[Model, Model], histories: list[Batches], advance_ms: int
) -> None:
    """Some have had an event since, of some the time has come, some neither, some are new: each row is as fresh."""
    plan = Plan(models)
    members = [Member() for _ in histories]
    for turn, part in enumerate((slice(0, 1), slice(1, None))):
        for member, history in zip(members, histories, strict=True):
            apply_all(member, [event for _, batch in numbered(history)[part] for event in batch])
        there = [member for member in members if member.document is not None]
        now_ms = worlds.BASE_MS + turn * advance_ms
        rescore_many(plan, there, [now_ms] * len(there))
        assert [member.rows for member in there] == [rows_of(plan, member.document, now_ms) for member in there]


def test_only_what_is_touched_or_due_is_evaluated() -> None:
    """Of three members one is touched, of one the time has come, the third is left as it is; all are right."""
    definitions = [
        {"name": "n", "path": "l", "aggregate": "count", "time": "t", "window_days": 1},
        {"name": "a", "path": "a", "missing": 0},
    ]
    plan = Plan([parse(worlds.one_predictor_file(definitions))])
    now_ms = worlds.BASE_MS
    members = [Member(document={"a": i, "l": [{"t": now_ms - i * DAY_MS // 4}]}) for i in range(3)]
    rescore_many(plan, members, [now_ms] * 3)
    apply_one(members[0], 0, ChangeEvent(Op.PATCH, now_ms, body={"a": 7}))
    row = members[1].rows[plan.id]
    members[1].rows[plan.id] = np.array([5.0, 5.0]).tobytes() + row[16:]  # would be put right if it were evaluated
    rescore_many(plan, members, [now_ms + DAY_MS // 2] * 3)
    assert [x_of(plan, member).tolist() for member in members] == [[1, 7], [5, 5], [0, 2]]


@given(worlds.models(), worlds.histories)
def test_replaying_any_suffix_changes_nothing(model: Model, history: Batches) -> None:
    """Whatever is delivered again from any point on is known by its offset and leaves the state as it was."""
    plan = Plan([model])
    events = [event for _, batch in numbered(history) for event in batch]
    member = Member()
    apply_all(member, events)
    if member.document is not None:
        rescore_many(plan, [member], [worlds.BASE_MS])
    state = encode(member, 0)
    for start in range(len(events)):
        again = decode(state)
        # What was refused or ignored once may be judged anew; what was applied is never applied again.
        outcomes = apply_all(again, [e for e in events[start:] if e[0] <= member.position])
        assert set(outcomes) <= {Outcome.REPLAYED}
        assert encode(again, 0) == state
        assert not again.touched


@given(worlds.histories, st.integers(-1, 40), worlds.events())
def test_older_and_equal_versions_change_nothing(history: Batches, version: int, event: ChangeEvent) -> None:
    """An event whose version is not above the member's is ignored, whatever it says, also after a delete."""
    member = Member()
    apply_all(member, [e for _, batch in numbered(history) for e in batch])
    state = encode(member, 0)
    if 0 <= version <= member.version:
        late = ChangeEvent(event.op, event.at_ms, version, event.body, event.path, event.create)
        assert apply_one(member, 10_000, late, 200) is Outcome.IGNORED_VERSION
        assert encode(member, 0) == state


@given(worlds.models(), worlds.histories, worlds.histories)
def test_recreated_member_is_a_fresh_one(model: Model, before: Batches, after: Batches) -> None:
    """What happened before a delete has no influence on anything after it but the position and the version."""
    plan = Plan([model])
    unversioned = [
        ChangeEvent(e.op, e.at_ms, None, e.body, e.path, e.create) for _, batch in numbered(after) for _, e in batch
    ]
    old, fresh = Member(), Member()
    apply_all(old, [e for _, batch in numbered(before) for e in batch])
    apply_one(old, 1_000, ChangeEvent(Op.DELETE, worlds.BASE_MS))
    assert (old.document, old.memberships, old.rows) == (None, {}, {})
    later = [(2_000 + i, event) for i, event in enumerate(unversioned)]
    assert apply_all(old, later) == apply_all(fresh, later)
    assert old.document == fresh.document
    if old.document is not None:
        rescore_many(plan, [old], [worlds.BASE_MS])
        rescore_many(plan, [fresh], [worlds.BASE_MS])
        assert (old.rows, old.memberships) == (fresh.rows, fresh.memberships)


@given(two_models, worlds.histories, worlds.histories)
def test_state_of_another_plan_is_evaluated_anew(models: tuple[Model, Model], one: Batches, two: Batches) -> None:
    """A member scored by a plan of other models gets the rows of the new plan, and only its memberships."""
    old, new = Plan(models), Plan(models[1:])
    member = Member()
    apply_all(member, [e for _, batch in numbered(one + two) for e in batch])
    if member.document is None:
        return
    rescore_many(old, [member], [worlds.BASE_MS])
    member = decode(encode(member, 0))
    rescore_many(new, [member], [worlds.BASE_MS + 1])
    assert member.rows == rows_of(new, member.document, worlds.BASE_MS + 1)
    assert list(member.memberships) == [models[1].key]


@given(two_models, worlds.histories)
def test_a_wide_plan_keeps_few_rows_and_gives_the_same(models: tuple[Model, Model], history: Batches) -> None:
    """Rows that are dropped and made again change nothing; those that are there are right; what moves stays."""
    plan = Plan(models)
    state, now_ms = encode(Member(), 0), worlds.BASE_MS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memberstream.models.rescore.KEPT_BYTES", 0)
        for advance, events in numbered(history):
            now_ms += advance
            member = decode(state)
            apply_all(member, events)
            if member.document is not None:
                rescore_many(plan, [member], [now_ms])
                assert member.rows.items() <= rows_of(plan, member.document, now_ms).items()
                assert {part.id for part in plan.moving} <= member.rows.keys()
                fresh = Member(document=member.document)
                rescore_many(Plan(models), [fresh], [now_ms])
                assert {k: c for k, (c, _) in member.memberships.items()} == {
                    k: c for k, (c, _) in fresh.memberships.items()
                }
                assert member.valid_until_ms == fresh.valid_until_ms
            state = encode(member, 0)


def part(name: str, *paths: str, version: int = 1) -> Model:
    """Return a model of predictors that are called and read what `paths` say."""
    definition = worlds.one_predictor_file([{"name": path, "path": path, "missing": 0} for path in paths])
    return parse(definition | {"name": name, "version": version})


def test_models_that_share_a_predictor_are_one_part() -> None:
    """Directly or through others, wherever they stand; a plan of one part is that part."""
    a, b, ab, c = part("a", "a"), part("b", "b"), part("ab", "a", "b"), part("c", "c")
    assert [[m.name for m in p.models] for p in Plan([a, c, b]).parts] == [["a"], ["c"], ["b"]]
    assert [[m.name for m in p.models] for p in Plan([a, c, b, ab]).parts] == [["c"], ["a", "b", "ab"]]
    assert Plan([]).parts == ()
    plan = Plan([a, ab])
    assert plan.parts == (plan,)


def test_a_part_that_nothing_concerns_is_left_alone() -> None:
    """Neither its row nor its cluster is looked at, whatever it is; a new model is scored, and nobody else."""
    a, b = part("a", "a"), part("b", "b")
    plan = Plan([a, b])
    member = Member(document={"a": 1, "b": 1})
    assert rescore_many(plan, [member], [1]) == {"a@1": 1, "b@1": 1}
    wrong = np.array([9.0]).tobytes()
    member.rows[plan.parts[1].id] = wrong
    member.memberships[b.key] = (7, 7)
    apply_one(member, 0, ChangeEvent(Op.PATCH, 2, body={"a": 2}))
    rescore_many(plan, [member], [2])
    assert (member.rows[plan.parts[1].id], member.memberships[b.key]) == (wrong, (7, 7))
    assert np.frombuffer(member.rows[plan.parts[0].id]).tolist() == [2.0]
    same_predictors, other = part("a", "a", version=2), part("c", "c")
    for models in ([a, b, other], [a, b, other, same_predictors], [b, same_predictors]):
        plan = Plan(models)
        assert rescore_many(plan, [member], [3]).keys() <= {"c@1", "a@2"}
        assert member.memberships.keys() == {m.key for m in models}
        assert member.rows.keys() == {p.id for p in plan.parts}
        assert (member.rows[Plan([b]).id], member.memberships[b.key]) == (wrong, (7, 7))


def test_what_was_needed_last_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the row goes that wasn't needed for longest; a whole document needs none in particular."""
    models = [part(name, name) for name in "abcd"]
    plan = Plan(models)
    ids = {name: Plan([model]).id for name, model in zip("abcd", models, strict=True)}
    monkeypatch.setattr("memberstream.models.rescore.KEPT_BYTES", 16)
    member = Member(document={})
    rescore_many(plan, [member], [1])
    assert list(member.rows) == [ids["c"], ids["d"]]
    for offset, (patch, kept) in enumerate((("a", "da"), ("d", "ad"), ("b", "db"), ("abc", "abc"), ("", "bc"))):
        apply_one(member, offset, ChangeEvent(Op.PATCH, 2, body=dict.fromkeys(patch, 1)))
        rescore_many(plan, [member], [2])
        assert list(member.rows) == [ids[name] for name in kept]


def test_since_moves_only_when_the_cluster_does() -> None:
    """`since_ms` is the time of the scoring that changed the cluster, and time never runs backwards for a member."""
    definition = worlds.one_predictor_file([{"name": "v", "path": "v", "missing": 0}])
    definition["model"]["coef"] = [1]
    model = parse(definition)
    plan, member = Plan([model]), Member()
    steps = [(-5, 100, (1, 100)), (-4, 200, (1, 100)), (5, 300, (2, 300)), (6, 250, (2, 300)), (-1, 260, (1, 300))]
    for offset, (value, now_ms, expected) in enumerate(steps):
        apply_one(member, offset, ChangeEvent(Op.PATCH, now_ms, body={"v": value}, create=True))
        changed = rescore_many(plan, [member], [now_ms])
        assert member.memberships == {model.key: expected}
        assert changed == ({"m@1": 1} if value in (-5, 5, -1) else {})
    assert member.as_of_ms == 300
    assert rescore_many(plan, [], []) == {}
    assert member.valid_until_ms == 2**62
