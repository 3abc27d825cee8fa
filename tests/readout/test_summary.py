"""The sentences' numbers are the report's: they are read back out of the text. What isn't found isn't said."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest
from readout.worlds import BEGIN_MS, FIRST_DAY, World, counted, reported, setup

from memberstream.models.counts import Cell, Tally
from memberstream.models.timestamps import DAY_MS
from memberstream.models.told import Told
from memberstream.stream.readout.csv_rows import to_csv
from memberstream.stream.readout.finding import Status
from memberstream.stream.readout.report import Report
from memberstream.stream.readout.summary import headline, sentences
from memberstream.stream.readout.tables import MARK, tables
from memberstream.stream.readout.wording import day_of

PERCENT = r"(-?[\d.]+)%"
POINTS = r"([+-][\d.]+)"
BROKEN = {(1, False): (8_000, 800), (1, True): (2_000, 20), (2, False): (8_000, 800), (2, True): (2_000, 20)}
WORKS = {(1, False): (9_000, 900), (1, True): (1_000, 50)}


def text_of(found: Report, *told: Told) -> str:
    return " ".join(sentences(found, told))


def numbers(pattern: str, text: str) -> list[float]:
    match = re.search(pattern, text)
    assert match is not None, (pattern, text)
    return [float(group.replace(",", "")) for group in match.groups()]


@pytest.mark.parametrize("seed", range(6))
def test_every_number_is_the_reports(seed: int) -> None:
    """The effect with its interval and both rates, members and share held out, days, clusters, rates, switchers."""
    world = World(members=20_000, held_out=(0.01, 0.05, 0.04))
    found = reported(world.counts(np.random.default_rng(seed), values=False), world.setup())
    text, [part] = text_of(found), found.parts
    effect = part.finding.effect
    assert effect is not None
    assert effect.interval is not None
    read = numbers(
        rf"^spring worked: showing it raised the rate of purchase by ([\d.]+) points \({POINTS} to {POINTS}\), "
        rf"from {PERCENT} to {PERCENT}, weighted by cluster\.",
        text,
    )
    expected = (effect.difference, effect.interval.low, effect.interval.high, effect.held_out, effect.shown)
    assert read == [round(100 * x, 2) for x in expected]
    read = numbers(rf"compares ([\d,]+) members? shown with ([\d,]+) held out \({PERCENT}\)", text)
    assert read == [effect.n_shown, effect.n_held_out, 20]
    assert f"exposed from {day_of(FIRST_DAY)} to {day_of(FIRST_DAY + 13)} under unchanged terms" in text
    for its in part.clusters:
        name = next(row.name for row in found.rows if row.cluster == its.cluster)
        assert (f" points in {name} (" in text) is its.effect.is_claimed
        if its.effect.is_claimed:
            assert its.effect.interval is not None
            read = numbers(rf"{POINTS} points in {name} \({POINTS} to {POINTS}\)", text)
            bounds = (its.effect.difference, its.effect.interval.low, its.effect.interval.high)
            assert read == [round(100 * x, 2) for x in bounds]
    read = numbers(
        rf"([\d,]+) members were shown spring until [\d-]+; ([\d,]+) of them \({PERCENT}, unweighted\) had", text
    )
    n, hits, rate = read
    assert (n, hits, rate) == (found.total.n, found.total.hits, round(100 * found.total.rate, 2))
    most, least = (pick(found.rows, key=lambda row: row.rate or 0) for pick in (max, min))
    for word, row in (("most in", most), ("least in", least)):
        assert row.interval is not None
        read = numbers(f"{word} {row.name} with {PERCENT} \\({PERCENT} to {PERCENT}\\)", text)
        assert read == [round(100 * x, 2) for x in (row.rate or 0, row.interval.low, row.interval.high)]
    switched = sum(row.switched for row in found.rows)
    read = numbers(r"([\d,]+) of those shown \(" + PERCENT + r"\) changed cluster", text)
    assert read == [switched, round(100 * switched / found.total.n, 2)]
    assert "observed, not caused" in text
    assert "Warning" not in text


def test_a_value_has_its_unit_and_each_rate_says_whether_it_is_weighted() -> None:
    """Sentences and notes say so; with one cluster nothing is weighted, and nobody is told that it isn't."""
    world = World(members=20_000, held_out=(0.01, 0.05, 0.04))
    found = reported(world.counts(np.random.default_rng(0)), world.setup())
    unit = "in the unit of the events' value"
    assert re.search(rf"It also raised the value of purchase by [\d.]+ per member, {unit} \(\+", text_of(found))
    notes = {table.title: table.note for table in tables(found)}
    assert f"values are {unit}" in notes["Effects on other kinds and on values"]
    assert f"add up to, 0 without any, {unit};" in notes["Values of purchase"]
    weighted = "Rates of all together are weighted by cluster"
    assert notes["Effect on purchase: shown against held out"].endswith(weighted)
    one = reported(counted("spring", WORKS), setup(clusters={1: "low"}, holdout=0.1))
    assert "weighted" not in text_of(one) + " ".join(table.note for table in tables(one))
    later = counted("spring", {(1, False): (8_000, 800), (1, True): (2_000, 100)}, day=19)
    counts = counted("spring", WORKS) | {cell._replace(period=BEGIN_MS + 15 * DAY_MS): n for cell, n in later.items()}
    changed = reported(counts, setup(clusters={1: "low"}, holdout=0.1, changes=[(15, 0.2)]))
    assert ", weighted by period." in headline(changed, changed.parts[0])


