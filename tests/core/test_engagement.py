"""What interactions add to the counts: examples to read, and a plain recount as the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from recount import DAY_MS, HOUR_MS, Counts, Shown, Stretch, World, recount

from memberstream.models import count_state, counting
from memberstream.models.count_state import Count
from memberstream.models.counting import Verdict, apply
from memberstream.models.counts import (
    AnyCell,
    Cell,
    Changes,
    Gathered,
    Tally,
    add,
    field_of,
    gather,
    is_health,
    size_of,
    size_top,
    total,
)
from memberstream.models.engagement import Act, Done, Engagement
from memberstream.models.event import BadEvent
from memberstream.models.interaction import Interaction
from memberstream.models.log_steps import (
    CampaignStep,
    DeleteCampaign,
    PauseCampaign,
    Promote,
    ResumeCampaign,
    Retire,
    SetCampaign,
)
from memberstream.models.member import StateError
from memberstream.models.old_counts import OldCell, OldExposure, OldTally
from memberstream.models.registry import Registry
from memberstream.models.rules import Rules
from memberstream.models.terms import Terms
from memberstream.models.timeline import Period, Timeline, lives, timelines
from memberstream.stream.lookup.token import make_token

T0 = 1_000 * DAY_MS
HORIZON_MS = 7 * DAY_MS


def by(day: float) -> Any:
    return {"at_ms": T0 + int(day * DAY_MS), "actor": "ann"}


SUMMER = Terms("activity", (1, 2), holdout=5_000, windows={"purchase": 3 * DAY_MS})
STEPS: Sequence[CampaignStep] = (
    SetCampaign("summer", None, SUMMER, **by(-9)),
    SetCampaign("high", None, Terms("activity", (2,), until_ms=T0 + 15 * DAY_MS), **by(-8)),
    SetCampaign("stylish", None, Terms("style", (7,)), **by(-7)),
    PauseCampaign("summer", 0, **by(4)),
    ResumeCampaign("summer", 3, **by(5)),
    SetCampaign("summer", 4, Terms("activity", (1, 2), from_ms=T0, windows={"purchase": 3 * DAY_MS}), **by(8)),
    DeleteCampaign("high", 1, **by(12)),
)
SWITCHES = (
    Promote("activity", 1, None, **by(-9)),
    Promote("style", 4, None, **by(-9)),
    Promote("activity", 2, 1, **by(10)),
)
#: member → label of a version → (since_ms, cluster), the earliest first.
STOOD: Mapping[str, Mapping[str, Sequence[tuple[int, int]]]] = {
    "m1": {
        "activity@1": [(T0 - DAY_MS, 1), (T0 + 3 * DAY_MS, 2), (T0 + 14 * DAY_MS, 1)],
        "activity@2": [(T0 + 9 * DAY_MS, 2)],
        "style@4": [(T0 + 2 * DAY_MS, 7)],
    },
    "m2": {"activity@1": [(T0 - DAY_MS, 2)], "activity@2": [(T0 + 9 * DAY_MS, 3), (T0 + 13 * DAY_MS, 2)]},
}
ALL_HELD_OUT = {("summer", "m2")}


def held_out(campaign: str, member: str, holdout: int) -> bool:
    return holdout > 0 and (campaign, member) in ALL_HELD_OUT


def stood(member: str, label: str, at_ms: int) -> int | None:
    found = None
    for since_ms, cluster in STOOD[member].get(label, ()):
        if since_ms <= at_ms:
            found = cluster
    return found


def course(member: str, label: str) -> Sequence[tuple[int, int]]:
    return [(cluster, since_ms) for since_ms, cluster in reversed(STOOD[member].get(label, ()))]


REGISTRY = Registry(
    history=[*SWITCHES, Retire("activity", 1, **by(20))], campaign_history=list(STEPS), campaign_offsets=list(range(7))
)
RULES = Rules(timelines(REGISTRY), lives(REGISTRY), held_out, HORIZON_MS)


def _stretches() -> dict[str, Sequence[Stretch]]:
    def day(n: int) -> int:
        return T0 + n * DAY_MS

    def is_m2(member: str) -> bool:
        return member == "m2"

    def nobody(member: str) -> bool:
        return False

    windows = {"purchase": 3 * DAY_MS}
    first = Stretch(day(-9), day(-9), "activity", (1, 2), is_m2, windows=windows)
    second = Stretch(day(8), day(8), "activity", (1, 2), nobody, windows=windows, begins_ms=T0)
    high = Stretch(day(-8), day(-8), "activity", (2,), nobody, ends_ms=day(15))
    return {
        "summer": (first, first._replace(from_ms=day(4), is_paused=True), first._replace(from_ms=day(5)), second),
        "high": (high, high._replace(from_ms=day(12), is_gone=True)),
        "stylish": (Stretch(day(-7), day(-7), "style", (7,), nobody),),
    }


WORLD = World(
    _stretches(),
    {
        "activity": [(T0 - 9 * DAY_MS, "activity@1"), (T0 + 10 * DAY_MS, "activity@2")],
        "style": [(T0 - 9 * DAY_MS, "style@4")],
    },
    stood,
    HORIZON_MS,
)
PERIODS = {"summer": T0 - 9 * DAY_MS, "high": T0 - 8 * DAY_MS, "stylish": T0 - 7 * DAY_MS}


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
        late_ms: int = 0,
        token: str | None = None,
    ) -> Verdict:
        self.clock_ms = max(self.clock_ms, at_ms)
        one = Interaction(kind, id or f"{kind}-{at_ms}", at_ms, campaign, value, at_ms + late_ms, token)
        return apply(self.record, self.name, partial(course, self.name), one, RULES, self.clock_ms, self.counts)

    def counted(self) -> dict[tuple[str, str, int, bool, str, int], tuple[int, int, float]]:
        """Return the counts by campaign, version, cluster, held-out, kind, days after T0: members, events, sum."""
        found: dict[Any, tuple[int, int, float]] = {}
        for cell, tally in self.counts.items():
            assert isinstance(cell, Cell)
            if any(tally):
                key = cell.campaign, cell.version, cell.cluster, cell.is_held_out, cell.kind, cell.day - T0 // DAY_MS
                found[key] = tally.members, tally.events, tally.value_sum / 1e6
        return found


def test_the_earliest_impression_fixes_where_a_member_counts() -> None:
    """Later events count on the day and in the cluster of the exposure; being seen elsewhere is noted once."""
    member = Member()
    for day in (1, 0, 4):  # the second one to arrive is the earliest
        assert member.does("impression", at_ms=T0 + day * DAY_MS) is Verdict.COUNTED
    member.does("click", at_ms=T0 + DAY_MS // 2)
    member.does("click", at_ms=T0 + 5 * DAY_MS)
    assert member.counted() == {
        ("summer", "activity@1", 1, False, "exposed", 0): (1, 3, 0.0),
        ("summer", "activity@1", 1, False, "switched", 0): (1, 0, 0.0),
        ("summer", "activity@1", 1, False, "!paused", 0): (0, 1, 0.0),
        ("summer", "activity@1", 1, False, "click", 0): (1, 2, 0.0),
    }


def test_a_click_waits_for_its_impression() -> None:
    """It exposes nobody. It is counted as unattributed until the impression comes, then in the exposure's cell."""
    member = Member()
    assert member.does("click", at_ms=T0 + 20) is Verdict.NOT_EXPOSED
    assert member.does("purchase", None, T0 + 15, value=2.5) is Verdict.NOT_EXPOSED
    assert member.counted() == {("summer", "activity@1", 1, False, "!unattributed", 0): (0, 1, 0.0)}
    assert member.does("impression", at_ms=T0 + 16) is Verdict.COUNTED
    assert ("summer", "activity@1", 1, False, "purchase", 0) not in member.counted()
    assert member.does("impression", at_ms=T0 + 10) is Verdict.COUNTED
    assert member.counted() == {
        ("summer", "activity@1", 1, False, "exposed", 0): (1, 2, 0.0),
        ("summer", "activity@1", 1, False, "click", 0): (1, 1, 0.0),
        ("summer", "activity@1", 1, False, "purchase", 0): (1, 1, 2.5),
    }
    assert member.does("click", at_ms=T0 + 9) is Verdict.NOT_EXPOSED  # before the impression, and it stays so
    assert member.counted()["summer", "activity@1", 1, False, "!unattributed", 0] == (0, 1, 0.0)


