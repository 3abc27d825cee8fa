"""The documents that tell of lists kept elsewhere name everything on them, and nothing that is gone."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from models.event import Reason
from stream.faust_batch.changelog import MAX_STATE_BYTES
from stream.metrics import OUTCOMES, STAGES
from stream.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text()


def test_the_codemap_names_every_module() -> None:
    """Every module of the core and the shell has its line in docs/architecture.md, and no line is left over."""
    named = set(re.findall(r"`((?:models|stream)/[\w/]+\.py)`", (ROOT / "docs/architecture.md").read_text()))
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in ("models", "stream")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert named == modules


def test_every_alert_has_its_action() -> None:
    """docs/operations.md has a row for each alert of the rule file, with its severity."""
    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    rules = {(rule["alert"], rule["labels"]["severity"]) for group in groups for rule in group["rules"]}
    documented = set(re.findall(r"^\| `(Memberstream\w+)` \| (\w+) \|", OPERATIONS, re.MULTILINE))
    assert documented == rules


def test_every_stage_and_outcome_is_explained() -> None:
    """docs/metrics.md explains the values that labels can have."""
    text = (ROOT / "docs/metrics.md").read_text()
    assert not [name for name in (*STAGES, *OUTCOMES) if f"`{name}`" not in text]


def test_figures_of_the_operations_manual() -> None:
    """Numbers that it repeats from the code."""
    defaults = Settings()
    assert f"max.message.bytes={MAX_STATE_BYTES + 65_536}" in OPERATIONS
    assert f"`{defaults.changelog_topic}`" in OPERATIONS
    assert f"`{defaults.dead_letter_topic}`" in OPERATIONS
    assert f"{len(Reason)} reasons" in OPERATIONS


def test_decisions_are_short_and_complete() -> None:
    """Each decision gives context, decision and consequences on at most 40 lines, and is in the index."""
    index = (ROOT / "docs/README.md").read_text()
    files = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [path.name[:4] for path in files] == [f"{i:04}" for i in range(1, len(files) + 1)]
    for path in files:
        text = path.read_text()
        assert len(text.splitlines()) <= 40, path.name
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"], path.name
        assert f"decisions/{path.name}" in index