def test_sentence_table_and_csv_say_one_thing() -> None:
    """Over findings of all kinds: an effect is claimed in all of them, or in none."""
    lower = {(1, False): (9_000, 450), (1, True): (1_000, 100)}
    chance = {(1, False): (9_000, 450), (1, True): (1_000, 50)}
    for rows, status in ((WORKS, Status.WORKED), (lower, Status.LOWERED), (chance, Status.NONE_YET)):
        found = reported(counted("spring", rows), setup(clusters={1: "low"}, holdout=0.1))
        assert found.parts[0].finding.status is status
        assert status in headline(found, found.parts[0])
        [table] = [table for table in tables(found) if table.title.startswith("Effect on purchase")]
        claims = [row[3] == "effect" for row in table.rows]
        line = next(csv.DictReader(io.StringIO(to_csv(found))))
        assert (line["status"], line["is_claimed"]) == (status.value, str(status.is_effect))
        assert claims == [status.is_effect]
        assert (float(line["effect_low"]) > 0 or float(line["effect_high"]) < 0) is status.is_effect
        assert ("showing it" in text_of(found)) is status.is_effect
        assert ("lowered the rate of purchase by 5.00 points (-" in text_of(found)) is (status is Status.LOWERED)


def test_no_effect_shown_yet() -> None:
    """What may be chance is called so, with what would be seen by now; too early is said; nothing is claimed."""
    found = reported(
        counted("spring", {(1, False): (9_000, 450), (1, True): (1_000, 50)}), setup(clusters={1: "low"}, holdout=0.1)
    )
    text, finding = text_of(found), found.parts[0].finding
    read = numbers(
        rf"^spring: no effect shown yet on purchase \({POINTS} to {POINTS} points\); what is seen may be chance", text
    )
    assert finding.effect is not None
    assert finding.effect.interval is not None
    assert read == [round(100 * x, 2) for x in (finding.effect.interval.low, finding.effect.interval.high)]
    assert finding.detectable is not None
    assert numbers(r"An effect of ([\d.]+) points would be claimed by now", text) == [
        round(100 * finding.detectable, 2)
    ]
    early = text_of(
        reported(counted("spring", {(1, False): (90, 9), (1, True): (10, 1)}), setup(clusters={1: "low"}, holdout=0.1))
    )
    assert "it is too early: a group has fewer than ten members with it, or without it" in early
    assert "would be claimed" not in early


def test_what_cannot_be_told() -> None:
    """Nobody held out, or nobody shown yet; nothing is claimed."""
    text = text_of(reported(counted("spring", {(1, False): (900, 90)}), setup(clusters={1: "low"}, holdout=0.0)))
    assert text.startswith("What spring caused can't be told: nobody was to be held out.")
    assert "differ" not in text
    text = text_of(reported(counted("spring", {(1, True): (5, 1)}), setup(clusters={1: "low"}, holdout=0.5)))
    assert "Nobody was shown spring yet; all who are counted were held out." in text


