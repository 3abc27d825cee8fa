"""The sentences' numbers are the report's: they are read back out of the text."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from readout.worlds import FIRST_DAY, NAMES, World, counted

from stream.readout.report import Report, report
from stream.readout.setup import Setup
from stream.readout.summary import sentences
from stream.readout.wording import day_of

PERCENT = r"(-?[\d.]+)%"
POINTS = r"([+-][\d.]+)"


def made(world: World, seed: int) -> Report:
    return report(world.counts(np.random.default_rng(seed)), [world.setup()])


def numbers(pattern: str, text: str) -> list[float]:
    match = re.search(pattern, text)
    assert match is not None, (pattern, text)
    return [float(group.replace(",", "")) for group in match.groups()]


@pytest.mark.parametrize("seed", range(10))
def test_every_number_is_the_reports(seed: int) -> None:
    """Members, rates with intervals, the most and the least, effects, switchers."""
    found = made(World(members=20_000, held_out=(0.01, 0.05, 0.04)), seed)
    text = " ".join(sentences(found))
    n, hits, rate = numbers(
        r"([\d,]+) members were shown spring, and ([\d,]+) of them \(" + PERCENT + r"\) had at least one click", text
    )
    assert (n, hits, rate) == (found.total.n, found.total.hits, round(100 * found.total.rate, 2))
    assert f"Until {day_of(found.last_day)} " in text
    most, least = (pick(found.rows, key=lambda row: row.rate) for pick in (max, min))
    for word, row in (("most in", most), ("least in", least)):
        read = numbers(f"{word} {row.name} with {PERCENT} \\({PERCENT} to {PERCENT}\\)", text)
        assert read == [round(100 * x, 2) for x in (row.rate, row.interval.low, row.interval.high)]
    for row in found.rows:
        assert row.effect is not None
        assert row.effect.always is not None
        bounds = [row.effect.always.low, row.effect.always.high]
        if row.effect.always.excludes_zero():
            read = numbers(f"in {row.name} {POINTS} points \\({POINTS} to {POINTS}\\)", text)
            assert read == [round(100 * x, 2) for x in (row.effect.difference, *bounds)]
        else:
            read = numbers(f"in {row.name} none to be told from chance \\({POINTS} to {POINTS} points\\)", text)
            assert read == [round(100 * x, 2) for x in bounds]
    switched = sum(row.switched for row in found.rows)
    read = numbers(r"([\d,]+) of those shown \(" + PERCENT + r"\) changed cluster", text)
    assert read == [switched, round(100 * switched / found.total.n, 2)]
    assert "observed, not caused" in text
    assert "Warning" not in text


def test_what_cannot_be_told() -> None:
    """No difference, no holdout, too early: said so, and nothing claimed."""
    null = World(shown=(0.05,) * 3, held_out=(0.05,) * 3, members=2_000)
    found = made(null, 1)
    assert found.differ is not None
    text = " ".join(sentences(found))
    assert numbers(r"Whether clusters differ can't be told \(p = ([\d.]+)\)", text) == [round(found.differ.p, 3)]
    assert text.count("none to be told from chance") + text.count("too early to say") == len(NAMES)
    text = " ".join(
        sentences(report(counted("spring", {(1, False): (900, 90)}), [Setup("spring", "activity", {1: "low"})]))
    )
    assert "Nobody was held out, so what the campaign caused can't be told." in text
    assert "differ" not in text
    early = made(replace(null, members=100), 1)
    assert " ".join(sentences(early)).count("too early to say") == len(NAMES)


def test_a_broken_holdout_comes_first() -> None:
    """The warning is the first sentence, and says what was found and what was meant. Strays are told of."""
    counts = counted("spring", {(1, False): (8_000, 90), (1, True): (2_000, 20), (5, False): (12, 0)})
    found = sentences(report(counts, [Setup("spring", "activity", {1: "low"}, 0.1)]))
    read = numbers(rf"^Warning: of spring {PERCENT} were held out where {PERCENT} were meant \(p < 0.001\)", found[0])
    assert read == [20.0, 10.0]
    assert "12 members were exposed to spring in clusters or under a model that it isn't for" in found[-1]


def test_a_broken_holdout_tells_no_effect() -> None:
    """However large the difference: of that campaign nothing is said to be caused, of another one it is."""
    counts = counted("spring", {(1, False): (8_000, 800), (1, True): (2_000, 20)})
    text = " ".join(sentences(report(counts, [Setup("spring", "activity", {1: "low"}, 0.1)])))
    assert "Warning" in text
    assert "caused" not in text
    counts |= counted("autumn", {(1, False): (8_000, 800), (1, True): (2_000, 20)})
    both = [Setup("spring", "activity", {1: "low"}, 0.1), Setup("autumn", "activity", {1: "low"}, 0.2)]
    text = " ".join(sentences(report(counts, both)))
    assert "What showing it caused, against those held out: in autumn: 1 low +9.00 points" in text
    assert "in spring: 1 low" not in text


def test_what_is_not_known_of_some_clusters() -> None:
    """A cluster without anybody held out is named; a changed holdout, several versions or campaigns are told of."""
    counts = counted("spring", {(1, False): (900, 90), (1, True): (100, 10), (2, False): (900, 80)})
    setup = Setup("spring", "activity", {1: "low", 2: "high"}, 0.05)
    text = " ".join(sentences(report(counts, [setup])))
    assert "in 2 high it can't be told, nobody was held out" in text
    changed = " ".join(sentences(report(counts, [replace(setup, holdout_day=FIRST_DAY + 1)])))
    assert (
        "The holdout of spring was changed after members had met it (as it is now, it is since 2024-10-05)" in changed
    )
    assert "What showing it caused" not in changed
    assert "Nobody was held out" not in changed
    two = counts | {cell._replace(version="activity@2"): tally for cell, tally in counts.items()}
    assert "Clusters of activity@1, activity@2 are added up by their ids" in " ".join(sentences(report(two, [setup])))
    counts |= counted("autumn", {(1, False): (900, 10)})
    text = " ".join(sentences(report(counts, [setup, Setup("autumn", "activity", {1: "low"})])))
    assert "Who was shown several of these campaigns counts in each." in text
    assert "Campaigns and clusters differ" in text
    assert "they may hold different members" in text
    assert "Clusters differ" not in text
    counts = {cell: tally for cell, tally in counts.items() if cell.cluster == 1}
    only = [replace(setup, clusters={1: "low"}, holdout=0.1), Setup("autumn", "activity", {1: "low"})]
    text = " ".join(sentences(report(counts, only)))
    assert "in autumn: 1 low it can't be told, nobody was held out" in text


def test_nobody_did_it() -> None:
    """A kind that nobody had, perhaps misspelt: said, with the kinds there are."""
    counts = counted("spring", {(1, False): (900, 90), (1, True): (100, 10)})
    found = sentences(report(counts, [Setup("spring", "activity", {1: "low"}, 0.1)], "clik"))
    assert found[1] == "No clik of theirs is counted yet; what is: click."
    shown = {cell: tally for cell, tally in counts.items() if cell.kind == "exposed"}
    found = sentences(report(shown, [Setup("spring", "activity", {1: "low"}, 0.1)], "click"))
    assert found[1] == "No click of theirs is counted yet; what is: impressions only."


def test_one_look_is_not_every_look() -> None:
    """p below 0.05, but not by an interval that holds daily: clusters aren't said to differ."""
    counts = counted("spring", {(1, False): (5_000, 250), (2, False): (5_000, 300)})
    found = report(counts, [Setup("spring", "activity", {1: "low", 2: "high"})])
    assert found.differ is not None
    assert 0.01 < found.differ.p < 0.05
    text = " ".join(sentences(found))
    assert numbers(r"can't be told yet: p = ([\d.]+) would do if nobody looked", text) == [round(found.differ.p, 3)]
    assert "Clusters differ" not in text
