"""Laws of state: however a member's row came about, it is what a from-scratch evaluation gives, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from core import worlds
from hypothesis import given
from hypothesis import strategies as st

from models.apply import Outcome, apply_one
from models.event import BadEvent, ChangeEvent, Op
from models.member import Member, decode, encode
from models.model import Model
from models.model_file import parse
from models.plan import Plan
from models.rescore import rescore_many
from models.timestamps import DAY_MS

History = list[tuple[int, list[ChangeEvent]]]
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


def numbered(history: History) -> list[tuple[int, list[tuple[int, ChangeEvent]]]]:
    """Return the history with the offsets that a partition would give its events."""
    offset, result = 0, []
    for advance, events in history:
        result.append((advance, [(offset + i, event) for i, event in enumerate(events)]))
        offset += len(events)
    return result


@given(two_models, worlds.histories)
def test_incremental_equals_full_at_every_prefix(models: tuple[Model, Model], history: History) -> None:
    """After each batch, through encoded state, x, until and clusters are those of a fresh evaluation."""
    plan = Plan(models)
    state, now_ms = encode(Member(), 0), worlds.BASE_MS
    for advance, events in numbered(history):
        now_ms += advance
        member = decode(state)
        apply_all(member, events)
        if member.document is not None:
            rescore_many(plan, [member], [now_ms])
            x, until = Plan(models).evaluate_many([member.document], [now_ms])
            assert member.x == x.tobytes()
            assert member.until == until.tobytes()
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
        x, until = plan.evaluate_many([member.document], [now_ms])
        assert (member.x, member.until) == (x.tobytes(), until.tobytes())


@given(two_models, st.lists(worlds.histories, min_size=2, max_size=4), st.integers(0, 20 * DAY_MS))
def test_members_rescored_together_are_as_alone(
    models: tuple[Model, Model], histories: list[History], advance_ms: int
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
        x, until = Plan(models).evaluate_many([member.document for member in there], [now_ms] * len(there))
        assert [member.x for member in there] == [row.tobytes() for row in x]
        assert [member.until for member in there] == [row.tobytes() for row in until]


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
    members[1].x = np.array([5.0, 5.0]).tobytes()  # would be put right if it were evaluated
    rescore_many(plan, members, [now_ms + DAY_MS // 2] * 3)
    assert [np.frombuffer(member.x).tolist() for member in members] == [[1, 7], [5, 5], [0, 2]]


@given(worlds.models(), worlds.histories)
def test_replaying_any_suffix_changes_nothing(model: Model, history: History) -> None:
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
def test_older_and_equal_versions_change_nothing(history: History, version: int, event: ChangeEvent) -> None:
    """An event whose version is not above the member's is ignored, whatever it says, also after a delete."""
    member = Member()
    apply_all(member, [e for _, batch in numbered(history) for e in batch])
    state = encode(member, 0)
    if 0 <= version <= member.version:
        late = ChangeEvent(event.op, event.at_ms, version, event.body, event.path, event.create)
        assert apply_one(member, 10_000, late, 200) is Outcome.IGNORED_VERSION
        assert encode(member, 0) == state


@given(worlds.models(), worlds.histories, worlds.histories)
def test_recreated_member_is_a_fresh_one(model: Model, before: History, after: History) -> None:
    """What happened before a delete has no influence on anything after it but the position and the version."""
    plan = Plan([model])
    unversioned = [
        ChangeEvent(e.op, e.at_ms, None, e.body, e.path, e.create) for _, batch in numbered(after) for _, e in batch
    ]
    old, fresh = Member(), Member()
    apply_all(old, [e for _, batch in numbered(before) for e in batch])
    apply_one(old, 1_000, ChangeEvent(Op.DELETE, worlds.BASE_MS))
    assert (old.document, old.memberships, old.x, old.until) == (None, {}, b"", b"")
    later = [(2_000 + i, event) for i, event in enumerate(unversioned)]
    assert apply_all(old, later) == apply_all(fresh, later)
    assert old.document == fresh.document
    if old.document is not None:
        rescore_many(plan, [old], [worlds.BASE_MS])
        rescore_many(plan, [fresh], [worlds.BASE_MS])
        assert (old.x, old.until, old.memberships) == (fresh.x, fresh.until, fresh.memberships)


@given(two_models, worlds.histories, worlds.histories)
def test_state_of_another_plan_is_evaluated_anew(models: tuple[Model, Model], one: History, two: History) -> None:
    """A member scored by a plan of other models gets the rows of the new plan, and only its memberships."""
    old, new = Plan(models), Plan(models[1:])
    member = Member()
    apply_all(member, [e for _, batch in numbered(one + two) for e in batch])
    if member.document is None:
        return
    rescore_many(old, [member], [worlds.BASE_MS])
    member = decode(encode(member, 0))
    rescore_many(new, [member], [worlds.BASE_MS + 1])
    x, until = new.evaluate_many([member.document], [worlds.BASE_MS + 1])
    assert (member.x, member.until) == (x.tobytes(), until.tobytes())
    assert list(member.memberships) == [models[1].key]


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
