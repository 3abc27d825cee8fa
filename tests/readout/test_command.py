"""`memberstream campaign report` and `plan` as they are typed, with counts from a known world."""

from __future__ import annotations

import builtins
import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from authored import BY, defined
from readout.worlds import BEGIN_MS, NAMES, World, counted, reported
from typer.testing import CliRunner

from memberstream.models.counts import Cell, Tally
from memberstream.models.log_steps import Promote, Publish, SetCampaign, Step
from memberstream.models.old_counts import OldCell, OldTally
from memberstream.models.registry import Registry
from memberstream.models.terms import Terms
from memberstream.models.told import Told, is_news
from memberstream.stream.authoring.campaigning import Reach
from memberstream.stream.authoring.telling import FindingsError
from memberstream.stream.cli.campaign import export as export_command
from memberstream.stream.cli.campaign import plan as plan_command
from memberstream.stream.cli.campaign import report as report_command
from memberstream.stream.cli.main import app
from memberstream.stream.keyspace.keys import Keys
from memberstream.stream.projection.count_reader import CountsUnavailable
from memberstream.stream.readout import asked, before
from memberstream.stream.readout.summary import sentences
from memberstream.stream.readout.tables import OBSERVED

WORLD = World()
COUNTS = WORLD.counts(np.random.default_rng(1))
TERMS = Terms("activity", (1, 2, 3), holdout=2_000, primary="purchase")


#: What was counted before the upgrade, by other rules.
OLD: dict[OldCell, OldTally] = {}


class Log:
    """Stands for the models' log in Kafka: one model, one campaign, and a split of two."""

    async def registry(self) -> Registry:
        registry, then = Registry(), BY | {"at_ms": BEGIN_MS}
        steps: tuple[Step, ...] = (
            Publish("activity", 1, defined("activity", 1, NAMES), **BY),
            Promote("activity", 1, None, **BY),
            SetCampaign("spring", None, TERMS, **then),
            *(
                SetCampaign(
                    f"s-{i}", None, Terms("activity", (i,), holdout=2_000, primary="purchase", split="s"), **then
                )
                for i in (1, 2)
            ),
        )
        for offset, step in enumerate(steps):
            assert registry.add(offset, step) == ""
        return registry

    async def reach(self, *_: object) -> Reach:
        return Reach("activity@1", 90_000, {1: (24_000, 6_000), 2: (24_000, 6_000)})


class Findings:
    """Stands for the topic of findings."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.is_broken = False

    async def read(self) -> list[Told]:
        if self.is_broken:
            raise FindingsError("no broker. Next: start one")
        return list(self.told)

    async def tell(self, told: Iterable[Told], before: Iterable[Told]) -> None:
        before = list(before)
        self.told += [finding for finding in told if is_news(finding, before)]


@pytest.fixture(autouse=True)
def findings(monkeypatch: pytest.MonkeyPatch) -> Findings:
    found = Findings()
    monkeypatch.setattr(report_command, "findings_log", lambda: found)
    return found


@pytest.fixture(autouse=True)
def counts(monkeypatch: pytest.MonkeyPatch) -> dict[Cell, Tally]:
    """What the reader of counts finds in Redis."""
    counts = dict(COUNTS)

    def read(redis_url: str, keys: Keys, campaigns: Sequence[str]) -> dict[Cell, Tally]:
        return {cell: tally for cell, tally in counts.items() if cell.campaign in campaigns}

    monkeypatch.setattr(before, "read_old", lambda *_: dict(OLD))
    for reader in (asked, plan_command):
        monkeypatch.setattr(reader, "read", read)
    for command in (report_command, plan_command):
        monkeypatch.setattr(command, "campaigning_by_user", Log)
    return counts


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["campaign", "report", *arguments], env={"COLUMNS": "300"})
    return result.exit_code, result.stdout, result.stderr


def planned(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["campaign", "plan", *arguments], env={"COLUMNS": "300"})
    return result.exit_code, result.stdout, result.stderr


def test_odd_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters called like Rich's markup are printed as they are called."""
    names = {1: "[/b]", 2: "[red]x", 3: "a[/]"}
    for cluster, name in names.items():
        monkeypatch.setitem(NAMES, cluster, name)
    status, out, _ = run("spring", "--by", "day")
    assert status == 0
    for cluster, name in names.items():
        assert out.count(f"{cluster} {name}") >= 4  # tables of effects, rates, the holdout, values


def test_in_the_terminal() -> None:
    """The sentences first, then the tables; the effect day by day with `--by day`."""
    found = reported(COUNTS, WORLD.setup())
    status, out, err = run("spring")
    assert (status, err) == (0, "")
    for sentence in sentences(found):
        assert sentence in out
    assert out.index("Effect on purchase: shown against held out") < out.index("Rate of purchase")
    assert (
        out.index("Rate of purchase") < out.index("Is the holdout what was meant?") < out.index("Differences between")
    )
    assert OBSERVED in out
    assert "Effect over time" not in out
    assert run("spring", "--by", "day")[1].count("2024-10-") > WORLD.days


