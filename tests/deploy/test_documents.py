"""The documents that tell of lists kept elsewhere name everything on them, and nothing that is gone."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from memberstream.models.event import Reason
from memberstream.stream.partition.changelog_topic import MESSAGE_BYTES
from memberstream.stream.process.member_metrics import OUTCOMES, STAGES
from memberstream.stream.settings import Settings

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


def test_prose_wraps() -> None:
    """No line of prose is longer than 120 characters; tables, code and headings aside.

    Decisions have a limit of their own, and the changelog has a sentence on each line.
    """
    files = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md", "fitting/README.md"]
    too_long = []
    for path in [*map(ROOT.joinpath, files), *(ROOT / "docs").glob("*.md")]:
        in_code = False
        for number, line in enumerate(path.read_text().splitlines(), 1):
            in_code ^= line.lstrip().startswith("```")
            is_prose = not in_code and not line.startswith(("|", "#", "![", "    "))
            if is_prose and len(line) > 120:
                too_long.append(f"{path.relative_to(ROOT)}:{number}")
    assert too_long == []


def test_the_changelog_has_an_entry_on_each_line() -> None:
    """Under the headings of Keep a Changelog each line is one entry, a sentence of at most 120 characters."""
    _, *releases = (ROOT / "CHANGELOG.md").read_text().split("\n## ")
    for release in releases:
        _, *lines = filter(None, release.splitlines())
        assert [line for line in lines if not re.fullmatch(r"- .{3,118}\.|#### .*|### .*", line)] == []
        groups = {line.removeprefix("### ") for line in lines if line.startswith("### ")}
        assert groups <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Known limits"}


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
    assert f"max.message.bytes={MESSAGE_BYTES}" in OPERATIONS
    assert f"`{defaults.changelog_topic}`" in OPERATIONS
    assert f"`{defaults.dead_letter_topic}`" in OPERATIONS
    assert f"{len(Reason)} reasons" in OPERATIONS


#: "Accepted", or which later decision took its place or changed a part of it.
STATUS = re.compile(r"Accepted|(?:Superseded|Amended) by (?:\[\d{4}\]\(\d{4}-[\w-]+\.md\)(?: \([^()]+\))?(?:,\s)?)+")


def test_decisions_are_short_and_complete() -> None:
    """Each decision gives status, context, decision and consequences, is short, and is in the index."""
    index = (ROOT / "docs/README.md").read_text()
    files = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert len({path.name[:4] for path in files}) == len(files)
    for path in files:
        title, status, *rest = path.read_text().split("\n\n")
        assert title.startswith(f"# {path.name[:4]} "), path.name
        assert STATUS.fullmatch(status.removeprefix("Status: ")), f"{path.name}: {status}"
        later = re.findall(r"\((\d{4}-[\w-]+\.md)\)", status)
        assert all((path.parent / name).exists() and name > path.name for name in later), f"{path.name}: {status}"
        text = "\n\n".join(rest)
        assert len(text.split()) <= 950, path.name
        assert all(len(line) <= 120 or line.startswith("|") for line in text.splitlines()), path.name
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"], path.name
        assert f"decisions/{path.name}" in index
