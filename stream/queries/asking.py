"""Who asks: which worker owns the member's partition stands in Redis (`doors`), and it hands out the member's state."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from socket import SHUT_RDWR, socket
from threading import Timer
from typing import NamedTuple
from urllib.parse import quote

from memberstream.models.member import MAX_STATE_BYTES, Member, StateError, decode
from memberstream.models.placement import Placement
from memberstream.stream.keyspace.formats import BEACON_STALE_MS, Door
from memberstream.stream.projection.partitions import Partitions
from memberstream.stream.queries.answering import CLOCK, DENIED, NOT_MINE, NOT_THERE, OK, TOO_MANY
from memberstream.stream.queries.seal import APART_MS, SEAL, is_answer, seal_question
from memberstream.stream.settings import Settings

TIMEOUT_S = 3.0


class NoAnswer(Exception):
    """Nobody says what is held of a member. Operator: the text says what to do."""


class Held(NamedTuple):
    """What the owner of a partition holds of a member."""

    partition: int
    member: Member


async def held_of(settings: Settings, partitions: Partitions, n_partitions: int, member_id: str) -> Held | None:
    """Return what is held of a member; None: nothing is.

    Args:
        n_partitions: of the topic of change events. With the partitioner `any` each partition's worker is asked.

    Raises:
        NoAnswer: a worker doesn't answer, or none is known that would.
        RedisUnavailable, RedisFault, KeyspaceError: the workers' addresses can't be read.
    """
    key = member_id.encode()
    everywhere = settings.partitioner == "any"
    own = range(n_partitions) if everywhere else [Placement(settings.partitioner, n_partitions).partition_of(key)]
    doors = await partitions.doors()
    for partition in own:
        door = doors.get(partition)
        if door is None or _now_ms() - door.written_ms > BEACON_STALE_MS:
            raise NoAnswer(
                f"no worker of partition {partition} answers questions about members now. Next: see that one runs, and "
                "that it has MEMBERSTREAM_QUERY_SECRET"
            )
        data = await asyncio.to_thread(ask, settings.query_key or "", door, partition, key)
        if data is not None:
            try:
                return Held(partition, decode(data))
            except StateError as error:
                raise NoAnswer(str(error)) from None
    return None


def ask(secret: str, door: Door, partition: int, key: bytes) -> bytes | None:
    """Ask a worker for the bytes of a member's state; None: it has none. Raises NoAnswer."""
    path = f"/members/{partition}/{quote(key, safe='')}"
    question, where = seal_question(secret, path, _now_ms()), f"the worker at {door.host}:{door.port}"
    try:
        status, body, seal = _answer(door, path, question)
    except (OSError, HTTPException, UnicodeError) as error:  # a name that no host can have is a UnicodeError
        raise NoAnswer(
            f"{where} can't be reached ({error}). Next: see that it runs, and that MEMBERSTREAM_QUERY_HOST is its "
            "address as it is seen from here"
        ) from None
    if status == DENIED or not is_answer(secret, question, status, body, seal):
        raise NoAnswer(f"{where} has another MEMBERSTREAM_QUERY_SECRET. Next: give both the same")
    if status in (OK, NOT_THERE):
        return body if status == OK else None
    if status == NOT_MINE:
        raise NoAnswer(f"partition {partition} has just gone from {where} to another one. Next: ask again")
    if status == TOO_MANY:
        raise NoAnswer(f"{where} has been asked too often in the last second. Next: ask again")
    if status == CLOCK:
        raise NoAnswer(f"the clock of {where} is more than {APART_MS // 1000} s off from this one. Next: set them")
    raise NoAnswer(f"{where} is busy. Next: ask again; if it lasts, see its log")


def _answer(door: Door, path: str, question: str) -> tuple[int, bytes, str]:
    """Return an answer's status, body and seal. Raises OSError, HTTPException, UnicodeError."""
    connection = HTTPConnection(door.host, door.port, timeout=TIMEOUT_S)
    connection.connect()
    began, cut_off = time.monotonic(), Timer(TIMEOUT_S, _cut_off, (connection.sock,))
    cut_off.start()
    try:
        connection.request("GET", path, headers={SEAL: question})
        reply = connection.getresponse()
        found = reply.status, reply.read(MAX_STATE_BYTES + 1), reply.headers.get(SEAL, "")
        if time.monotonic() - began >= TIMEOUT_S:
            raise TimeoutError("timed out")
        return found
    finally:
        cut_off.cancel()
        connection.close()


def _cut_off(connected: socket) -> None:
    """End an answer that doesn't end: a socket's own timeout begins anew with each byte."""
    with suppress(OSError):  # it was closed meanwhile
        connected.shutdown(SHUT_RDWR)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
