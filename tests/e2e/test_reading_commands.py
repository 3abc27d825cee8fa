"""`events send`, `lookup` and `explain` against a running worker, as a person at a terminal uses them."""

from __future__ import annotations

from pathlib import Path

import orjson
from e2e.commands import memberstream
from e2e.definitions import level
from e2e.system import Install, Pair

ODD = "Zoë :x{y} 你好"  # a member id that quoting, splitting or decoding could break


async def test_from_a_file_of_events_to_an_explanation(embedded_pair: Pair, install: Install, tmp_path: Path) -> None:
    """Events sent from a file are found by `lookup` and explained by `explain`, for people and as JSON; members and
    models that don't exist are errors with the next action; `--force` sends bad events, too."""
    system = await install(embedded_pair, [level(), level(version=2, threshold=0.9)])
    system.start()
    file = tmp_path / "events.ndjson"
    member_ids = [*(f"m{i}" for i in range(5)), ODD]
    lines = [
        {"op": "replace", "member_id": member_id, "at": "2020-01-02", "document": {"x": i}}
        for i, member_id in enumerate(member_ids)
    ]
    file.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    status, out, err = await memberstream(system, "events", "send", str(file))
    assert (status, out) == (0, f"sent 6 events to {system.settings.topic}\n"), err
    await system.until(lambda: all(map(system.held, member_ids)), "the members in Redis")
    file.write_bytes(b'{"op": "nonsense", "member_id": "bad"}')
    shown = await memberstream(system, "lookup", "m1")
    as_json = await memberstream(system, "lookup", "m1", "--json")
    odd = await memberstream(system, "lookup", ODD, "--json")
    nobody = await memberstream(system, "lookup", "nobody", "--json")
    why = await memberstream(system, "explain", "m3", "level@1")
    why_json = await memberstream(system, "explain", "m3", "level", "--json")
    why_odd = await memberstream(system, "explain", ODD, "level", "--json")
    no_model = await memberstream(system, "explain", "m3", "missing")
    no_member = await memberstream(system, "explain", "nobody", "level")
    forced = await memberstream(system, "events", "send", str(file), "--force")
    at_ms = 1_577_923_200_000
    assert shown[0] == 0
    assert shown[1].startswith("m1: current\n  level@2: cluster 1 low, since 2020-01-02T00:00:00Z\n")
    answer = orjson.loads(as_json[1])
    assert (answer["status"], answer["as_of_ms"], answer["valid_until_ms"]) == ("current", at_ms, None)
    assert answer["memberships"]["level"] == {
        "model": "level",
        "version": 2,
        "cluster": 1,
        "name": "low",
        "since_ms": at_ms,
    }
    assert (nobody[0], orjson.loads(nobody[1])["status"]) == (1, "unknown member")
    assert orjson.loads(odd[1])["memberships"]["level"]["cluster"] == 2
    assert orjson.loads(why_odd[1])["explanation"]["predictors"] == {"x": 5.0}
    assert why[0] == 0, why[2]
    assert "m3 under level@1" in why[1]
    assert "cluster 2 high" in why[1]
    assert "one change alone that gives another cluster\npredictor  now  changed to" in why[1]
    explained = orjson.loads(why_json[1])
    assert (explained["member_id"], explained["as_of_ms"]) == ("m3", at_ms)
    explanation = explained["explanation"]
    assert (explanation["model"], explanation["cluster"]) == ("level@2", {"id": 2, "name": "high"})
    assert (explanation["predictors"], explanation["contributions"], explanation["eta"]) == ({"x": 3.0}, {"x": 3.0}, 3)
    assert explanation["next_cluster"] == {"id": 1, "name": "low"}
    [lever] = explained["levers"]
    assert (lever["predictors"], lever["value"], lever["words"]) == (["x"], 3.0, "3")
    assert [change["cluster"]["id"] for change in lever["changes"]] == [1, 1]  # a lower x, and none
    for status, out, err in (no_model, no_member):
        assert (status, out) == (1, "")
        assert "Next: " in err.splitlines()[-1]
    assert forced[0] == 0
    await system.until(
        lambda: system.metrics("memberstream_dead_letters_total")[("unknown_op",)] == 1, "the dead letter"
    )
    [letter] = await system.dead_letters()
    assert (letter.key, letter.value) == (b"bad", file.read_bytes())
