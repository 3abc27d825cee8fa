"""`model compare`: what a promotion would change, told before it is done."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from e2e.commands import memberstream
from e2e.definitions import level, recent
from e2e.system import Install, Pair, Sent, System, event

from stream.notebook import compare, publish
from stream.settings import variable

IDS = [f"m{i}" for i in range(40)]


@pytest.fixture
async def system(embedded_pair: Pair, install: Install) -> System:
    """A worker with `level@1` live and `level@2` a candidate; of forty members ten would leave cluster 2."""
    system = await install(embedded_pair, [level()])
    system.start()
    await system.send([Sent(m.encode(), event("replace", document={"x": i % 4})) for i, m in enumerate(IDS)])
    await system.applied()
    return system


async def test_a_candidate_against_the_live_version(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file to a comparison as a person sees it, as JSON, as a picture, and from a notebook: ten members move
    from high to low, and the predictor says why."""
    file = tmp_path / "level.json"
    file.write_bytes(orjson.dumps(level(version=2, threshold=0.8)))
    status, out, err = await memberstream(system, "model", "publish", str(file), "--wait")
    assert status == 0, err
    assert "40 members scored with level@2" in out
    picture = tmp_path / "compared.png"
    status, out, err = await memberstream(system, "model", "compare", "level@2", "level", "--picture", str(picture))
    assert status == 0, err
    assert "level@2 against level@1: 40 members under both\n30 agree (75.0%), 10 would move (25.0%)\n" in out
    assert "2 high → 1 low: 10 members, such as\n" in out
    assert "    x = 1.0000: contribution +1.0000 → +1.0000\n" in out
    assert "PSI 0.000 (nothing to speak of), KS 0.000" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert (await memberstream(system, "campaign", "set", "for-high", "--model", "level", "--clusters", "high"))[0] == 0
    status, out, err = await memberstream(system, "model", "compare", "level@2", "level@1", "--json", "--samples", "1")
    found = orjson.loads(out)
    assert found["campaigns"] == [{"campaign": "for-high", "old_reach": 30, "new_reach": 20}]
    assert (found["members"], found["agree"], found["matrix"]) == (40, 30, [[10, 0, 0], [10, 20, 0], [0, 0, 0]])
    assert found["flips"] == [{"old": 2, "new": 1, "n": 10}]
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
    """Another model with other clusters is compared like any other; what can't be, is said with what to do."""
    file = tmp_path / "recent.json"
    file.write_bytes(orjson.dumps(recent()))
    assert (await memberstream(system, "model", "publish", str(file), "--force"))[0] == 0
    status, out, err = await memberstream(system, "model", "compare", "recent@1", "level@1", "--picture", "x.pdf")
    assert (status, out) == (1, "")
    assert "expected a name that ends in .svg or .png. Next:" in err
    status, out, err = await memberstream(system, "model", "compare", "recent@1", "level@1")
    assert status == 0, err
    assert "recent@1 against level@1: 40 members under both\n10 agree (25.0%)" in out
    status, out, err = await memberstream(system, "model", "compare", "recent@1", "level@7")
    assert (status, out) == (1, "")
    assert "no model level@7 is published. Next: one of level@1, recent@1" in err
