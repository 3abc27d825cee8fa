"""A worker's port for questions about one member: who knows the secret is answered, and nobody else is."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPConnection
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import pytest

from memberstream.models.member import Member, decode, encode
from memberstream.stream.keyspace.formats import Door
from memberstream.stream.partition.state import NotOwner
from memberstream.stream.process.http_server import HttpServer
from memberstream.stream.projection.partitions import Partitions
from memberstream.stream.queries import answering, asking
from memberstream.stream.queries.answering import Answering
from memberstream.stream.queries.asking import Held, NoAnswer, _now_ms, ask, held_of
from memberstream.stream.queries.seal import SEAL, seal_question
from memberstream.stream.settings import Settings

SETTINGS = Settings(group="shop", query_secret="a secret of sixteen")
SECRET = SETTINGS.query_key or ""
MEMBER = Member(position=41, as_of_ms=7, document={"name": "Ann", "n": 1})
STATE = encode(MEMBER, 41)


class Worker:
    """An event loop in a thread, as a worker has one, with the states of partition 1. `reads`: what it was asked."""

    def __init__(self) -> None:
        self.reads: list[tuple[int, bytes]] = []
        self.loop = asyncio.new_event_loop()
        self.states: Mapping[bytes, bytes] = {b"ann": STATE, b"kim": STATE, "m/ä ?".encode(): STATE}
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def end(self) -> None:
        """End the loop, if it runs."""
        if self.loop.is_closed():
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def read(self, partition: int, key: bytes) -> bytes | None:
        """Return a state."""
        assert threading.current_thread() is not threading.main_thread()
        self.reads.append((partition, key))
        if partition != 1:
            raise NotOwner
        if key == b"broken":
            raise OSError("the disk")
        return self.states.get(key)


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.end()


@pytest.fixture
def door(worker: Worker) -> Iterator[Door]:
    """Where it answers."""
    server = HttpServer("127.0.0.1", 0, Answering(SECRET, worker.read, lambda: worker.loop), "queries")
    yield Door(_now_ms(), "127.0.0.1", server.port)
    server.close()


def test_who_knows_the_secret_is_answered(worker: Worker, door: Door) -> None:
    """With the bytes of the state, whatever characters an id has; nothing for a member that there isn't."""
    assert ask(SECRET, door, 1, b"ann") == STATE
    assert ask(SECRET, door, 1, "m/ä ?".encode()) == STATE
    assert ask(SECRET, door, 1, b"nobody") is None
    assert worker.reads == [(1, b"ann"), (1, "m/ä ?".encode()), (1, b"nobody")]
    assert ask(SECRET, door, 1, b"\0bookkeeping") is None
    assert len(worker.reads) == 3


def test_others_never_reach_the_event_loop(worker: Worker, door: Door) -> None:
    """Without the secret, with another one, or with the seal of another question, or of another time."""
    with pytest.raises(NoAnswer, match=r"has another MEMBERSTREAM_QUERY_SECRET\. Next: give both the same"):
        ask("another secret of sixteen", door, 1, b"ann")
    path = "/members/1/ann"
    for seal in ("", "x", "7", f"{'9' * 5_000}.x", seal_question(SECRET, "/members/1/bob", _now_ms())):
        assert status(door, path, {SEAL: seal}) == 403, seal
    assert status(door, path, {}) == 403
    assert status(door, path, {SEAL: seal_question(SECRET, path, _now_ms())}, "POST") == 403
    assert status(door, path, {SEAL: seal_question(SECRET, path, _now_ms() - 61_000)}) == 401
    for other in ("/", "/members", "/members/1", "/members/1/", "/members/x/ann", "/metrics"):
        assert status(door, other, {SEAL: seal_question(SECRET, other, _now_ms())}) == 404, other
    assert worker.reads == []


def status(door: Door, path: str, headers: Mapping[str, str], method: str = "GET") -> int:
    connection = HTTPConnection(door.host, door.port, timeout=10)
    connection.request(method, path, headers=dict(headers))
    found = connection.getresponse().status
    connection.close()
    return found


