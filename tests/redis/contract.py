"""What a reader is told, written from docs/redis.md and docs/campaigns.md alone: an oracle for cases.json.

It shares no code with the clients, and goes another way: a row is taken apart whole, and every rule is a line.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oracle.campaigns import Campaign, sees

CASES = Path(__file__).parents[2] / "docs" / "examples" / "redis" / "cases.json"


def read_cases() -> list[dict[str, Any]]:
    """The worlds, each with all its small keys."""
    cases = json.loads(CASES.read_text(encoding="utf-8"))
    return [{**world, "keys": {**cases["base"], **world.get("keys", {})}} for world in cases["worlds"]]


def at(value: Any, now_ms: int) -> Any:
    """Return a world, or a part of one, with its times filled in."""
    if isinstance(value, str):
        return re.sub("<now([+-][0-9]+)?>", lambda found: str(now_ms + int(found[1] or 0)), value)
    if isinstance(value, list):
        return [at(one, now_ms) for one in value]
    return {key: at(one, now_ms) for key, one in value.items()} if isinstance(value, dict) else value


def told(world: Mapping[str, Any], member: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """Return what a case expects; times are filled in."""
    keys, row = world["keys"], member.get("row", "")
    pos = re.fullmatch(r"(\d+):(\d+):(\d+):(\d+):(\d*)", row.split("|")[0])
    held = {version: (int(c), int(since)) for version, c, since in re.findall(r"(?<=\|)([^|~]+)=(\d+):(\d+)", row)}
    live = {model: f"{model}@{version}" for model, version in keys["live"].items()}
    clusters = {version: list(held[version]) for version in live.values() if version in held}
    offered = _offered(keys, member["id"], {m: clusters[v][0] for m, v in live.items() if v in clusters}, now_ms)
    where = f"{pos[2]}-{pos[3]}" if pos else "-"
    tokens = {
        name: _token(keys, name, member["id"], clusters[live[model]][0], is_held_out, where)
        for name, model, is_held_out in offered
    }
    return {
        "status": _status(world, pos, clusters, set(live.values()), now_ms),
        "position": f"{pos[2]}:{pos[3]}" if pos else None,
        "clusters": clusters,
        "sees": {name: tokens[name] for name, _, is_held_out in offered if not is_held_out},
        "held_out": {name: tokens[name] for name, _, is_held_out in offered if is_held_out},
    }


def _status(world: Mapping[str, Any], pos: Any, clusters: Mapping[str, Any], live: set[str], now_ms: int) -> str:
    keys = world["keys"]
    said = {partition: [int(n) for n in beacon.split(":")] for partition, beacon in keys["beacons"].items()}
    newest = max((written for _, _, written in said.values()), default=0)
    before = max((int(beacon.split(":")[2]) for beacon in world.get("seen_before", {}).values()), default=0)
    types = {version: json.loads(description)["type"] for version, description in keys["models"].items()}
    lists = {version for version in live if types.get(version) == "list"}
    if keys["epoch"] is None or world.get("epoch_at_first", keys["epoch"]) != keys["epoch"] or newest < before:
        return "rebuilding"
    if not pos and lists & clusters.keys():
        return "current"
    if not pos:
        return "unknown member" if said and world.get("beacons_move", True) else "rebuilding"
    if not live - lists <= clusters.keys():
        return "rebuilding"
    if pos[2] not in said:
        return "stale"
    _, clock_ms, written_ms = said[pos[2]]
    age_ms = max(now_ms - written_ms, 0)
    is_overdue = pos[5] != "" and int(pos[5]) <= clock_ms + age_ms
    return "stale" if age_ms > 30_000 or is_overdue else "current"


def _offered(
    keys: Mapping[str, Any], member_id: str, clusters: Mapping[str, int], now_ms: int
) -> list[tuple[str, str, bool]]:
    """Return campaign, model and whether the member is held out, of each that the member sees or is held out from."""
    found = []
    for name, text in sorted(keys["campaigns"].items()):
        terms = json.loads(text)
        model, bounds = terms["model"], (terms["from"], terms["until"])
        campaign = Campaign(model, tuple(terms["clusters"]), terms["holdout"], *bounds, terms["state"] == "paused")
        answer = sees(name, campaign, member_id, clusters, now_ms)
        if answer != "no":
            found.append((name, model, answer == "held out"))
    return found


def _token(
    keys: Mapping[str, Any], name: str, member_id: str, cluster: int, is_held_out: bool, where: str
) -> str | None:
    if keys["known"] is None:
        return None
    model = json.loads(keys["campaigns"][name])["model"]
    said = f"{keys['live'][model]}.{cluster}.{int(is_held_out)}.{keys['known']}.{where}"
    return f"{said}.{hashlib.sha256(f'{name} {member_id} {said}'.encode()).hexdigest()[:8]}"