def test_the_cluster_is_that_of_the_impression_not_of_now() -> None:
    """A late impression, handled when the member has moved on, counts in the cluster in which it was shown."""
    member = Member()
    member.does("purchase", None, T0 + 6 * DAY_MS)
    member.does("impression", at_ms=T0, late_ms=6 * DAY_MS)
    assert ("summer", "activity@1", 1, False, "exposed", 0) in member.counted()
    assert member.counted()["summer", "activity@1", 1, False, "!late", 0] == (0, 1, 0.0)


def test_who_is_forgotten_begins_anew() -> None:
    """An empty record: the next impression exposes again, wherever the member stands then; what was counted stays."""
    member = Member()
    member.does("impression", id="i")
    assert not member.record.is_empty
    member.record.forget()
    assert member.record.is_empty
    assert member.does("impression", at_ms=T0 + 3 * DAY_MS, id="i") is Verdict.COUNTED
    assert member.counted() == {
        ("summer", "activity@1", 1, False, "exposed", 0): (1, 1, 0.0),
        ("summer", "activity@1", 2, False, "exposed", 3): (1, 1, 0.0),
    }


def test_held_out_members_are_exposed_to_nothing() -> None:
    """They are counted as such, and so is what they do without the campaign: the member's sum, and its square."""
    member = Member("m2")
    member.does("impression")
    member.does("purchase", None, T0 + 1, value=3.0)
    member.does("purchase", None, T0 + 2, value=-1.0)
    member.does("purchase", None, T0 + 3)
    cell = Cell("summer", PERIODS["summer"], "activity@1", 2, True, "purchase", 1_000, size_of(2_000_000))
    assert {cell: tally for cell, tally in member.counts.items() if any(tally)} == {
        cell._replace(kind="exposed", size=0): Tally(1, 1),
        cell: Tally(1, 3, 2_000_000, 2_000_000**2),
    }