def test_somebody_else_at_the_address_is_found_out() -> None:
    """An answer is believed by its seal: it must be to this question."""

    def lies(environ: Any, start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [(SEAL, environ["HTTP_X_MEMBERSTREAM_SEAL"])])
        return [STATE]

    server = HttpServer("127.0.0.1", 0, lies)
    with pytest.raises(NoAnswer, match="has another MEMBERSTREAM_QUERY_SECRET"):
        ask(SECRET, Door(0, "127.0.0.1", server.port), 1, b"ann")
    server.close()
    with pytest.raises(NoAnswer, match=r"the worker at 127.0.0.1:\d+ can't be reached \(.*refused\). Next: see"):
        ask(SECRET, Door(0, "127.0.0.1", server.port), 1, b"ann")


def test_what_a_worker_cannot_answer(worker: Worker, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """The partition is gone, the state can't be read, the loop is busy, or it was asked too often."""
    with pytest.raises(NoAnswer, match="partition 0 has just gone from the worker"):
        ask(SECRET, door, 0, b"ann")
    with pytest.raises(NoAnswer, match="is busy"):
        ask(SECRET, door, 1, b"broken")
    monkeypatch.setattr(answering, "PATIENCE_S", 0.05)
    may_go = threading.Event()
    worker.loop.call_soon_threadsafe(may_go.wait, 20)
    with pytest.raises(NoAnswer, match="is busy"):
        ask(SECRET, door, 1, b"late")
    may_go.set()
    monkeypatch.undo()
    worker.reads.clear()
    later = monotonic() + 100
    monkeypatch.setattr(answering, "monotonic", lambda: later)
    assert [asked(door) for _ in range(answering.PER_S + 2)] == ["answered"] * answering.PER_S + ["too often"] * 2
    monkeypatch.setattr(answering, "monotonic", lambda: later + 1.0)
    assert asked(door) == "answered"
    worker.end()
    assert "is busy" in asked(door)
    assert worker.reads == [(1, b"ann")] * (answering.PER_S + 1)  # nobody waits for the late one any more


def asked(door: Door) -> str:
    try:
        ask(SECRET, door, 1, b"ann")
    except NoAnswer as error:
        return "too often" if "has been asked too often in the last second" in str(error) else str(error)
    return "answered"


async def test_the_owner_of_a_members_partition_is_asked(worker: Worker, door: Door) -> None:
    """By the address that it tells; a partition of which nobody tells, or told long ago, is said to be silent."""
    settings = SETTINGS

    async def asked_of(doors: Mapping[int, Door], settings: Settings, member: str = "kim") -> Held | None:
        async def told() -> Mapping[int, Door]:
            return doors

        return await held_of(settings, cast(Partitions, SimpleNamespace(doors=told)), 2, member)

    found = await asked_of({0: door, 1: door}, settings)
    assert found == Held(1, decode(STATE))
    assert worker.reads == [(1, b"kim")]  # murmur2("kim") % 2 == 1
    for silent in ({}, {1: door._replace(written_ms=door.written_ms - 31_000)}):
        with pytest.raises(NoAnswer, match="no worker of partition 1 answers questions about members now"):
            await asked_of(silent, settings)
    any_ = replace(SETTINGS, partitioner="any")
    with pytest.raises(NoAnswer, match="partition 0 has just gone"):
        await asked_of({0: door, 1: door}, any_)
    worker.states = {b"kim": b"\x09" + STATE[1:]}
    with pytest.raises(NoAnswer, match="in schema 9, of a newer memberstream"):
        await asked_of({1: door}, settings)
    worker.states = {}
    assert await asked_of({1: door}, settings) is None


def test_an_answer_that_does_not_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else who can write to Redis would keep a thread of the console for ever, and all pages of members with it."""
    monkeypatch.setattr(asking, "TIMEOUT_S", 0.5)
    for line in (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=drip, args=(listening, line))
            thread.start()
            with pytest.raises(NoAnswer, match=r"can't be reached \(.+\)\. Next: see"):
                ask(SECRET, Door(0, "127.0.0.1", listening.getsockname()[1]), 1, b"ann")
            thread.join()


def drip(listening: socket.socket, line: bytes) -> None:
    """Answer a bit, again and again, for as long as somebody takes it."""
    connected, _ = listening.accept()
    with connected, suppress(OSError):
        connected.sendall(line)
        while True:
            connected.sendall(line if b"100" in line else b"x")
            time.sleep(0.05)


def test_an_address_that_can_be_none_is_told() -> None:
    """It stands in Redis, and may have been set wrongly."""
    for host in ("a..b", "x" * 70, "a\r\nb", ""):
        with pytest.raises(NoAnswer, match="can't be reached"):
            ask(SECRET, Door(0, host, 1), 1, b"ann")
