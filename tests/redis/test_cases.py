"""docs/examples/redis/cases.json: what readers in any language are told, by clients and programs, over a real Redis."""

from __future__ import annotations

import asyncio
import copy
import importlib
import runpy
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from believing import async_believing, beat, believing
from contract import at, read_cases, told
from servers import RedisServer
from test_docs import EXAMPLES, OTHERS, prepare, run_one

# A time to which the clients' clock is set; programs have the true one.
NOW_MS = 1_800_000_000_123
WORLDS = read_cases()
BY_NAME = pytest.mark.parametrize("world", WORLDS, ids=[world["name"] for world in WORLDS])
# Members for which a world is filled anew: its times pass while programs start.
AT_A_TIME = 8
EXPECTED = ("status", "position", "clusters", "sees", "held_out")


def expected(member: Mapping[str, Any]) -> dict[str, Any]:
    """What a case says; where it says nothing of campaigns, there are none."""
    return {name: member.get(name, {}) for name in EXPECTED}


def disagreements(world: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What the oracle says otherwise than the cases."""
    filled = at(world, NOW_MS)
    answers = [(one["id"], expected(one), told(filled, one, NOW_MS)) for one in filled["members"]]
    return [(name, wanted, found) for name, wanted, found in answers if wanted != found]


@BY_NAME
def test_cases_are_what_the_documents_say(world: dict[str, Any]) -> None:
    """By a second implementation, made from the documents alone."""
    assert disagreements(world) == []


def test_a_case_that_expects_something_else_is_noticed() -> None:
    """Each expectation of each case, altered alone."""
    n = 0
    for world in WORLDS:
        for place, member in enumerate(world["members"]):
            for name, value in expected(member).items():
                altered = copy.deepcopy({**world, "members": [member]})
                altered["members"][0][name] = {"x": [1, 1]} if isinstance(value, dict) else f"not {value}"
                assert len(disagreements(altered)) == 1, (world["name"], place, name)
                n += 1
    assert n >= 500


def test_cases_reach_each_line_of_the_table() -> None:
    """Every status, and every reason for one, as the docs list them."""
    members = [(world, member) for world in WORLDS for member in world["members"]]
    assert {member["status"] for _, member in members} == {"current", "stale", "rebuilding", "unknown member"}
    for status, is_so in (
        ("rebuilding", lambda world, _: world["keys"]["epoch"] is None),
        ("rebuilding", lambda world, _: "epoch_at_first" in world),
        ("rebuilding", lambda world, _: "seen_before" in world),
        ("current", lambda _, member: member.get("row", "").startswith("||")),
        ("rebuilding", lambda world, member: not world.get("beacons_move", True) and "row" not in member),
        ("rebuilding", lambda world, member: not world.get("beacons_move", True) and ":gone" in member.get("row", "")),
        ("unknown member", lambda _, member: "row" not in member),
        ("unknown member", lambda _, member: ":gone" in member.get("row", "")),
        ("unknown member", lambda _, member: member.get("row", "").startswith("||")),
        ("rebuilding", lambda world, member: not world["keys"]["models"] and "row" in member),
        ("stale", lambda world, _: not world["keys"]["beacons"]),
        ("stale", lambda _, member: member["id"] == "30,001 ms old"),
        ("current", lambda _, member: member["id"] == "30,000 ms old"),
        ("stale", lambda _, member: member["id"] == "due now"),
        ("current", lambda _, member: member["id"] == "due in 1 ms"),
    ):
        assert any(member["status"] == status and is_so(world, member) for world, member in members)


def fill(admin: Any, world: Mapping[str, Any]) -> None:
    """Write a world, whose times are filled in, into an empty Redis."""
    admin.flushall()
    keys = world["keys"]
    for name in ("epoch", "known"):
        if keys[name] is not None:
            admin.set(f"ms:{{meta}}:{name}", keys[name])
    for name in ("live", "models", "campaigns", "beacons"):
        if keys[name]:
            admin.hset(f"ms:{{meta}}:{name}", mapping=keys[name])
    for member in world["members"]:
        if "row" in member:
            admin.set(f"ms:member:{member['id']}", member["row"])


def answered(answer: Any) -> dict[str, Any]:
    """What a client's answer says, as a case says it. All ways to ask must agree."""
    seen = answer.visible
    assert seen.status == answer.status
    return {
        "status": answer.status,
        "position": None if answer.offset is None else f"{answer.partition}:{answer.offset}",
        "clusters": {f"{m.model}@{m.version}": [m.cluster, m.since_ms] for m in answer.memberships.values()},
        "sees": {name: answer.token(name) for name in seen.campaigns},
        "held_out": {name: answer.token(name) for name in seen.held_out},
    }


@pytest.mark.parametrize("package", ["memberstream.stream.lookup", "memberstream_lookup.lookup"])
def test_both_clients_give_what_the_cases_say(redis_url: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocking and asyncio, one member at a time and all at once; also as the package that services install."""
    monkeypatch.syspath_prepend(EXAMPLES.parents[2] / "clients" / "python")
    lookup, exchange = importlib.import_module(package), importlib.import_module(f"{package}.exchange")
    monkeypatch.setattr(exchange, "META_TTL_S", -1.0)  # the small keys are read each time
    monkeypatch.setattr(exchange.time, "time_ns", lambda: NOW_MS * 1_000_000)

    def blocking(url: str, admin: Any, world: Mapping[str, Any]) -> list[Any]:
        with lookup.Lookup(url) as client:
            if world.get("beacons_move", True) and world["keys"]["epoch"] is not None:
                believing(client, admin)
            meet(client.get("somebody"), admin, world)
            alone = [client.get(one["id"]) for one in world["members"]]
            assert alone == client.get_many([one["id"] for one in world["members"]])
            return alone

    async def asynchronous(url: str, admin: Any, world: Mapping[str, Any]) -> list[Any]:
        async with lookup.AsyncLookup(url) as client:
            if world.get("beacons_move", True) and world["keys"]["epoch"] is not None:
                await async_believing(client, admin)
            meet(await client.get("somebody"), admin, world)
            alone = [await client.get(one["id"]) for one in world["members"]]
            together = await asyncio.gather(*[client.get(one["id"]) for one in world["members"]])
            assert alone == together == await client.get_many([one["id"] for one in world["members"]])
            return alone

    def meet(_: Any, admin: Any, world: Mapping[str, Any]) -> None:
        if "seen_before" in world:  # until now
            admin.hset("ms:{meta}:beacons", mapping=world["keys"]["beacons"])

    with redis.Redis.from_url(redis_url) as admin:
        for world in at(WORLDS, NOW_MS):
            for ask in (blocking, lambda *given: asyncio.run(asynchronous(*given))):
                fill(admin, world)
                if "seen_before" in world:
                    admin.hset("ms:{meta}:beacons", mapping=world["seen_before"])
                with changing_epoch(redis_url, world) as url:
                    found = [answered(answer) for answer in ask(url, admin, world)]
                assert found == [expected(one) for one in world["members"]], world["name"]


@contextmanager
def changing_epoch(url: str, world: Mapping[str, Any]) -> Iterator[str]:
    """A Redis whose epoch is another one at the first look of each pipeline, if the world says so."""
    if "epoch_at_first" not in world:
        yield url
        return
    now, first = (b"$%d\r\n%b\r\n" % (len(e), e.encode()) for e in (world["keys"]["epoch"], world["epoch_at_first"]))
    assert len(now) == len(first)
    host, _, port = url.removeprefix("redis://").partition("/")[0].partition(":")

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            server = socket.create_connection((host, int(port)))
            for ends in ((client, server, False), (server, client, True)):
                threading.Thread(target=pump, args=ends, daemon=True).start()

    def pump(source: socket.socket, target: socket.socket, is_reply: bool) -> None:
        """Replies to one pipeline come in one piece here: they are small."""
        try:
            while data := source.recv(1 << 20):
                target.sendall(data.replace(now, first, 1) if is_reply and data.count(now) > 1 else data)
        except OSError:
            pass
        finally:
            source.close()
            target.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


def printed(member: Mapping[str, Any]) -> tuple[str, str]:
    """What the two programs of a language print about a member."""
    said = [f"status: {member['status']}"]
    if member["position"] is not None:
        said.append(f"position: {member['position']}")
    said += [f"{version}: {cluster} since {since}" for version, (cluster, since) in sorted(member["clusters"].items())]
    offered = {name: f"{name} {token or 'without a token'}" for name, token in member["sees"].items()}
    offered |= {name: f"held out: {name} {token}" for name, token in member["held_out"].items()}
    return "".join(line + "\n" for line in said), "".join(offered[name] + "\n" for name in sorted(offered))


def check_programs(
    url: str, lookup: list[Any], visible: list[Any], *, knows_first_epoch: bool = True, at_once: int = 4
) -> None:
    """Run both over all worlds that a program with the true clock, which looks once, can meet."""
    with redis.Redis.from_url(url) as admin, ThreadPoolExecutor(at_once) as pool:
        for whole in WORLDS:
            if whole.get("exact") or "seen_before" in whole or ("epoch_at_first" in whole and not knows_first_epoch):
                continue
            for start in range(0, len(whole["members"]), AT_A_TIME):
                part = {**whole, "members": whole["members"][start : start + AT_A_TIME]}
                world = at(part, time.time_ns() // 1_000_000)
                fill(admin, world)
                with beating(admin, world), changing_epoch(url, world) as its_url:
                    ids = [one["id"] for one in world["members"]]
                    asked = [pool.submit(run_one, lookup, its_url, one) for one in ids]
                    shown = [pool.submit(run_one, visible, its_url, one) for one in ids if world["keys"]["campaigns"]]
                    found = [one.result() for one in asked], [one.result() for one in shown]
                wanted = [printed(expected(one)) for one in world["members"]]
                assert found[0] == [one for one, _ in wanted], world["name"]
                assert found[1] in ([], [one for _, one in wanted]), world["name"]


@contextmanager
def beating(admin: Any, world: Mapping[str, Any]) -> Iterator[None]:
    """A worker that lives, if the world has one."""
    is_over = threading.Event()

    def work() -> None:
        while not is_over.wait(0.1):
            beat(admin)

    worker = threading.Thread(target=work)
    if world.get("beacons_move", True):
        worker.start()
    try:
        yield
    finally:
        is_over.set()
        if worker.ident is not None:
            worker.join()


@pytest.mark.long
def test_the_shell_programs_print_what_the_cases_say(valkey_server: RedisServer) -> None:
    """By hand; they don't look at the epoch of step 1, as they keep no copy. 25 s."""
    if missing := [tool for tool in ("redis-cli", "jq") if shutil.which(tool) is None]:
        pytest.skip(f"{' and '.join(missing)} is missing (Debian: redis-tools, jq)")
    commands: list[list[str | Path]] = [["sh", EXAMPLES / name] for name in ("lookup.sh", "visible.sh")]
    check_programs(valkey_server.url, *commands, knows_first_epoch=False)


@pytest.mark.long
def test_the_python_programs_print_what_the_cases_say(
    valkey_server: RedisServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process: to start a hundred more takes long. 2 s of CPU."""

    def run(program: str, url: str, member: str) -> str:
        monkeypatch.setattr(sys, "argv", [program, member, url])
        runpy.run_path(str(EXAMPLES / program))
        return capsys.readouterr().out

    monkeypatch.setattr(sys.modules[__name__], "run_one", lambda command, url, member: run(command[0], url, member))
    check_programs(valkey_server.url, ["lookup.py"], ["visible.py"], at_once=1)


@pytest.mark.long
@pytest.mark.examples
@OTHERS
def test_programs_of_other_languages_print_what_the_cases_say(
    valkey_server: RedisServer, tool: str, needs: Any, lookup: list[Any], visible: list[Any]
) -> None:
    """Java, Go and Node; their libraries come by docs/examples/redis/fetch.sh. A minute each, Go 5 s."""
    prepare(tool, needs)
    check_programs(valkey_server.url, lookup, visible)
