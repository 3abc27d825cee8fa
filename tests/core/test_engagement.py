"""What interactions add to the counts: examples to read, and a plain recount as the truth."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recount import DAY_MS, Shown, Target, recount

from models import engagement
from models.campaigns import Campaign, Terms
from models.counts import Cell, Tally
from models.engagement import Changes, Count, Engagement, Outcome, Rules, apply
from models.event import BadEvent
from models.interaction import Interaction
from models.member import StateError

T0 = 1_000 * DAY_MS
LOW, HIGH = {"activity": ("activity@1", 1)}, {"activity": ("activity@1", 2)}
PROMOTED = {"activity": ("activity@2", 2), "style": ("style@4", 7)}
CAMPAIGNS = {
    "summer": Campaign("summer", Terms("activity", (1, 2), holdout=5_000), 0),
    "high": Campaign("high", Terms("activity", (2,)), 1),
    "stylish": Campaign("stylish", Terms("style", (7,)), 2),
}
HELD_OUT = {("summer", "m2")}
RULES = Rules(CAMPAIGNS, lambda campaign, member, holdout: holdout > 0 and (campaign, member) in HELD_OUT, 7 * DAY_MS)


class Member:
    """A member and the counts, interaction by interaction."""

    def __init__(self, name: str = "m1") -> None:
        self.name, self.record, self.clock_ms = name, Engagement(), 0
        self.counts: Changes = {}

    def does(
        self,
        kind: str,
        campaign: str | None = "summer",
        at_ms: int = T0,
        id: str = "",
        value: float | None = None,
        stood: Mapping[str, tuple[str, int]] = LOW,
    ) -> Outcome:
        self.clock_ms = max(self.clock_ms, at_ms)
        one = Interaction(kind, id or f"{kind}-{at_ms}", at_ms, campaign, value)
        return apply(self.record, self.name, stood, one, RULES, self.clock_ms, self.counts)

    def counted(self) -> dict[tuple[str, str, int, bool, str, int], tuple[int, int, float]]:
        """Return the counts by campaign, version, cluster, held-out, kind, days after T0: members, events, sum."""
        return {
            (*cell[:5], cell.day - T0 // DAY_MS): (tally.members, tally.events, tally.value_sum)
            for cell, tally in self.counts.items()
        }


def test_the_first_impression_fixes_the_cluster() -> None:
    """Later events count where the member was exposed; moving to another cluster is noted once, on that day."""
    member = Member()
    for day, stood in enumerate((LOW, HIGH, HIGH)):
        assert member.does("impression", at_ms=T0 + day * DAY_MS, stood=stood) is Outcome.COUNTED
    member.does("click", at_ms=T0 + 3 * DAY_MS, stood=LOW)
    member.does("click", at_ms=T0 + 3 * DAY_MS + 1, stood=LOW)
    assert member.counted() == {
        ("summer", "activity@1", 1, False, "exposed", 0): (1, 1, 0.0),
        ("summer", "activity@1", 1, False, "exposed", 1): (0, 1, 0.0),
        ("summer", "activity@1", 1, False, "switched", 1): (1, 0, 0.0),
        ("summer", "activity@1", 1, False, "exposed", 2): (0, 1, 0.0),
        ("summer", "activity@1", 1, False, "click", 3): (1, 2, 0.0),
    }


def test_who_is_forgotten_begins_anew() -> None:
    """An empty record: the next impression exposes again, wherever the member stands then; what was counted stays."""
    member = Member()
    member.does("impression", id="i")
    assert not member.record.is_empty
    member.record.forget()
    assert member.record.is_empty
    assert member.does("click", campaign=None) is Outcome.NOT_EXPOSED
    assert member.record.is_empty
    assert member.does("impression", id="i", stood=HIGH) is Outcome.COUNTED
    assert member.counted() == {
        ("summer", "activity@1", 1, False, "exposed", 0): (1, 1, 0.0),
        ("summer", "activity@1", 2, False, "exposed", 0): (1, 1, 0.0),
    }


def test_held_out_members_are_exposed_to_nothing() -> None:
    """They are counted as such, and so is what they do without the campaign; the values and their squares with it."""
    member = Member("m2")
    member.does("impression")
    member.does("purchase", None, T0 + 1, value=3.0)
    member.does("purchase", None, T0 + 2, value=-1.0)
    member.does("purchase", None, T0 + 3)
    cell = Cell("summer", "activity@1", 1, True, "purchase", 1_000)
    assert member.counts == {
        cell._replace(kind="exposed"): Tally(1, 1),
        cell: Tally(1, 3, 2.0, 10.0, 2),
    }


def test_without_a_campaign_it_counts_for_all_met_before() -> None:
    """A purchase counts for each campaign that the member was exposed to by then, and for none that came later."""
    member = Member()
    assert member.does("purchase", None, stood=HIGH) is Outcome.NOT_EXPOSED
    member.does("impression", "summer", T0 + 10, stood=HIGH)
    member.does("click", "high", T0 + 20, stood=HIGH)  # a click, too, shows that the member met the campaign
    assert member.does("purchase", None, T0 + 9, stood=HIGH) is Outcome.NOT_EXPOSED
    member.does("purchase", None, T0 + 15, stood=HIGH)
    member.does("purchase", None, T0 + 25, stood=HIGH)
    assert {(cell.campaign, cell.kind): tally[:2] for cell, tally in member.counts.items()} == {
        ("summer", "exposed"): (1, 1),
        ("high", "exposed"): (1, 0),
        ("high", "click"): (1, 1),
        ("summer", "purchase"): (1, 2),
        ("high", "purchase"): (1, 1),
    }


def test_a_click_that_overtook_its_impression() -> None:
    """The member met the campaign at the impression's time, so what came between the two counts."""
    member = Member()
    member.does("click", "summer", T0 + 20)
    member.does("impression", "summer", T0 + 10)
    assert member.does("purchase", None, T0 + 15) is Outcome.COUNTED
    assert member.does("purchase", None, T0 + 9) is Outcome.NOT_EXPOSED
    assert {cell.kind: tally[:2] for cell, tally in member.counts.items()} == {
        "exposed": (1, 1),
        "click": (1, 1),
        "purchase": (1, 1),
    }


