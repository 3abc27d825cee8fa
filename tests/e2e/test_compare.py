"""`model compare`: what a promotion would change, told before it is done."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import orjson
import pandas as pd
import pytest
from e2e.commands import memberstream
from e2e.definitions import level, level_of_trees, recent
from e2e.system import Install, Pair, Sent, System, event

from memberstream.stream.notebook import compare, publish, upload
from memberstream.stream.settings import variable

IDS = [f"m{i}" for i in range(40)]


@pytest.fixture
async def system(embedded_pair: Pair, install: Install) -> System:
    """A worker with `level@1` live and `level@2` a candidate; of forty members ten would leave cluster 2."""
    system = await install(embedded_pair, [level()])
    system.start()
    await system.send(
        [Sent(m.encode(), event("replace", document={"x": i % 4, "y": "12.50"})) for i, m in enumerate(IDS)]
    )
    await system.applied()
    return system


async def test_a_candidate_against_the_live_version(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file to a comparison as a person sees it, as JSON, as a picture, and from a notebook: ten members move
    from high to low, and the predictor says why."""
    file = tmp_path / "level.json"
    candidate = level(version=2, threshold=0.8)
    candidate["predictors"].append({"name": "y", "path": "y", "missing": 0})
    candidate["model"]["coef"].append(0)
    file.write_bytes(orjson.dumps(candidate))
    status, out, err = await memberstream(system, "model", "publish", str(file))
    assert (status, "level@2 reads values that don't fit, at more than 10% of" in err) == (1, True)
    status, out, err = await memberstream(system, "model", "publish", str(file), "--wait", "--force")
    assert status == 0, err
    misfit = "y: y: expected a number, found a number written as a text, in 40 of 40 documents with a value"
    assert misfit in out.replace("\n", " ")
    assert "40 members scored with level@2" in out
    picture = tmp_path / "compared.png"
    status, out, err = await memberstream(system, "model", "compare", "level@2", "level", "--picture", str(picture))
    assert status == 0, err
    assert "level@2 against level@1: 40 members under both\n30 agree (75.0%), 10 would move (25.0%)\n" in out
    assert "2 high → 1 low: 10 members, such as\n" in out
    assert "    x = 1.0000: contribution +1.0000 → +1.0000\n" in out
    assert f"doesn't fit: level@2 {misfit}" in out.replace("\n", " ")
    assert "PSI 0.000 (nothing to speak of), KS 0.000" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert (await memberstream(system, "campaign", "set", "for-high", "--model", "level", "--clusters", "high"))[0] == 0
    status, out, err = await memberstream(system, "model", "compare", "level@2", "level@1", "--json", "--samples", "1")
    found = orjson.loads(out)
    assert found["campaigns"] == [{"campaign": "for-high", "old_reach": 30, "new_reach": 20}]
    assert (found["members"], found["agree"], found["matrix"]) == (40, 30, [[10, 0, 0], [10, 20, 0], [0, 0, 0]])
    assert found["flips"] == [{"old": 2, "new": 1, "n": 10}]
    assert [(one["version"], one["place"]["n_wrong_type"]) for one in found["misfits"]] == [("level@2", 40)]
    [mover] = found["movers"]
    assert int(mover["member_id"][1:]) % 4 == 1
    for name, value in system.environment().items():
        if name.startswith(variable("")):
            monkeypatch.setenv(name, value)
    again = compare("level@2", "level@1")  # this test has an event loop, as a notebook has
    assert again.comparison.n_agree == 30
    assert publish(file, promote=True, force=True) == {1: 20, 2: 20}
    status, out, err = await memberstream(system, "model", "history", "level", "--json")
    assert [step["action"] for step in orjson.loads(out)] == ["publish", "promote", "publish", "promote"]


