"""What `explain` prints reads well on a wide and on a narrow terminal."""

from __future__ import annotations

from typing import Any

import pytest

from memberstream.models.explain import explain_one
from memberstream.models.model import Cluster
from memberstream.models.model_file import parse
from memberstream.models.timestamps import DAY_MS
from memberstream.models.what_if import Change, Lever, levers
from memberstream.stream.terminal import explanation
from memberstream.stream.terminal.output import out

NOW = 1_767_225_600_000
FILE: dict[str, Any] = {
    "format": 1,
    "name": "shop",
    "version": 3,
    "predictors": [
        {"name": "recency", "path": "orders", "time": "at", "aggregate": "days_since", "missing": 365},
        {"name": "spend", "path": "spend", "missing": 0, "transforms": ["log1p"]},
        {"name": "spend_squared", "product": ["spend", "spend"]},
        {"name": "both", "ratio": ["recency", "spend"], "missing": 0},
        {"name": "country", "path": "country", "transforms": [{"one_hot": ["de", "fr"]}]},
    ],
    "model": {"type": "logistic", "coef": [-0.01, 1, 0, 0, 0.1, 0], "intercept": -3, "thresholds": [0.5]},
    "clusters": [{"id": 0, "name": "low"}, {"id": 1, "name": "[high]"}],
}
DOCUMENT = {"orders": [{"at": NOW - 84 * DAY_MS}], "spend": 20.5, "country": "fr"}
WIDE = """\
ann under shop@3, as of 2026-01-01T00:00:00Z: cluster 0 low
predictor             value                              x  contribution
recency               84 days ago                  84.0000       -0.8400  ███
spend, spend_squared  20.5                       2 columns       +3.0681  ████████████
both                  27.3789 (recency / spend)    27.3789       +0.0000
country               fr                         2 columns       +0.0000
eta -0.7719 → probability 0.3161
would become 1 [high] if eta rose by 0.7719

one change alone that gives another cluster
predictor  now          changed to  cluster
recency    84 days ago  6 days ago  1 [high]
spend      20.5         46          1 [high]
changes nothing alone: country
"""
NARROW = """\
ann under shop@3, as of 2026-01-01T00:00:00Z: cluster 0 low
recency
  value: 84 days ago
  x: 84.0000
  contribution: -0.8400
spend, spend_squared
  value: 20.5
  x: 2 columns
  contribution: +3.0681
both
  value: 27.3789 (recency / spend)
  x: 27.3789
  contribution: +0.0000
country
  value: fr
  x: 2 columns
  contribution: +0.0000
eta -0.7719 → probability 0.3161
would become 1 [high] if eta rose by 0.7719

one change alone that gives another cluster
recency
  now: 84 days ago
  changed to: 6 days ago
  cluster: 1 [high]
spend
  now: 20.5
  changed to: 46
  cluster: 1 [high]
changes nothing alone: country
"""


@pytest.mark.parametrize(("width", "expected"), [(100, WIDE), (30, NARROW)])
def test_a_member_explained(
    width: int, expected: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raw values stand beside columns, columns of one origin are one line, and what would move the member follows."""
    monkeypatch.setattr(out, "_force_terminal", True)
    monkeypatch.setattr(out, "_color_system", None)
    monkeypatch.setattr(out, "_width", width)
    model = parse(FILE)
    explanation.print_explanation("ann", NOW, explain_one(model, DOCUMENT, NOW))
    explanation.print_levers(levers(model, DOCUMENT, NOW))
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert "\n".join(printed) + "\n" == expected


def test_trees_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """What contributions add up from is said; without probabilities, raw scores are."""
    tree = {"columns": [0, -1, -1], "thresholds": [50], "values": [1.5, -0.5], "covers": [25, 75]}
    one = {"type": "trees", "inputs": ["recency"], "scale": "logit", "thresholds": [0], "trees": [tree]}
    several = one | {"scale": "value", "trees": [tree | {"values": [[0, 1], [2, 0.5]]}]}
    del several["thresholds"]
    for model in (one, several):
        file = parse(FILE | {"predictors": FILE["predictors"][:1], "model": model})
        explanation.print_explanation("ann", NOW, explain_one(file, DOCUMENT, NOW))
    unknown = [FILE["predictors"][0] | {"missing": 1e90}]
    missing = parse(FILE | {"predictors": unknown, "model": one | {"missing": [1e90]}})
    explanation.print_explanation("bob", NOW, explain_one(missing, {}, NOW))
    printed = capsys.readouterr().out
    assert "raw score -0.5000 (of which +0.0000 is the mean of training) → probability 0.3775\n" in printed
    assert "would become 1 [high] if the raw score rose by 0.5000\n" in printed
    assert "raw scores 2.0000 0.5000\n" in printed
    assert "  1e+90 " in printed
    assert "next is 1 [high]: its raw score is 1.5000 lower\n" in printed


def test_what_a_search_could_not_settle(capsys: pytest.CaptureFixture[str]) -> None:
    """Of many categories a few are shown and the rest counted; what isn't proven isn't said."""
    change = Change(1.0, 1.0, "1", Cluster(1, "high"), is_smallest=False)
    many = Lever(("a", "b", "c", "d"), 0.0, "0", (change,) * 6)
    explanation.print_levers([many, Lever(("e",), None, "none", (), is_settled=False)])
    printed = capsys.readouterr().out
    assert printed.count("1, or less of a change") == 4
    assert "more categories that do, with --json: a, b, c and 1 more (2)\n" in printed
    assert "nothing found, though not everything was looked at: e\n" in printed
    assert "changes nothing" not in printed
