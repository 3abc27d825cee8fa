"""Whose the keys in Redis are, as workers and operators meet it."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from e2e.commands import memberstream
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, System, event
from servers import unique

from memberstream.stream.lookup import Lookup


def readyz(system: System) -> tuple[int, str]:
    """Status and text of the worker's /readyz."""
    try:
        with urlopen(f"http://127.0.0.1:{system.settings.metrics_port}/readyz", timeout=20) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


async def row_of_doctor(system: System) -> dict[str, Any]:
    """The row `installation` of `memberstream doctor --json`."""
    _, said, _ = await memberstream(system, "doctor", "--json")
    rows: list[dict[str, Any]] = json.loads(said)["checks"]
    return next(row for row in rows if row["name"] == "installation")


async def test_keys_change_hands_only_when_asked_for(embedded_pair: Pair, install: Install) -> None:
    """A worker that meets another's id holds, says so, and goes on when it is gone. Commands of another group write
    nothing, `doctor` is red, and it can't take over from one that lives. Then the group is renamed, and it can."""
    system = await install(embedded_pair, [level()])
    system.start()
    await system.send([Sent(b"m", event("replace", document={"x": 1}))])
    await system.applied()
    own = system.redis.get(system.keys.installation).decode()
    assert own == f"{system.settings.group}@tansu_cluster"
    assert (await row_of_doctor(system))["ok"]

    system.redis.set(system.keys.installation, "other@kafka")
    await system.until(lambda: readyz(system)[0] == 503, "the other noticed")
    held = dict(system.redis.hgetall(system.keys.beacons))
    await system.send([Sent(b"m", event("replace", document={"x": -1}))])
    for part in ("those of the installation other@kafka", f"this is {own}", "MEMBERSTREAM_REDIS_PREFIX"):
        assert part in readyz(system)[1]
        assert part in system.says()
    assert system.redis.hgetall(system.keys.beacons) == held
    assert system.held("m")["level@1"].startswith("2:")
    system.redis.set(system.keys.installation, own)
    await system.applied()
    await system.until(lambda: readyz(system)[0] == 200, "all well")
    assert system.held("m")["level@1"].startswith("1:")

    before, pid = system.settings, system.pid
    system.set(group=unique("renamed"))
    known = system.redis.get(system.keys.known)
    status, _, why = await memberstream(
        system, "campaign", "set", "c", "--model", "level", "--clusters", "2", "--force"
    )
    assert (status, system.redis.get(system.keys.known)) == (1, known)
    assert f"those of the installation {own}, this is {system.settings.group}@" in why
    row = await row_of_doctor(system)
    assert (row["ok"], "rebuild --take-over" in row["next"]) == (False, True)
    status, _, why = await memberstream(system, "rebuild", "--take-over", "--yes")
    assert status == 1
    assert "it lives" in why
    assert system.redis.get(system.keys.installation).decode() == own
    assert system.pid == pid

    system.set(group=before.group)
    system.stop()
    system.set(group=unique("renamed"), data_dir=system.directory / "renamed")
    system.redis.hset(system.keys.beacons, mapping={"0": "1:1:1", "1": "1:1:1"})  # as if half a minute had passed
    system.redis.hset(system.keys.behind, mapping={"0": "0:1:0:1", "1": "0:1:0:1"})
    status, said, why = await memberstream(system, "rebuild", "--take-over", "--yes")
    assert (status, f"were those of {own}" in said) == (0, True), why
    status, _, why = await memberstream(system, "rebuild", "--take-over", "--yes")
    assert (status, "Next: nothing" in why) == (1, True)
    await system.publish(level())
    with Lookup(system.settings.redis_url) as lookup:
        assert lookup.get("m").status == "rebuilding"
        system.start()
        await system.applied()
        assert lookup.get("m").cluster("level") == 1
