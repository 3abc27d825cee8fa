"""`memberstream campaign report` as it is typed, with counts from a known world."""

from __future__ import annotations

import builtins
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from readout.worlds import NAMES, World, counted
from typer.testing import CliRunner

from models.campaigns import Terms
from models.counts import Cell, Tally
from models.registry import Registry, Step
from stream.cli import report_command
from stream.cli.main import app
from stream.readout.report import report
from stream.readout.summary import sentences
from stream.readout.tables import OBSERVED

WORLD = World()
COUNTS = WORLD.counts(np.random.default_rng(1))


class Log:
    """Stands for the models' log in Kafka: one model, one campaign."""

    async def registry(self) -> Registry:
        registry = Registry()
        clusters = [{"id": cluster, "name": name} for cluster, name in NAMES.items()]
        for offset, step in enumerate((
            Step("publish", "activity", 1, 0, "me", definition={"clusters": clusters}),
            Step("promote", "activity", 1, 0, "me"),
            Step("campaign_set", "spring", 0, 0, "me", terms=Terms("activity", (1, 2, 3), holdout=2_000)),
        )):  # fmt: skip
            registry.add(offset, step)
        return registry


@pytest.fixture(autouse=True)
def counts(monkeypatch: pytest.MonkeyPatch) -> dict[Cell, Tally]:
    """What `stream.counts.read` finds in Redis."""
    counts = dict(COUNTS)

    def read(redis_url: str, campaigns: Sequence[str]) -> dict[Cell, Tally]:
        return {cell: tally for cell, tally in counts.items() if cell.campaign in campaigns}

    monkeypatch.setattr(report_command, "read", read)
    monkeypatch.setattr(report_command, "campaigning_by_user", Log)
    return counts


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["campaign", "report", *arguments], env={"COLUMNS": "300"})
    return result.exit_code, result.stdout, result.stderr


def test_odd_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters called like Rich's markup are printed as they are called."""
    names = {1: "[/b]", 2: "[red]x", 3: "a[/]"}
    monkeypatch.setitem(NAMES, 1, names[1])
    monkeypatch.setitem(NAMES, 2, names[2])
    monkeypatch.setitem(NAMES, 3, names[3])
    status, out, _ = run("spring", "--by", "day")
    assert status == 0
    for cluster, name in names.items():
        assert out.count(f"{cluster} {name}") >= 4  # a sentence, three tables, the days


def test_in_the_terminal() -> None:
    """The sentences first, then the tables; each day with `--by day`."""
    found = report(COUNTS, [WORLD.setup()])
    status, out, err = run("spring")
    assert (status, err) == (0, "")
    for sentence in sentences(found):
        assert sentence in out
    assert out.index("Rate of click") < out.index("Effect: shown against held out") < out.index("Differences between")
    assert OBSERVED in out
    assert "until" not in out
    assert run("spring", "--by", "day")[1].count("2024-10-") > 3 * WORLD.days


def test_as_json_and_csv() -> None:
    """All numbers with all their digits; CSV a line for each cluster, or for each of its days."""
    found = report(COUNTS, [WORLD.setup()], see=0.01)
    status, out, err = run("spring", "--json", "--see", "1")
    assert status == 0, err
    read = orjson.loads(out)
    assert [row["rate"] for row in read["rows"]] == [row.rate for row in found.rows]
    assert read["rows"][0]["effect"]["always"] == {"low": found.rows[0].effect.always.low, "high": found.rows[0].effect.always.high}  # type: ignore[union-attr]  # fmt: skip  # noqa: E501
    assert (read["see"], read["differ"]["p"]) == (0.01, found.differ.p if found.differ else None)
    lines = list(csv.DictReader(io.StringIO(run("spring", "--csv")[1])))
    assert [float(line["high"]) for line in lines] == [row.interval.high for row in found.rows]
    assert [int(line["switched"]) for line in lines] == [row.switched for row in found.rows]
    lines = list(csv.DictReader(io.StringIO(run("spring", "--csv", "--by", "day")[1])))
    assert [float(line["rate"]) for line in lines] == [day.rate for row in found.rows for day in row.days]


def test_as_a_page(tmp_path: Path) -> None:
    """Written beside what is printed."""
    page = tmp_path / "spring.html"
    status, out, _ = run("spring", "--html", str(page))
    assert status == 0
    assert out.endswith(f"page: {page}\n")
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_what_goes_wrong(counts: dict[Cell, Tally], monkeypatch: pytest.MonkeyPatch) -> None:
    """No such campaign, nothing counted, a broken holdout, nonsense, SciPy missing: each says so, and what to do."""
    status, _, err = run("spring", "autumn")
    assert (status, err) == (1, "error: there is no campaign autumn. Next: memberstream campaign list\n")
    for wrong in (["--by", "week"], ["--see", "0"], ["--json", "--csv"], ["--kind", "[/b]"], ["--kind", "\udcff"]):
        assert run("spring", *wrong)[0] == 2
    counts.clear()
    status, _, err = run("spring")
    assert status == 1
    assert "no impression is counted yet. Next:" in err
    counts |= counted("spring", {(1, False): (8_000, 90), (1, True): (3_000, 20)})
    out = run("spring")[1]
    assert out.startswith("Warning: of spring 27.27% were held out where 20.00% were meant (p < 0.001)")
    assert "BROKEN" in out
    imports = builtins.__import__

    def without_scipy(name: str, *rest: Any) -> Any:
        if name.startswith("stream.readout"):
            raise ModuleNotFoundError("No module named 'scipy'", name="scipy")
        return imports(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_scipy)
    status, _, err = run("spring")
    assert (status, err) == (1, "error: a report needs scipy. Next: pip install 'memberstream[readout]'\n")