def test_an_id_counts_once_within_the_horizon() -> None:
    """Duplicates don't count; what is older than the horizon is refused, so an id that is forgotten can't come back."""
    member = Member()
    member.does("impression", id="a")
    assert member.does("impression", id="a") is Outcome.DUPLICATE
    assert member.does("click", at_ms=T0 + 7 * DAY_MS, id="b") is Outcome.COUNTED
    assert member.does("impression", id="a") is Outcome.DUPLICATE
    member.does("click", at_ms=T0 + 7 * DAY_MS + 1, id="c")
    with pytest.raises(BadEvent, match=f"too_late: at: expected a time within {7 * DAY_MS} ms"):
        member.does("impression", id="a")
    engagement.forget_old(member.record, member.clock_ms - 7 * DAY_MS)
    assert member.record.ids.keys() == {"b", "c"}
    assert member.does("click", at_ms=T0 + 7 * DAY_MS + 1, id="a") is Outcome.COUNTED  # as something new


@pytest.mark.parametrize(
    ("campaign", "stood", "reason"),
    [
        ("winter", LOW, "unknown_campaign"),
        ("high", LOW, "not_targeted: expected a member of the campaign's clusters, found one in another"),
        ("stylish", LOW, "not_targeted: expected a member of the campaign's clusters, found one in none"),
        ("summer", {}, "not_targeted"),
    ],
)
def test_who_is_not_targeted(campaign: str, stood: Mapping[str, tuple[str, int]], reason: str) -> None:
    """Such an interaction is refused, and nothing of it is remembered."""
    member = Member()
    with pytest.raises(BadEvent, match=reason):
        member.does("impression", campaign, stood=stood)
    assert (member.record, member.counts) == (Engagement(), {})


def test_a_deleted_campaign_counts_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither purchases nor switches of its members, who may have met others."""
    member = Member()
    member.does("impression", "summer", stood=HIGH)
    member.does("impression", "high", T0 + 1, stood=HIGH)
    before = set(member.counts)
    monkeypatch.delitem(CAMPAIGNS, "summer")
    member.does("purchase", None, T0 + 2, stood=LOW)
    assert {(cell.campaign, cell.kind) for cell in member.counts.keys() - before} == {
        ("high", "purchase"),
        ("high", "switched"),
    }


def test_there_are_not_too_many_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit interactions are refused until ids have grown old."""
    monkeypatch.setattr(engagement, "MAX_IDS", 2)
    member = Member()
    member.does("impression")
    member.does("click", at_ms=T0 + 1)
    with pytest.raises(BadEvent, match="too_many: expected at most 2 interactions"):
        member.does("click", at_ms=T0 + 2)
    assert member.does("click", at_ms=T0 + 7 * DAY_MS + 1) is Outcome.COUNTED
    assert len(member.record.ids) == 2


