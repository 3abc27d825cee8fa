"""What the repository says twice, because other programs read it, agrees with what it says once."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CI_RUN = (ROOT / ".ci/run").read_text()


def test_each_commit_is_checked_by_what_make_lint_runs() -> None:
    """The hooks are programs of `make lint`, from the same environment."""
    linted = set(re.findall(r"^\t(\.venv/bin/\w+(?: check| format)?)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    for hook in repository["hooks"]:
        assert hook["entry"].split(" --")[0] in linted, hook["entry"]


def test_the_workflow_runs_what_runs_anywhere() -> None:
    """What CI does stands in .ci/run alone; the workflow needs the history, for a test builds the release before."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps = workflow["jobs"]["test"]["steps"]
    assert steps[-1] == {"run": ".ci/run"}
    (checkout,) = (step for step in steps if "checkout" in step.get("uses", ""))
    assert checkout["with"]["fetch-depth"] == 0


def test_the_container_has_what_ci_installs() -> None:
    """The packages of .devcontainer are those of .ci/run, except for Python, which its image brings."""
    wanted = {package for line in re.findall(r"packages\+=\(([^)]*)\)", CI_RUN) for package in line.split()}
    container = json.loads(re.sub(r"^//.*\n", "", (ROOT / ".devcontainer/devcontainer.json").read_text()))
    installed = re.search(r"--no-install-recommends (.*?) &&", container["postCreateCommand"])
    assert installed
    assert set(installed[1].split()) == wanted - {"python3", "python3-venv"}


def test_one_version() -> None:
    """Both distributions, the image's tag and the topmost heading of the changelog name one version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]["version"] == version
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    images = {service["image"] for service in services.values() if service["image"].startswith("memberstream:")}
    assert images == {f"memberstream:{version}"}
    heading = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading
    assert re.fullmatch(rf"\[{re.escape(version)}\] – (unreleased|\d{{4}}-\d\d-\d\d)", heading[1])