def test_sums_are_exact() -> None:
    """Of 10,000 members' worth of cents in one, of values near 1e9 that differ by little, and of none."""
    member = Member("m2")
    member.does("impression")
    values = [0.1, 0.2, 0.7, 1e9, 1e9 + 1, -0.3, 1e12, -1e12]
    for i, value in enumerate(values):
        member.does("purchase", None, T0 + i, value=value)
    [(cell, tally)] = [(c, t) for c, t in member.counts.items() if c.kind == "purchase" and any(t)]
    assert isinstance(cell, Cell)
    assert tally == Tally(1, 8, 2_000_000_001_700_000 + 0, 2_000_000_001_700_000**2)
    assert cell.size == size_of(tally.value_sum)
    assert tally.value_sum <= size_top(cell.size)


@given(st.integers(1, 10**30))
def test_sizes(value_sum: int) -> None:
    """A bucket ends where the next begins, and is narrower than a quarter of its sums."""
    size = size_of(value_sum)
    assert size_of(size_top(size)) == size < size_of(size_top(size) + 1)
    assert value_sum <= size_top(size) <= max(value_sum * 5 // 4, value_sum)


def test_changes_are_added_up_at_once() -> None:
    """Cells that come again and new ones, whole numbers of any size, tallies of both kinds: as if each were added."""
    cell = Cell("summer", 0, "activity@1", 1, False, "purchase", 9)
    old = OldCell("summer", "activity@1", 1, False, "click", 9)
    all_changes: list[Changes] = [
        {cell: Tally(1, 1, 10**30, 10**60), old: OldTally(1, 2, 0.1)},
        {cell: Tally(0, 1, -5, 1), cell._replace(size=3): Tally(events=1)},
        {old: OldTally(0, 1, 0.2)},
    ]
    gathered: Gathered = {}
    one_by_one: Changes = {}
    for changes in all_changes:
        gather(gathered, changes)
        for its, tally in changes.items():
            add(one_by_one, its, tally)
    assert {its: total(tallies) for its, tallies in gathered.items()} == one_by_one
    assert one_by_one[cell] == Tally(1, 2, 10**30 - 5, 10**60 + 1)


def test_without_a_campaign_it_counts_for_all_met_before() -> None:
    """A purchase counts for each campaign that the member was exposed to by then, within that campaign's window."""
    member, day = Member("m2"), DAY_MS
    member.does("impression", "summer", T0 + 10)
    member.does("impression", "high", T0 + 20)
    for at_ms in (T0 + 9, T0 + 10, T0 + 19, T0 + 20, T0 + 3 * day + 9, T0 + 3 * day + 10, T0 + 7 * day + 19):
        member.does("purchase", None, at_ms)
    assert member.does("purchase", None, T0 + 7 * day + 20) is Verdict.NOT_EXPOSED
    assert {(cell.campaign, cell.kind): tally[:2] for cell, tally in member.counts.items()} == {
        ("summer", "exposed"): (1, 1),
        ("high", "exposed"): (1, 1),
        ("summer", "purchase"): (1, 4),
        ("high", "purchase"): (1, 4),
    }


def test_an_id_counts_once_within_the_horizon() -> None:
    """Duplicates don't count; what is older than the horizon is refused, so an id that is forgotten can't come back."""
    member = Member()
    member.does("impression", id="a")
    assert member.does("impression", id="a") is Verdict.DUPLICATE
    assert member.does("click", at_ms=T0 + 7 * DAY_MS, id="b") is Verdict.NOT_EXPOSED
    assert member.does("impression", id="a") is Verdict.DUPLICATE
    member.does("click", at_ms=T0 + 7 * DAY_MS + 1, id="c")
    with pytest.raises(BadEvent, match=f"too_late: at: expected a time within {7 * DAY_MS} ms"):
        member.does("impression", id="a")
    assert member.counted()["summer", "activity@1", 1, False, "!too_late", 0] == (0, 1, 0.0)
    member.record.forget_old(member.clock_ms - 7 * DAY_MS)
    assert member.record.read_ids().keys() == {"b", "c"}
    assert len(member.record.read_acts()) == 2
    assert member.does("impression", at_ms=T0 + 7 * DAY_MS + 1, id="a") is Verdict.COUNTED  # as something new


def test_an_id_that_has_grown_old_counts_again() -> None:
    """Also if nobody has dropped it yet: once, and with it goes what is as old."""
    member = Member()
    member.does("purchase", None, id="a")
    member.clock_ms = T0 + 7 * DAY_MS + 1
    assert member.does("purchase", None, T0 + 7 * DAY_MS + 1, id="a") is Verdict.NOT_EXPOSED
    assert member.record.read_ids() == {"a": T0 + 7 * DAY_MS + 1}
    assert [act.at_ms for act in member.record.read_acts()] == [T0 + 7 * DAY_MS + 1]
    assert member.does("purchase", None, T0 + 7 * DAY_MS + 1, id="a") is Verdict.DUPLICATE


@pytest.mark.parametrize("n", [0, 1, 14, 15, 16, 17, 300])
def test_what_stays_packed_has_the_bytes_of_what_it_is(n: int) -> None:
    """However many: so each version reads it, and a record whose oldest id nobody has noted, as one before wrote it."""
    record = Engagement()
    acts = [Act(T0 + i, "click", None, "") for i in range(n)]
    for i, act in enumerate(acts):
        assert record.note_id(str(i), act.at_ms, T0)
        assert not record.note_id(str(i), act.at_ms, T0)
        record.note_act(act)
    assert bytes(record.ids) == msgspec.msgpack.encode({str(i): T0 + i for i in range(n)})
    assert bytes(record.acts) == msgspec.msgpack.encode(acts)
    assert record.has_room(n + 1)
    assert not record.has_room(n)
    written = msgspec.msgpack.encode(msgspec.msgpack.decode(msgspec.msgpack.encode(record))[:8])
    record = msgspec.msgpack.decode(written, type=Engagement)
    record.forget_old(T0)
    assert (len(record.read_ids()), record.oldest_ms) == (n, T0 if n else 0)
    record.forget_old(T0 + 1)
    assert (len(record.read_ids()), len(record.read_acts())) == (max(0, n - 1),) * 2


@pytest.mark.parametrize(
    ("member", "campaign", "day", "reason"),
    [
        ("m1", "winter", 0, "unknown_campaign: campaign: expected a known campaign's id, found another id"),
        ("m1", "high", 0, "not_targeted: expected a member of the campaign's clusters, found one in another"),
        ("m1", "stylish", 0, "unknown_cluster: expected a member whose cluster at that time is known"),
        ("m1", "summer", -2, "unknown_cluster"),
        ("m2", "high", 12, "not_running: expected a campaign that had begun and wasn't over or deleted"),
        ("m2", "high", 11, "not_targeted"),
    ],
)
def test_who_is_not_targeted(member: str, campaign: str, day: int, reason: str) -> None:
    """Such an impression is refused, and counted as such; sent again, even corrected, it is a duplicate. Of one whose
    campaign nobody knows nothing is remembered."""
    one, at_ms = Member(member), T0 + day * DAY_MS
    with pytest.raises(BadEvent, match=reason):
        one.does("impression", campaign, at_ms)
    if campaign == "winter":
        assert (one.record, one.counts) == (Engagement(), {})
        return
    assert [(cell.kind, tally) for cell, tally in one.counts.items()] == [
        ("!" + reason.partition(":")[0], Tally(events=1))
    ]
    assert one.does("impression", campaign, at_ms) is Verdict.DUPLICATE


def test_a_campaign_that_is_deleted_exposes_nobody_more() -> None:
    """What members do who had met it still counts, as long as its window goes."""
    member = Member("m2")
    member.does("impression", "high", T0 + 8 * DAY_MS)
    with pytest.raises(BadEvent, match="not_running"):
        member.does("impression", "high", T0 + 12 * DAY_MS)
    assert member.does("purchase", None, T0 + 14 * DAY_MS) is Verdict.COUNTED


def test_who_had_met_a_campaign_by_the_rules_before_isnt_counted_for_it() -> None:
    """In neither group, so nothing is shifted; for other campaigns the member counts."""
    member = Member("m2")
    old = {"summer": OldExposure(T0 - DAY_MS, "activity@1", 2, True)}
    member.record.exposures = msgspec.Raw(msgspec.msgpack.encode(old))
    assert not member.record.is_empty
    assert member.does("impression") is Verdict.NOT_EXPOSED
    assert member.does("click", at_ms=T0 + 1) is Verdict.NOT_EXPOSED
    assert member.counts == {}
    member.does("impression", "high", T0 + 2)
    assert member.does("purchase", None, T0 + 3) is Verdict.COUNTED
    assert {cell.campaign for cell in member.counts} == {"high"}


def test_whom_the_version_before_has_written_is_not_counted_twice() -> None:
    """It keeps five attributes, and drops how campaigns were met. It handled one of the two here."""
    member = Member("m2")
    for campaign in ("summer", "high"):
        member.does("impression", campaign, id=campaign)
    position, counted_at, exposures, *others = msgspec.msgpack.decode(msgspec.msgpack.encode(member.record))[:5]
    assert not any(campaign in RULES.campaigns for campaign in exposures)  # so it counts nothing for them
    exposures["summer"] = (T0, "activity@1", 2, True, ["click"], False)
    written = msgspec.msgpack.encode([position, counted_at, exposures, *others])
    member.record = msgspec.msgpack.decode(written, type=Engagement)
    counted = member.counted()
    for campaign in ("summer", "high"):
        assert member.does("impression", campaign, T0 + 1, id=f"{campaign}-1") is Verdict.NOT_EXPOSED
        assert member.does("click", campaign, T0 + 2, id=f"{campaign}-2") is Verdict.NOT_EXPOSED
    assert member.counted() == counted
    member.record.forget()
    assert member.does("impression", "high", T0 + 3) is Verdict.COUNTED


def test_a_corrected_impression_needs_a_new_id() -> None:
    """With the id of the refused one it is a duplicate."""
    member, good = Member(), make_token("summer", "m1", 1, 1, False, 0, "-")
    with pytest.raises(BadEvent, match="bad_token"):
        member.does("impression", id="a", token=good[:-1])
    assert member.does("impression", id="a", token=good) is Verdict.DUPLICATE
    assert member.does("impression", id="b", token=good) is Verdict.COUNTED


def test_there_are_not_too_many_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit interactions are refused until ids have grown old."""
    monkeypatch.setattr(counting, "MAX_IDS", 2)
    member = Member()
    member.does("impression")
    member.does("click", at_ms=T0 + 1)
    for campaign in ("summer", None):
        with pytest.raises(BadEvent, match="too_many: expected at most 2 interactions"):
            member.does("click", campaign, at_ms=T0 + 2)
    assert member.counted()["summer", "activity@1", 1, False, "!too_many", 0] == (0, 1, 0.0)
    member.does("click", at_ms=T0 + 7 * DAY_MS + 1)
    assert len(member.record.read_ids()) == 2


def test_of_who_is_deleted_nothing_is_remembered() -> None:
    """Not even what is refused. While there is a record, its removal is still to come, and what is done counts."""
    changes = Changes()
    record = Engagement()
    for kind, campaign in (("click", "summer"), ("purchase", None)):
        one = Interaction(kind, kind, T0, campaign)
        for _ in range(2):
            assert apply(record, "m1", None, one, RULES, T0, changes) is Verdict.NOT_EXPOSED
    for token in (None, make_token("summer", "m1", 1, 1, False, 0, "-")):  # what it says was true once
        one = Interaction("impression", "i", T0, "summer", sent_ms=T0, token=token)
        with pytest.raises(BadEvent, match="unknown_cluster"):
            apply(record, "m1", None, one, RULES, T0, changes)
    assert record == Engagement()
    assert {cell.kind: tally[:2] for cell, tally in changes.items()} == {
        "!unattributed": (0, 2),
        "!unknown_cluster": (0, 2),
    }
    member = Member()
    member.does("impression")
    one = Interaction("purchase", "p", T0, None)
    assert apply(member.record, "m1", None, one, RULES, T0, changes) is Verdict.COUNTED


def test_a_campaign_whose_log_was_lost_counts_nothing_more() -> None:
    """Its members may have met others."""
    member = Member()
    member.does("impression")
    lost = replace(RULES, campaigns={}, lives={})
    one = Interaction("purchase", "p", T0 + 1)
    assert apply(member.record, "m1", lambda _: (), one, lost, T0 + 1, {}) is Verdict.NOT_EXPOSED


def test_nobody_knows_where_members_of_an_unknown_model_stand() -> None:
    """A campaign of a model that was never live: forced, or set ahead of it. Its clicks are counted all the same."""
    steps = SetCampaign("early", None, Terms("unborn", (1,)), **by(0))
    rules = replace(RULES, campaigns={"early": Timeline.of([steps], [0])})
    member, changes = Member(), Changes()
    for kind, at_ms in (("impression", T0), ("click", T0 + 1)):
        with suppress(BadEvent):
            apply(member.record, "m1", lambda _: (), Interaction(kind, kind, at_ms, "early"), rules, T0 + 1, changes)
    assert {(c.version, c.cluster, c.kind) for c in changes} == {
        ("-", -1, "!unknown_cluster"),
        ("-", -1, "!unattributed"),
    }


def test_periods() -> None:
    """Another one begins where members couldn't be counted together any more: not with a pause, nor with dates."""
    [first, second] = RULES.campaigns["summer"].periods
    assert first == Period(T0 - 9 * DAY_MS, T0 + 8 * DAY_MS, SUMMER)
    assert (second.begin_ms, second.end_ms, second.terms.holdout) == (T0 + 8 * DAY_MS, None, 0)
    [high] = RULES.campaigns["high"].periods
    assert high.end_ms == T0 + 12 * DAY_MS
    again = Timeline.of([
        SetCampaign("c", None, SUMMER, **by(0)),
        PauseCampaign("c", 0, **by(1)),
        DeleteCampaign("c", 1, **by(2)),
        SetCampaign("c", None, SUMMER, **by(0)),  # by a clock that is behind
    ])  # fmt: skip
    assert [(p.begin_ms, p.end_ms) for p in again.periods] == [
        (T0, T0 + 2 * DAY_MS),
        (T0 + 2 * DAY_MS + 1, None),
    ]
    assert not again.at(T0 + 3 * DAY_MS).is_paused
    assert again.at(T0 - 5).terms == SUMMER  # nobody can have seen anything before


TIMES = st.integers(-4, 40).map(lambda n: T0 + n * DAY_MS // 2)
SHOWN = st.builds(
    Shown,
    st.sampled_from(["m1", "m2"]),
    st.sampled_from(["impression", "click", "purchase"]),
    st.sampled_from("abcdefgh"),
    TIMES,
    st.sampled_from([None, "summer", "summer", "high", "stylish", "winter"]),
    st.sampled_from([None, 0.0, 0.1, -2.0, 100.25, 1e12]),
).filter(lambda one: one.kind != "impression" or one.campaign is not None)


def count(arrived: Sequence[Shown]) -> Counts:
    """Return the counts; records pass through their bytes between any two interactions, and forget what is old."""
    records: dict[str, bytes] = {}
    counts: Changes = {}
    clock_ms = 0
    for one in arrived:
        record = count_state.decode(records[one.member]) if one.member in records else Engagement()
        clock_ms = max(clock_ms, one.at_ms)
        sent_ms = one.at_ms if one.sent_ms is None else one.sent_ms
        interaction = Interaction(one.kind, one.id, one.at_ms, one.campaign, one.value, sent_ms)
        with suppress(BadEvent):
            apply(record, one.member, partial(course, one.member), interaction, RULES, clock_ms, counts)
        record.forget_old(clock_ms - HORIZON_MS)
        records[one.member] = count_state.encode(record, 3)
    return {cell: tally for cell, tally in counts.items() if any(tally)}  # type: ignore[misc]


@given(st.lists(SHOWN, max_size=40))
def test_the_counts_equal_a_plain_recount(arrived: list[Shown]) -> None:
    """Interactions of two members in any order, with duplicates, late and bad ones."""
    assert count(arrived) == recount(arrived, WORLD)


@given(st.lists(st.tuples(SHOWN, *[st.integers(0, HORIZON_MS)] * 3), max_size=30))
def test_the_order_of_arrival_changes_no_count(sent: list[tuple[Shown, int, int, int]]) -> None:
    """Each is as late as it likes, within the horizon, in two ways: the counts are the same, bit for bit."""
    numbered = [
        (shown._replace(id=str(i), sent_ms=shown.at_ms + lag), a, b) for i, (shown, lag, a, b) in enumerate(sent)
    ]
    one = [shown for shown, delay_ms, _ in sorted(numbered, key=lambda item: item[0].at_ms + item[1])]
    other = [shown for shown, _, delay_ms in sorted(numbered, key=lambda item: item[0].at_ms + item[2])]
    assert count(one) == count(other) == recount(one, WORLD)


def test_a_token_says_what_was_told() -> None:
    """Version, cluster and terms as the look-up had them, whatever the worker would have found at that time."""
    member, at_ms = Member(), T0 + 9 * DAY_MS
    token = make_token("summer", "m1", 1, 1, False, 4, "5-81234")  # a reader that hadn't heard of the roll-out yet
    assert member.does("impression", at_ms=at_ms, token=token) is Verdict.COUNTED
    [cell] = [cell for cell in member.counts if cell.kind == "exposed"]
    assert cell[1:5] == (PERIODS["summer"], "activity@1", 1, False)
    member = Member("m2")  # by its past it is in none of the clusters
    assert member.does("impression", "high", T0 + 10 * DAY_MS, token=make_token("high", "m2", 2, 2, False, 1, "-"))
    assert [cell[2:4] for cell in member.counts if cell.kind == "exposed"] == [("activity@2", 2)]


@pytest.mark.parametrize(
    "token",
    [
        "nonsense",
        make_token("summer", "m2", 1, 1, False, 0, "-"),  # of another member
        make_token("high", "m1", 1, 1, False, 0, "-"),  # of another campaign
        make_token("summer", "m1", 1, 1, False, 0, "-")[:-1],
        make_token("summer", "m1", 3, 1, False, 0, "-"),  # that version was never live
        make_token("summer", "m1", 1, 3, False, 0, "-"),  # the campaign isn't for that cluster
        make_token("summer", "m1", 1, 1, True, 0, "-"),  # the member isn't held out
        make_token("summer", "m1", 1, 1, False, -1, "-"),
    ],
)
def test_a_token_that_nobody_was_told(token: str) -> None:
    """It is refused, and counted as such; it never falls back to something else."""
    member = Member()
    with pytest.raises(BadEvent, match="bad_token: token: expected"):
        member.does("impression", token=token)
    assert [cell.kind for cell in member.counts] == ["!bad_token"]


def test_a_token_from_before_the_campaign() -> None:
    """No look-up can have told it."""
    member = Member()
    with pytest.raises(BadEvent, match="bad_token"):
        member.does("impression", "stylish", T0 + 3 * DAY_MS, token=make_token("stylish", "m1", 4, 7, False, 1, "-"))
    token = make_token("stylish", "m1", 4, 7, False, 2, "-")
    assert member.does("impression", "stylish", T0 + 4 * DAY_MS, token=token) is Verdict.COUNTED


def test_first_and_last_are_by_their_own_times() -> None:
    """In whatever order they arrive; and values add up, also with those that have none."""
    member = Member()
    member.does("impression")
    for hours, value in ((2, 1.5), (1, None), (3, 0.25), (2, -4.0)):
        member.does("purchase", None, T0 + hours * HOUR_MS, id=str(value), value=value)
    done = member.record.met["summer"].done["purchase"]
    assert done == Done(4, T0 + HOUR_MS, T0 + 3 * HOUR_MS, "-2250000")


def test_late_is_what_was_sent_late() -> None:
    """By the record's own timestamp, not by what came before it."""
    member = Member()
    for i, late_ms in enumerate((HOUR_MS, HOUR_MS + 1, HOUR_MS + 2)):
        member.does("impression", at_ms=T0 + i, late_ms=late_ms)
    assert member.counted()["summer", "activity@1", 1, False, "!late", 0] == (0, 2, 0.0)


def test_what_a_crash_has_kept_from_the_counts() -> None:
    """A record that is ahead of the counts says what is missing there; one that isn't says nothing."""
    cell, tally = Cell("summer", T0, "activity@1", 1, False, "click", 3), Tally(1, 2, 5, 10**40)
    old_cell, old_tally = OldCell("summer", "activity@1", 1, False, "click", 3), OldTally(1, 2, 0.5, 0.25, 1)
    record, owed = Engagement(7, 9), Changes({cell: tally, old_cell: old_tally})
    count_state.owe(record, owed)
    record = count_state.decode(count_state.encode(record, 5))
    assert count_state.outstanding(record, 8) == {cell: tally, old_cell: old_tally}
    assert count_state.outstanding(record, 9) == {}
    assert (record.added, record.owed) == ([], b"")
    count_state.owe(record, {cell: tally})  # as nearly always: nothing of the version before
    assert count_state.outstanding(count_state.decode(count_state.encode(record, 5)), 8) == {cell: tally}


def test_counts_of_a_batch_that_was_cut_short() -> None:
    """What is ahead of what is counted isn't valid: the count before holds, or none, and is to be written."""
    cells = [Cell("summer", T0, "activity@1", 1, False, "click", day) for day in range(3)]
    found: dict[AnyCell, Count] = {
        cells[0]: Count(Tally(1, 2), 7, Tally(1, 1)),
        cells[1]: Count(Tally(1, 2), 8, Tally(1, 1)),
        cells[2]: Count(Tally(1, 2), 8, Tally()),
    }
    counts, wrong = count_state.counts_at(found, 7)
    assert counts == {cells[0]: Tally(1, 2), cells[1]: Tally(1, 1)}
    assert wrong == {cells[1]: Tally(1, 1), cells[2]: None}


OLD = OldCell("summer", "activity@1", -1, True, "click", 3), OldTally(1, 2, 0.1, 0.01, 1)
NEW = Cell("summer", T0, "activity@1", -1, True, "!late", 3, 81), Tally(1, 2, 10**30, -(10**50))


@pytest.mark.parametrize(("cell", "tally"), [OLD, NEW])
def test_bytes_of_counts(cell: Any, tally: Any) -> None:
    """Cells stand before the members; damaged bytes are refused, never guessed at."""
    found = Count(tally, 7, count_state.nothing_of(cell))
    key, value = count_state.cell_key(cell), count_state.encode_count(found, 5)
    assert count_state.decode_count(key, value) == (cell, found)
    assert key < b" "
    short = key[:1] + b"summer"
    for bad_key, bad_value in ((key, b"E" + value[1:]), (key, value[:-5]), (key, value[:5]), (short, value)):
        with pytest.raises(StateError, match="a count in the state: damaged bytes"):
            count_state.decode_count(bad_key, bad_value)
    with pytest.raises(StateError, match="expected a record of kind b'E', found b'T'"):
        count_state.decode(value)
    with pytest.raises(StateError, match="damaged bytes"):
        count_state.decode(count_state.encode(Engagement(), 3)[:-1])


def test_fields() -> None:
    """As they stand in state and in Redis, for readers of any language."""
    assert [is_health(NEW[0].kind), is_health(OLD[0].kind)] == [True, False]
    assert field_of(NEW[0]) == f"{T0} activity@1 -1 1 !late 3 81"
    assert field_of(OLD[0]) == "activity@1 -1 1 click 3"
