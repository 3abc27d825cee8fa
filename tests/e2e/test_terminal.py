"""Every command over a registry, files, Redis and members full of terminal escapes: none of them arrives."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
from e2e.commands import memberstream
from e2e.definitions import level
from e2e.system import Install, Pair
from keys import KEYS
from unit.test_terminal import CONTROL, NASTY

from memberstream.models.model_file import parse
from memberstream.models.terms import Terms
from memberstream.stream.authoring.campaigning import Campaigning
from memberstream.stream.authoring.publishing import Publishing


def nasty(version: int = 1, threshold: float = 0.5) -> dict[str, Any]:
    """A model whose author wrote escapes wherever a text may stand."""
    clusters = [{"id": 1, "name": f"low {NASTY}"}, {"id": 2, "name": f"high {NASTY}"}]
    return level(version, threshold) | {"description": NASTY, "clusters": clusters}


async def test_no_command_lets_an_escape_through(embedded_pair: Pair, install: Install, tmp_path: Path) -> None:
    """Standard output and standard error of each, for people and as JSON, in success and in failure."""
    system = await install(embedded_pair, [])
    by_somebody = Publishing(system.settings, f"eve {NASTY}")
    for model in (nasty(), nasty(2, 0.9)):
        await by_somebody.publish(parse(model), reason=NASTY, force=True)
    await by_somebody.promote("level", 1, reason=NASTY, force=True)
    system.start()
    await Campaigning(system.settings, f"eve {NASTY}").set("spring", Terms("level", (1, 2)), reason=NASTY)
    events, models, members, shown = (tmp_path / name for name in ("e.ndjson", "m.json", "l.csv", "i.ndjson"))
    good = {"op": "replace", "member_id": "m1", "at": "2020-01-02", "document": {"x": 1, NASTY: NASTY}}
    events.write_bytes(orjson.dumps(good) + b"\n")
    assert (await memberstream(system, "events", "send", str(events)))[0] == 0
    await system.until(lambda: bool(system.held("m1")), "the member")
    bad = [
        {"op": NASTY},
        {"member_id": NASTY},
        good | {NASTY: 1},
        good | {"at": NASTY},
        good | {"op": "patch", NASTY: 1},
    ]
    events.write_bytes(b"\n".join([*map(orjson.dumps, bad), b"\x1b[2J", NASTY.encode()]))
    models.write_bytes(orjson.dumps(nasty(3) | {NASTY: 1, "model": {"type": NASTY}, "predictors": [{"name": NASTY}]}))
    members.write_text(f"member_id,cluster\nm1,{NASTY!r}\n\x1b[2J,1\n\x9b31m,1\nm1,2\n")
    shown.write_bytes(
        b"\n".join(map(orjson.dumps, [{"kind": NASTY}, {"kind": "click", "campaign": NASTY, "id": NASTY}]))
    )
    picture, page = tmp_path / "p.png", tmp_path / "p.html"
    commands = [
        ["model", "list"],
        ["model", "history", "level"],
        ["model", "live-at", "level", "2100-01-01"],
        ["model", "wait", "level@2"],
        ["model", "compare", "level@2", "level@1"],
        ["model", "compare", "level@2", "level@1", "--picture", str(picture)],
        ["model", "check", str(models)],
        ["model", "score", str(models), str(events)],
        ["model", "publish", str(models)],
        ["model", "promote", f"level@{NASTY}"],
        ["model", "rollback", "level"],
        ["model", "training-data", str(models)],
        ["campaign", "list"],
        ["campaign", "show", "spring"],
        ["campaign", "show", NASTY],
        ["campaign", "set", "summer", "--model", "level", "--clusters", NASTY],
        ["campaign", "reach", "spring"],
        ["campaign", "visible", "m1"],
        ["campaign", "report", "spring"],
        ["campaign", "report", "spring", "--html", str(page)],
        ["campaign", "split", "spring"],
        ["clusters", "upload", "tried", str(members), "--names", f"1={NASTY}"],
        ["events", "check", str(events)],
        ["events", "send", str(events)],
        ["interactions", "check", str(shown)],
        ["lookup", "m1"],
        ["lookup", NASTY],
        ["explain", "m1", "level"],
        ["explain", NASTY, NASTY],
        ["doctor"],
        ["no such command"],
    ]
    seen, failed = "", []
    for words in commands:
        for more in ([], ["--json"]):
            _, out, err = await memberstream(system, *words, *more)
            if CONTROL.search(out) or CONTROL.search(err):
                failed.append((words, out, err))
            assert "Traceback" not in err, words
            seen += out + err
    assert failed == []
    assert "\\x1b[2J" in seen
    assert "\\u001b[2J" in seen
    system.redis.hset(KEYS.models, "level@1", orjson.dumps({"type": NASTY, "clusters": {"1": NASTY, "2": NASTY}}))
    await asyncio.sleep(1.1)  # how long a client goes by its copy
    assert not CONTROL.search("".join(map(str, await memberstream(system, "lookup", "m1"))))
    assert not CONTROL.search(system.says()), "the worker's log"
    assert not CONTROL.search(system.scrape()), "metrics"
