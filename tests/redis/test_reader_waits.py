"""Who is waited for, and for how long: sentinels that are dead, nodes that hang, connections of another event loop."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

import pytest
import redis
from keys import KEYS
from nodes import Node
from proxy import CountingProxy
from servers import RedisServer
from test_lookup import fill

from memberstream.stream.local.server_process import free_port
from memberstream.stream.lookup import AsyncLookup, Lookup, LookupUnavailable

TIMEOUT_S = 0.5
PATIENCE_S = 20.0  # a busy machine


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis with members."""
    with RedisServer("valkey", tmp_path_factory.mktemp("redis")) as running:
        asyncio.run(fill(running.url, n=20))
        yield running


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A cluster of one node, with members."""
    bus = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", str(free_port()))
    running = Node(tmp_path_factory.mktemp("cluster") / "node", *bus)
    running.start()
    with running.client as client:
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16_383)
        give_up_at = time.monotonic() + PATIENCE_S
        while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
    asyncio.run(fill(cluster_of(running.port), n=20))
    yield running
    running.kill()


def cluster_of(*ports: int) -> str:
    return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)


# -- sentinels --------------------------------------------------------------------------------------------------------


@contextmanager
def answering(says: bytes | None) -> Iterator[int]:
    """Yield the port of a server that takes one connection: it says this and hangs up, or (None) says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1_000)
                if says is None:
                    connection.recv(1_000)  # until the client gives up
                else:
                    connection.sendall(says)

        thread = Thread(target=serve)
        thread.start()
        yield int(listening.getsockname()[1])
        thread.join()


@contextmanager
def sentinel_naming(port: int) -> Iterator[int]:
    """Yield the port of a sentinel that answers each connection: the primary is at that port."""
    named = b"%d" % port
    replies = b"*0\r\n", b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%s\r\n" % (len(named), named)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:  # the test is over
                    return
                with connection:
                    for reply in replies:
                        connection.recv(1_000)
                        connection.sendall(reply)

        thread = Thread(target=serve)
        thread.start()
        yield int(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


DEAD = {"silent": None, "hangs up": b"", "another program": b"HTTP/1.1 400 Bad Request\r\n\r\n"}


@pytest.mark.parametrize("says", DEAD.values(), ids=DEAD)
def test_a_dead_sentinel_is_passed_over(server: RedisServer, says: bytes | None) -> None:
    """The next one is asked, and the primary has its own time: none of it went to the one that is silent."""
    with answering(says) as dead, sentinel_naming(server.port) as live:
        url = f"redis+sentinel://127.0.0.1:{dead},127.0.0.1:{live}/main"
        with Lookup(url, timeout_s=TIMEOUT_S) as lookup:
            assert lookup.get("m-1").cluster("repeat_buyer") is not None


# -- one deadline -----------------------------------------------------------------------------------------------------


@pytest.mark.redis_server
async def test_a_cluster_whose_nodes_hang_takes_a_calls_time_once(node: Node) -> None:
    """Each seed that hangs takes its time-out. The call ends after one; the search goes on, for the calls after it."""
    with answering(None) as first, answering(None) as second:
        async with AsyncLookup(cluster_of(first, second, node.port), timeout_s=TIMEOUT_S) as lookup:
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises(LookupUnavailable, match=f"within {TIMEOUT_S} s"):
                    await lookup.get("m-1")  # after twice that time it would have been answered
                while True:
                    with suppress(LookupUnavailable):
                        answer = await lookup.get("m-1")
                        break
            assert answer.cluster("repeat_buyer") is not None


@pytest.mark.parametrize("is_alone", [True, False])
async def test_what_must_be_asked_again_has_the_rest_of_its_time(server: RedisServer, is_alone: bool) -> None:
    """The epoch has changed, so a call needs two round trips: each fits into its time, both together don't."""
    async with CountingProxy(server.port) as proxy, AsyncLookup(proxy.url, timeout_s=1.5) as lookup:
        await lookup.get_many(["m-1", "m1"])
        with redis.Redis.from_url(server.url) as admin:
            before: bytes = admin.get(KEYS.epoch)
            admin.set(KEYS.epoch, before + b"1")
        proxy.delay_s = 1.3
        began = time.monotonic()
        with pytest.raises(LookupUnavailable, match=r"within 1\.5 s"):
            await (lookup.get("m-1") if is_alone else lookup.get_many(["m-1", "m1"]))
        assert time.monotonic() - began < 2 * proxy.delay_s  # not when the second answer shows that it is too late


# -- event loops ------------------------------------------------------------------------------------------------------


@pytest.mark.redis_server
def test_connections_to_a_cluster_end_with_the_use_of_their_event_loop(node: Node) -> None:
    """A loop that rests, but isn't closed, would keep them open for as long as it is there."""
    loops = [asyncio.new_event_loop() for _ in range(2)]
    lookup = AsyncLookup(cluster_of(node.port))

    async def ask() -> int | None:
        return (await lookup.get("m-1")).cluster("repeat_buyer")

    def n_connections() -> int:
        with node.client as admin:
            return sum(client["name"] == "memberstream-lookup" for client in admin.client_list())

    assert [loop.run_until_complete(ask()) for loop in loops] == [1, 1]
    loops[0].run_until_complete(asyncio.sleep(0))  # what was asked of its connections happens in it
    give_up_at = time.monotonic() + PATIENCE_S
    while n_connections() != 1:
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    assert loops[0].run_until_complete(ask()) == 1  # and back
    loops[0].run_until_complete(lookup.close())
    for loop in reversed(loops):
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