async def test_models_of_other_kinds(system: System, tmp_path: Path) -> None:
    """Another model with other clusters is compared and promoted, trees are compared with a regression; what can't be
    done is said with what to do."""
    file = tmp_path / "recent.json"
    file.write_bytes(orjson.dumps(recent()))
    assert (await memberstream(system, "model", "publish", str(file), "--force"))[0] == 0
    status, out, err = await memberstream(system, "model", "compare", "recent@1", "level@1", "--picture", "x.pdf")
    assert (status, out) == (1, "")
    assert "expected a name that ends in .svg or .png. Next:" in err
    status, out, err = await memberstream(system, "model", "compare", "recent@1", "level@1")
    assert status == 0, err
    assert "recent@1 against level@1: 40 members under both\n10 agree (25.0%)" in out
    status, out, err = await memberstream(system, "model", "compare", "level@1", "level@1")
    assert (status, out) == (1, "")
    assert "both are level@1: nothing to compare. Next:" in err
    status, out, err = await memberstream(system, "model", "compare", "recent@1", "level@7")
    assert (status, out) == (1, "")
    assert "no model level@7 is published. Next: one of level@1, recent@1" in err
    file.write_bytes(orjson.dumps(level_of_trees()))
    assert (await memberstream(system, "model", "publish", str(file), "--wait", "--force"))[0] == 0
    status, out, err = await memberstream(system, "model", "compare", "level@2", "level@1")
    assert status == 0, err
    assert "2 high → 1 low: 10 members, such as\n" in out
    assert "    x = 1.0000: contribution +1.0000 → -1.0000\n" in out
    assert "PSI" in out  # probabilities of trees are there to be compared
    status, out, err = await memberstream(system, "explain", "m2", "level@2")
    assert status == 0, err
    assert "raw score +1.0000 (of which +0.0000 is the mean of training) → probability 0.7311\n" in out
    promoted = await memberstream(system, "model", "promote", "recent@1", "--force")
    assert promoted[:2] == (0, "live recent@1\n")  # no way back to a version that there never was


async def test_a_version_against_a_list(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members whom the list puts elsewhere are shown with what the version computes, as of the time that is asked for:
    on the first day a member is still new, two months later no more."""
    for name, value in system.environment().items():
        if name.startswith(variable("")):
            monkeypatch.setenv(name, value)
    uploaded = upload(pd.DataFrame({"member_id": IDS, "cluster": [1] * 40}), name="guess", names={1: "low", 2: "high"})
    assert uploaded.label == "guess@1"
    status, out, err = await memberstream(system, "model", "compare", "level@1", "guess@1", "--at", "2020-01-01")
    assert status == 0, err
    assert "level@1 against guess@1: 40 members under both, as of 2020-01-01T00:00:00Z\n10 agree" in out
    assert "1 low → 2 high: 30 members, such as\n" in out
    assert "    x = 1.0000: contribution – → +1.0000\n" in out
    found = compare("level@1", "guess@1", at="list")
    assert found.at_ms is not None
    assert found.at_ms > 1_700_000_000_000
    assert [mover.as_of_ms for mover in found.movers] == [found.at_ms] * 2
    await system.send([Sent(b"m0", event("patch", patch={"seen": "2020-01-01"}))])
    await system.applied()
    publish(recent(), wait=False, force=True)
    first, later = (
        compare("recent@1", "guess@1", at=at) for at in (datetime(2020, 1, 1, 12, tzinfo=UTC), "2020-03-01")
    )
    assert (first.comparison.n_agree, later.comparison.n_agree) == (40, 39)
    [mover] = later.movers
    assert (mover.member_id, mover.reasons[0].new_x) == ("m0", 60.0)
    turned = compare("guess@1", "level@1", n_samples=1)
    [reason] = turned.movers[0].reasons
    assert (reason.old_x, reason.new_x, reason.new_contribution) == (1.0, None, 0.0)
    assert turned.at_ms is None
    for at, versions, problem in (
        ("list", ("level@1", "recent@1"), "neither is an uploaded list"),
        ("2020-01-01", ("guess@1", "guess@2"), "both are uploaded lists"),
        ("soon", ("level@1", "guess@1"), "--at soon: expected ISO 8601"),
    ):
        if versions[1] == "guess@2":
            upload({"m1": 2}, name="guess")
        status, out, err = await memberstream(system, "model", "compare", *versions, "--at", at)
        assert (status, out) == (1, "")
        assert problem in err
        assert "Next: " in err