def test_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many columns as there is room for, each whole, and the names of the others; into a file all of them."""
    whole = run("spring")[1]
    assert "…" not in whole
    assert "no room here" not in whole
    monkeypatch.setattr(report_command.out, "_force_terminal", True)
    monkeypatch.setattr(report_command.out, "_width", 60)
    narrow = run("spring")[1]
    assert "no room here for: rate shown, rate held out, relative, at every look, p, shown, held out" in narrow
    lines = narrow[narrow.index("Effect on purchase") : narrow.index("no room here")].splitlines()
    assert [line for line in lines if line.startswith("all together") and "may be chance" not in line]
    assert "…" not in "".join(lines)


def test_as_json_and_csv() -> None:
    """All numbers with all their digits, the sentences too; CSV a line for each effect and row, or for each day."""
    found = reported(COUNTS, WORLD.setup())
    [part] = found.parts
    effect = part.finding.effect
    assert effect is not None
    assert effect.interval is not None
    status, out, err = run("spring", "--json")
    assert status == 0, err
    read = orjson.loads(out)
    assert [row["rate"] for row in read["rows"]] == [row.rate for row in found.rows]
    assert read["parts"][0]["finding"]["status"] == "worked"
    interval = read["parts"][0]["finding"]["effect"]["interval"]
    assert interval == {"low": effect.interval.low, "high": effect.interval.high}
    assert read["sentences"] == sentences(found)
    lines = list(csv.DictReader(io.StringIO(run("spring", "--csv")[1])))
    assert [line["what"] for line in lines] == ["overall", *["cluster"] * 3, "rate", "value"]
    assert float(lines[0]["effect_high"]) == effect.interval.high
    assert [int(line["switched"]) for line in lines[1:4]] == [row.switched for row in found.rows]
    lines = list(csv.DictReader(io.StringIO(run("spring", "--csv", "--by", "day")[1])))
    assert [float(line["effect"]) for line in lines] == [look.difference for look in part.looks]


def test_as_a_page(tmp_path: Path) -> None:
    """Written beside what is printed."""
    page = tmp_path / "spring.html"
    status, out, _ = run("spring", "--html", str(page))
    assert status == 0
    assert out.endswith(f"page: {page}\n")
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_until_a_day() -> None:
    """Of members exposed by then; what is told of a part of the time isn't remembered."""
    status, out, _ = run("spring", "--until", "2024-10-07")
    assert status == 0
    assert "exposed from 2024-10-04 to 2024-10-07" in out
    assert run("spring", "--until", "yesterday")[0] == 2


def test_what_was_told_is_remembered(findings: Findings, counts: dict[Cell, Tally]) -> None:
    """Once, however often somebody looks; a claim that is gone is taken back in words; parts and broken ones aren't."""
    assert run("spring", "--until", "2024-10-07")[0] == 0
    assert findings.told == []
    assert run("spring")[0] == run("spring", "--kind", "click")[0] == 0
    assert [(told.family, told.kind, told.status) for told in findings.told] == [("spring", "purchase", "worked")]
    counts.clear()
    counts |= counted("spring", {(1, False): (8_000, 400), (1, True): (2_000, 100)})
    out = run("spring")[1]
    assert "That is taken back: no effect shown yet." in out
    assert [told.status for told in findings.told] == ["worked", "no effect shown yet"]
    findings.is_broken = True
    status, _, err = run("spring")
    assert status == 0
    assert err == "note: what was told before isn't known, and this isn't written down: no broker. Next: start one\n"


def test_a_split_comes_together(counts: dict[Cell, Tally]) -> None:
    """Whichever of its campaigns is named, the report is the same, and so is what is claimed."""
    for i in (1, 2):
        counts |= counted(f"s-{i}", {(i, False): (8_000, 800), (i, True): (2_000, 100)})
    assert run("s-1")[0] == 0  # from now on there is something that was told before
    assert run("s-1")[1] == run("s-2")[1] == run("s-1", "s-2")[1]
    assert "s worked: showing it raised" in run("s-1")[1]


