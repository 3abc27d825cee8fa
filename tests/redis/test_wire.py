"""The URL, and TLS with a server that speaks it."""

import asyncio
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import redis
import uvloop
from announcing import announcing
from hiredis import pack_command
from keys import KEYS
from servers import RedisServer, missing

from memberstream.stream.local.server_process import free_port
from memberstream.stream.lookup import AsyncLookup, Lookup, LookupUnavailable
from memberstream.stream.projection.projection import Projection
from memberstream.stream.wire.aio import AsyncWire
from memberstream.stream.wire.endpoint import parse_url
from memberstream.stream.wire.replies import ConnectionLost, explain
from memberstream.stream.wire.sync import SyncWire


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", ("h", 6379, 0, None, None)),
        ("redis://h:1/2", ("h", 1, 2, None, None)),
        ("redis://:p%40ss@h", ("h", 6379, 0, None, "p@ss")),
        ("redis://us%3Aer:p:w@h/0", ("h", 6379, 0, "us:er", "p:w")),
        ("redis://[::1]:7", ("::1", 7, 0, None, None)),
    ],
)
def test_a_url_is_read(url: str, expected: tuple[object, ...]) -> None:
    """User and password are percent-decoded; the password is in no text."""
    endpoint = parse_url(url)
    log_in = endpoint.log_in
    assert (endpoint.host, endpoint.port, endpoint.db, log_in.username, log_in.password) == expected
    assert log_in.password is None or log_in.password not in repr(endpoint) + str(endpoint) + repr(log_in)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://h", "expected redis:// or rediss://, .* found http"),
        ("localhost", "found no scheme"),
        ("redis://h/x", "expected a database number"),
        ("redis://h:99999", "expected a port"),
        ("redis://h?ssl_cert_reqs=none", "unknown option ssl_cert_reqs for redis://"),
        ("rediss://h?ssl_cert_req=none", "unknown option ssl_cert_req for rediss://"),
        ("rediss://h?ssl_cert_reqs=optional", "expected required or none"),
        ("redis://h?sentinel_password=x", "unknown option sentinel_password for redis://"),
        ("redis://:x@h?password_file=/x", "a password or a file that holds it, found both"),
        ("redis+sentinel://h/s?sentinel_password=x&sentinel_password_file=/x", "found both"),
        ("redis://h,i", "expected one host"),
        ("redis+cluster://h/1", "0 in a cluster"),
        ("redis+sentinel://h", "expected the name of a service"),
        ("redis+sentinel://h/service/x", "expected a database number"),
    ],
)
def test_a_wrong_url_says_what_is_wrong(url: str, problem: str) -> None:
    """Before any connection is made."""
    with pytest.raises(ValueError, match=problem):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "seeds", "service"),
    [
        ("redis+cluster://u:p@h:1,[::1]:2,i", (("h", 1), ("::1", 2), ("i", 6379)), None),
        ("rediss+cluster://h", (("h", 6379),), None),
        ("redis+sentinel://h,i:5/main/3", (("h", 26379), ("i", 5)), "main"),
    ],
)
def test_urls_of_clusters_and_sentinels_name_several_hosts(
    url: str, seeds: tuple[tuple[str, int], ...], service: str | None
) -> None:
    """Each with its default port; the service stands before the database."""
    endpoint = parse_url(url)
    assert (endpoint.seeds, endpoint.service, endpoint.is_cluster) == (seeds, service, service is None)
    assert endpoint.db == (3 if service else 0)


@pytest.mark.redis_server
def test_tls(tmp_path: Path) -> None:
    """With the right authority all clients work; without it, or by another name, none does.

    Only on Debian's redis-server: the Valkey of the wheel falls over (signal 11) when a TLS port is set.
    """
    with RedisServer("redis", tmp_path / "server") as server:
        _check_tls(server, tmp_path)


def make_certificate(cert: Path, key: Path) -> None:
    """Make a certificate of localhost that vouches for itself."""
    if shutil.which("openssl") is None:
        missing("openssl is missing")
    command: list[str | Path] = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
    command += ["-keyout", key, "-out", cert]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(command, check=True, capture_output=True)