SHOWN = st.builds(
    Shown,
    st.sampled_from(["m1", "m2"]),
    st.sampled_from(["impression", "click", "purchase"]),
    st.sampled_from("abcdefgh"),
    st.integers(0, 40).map(lambda n: T0 + n * DAY_MS // 2),
    st.sampled_from([None, "summer", "high", "stylish", "winter"]),
    st.sampled_from([None, 0.0, 1.5, -2.0, 100.25]),
    st.sampled_from([LOW, HIGH, PROMOTED, {}]),
)
TARGETS = {
    name: Target(c.terms.model, c.terms.clusters, lambda member, name=name: (name, member) in HELD_OUT)  # type: ignore[misc]
    for name, c in CAMPAIGNS.items()
}


@given(st.lists(SHOWN, max_size=40))
@settings(max_examples=100, deadline=None)
def test_the_counts_equal_a_plain_recount(arrived: list[Shown]) -> None:
    """Interactions of two members in any order, with duplicates, late and bad ones; records pass through their bytes
    between any two. (The values are such that floats add up exactly.)"""
    records: dict[str, bytes] = {}
    counts: Changes = {}
    clock_ms = 0
    for one in arrived:
        record = engagement.decode(records[one.member]) if one.member in records else Engagement()
        clock_ms = max(clock_ms, one.at_ms)
        interaction = Interaction(one.kind, one.id, one.at_ms, one.campaign, one.value)
        with suppress(BadEvent):
            apply(record, one.member, one.stood, interaction, RULES, clock_ms, counts)
        records[one.member] = engagement.encode(record, 3)
    assert counts == recount(arrived, TARGETS, RULES.horizon_ms)


def test_what_a_crash_has_kept_from_the_counts() -> None:
    """A record that is ahead of the counts says what is missing there; one that isn't says nothing."""
    cell, tally = Cell("summer", "activity@1", 1, False, "click", 3), Tally(1, 2, 0.5, 0.25, 1)
    record = Engagement(7, 9, {}, {}, [(cell.campaign, "activity@1 1 0 click 3", tally)])
    record = engagement.decode(engagement.encode(record, 5))
    assert engagement.outstanding(record, 8) == {cell: tally}
    assert engagement.outstanding(record, 9) == {}
    assert record.added == []


def test_counts_of_a_batch_that_was_cut_short() -> None:
    """What is ahead of what is counted isn't valid: the count before holds, or none, and is to be written."""
    cells = [Cell("summer", "activity@1", 1, False, "click", day) for day in range(3)]
    found = {
        cells[0]: Count(Tally(1, 2), 7, Tally(1, 1)),
        cells[1]: Count(Tally(1, 2), 8, Tally(1, 1)),
        cells[2]: Count(Tally(1, 2), 8, Tally()),
    }
    counts, wrong = engagement.counts_at(found, 7)
    assert counts == {cells[0]: Tally(1, 2), cells[1]: Tally(1, 1)}
    assert wrong == {cells[1]: Tally(1, 1), cells[2]: None}


def test_bytes_of_counts() -> None:
    """Cells stand before the members; damaged bytes are refused, never guessed at."""
    cell, count = Cell("summer", "activity@1", -1, True, "click", 3), Count(Tally(1, 2, 0.1, 0.01, 1), 7, Tally())
    key, value = engagement.cell_key(cell), engagement.encode_count(count, 5)
    assert engagement.decode_count(key, value) == (cell, count)
    assert key < b" "
    for bad_key, bad_value in ((key, b"E" + value[1:]), (key, value[:-5]), (key, value[:5]), (b"\x01summer", value)):
        with pytest.raises(StateError, match="a count in the state: damaged bytes"):
            engagement.decode_count(bad_key, bad_value)
    with pytest.raises(StateError, match="expected a record of kind b'E', found b'T'"):
        engagement.decode(value)
    with pytest.raises(StateError, match="damaged bytes"):
        engagement.decode(engagement.encode(Engagement(), 3)[:-1])
