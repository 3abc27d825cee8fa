"""docs/redis.md, "When Redis is in trouble": each cell of that table, by both Python clients."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from believing import format_beacon
from keys import KEYS
from servers import RedisServer
from test_lookup import fill

from memberstream.stream.keyspace.formats import parse_beacon
from memberstream.stream.lookup import AsyncLookup, Lookup, LookupUnavailable

DOC = (Path(__file__).parents[2] / "docs" / "redis.md").read_text(encoding="utf-8")
TIMEOUT_S, SLACK_S = 0.5, 1.5  # a busy machine


def table() -> dict[str, tuple[str, str]]:
    """State → what the client that was connected is told, and what a new one is."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", DOC.partition("### When Redis is in trouble")[2], re.M)
    return {state: (connected, new) for state, connected, new in rows if state not in ("Redis", "---")}


def add_reader(admin: Any) -> None:
    admin.acl_setuser("reader", enabled=True, passwords=["+x"], keys=["*"], commands=["+@all"])


@contextmanager
def stopped(server: RedisServer, admin: Any) -> Iterator[None]:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    yield
    os.kill(server.pid, signal.SIGCONT)


@contextmanager
def killed(server: RedisServer, admin: Any) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextmanager
def emptied(server: RedisServer, admin: Any) -> Iterator[None]:
    server.kill()
    server.start()
    add_reader(admin)
    yield


@contextmanager
def older(server: RedisServer, admin: Any) -> Iterator[None]:
    """As from a dump of ten seconds ago: all that is told of time is older than the clients have seen."""
    for partition, value in admin.hgetall(KEYS.beacons).items():
        was = parse_beacon(value)
        admin.hset(KEYS.beacons, partition, format_beacon(was._replace(written_ms=was.written_ms - 10_000)))
    admin.client_kill_filter(_type="normal", skipme=True)
    yield


@contextmanager
def full(server: RedisServer, admin: Any) -> Iterator[None]:
    admin.config_set("maxclients", str(len(admin.client_list())))
    yield
    admin.config_set("maxclients", "1000")


@contextmanager
def forbidden(server: RedisServer, admin: Any) -> Iterator[None]:
    admin.acl_setuser("reader", enabled=True, commands=["-@all", "+hello", "+ping"])
    yield


@contextmanager
def renamed(server: RedisServer, admin: Any) -> Iterator[None]:
    admin.acl_setuser("reader", enabled=True, reset_passwords=True, passwords=["+another"])
    yield


@contextmanager
def replaced(server: RedisServer, admin: Any) -> Iterator[None]:
    """A web server has the port."""
    server.kill()
    with socket.create_server(("127.0.0.1", server.port)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1_000)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


STATES: dict[str, Callable[[RedisServer, Any], Any]] = {
    "stopped, or the network is silent": stopped,
    "not there": killed,
    "back, and empty": emptied,
    "back, with an older dump": older,
    "full of connections": full,
    "another program on its port": replaced,
    "with fewer rights for this user": forbidden,
    "with another password for this user": renamed,
}


def test_the_table_has_these_states() -> None:
    """A row more in the document is to be tried, too."""
    assert list(table()) == list(STATES)


async def outcome(ask: Callable[[str], Any]) -> str:
    """The status of a member that was there, or the text of the error; either in time."""
    began = time.monotonic()
    try:
        return str((await ask("m-1")).status)
    except LookupUnavailable as error:
        return str(error)
    finally:
        assert time.monotonic() - began < TIMEOUT_S + SLACK_S


def fits(cell: str, told: str) -> bool:
    """Whether a cell of the table says so: a status alone, or words of an error."""
    [words] = re.findall("`([^`]+)`", cell.removeprefix("error: "))
    return words in told if cell.startswith("error: ") else words == told


@asynccontextmanager
async def clients(url: str) -> AsyncIterator[tuple[Callable[[str], Any], Callable[[str], Any]]]:
    """Both clients, each as a way to ask for a member."""
    with Lookup(url, timeout_s=TIMEOUT_S) as blocking:
        async with AsyncLookup(url, timeout_s=TIMEOUT_S) as lookup:

            async def ask(member_id: str) -> Any:
                return await asyncio.to_thread(blocking.get, member_id)

            yield ask, lookup.get


@pytest.mark.parametrize("state", STATES)
async def test_each_cell_by_both_clients(state: str, tmp_path: Path) -> None:
    """The client that was connected before, and a new one. When the trouble is over, both are served again."""
    connected_cell, new_cell = table()[state]
    with RedisServer("valkey", tmp_path / "redis") as server, redis.Redis.from_url(server.url) as admin:
        await fill(server.url)
        admin.acl_setuser("reader", enabled=True, passwords=["+x"], keys=["*"], commands=["+@all"])
        url = server.url.replace("redis://", "redis://reader:x@")
        async with clients(url) as connected:
            for ask in connected:
                assert (await ask("m-1")).status == "current"
            with STATES[state](server, admin):
                for ask in connected:
                    assert fits(connected_cell, said := await outcome(ask)), said
                async with clients(url) as new:
                    for ask in new:
                        assert fits(new_cell, said := await outcome(ask)), said
            if state in ("stopped, or the network is silent", "full of connections"):
                assert [await outcome(ask) for ask in connected] == ["current", "current"]