def test_what_was_counted_before_the_upgrade(counts: dict[Cell, Tally], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in no report; that is said."""
    exposed = OldCell("spring", "activity@1", 1, False, "exposed", 20_000)
    monkeypatch.setitem(OLD, exposed, OldTally(40, 40))
    monkeypatch.setitem(OLD, exposed._replace(is_held_out=True), OldTally(2, 2))
    monkeypatch.setitem(OLD, exposed._replace(kind="click"), OldTally(9, 9))
    status, _, err = run("spring")
    assert status == 0
    assert err.startswith("note: spring: 42 members were exposed before the upgrade and counted by other rules")
    counts.clear()
    status, _, err = run("spring")
    assert status == 1
    assert "error: spring: 42 members were exposed before the upgrade" in err
    assert "Nobody is counted since. Next: wait for members who meet it for the first time" in err

    async def nobody(*_: object) -> list[object]:
        return []

    monkeypatch.setattr(export_command, "exposed_members", nobody)
    result = CliRunner().invoke(app, ["campaign", "export", "spring"])
    assert result.exit_code == 1
    assert "error: spring: 42 members were exposed before the upgrade" in result.stderr
    OLD.clear()
    result = CliRunner().invoke(app, ["campaign", "export", "spring"])
    assert "nobody was exposed yet. Next: do services send impressions?" in result.stderr


def test_what_goes_wrong(counts: dict[Cell, Tally], monkeypatch: pytest.MonkeyPatch) -> None:
    """No such campaign, nothing counted, a broken holdout, nonsense, SciPy missing: each says so, and what to do."""
    status, _, err = run("spring", "autumn")
    assert (status, err) == (1, "error: there is no campaign autumn. Next: memberstream campaign list\n")
    for wrong in (["--by", "week"], ["--json", "--csv"], ["--kind", "[/b]"], ["--kind", "\udcff"]):
        assert run("spring", *wrong)[0] == 2
    status, _, err = run("spring", "--kind", "bought")
    assert status == 1
    assert "bought is no kind of which rates are told. Next: one of click, install, purchase" in err
    counts.clear()
    status, _, err = run("spring")
    assert status == 1
    assert "no impression is counted yet. Next:" in err
    counts |= counted("spring", {(1, False): (8_000, 90), (1, True): (3_000, 20)})
    out = run("spring")[1]
    assert out.startswith("Warning: spring can't be trusted: the holdout isn't what was meant")
    assert "BROKEN" in out
    assert "(broken)" not in out
    assert "(broken)" in run("spring", "--although-broken")[1]
    imports = builtins.__import__

    def without_scipy(name: str, *rest: Any) -> Any:
        if name.startswith("memberstream.stream.readout"):
            raise ModuleNotFoundError("No module named 'scipy'", name="scipy")
        return imports(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_scipy)
    status, _, err = run("spring")
    assert (status, err) == (1, "error: a report needs scipy. Next: pip install 'memberstream[readout]'\n")
    status, _, err = planned("spring", "--effect", "1pt")
    assert (status, err) == (1, "error: a plan needs scipy. Next: pip install 'memberstream[readout]'\n")


def test_a_plan(counts: dict[Cell, Tally], monkeypatch: pytest.MonkeyPatch) -> None:
    """From today's reach and what is counted; from what is said; its own holdout is a line, too."""
    status, out, err = planned("spring", "--effect", "1pt")
    assert status == 0, err
    assert "spring reaches 60,000 members. Rate of purchase without it: 3.73% (" in out
    assert "members held out so far" in out
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["5%", "10%", "20%", "50%"]
    read = orjson.loads(planned("spring", "--effect", "10%", "--rate", "4%", "--per-day", "500", "--json")[1])
    assert (read["rate"], read["effect"], read["reach"], read["per_day"]) == (0.04, pytest.approx(0.004), 60_000, 500)
    assert [plan["holdout"] for plan in read["plans"]] == [0.05, 0.1, 0.2, 0.5]
    members = [plan["members"] for plan in read["plans"]]
    assert members == sorted(members, reverse=True)
    assert all(plan["days"] is None for plan in read["plans"] if plan["members"] > 60_000)
    few = planned("spring", "--effect", "0.01pt", "--rate", "4%")[1]
    assert "(too few)" in few
    for wrong in (["--effect", "much"], ["--effect", "0pt"], ["--effect", "1pt", "--rate", "4"], ["--effect", "1pt", "--kind", "[/b]"]):  # fmt: skip  # noqa: E501
        assert planned("spring", *wrong)[0] == 2
    status, _, err = planned("autumn", "--effect", "1pt")
    assert (status, err) == (1, "error: there is no campaign autumn. Next: memberstream campaign list\n")
    status, _, err = planned("spring", "--effect", "1pt", "--kind", "click")
    assert status == 1
    assert "Next: --kind, one of install, purchase" in err

    def nothing(*_: object) -> dict[Cell, Tally]:
        raise CountsUnavailable("nothing")

    monkeypatch.setattr(plan_command, "read", nothing)
    status, _, err = planned("spring", "--effect", "1pt")
    assert status == 1
    assert "how often members have purchase isn't known yet. Next: say --rate, as 3%" in err
    assert planned("spring", "--effect", "1pt", "--rate", "3%")[0] == 0