N_HELLO = 1  # replies of the log-in
LARGE = bytes(range(48, 58)) * 5_000  # more than three TLS records, less than a read


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_replies_over_tls_are_whole_and_ones_own(loop: Any, tmp_path: Path) -> None:
    """Many records that arrive in one read: each call gets its own reply, also behind replies of other lengths, and one
    that is larger than a record is whole."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make_certificate(cert, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def serve(plain: socket.socket) -> None:
        with context.wrap_socket(plain.accept()[0], server_side=True) as connection:
            connection.recv(65_536)
            connection.sendall(b"+OK\r\n" * N_HELLO)
            for turn in range(20):
                names: list[bytes] = []
                while len(names) < 30:
                    names += re.findall(rb"m-\d+", connection.recv(65_536))
                rows = [b"$%d\r\n%b\r\n" % (len(row), row) for row in map(row_of, names)]
                for row in [b"".join(rows)] if turn % 2 == 0 else rows:  # one call of many records, or a record each
                    connection.sendall(row)

    def row_of(name: bytes) -> bytes:
        return LARGE if name == b"m-7" else b"row of " + name

    async def main() -> None:
        wire = AsyncWire(parse_url(f"rediss://localhost:{port}?ssl_ca_certs={cert}"), "test", 5.0)
        await wire.connect()
        for turn in range(20):
            names = [b"m-%d" % (turn + i) for i in range(30)]
            calls = [asyncio.ensure_future(wire.call(pack_command(("GET", name)), 1)) for name in names]
            await asyncio.sleep(0)
            time.sleep(0.01)  # the loop is busy: all replies wait  # noqa: ASYNC251
            assert await asyncio.gather(*calls) == [[row_of(name)] for name in names]
        assert wire.connections == 1
        await wire.close()

    with socket.create_server(("127.0.0.1", 0)) as plain, asyncio.Runner(loop_factory=loop) as runner:
        port = plain.getsockname()[1]
        server = threading.Thread(target=serve, args=(plain,), daemon=True)  # a client that fails leaves it waiting
        server.start()
        runner.run(main())
        server.join(60)


def _check_tls(server: RedisServer, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make_certificate(cert, key)
    port = free_port()
    with redis.Redis.from_url(server.url) as admin:
        settings = {"tls-cert-file": cert, "tls-key-file": key, "tls-ca-cert-file": cert, "tls-auth-clients": "no"}
        admin.config_set(*[x for pair in settings.items() for x in map(str, pair)], "tls-port", str(port))

    async def asynchronous(url: str) -> str:
        async with Projection(url, KEYS) as projection, AsyncLookup(url) as lookup:
            await projection.readers.announce(announcing([]))
            return (await lookup.get("m")).status

    good = f"rediss://localhost:{port}?ssl_ca_certs={cert}"
    assert asyncio.run(asynchronous(good)) == "rebuilding"
    assert asyncio.run(asynchronous(f"rediss://127.0.0.1:{port}?ssl_cert_reqs=none")) == "rebuilding"
    with Lookup(good) as lookup:
        assert lookup.get("m").status == "rebuilding"
    for bad in (f"rediss://localhost:{port}", f"rediss://127.0.0.1:{port}?ssl_ca_certs={cert}"):
        with Lookup(bad) as lookup, pytest.raises(LookupUnavailable, match="certificate verify failed"):
            lookup.get("m")

        async def refused(url: str = bad) -> None:
            async with AsyncLookup(url) as alookup:
                with pytest.raises(LookupUnavailable, match="certificate verify failed"):
                    await alookup.get("m")

        asyncio.run(refused())


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        ("ERR max number of clients reached", "raise its maxclients"),
        ("LOADING Redis is loading the dataset in memory", "wait until it has"),
        ("WRONGPASS invalid username-password pair", "correct sentinel_username and sentinel_password"),
    ],
)
def test_what_a_sentinel_answers_is_told_as_what_it_is(answer: str, advice: str) -> None:
    """Only a refused log-in is said to be one."""

    async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1_000):
            writer.write(f"-{answer}\r\n".encode())
        writer.close()

    async def told() -> list[str]:
        async with await asyncio.start_server(answer_all, "127.0.0.1", 0) as sentinel:
            endpoint = parse_url(f"redis+sentinel://127.0.0.1:{sentinel.sockets[0].getsockname()[1]}/main")
            wire = AsyncWire(endpoint, "test", 20.0)
            with pytest.raises(ConnectionLost) as by_async:
                await wire.call(b"", 1)
            await wire.close()
            with pytest.raises(ConnectionLost) as by_sync:
                await asyncio.to_thread(SyncWire, endpoint, "test", 20.0)
            return [explain(error.value, endpoint) for error in (by_async, by_sync)]

    for one in asyncio.run(told()):
        assert f"a sentinel answered {answer}. Next: " in one
        assert advice in one