def test_a_broken_holdout_comes_first() -> None:
    """The warning is the first sentence; what was found and meant, where, and what to do is the second."""
    found = reported(counted("spring", BROKEN), setup(clusters={1: "low", 2: "high"}, holdout=0.1))
    first, second, *rest = sentences(found)
    assert (
        first
        == "Warning: spring can't be trusted: the holdout isn't what was meant, so members are lost or counted wrongly."
    )
    assert numbers(rf"Held out were in all: {PERCENT} of ([\d,]+), meant were {PERCENT}", second) == [20, 20_000, 10]
    assert "Next: see whether services send impressions of those held out" in second
    assert not re.search(r"showing it|points", " ".join([first, second, *rest]))
    assert not [line for line in csv.DictReader(io.StringIO(to_csv(found))) if line["effect"] or line["p"]]
    assert not list(csv.DictReader(io.StringIO(to_csv(found, by_day=True))))
    assert [table.title for table in tables(found, by_day=True)] == [
        "Is the holdout what was meant?",
        "Rate of purchase",
        "Differences between clusters",
    ]


def test_although_broken_is_marked_in_each_cell() -> None:
    """Sentence, each cell of each table, each line of CSV; and it is never claimed."""
    found = reported(
        counted("spring", BROKEN), setup(clusters={1: "low", 2: "high"}, holdout=0.1), although_broken=True
    )
    text = text_of(found)
    assert "Asked for all the same: +9.00 points, not to be believed." in text
    assert "showing it" not in text
    for table in tables(found, by_day=True):
        if table.title.startswith("Effect"):
            assert table.is_alarm or table.is_aside
            for row in table.rows:
                for cell in row[1:]:
                    assert MARK in cell or "." not in cell, (table.title, row)
    told = [line for line in csv.DictReader(io.StringIO(to_csv(found))) if line["effect"]]
    assert len(told) == 4
    assert {line["is_broken"] for line in told} == {"True"}
    assert {line["is_broken"] for line in csv.DictReader(io.StringIO(to_csv(found, by_day=True)))} == {"True"}


def test_what_was_told_before() -> None:
    """A claim that isn't made any more is taken back in words, with its date; one that stands isn't."""
    found = reported(
        counted("spring", {(1, False): (9_000, 450), (1, True): (1_000, 50)}), setup(clusters={1: "low"}, holdout=0.1)
    )
    claim = Told("spring", "purchase", "worked", BEGIN_MS + 3 * DAY_MS, "ann", 0.012, 0.001, 0.023)
    none_yet = replaced(claim, status="no effect shown yet")
    expected = "On 2024-10-07 it was told that it worked (+1.20 points). That is taken back: no effect shown yet."
    for told in ((claim,), (none_yet, claim), (claim, none_yet)):
        assert expected in text_of(found, *told)
    others = (
        replaced(claim, family="autumn"),
        replaced(claim, status="of 2050"),
        none_yet,
    )
    assert "taken back" not in text_of(found, *others)
    works = reported(counted("spring", WORKS), setup(clusters={1: "low"}, holdout=0.1))
    assert "taken back" not in text_of(works, claim, none_yet)
    [table] = [table for table in tables(found, (none_yet, claim)) if table.title == "What was told before"]
    assert table.rows[1] == ("2024-10-07", "purchase", "worked", "+1.20", "+0.10 to +2.30")


def replaced(told: Told, **changes: str) -> Told:
    return Told(**{name: getattr(told, name) for name in told.__struct_fields__} | changes)


def test_many_clusters_make_no_paragraph() -> None:
    """Eight clusters with an effect each: three are named, the others counted."""
    names = {i: f"c{i}" for i in range(1, 9)}
    rows = {(i, held): (5_000, 250 if held else 500 + 10 * i) for i in names for held in (False, True)}
    found = reported(counted("spring", rows), setup(clusters=names, holdout=0.5))
    [sentence] = [text for text in sentences(found) if text.startswith("By cluster")]
    assert sentence.count(" points in ") == 3
    assert ", and in 5 more." in sentence
    rows |= {(i, False): (5_000, 255) for i in range(1, 8)}
    found = reported(counted("spring", rows), setup(clusters=names, holdout=0.5))
    text = text_of(found)
    assert "points in 8 c8" in text
    assert "; in 7 others none is shown yet." in text


