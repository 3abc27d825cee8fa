"""The same writer and look-ups through a sentinel, over a fail-over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import redis
from keys import KEYS
from nodes import Sentinel, binary
from secure import Certificates
from test_cluster import build, patiently, updates

from memberstream.stream.local.server_process import ServerProcess, free_port
from memberstream.stream.lookup import AsyncLookup, Lookup, LookupUnavailable
from memberstream.stream.projection.calls import RedisUnavailable
from memberstream.stream.projection.projection import Projection

pytestmark = pytest.mark.redis_server


def primary(sentinel: Sentinel) -> int:
    """Return the port of the primary that the sentinel names."""
    named: Any = sentinel.client.sentinel_get_master_addr_by_name("main")
    return int(named[1])


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[Sentinel]:
    running = Sentinel(tmp_path)
    yield running
    running.kill()


@pytest.mark.parametrize("is_killed", [False, True])
async def test_writer_and_look_ups_follow_the_primary(sentinel: Sentinel, is_killed: bool) -> None:
    """Ordered by an operator, or because the primary was killed: both go on with the new one, by the same URL."""
    old = sentinel.servers[0]
    with Lookup(sentinel.url) as blocking:
        async with Projection(sentinel.url, KEYS) as projection, AsyncLookup(sentinel.url) as members:
            await build(projection)
            await projection.members.write(0, updates(20, 1))
            assert (await members.get("m3")).offset == 1
            assert (await asyncio.to_thread(blocking.get, "m3")).offset == 1
            if is_killed:
                old.kill()
            else:
                sentinel.client.sentinel_failover("main")
            give_up_at = time.monotonic() + 15
            while primary(sentinel) == old.port:
                assert time.monotonic() < give_up_at
                await patiently(lambda: projection.members.write(0, updates(20, 2)))
                await asyncio.sleep(0.05)
            while not str(sentinel.servers[1].client.get("ms:member:m3")).startswith("0:0:3:1700000000000:|"):
                # What the old primary still took is lost with it: the worker notices by its beacon, and writes again.
                assert time.monotonic() < give_up_at
                await patiently(lambda: projection.members.write(0, updates(20, 3)))
            assert (await patiently(lambda: members.get("m3"))).offset == 3
            assert (await patiently(lambda: asyncio.to_thread(blocking.get, "m3"))).offset == 3


async def test_an_unknown_service_is_said(sentinel: Sentinel) -> None:
    """A misspelt name is no silent wait."""
    async with Projection(sentinel.url.replace("/main", "/mian"), KEYS) as projection:
        with pytest.raises(RedisUnavailable, match="no service mian"):
            await projection.calls.ping()


def asked(url: str, timeout_s: float = 5.0) -> set[str]:
    """What both clients and the writer say: the status of nobody, or why not."""

    async def others() -> set[str]:
        async with AsyncLookup(url, timeout_s=timeout_s) as lookup, Projection(url, KEYS) as projection:
            found = set[str]()
            try:
                await projection.calls.ping()
            except RedisUnavailable as error:
                found.add(str(error).partition("Next: ")[2])
            try:
                found.add((await lookup.get("nobody")).status)
            except LookupUnavailable as error:
                found.add(str(error).partition("Next: ")[2])
            return found

    with Lookup(url, timeout_s=timeout_s) as lookup:
        try:
            return {lookup.get("nobody").status, *asyncio.run(others())}
        except LookupUnavailable as error:
            return {str(error).partition("Next: ")[2], *asyncio.run(others())}


def test_a_secured_sentinel_and_its_servers(tmp_path: Path) -> None:
    """TLS with client certificates, a user of its own for servers and sentinels, passwords from files that change."""
    made = Certificates.made(tmp_path / "certificates")
    tls = ["--tls-cert-file", str(made.ca.parent / "server.crt"), "--tls-key-file", str(made.ca.parent / "server.key"),
           "--tls-ca-cert-file", str(made.ca), "--tls-replication", "yes", "--tls-auth-clients", "yes"]  # fmt: skip
    client: dict[str, Any] = {
        "ssl_ca_certs": str(made.ca),
        "ssl_certfile": str(made.client),
        "ssl_keyfile": str(made.client),
    }
    ports = {name: free_port() for name in ("server", "sentinel")}
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"sentinel monitor main 127.0.0.1 {ports['server']} 1\nuser asker on >asks +@all\nuser default off\n"
    )
    processes = {name: ServerProcess(f"redis-{name}", tmp_path / f"{name}.log") for name in ports}
    first: dict[str, list[str]] = {"server": [], "sentinel": [str(config), "--sentinel"]}
    log_in: dict[str, Any] = {"server": {}, "sentinel": {"username": "asker", "password": "asks"}}
    try:
        for name, process in processes.items():
            listen = ["--port", "0", "--tls-port", str(ports[name]), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
            process.spawn([binary("redis-server"), *first[name], *listen, *tls], cwd=tmp_path)
            admin = redis.Redis(
                port=ports[name],
                ssl=True,
                **client,
                **log_in[name],
            )
            process.wait_until(partial(answers, admin), timeout_s=20)
            if name == "server":
                server = admin
        server.acl_setuser("worker", enabled=True, passwords=["+first"], keys=["*"], commands=["+@all"])
        (tmp_path / "own").write_text("first\n")
        (tmp_path / "asks").write_text("asks\n")
        sound = {**client, "password_file": tmp_path / "own", "sentinel_username": "asker",
                 "sentinel_password_file": tmp_path / "asks"}  # fmt: skip

        def url(**changed: Any) -> str:
            options = {name: value for name, value in {**sound, **changed}.items() if value is not None}
            return f"rediss+sentinel://worker@127.0.0.1:{ports['sentinel']}/main?{urlencode(options)}"

        assert asked(url()) == {"rebuilding"}
        with Lookup(url(), timeout_s=5.0) as lookup:
            assert lookup.get("nobody").status == "rebuilding"
            server.acl_setuser("worker", enabled=True, reset_passwords=True, passwords=["+second"])
            server.client_kill_filter(user="worker")
            (tmp_path / "own").write_text("second")
            assert lookup.get("nobody").status == "rebuilding"
        for changed, advice in (
            (
                {"sentinel_password_file": None, "sentinel_password": "x"},
                SENTINELS,
            ),
            (
                {"sentinel_username": None, "sentinel_password_file": None},
                SENTINELS,
            ),
            ({"password_file": tmp_path / "asks"}, "it refuses user or password"),
            ({"password_file": tmp_path / "no"}, "let this user read it, or correct its path"),
            ({"ssl_certfile": None, "ssl_keyfile": None}, "check that it runs"),
            ({"ssl_ca_certs": made.other_ca}, "and its certificate"),
        ):
            said = asked(url(**changed), 2.0)
            assert all(one.startswith(advice) or advice in one for one in said), (changed, said)
    finally:
        for process in processes.values():
            process.kill()


SENTINELS = "correct sentinel_username and sentinel_password"


def answers(admin: Any) -> bool:
    try:
        return bool(admin.ping())
    except redis.RedisError:
        return False