def test_what_else_is_said() -> None:
    """A changed holdout, several versions or campaigns, strays, another kind than the primary one, titles."""
    counts = counted(
        "spring",
        {(1, False): (900, 90), (1, True): (100, 10), (2, False): (900, 80), (2, True): (90, 7), (5, False): (12, 0)},
    )
    two = counts | {cell._replace(version="activity@2", day=cell.day + 9): tally for cell, tally in counts.items()}
    changed = setup(clusters={1: "low", 2: "high"}, holdout=0.1, changes=[(9, 0.0)], title="Spring sale")
    text = text_of(reported(two, changed))
    assert text.startswith("Spring sale (spring): no effect shown yet")
    assert (
        "spring: since 2024-10-13 0.00% are held out. Members exposed from 2024-10-06 until then aren't compared"
        in text
    )
    assert "Clusters of activity@1, activity@2 are added up by their ids" in text
    assert "24 members were exposed to spring in clusters or under a model that it isn't for" in text
    counts |= counted("autumn", {(1, False): (900, 10)})
    text = text_of(
        reported(counts, setup(clusters={1: "low", 2: "high"}, holdout=0.1), setup("autumn", {1: "low"}, 0.0))
    )
    assert "Who was shown several of these campaigns counts in each." in text
    assert "Campaigns and clusters differ" in text
    assert "they may hold different members" in text
    found = reported(counted("spring", WORKS), setup(clusters={1: "low"}, holdout=0.1), kind="click")
    assert "No click of theirs is counted yet; what is: purchase." in text_of(found)
    shown = {cell: tally for cell, tally in counted("spring", WORKS).items() if cell.kind == "exposed"}
    found = reported(shown, setup(clusters={1: "low"}, holdout=0.1))
    assert "No purchase of theirs is counted yet; what is: impressions only." in text_of(found)


def test_other_kinds_and_guardrails_in_words() -> None:
    """An effect on another kind, a guardrail that holds, breaks, or isn't known yet."""
    its = setup(clusters={1: "low"}, holdout=0.5, guardrails={"install": 50})
    for hits, words in (
        ((1_000, 1_000), r"Guardrail install is held: it rose by \+0.\d+ points at most, where \+0.50 are allowed"),
        ((3_000, 1_000), "Warning: guardrail install is broken: it rose by"),
        ((3_000, 1_000), r"It also raised the rate of install by 2.00 points"),
    ):
        counts = counted("spring", {(1, False): (100_000, 10_000), (1, True): (100_000, 8_000)})
        for held, n in zip((False, True), hits, strict=True):
            counts[Cell("spring", BEGIN_MS, "activity@1", 1, held, "install", FIRST_DAY)] = Tally(n, n)
        assert re.search(words, text_of(reported(counts, its)))
    assert "Whether guardrail install holds isn't known yet (it is too early)." in text_of(reported(counted("spring", WORKS | {(1, True): (9_000, 450)}), its))  # fmt: skip  # noqa: E501


def test_a_claim_on_another_kind_is_taken_back() -> None:
    """Whatever judges the campaign now, what was claimed isn't forgotten; what is claimed again isn't taken back."""
    found = reported(counted("spring", WORKS), setup(clusters={1: "low"}, holdout=0.1))
    day = FIRST_DAY * DAY_MS
    before = Told("spring", "install", "worked", day, "ann@host", 0.02)
    assert (
        f"On {day_of(FIRST_DAY)} it was told that it worked on install (+2.00 points). That is taken back: "
        "worked on purchase, by which it is judged now." in text_of(found, before)
    )
    same = Told("spring", "purchase", "worked", day, "ann@host", 0.02)
    assert "taken back" not in text_of(found, before, same)
    untold = reported(counted("spring", WORKS), setup(clusters={1: "low"}, holdout=0.0))
    assert "it worked (+2.00 points). That is taken back: can't be told." in text_of(untold, same)


def test_one_look_is_not_every_look() -> None:
    """p below 0.05, but not by an interval that holds daily: clusters aren't said to differ."""
    counts = counted("spring", {(1, False): (5_000, 250), (2, False): (5_000, 300)})
    found = reported(counts, setup(clusters={1: "low", 2: "high"}, holdout=0.0))
    assert found.differ is not None
    assert 0.01 < found.differ.p < 0.05
    text = text_of(found)
    assert numbers(r"can't be told yet: p = ([\d.]+) would do if nobody looked", text) == [round(found.differ.p, 3)]
    assert "Clusters differ" not in text
    same = counted("spring", {(1, False): (5_000, 250), (2, False): (5_000, 251)})
    text = text_of(reported(same, setup(clusters={1: "low", 2: "high"}, holdout=0.0)))
    assert "Whether clusters differ can't be told (p = " in text
