"""Kafka with TLS, log-in and ACLs: every way in works, and each refusal says why and what to do next."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from e2e.commands import memberstream
from e2e.counting import Counting
from e2e.definitions import level
from e2e.system import Pair, Sent, System, event
from e2e.test_health import health
from rights import grant, rights_of
from secure import MECHANISMS, PASSWORD, Issuer, SecureKafka, TokenEndpoint
from servers import Broker, KafkaMissing, RedisServer, create_topic, missing, unique

from memberstream.stream.authoring.telling import Findings
from memberstream.stream.console.following import Following
from memberstream.stream.doctor.facts import gather
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.kafka.refusal import Unreachable
from memberstream.stream.kafka.security import Security

pytestmark = [pytest.mark.kafka, pytest.mark.redis_server]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """One broker for these tests."""
    try:
        with SecureKafka(tmp_path_factory.mktemp("secured"), reauthenticate_ms=3_600_000) as server:
            yield server
    except KafkaMissing as error:
        missing(str(error))


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenEndpoint]:
    with TokenEndpoint(lifetime_s=60.0).running() as endpoint:
        yield endpoint


def security(kafka: SecureKafka, protocol: Any, mechanism: Any = None, **changed: Any) -> Security:
    """What lets `worker` in, or what is changed of it."""
    found = Security(security_protocol=protocol, sasl_mechanism=mechanism)
    if found.has_tls:
        found = replace(found, ssl_ca_location=kafka.certificates.ca)
    if protocol == "SSL":
        found = replace(found, ssl_certificate_location=kafka.certificates.client)
    if mechanism == "OAUTHBEARER":
        found = replace(found, sasl_oauthbearer_client_id="worker", sasl_oauthbearer_client_secret=PASSWORD)
    elif mechanism is not None:
        found = replace(found, sasl_username="worker", sasl_password=PASSWORD)
    return replace(found, **changed)


async def topics(kafka: Kafka) -> list[str]:
    admin = kafka.admin()
    try:
        async with asyncio.timeout(30):
            await admin.start()
            return list(await admin.list_topics())
    finally:
        await admin.close()


async def test_every_way_in(secured: SecureKafka, tokens: TokenEndpoint) -> None:
    """Client certificates, and each mechanism with and without TLS."""
    url = tokens.url
    ways = [security(secured, "SSL")]
    for protocol in ("SASL_SSL", "SASL_PLAINTEXT"):
        for mechanism in MECHANISMS:
            more = {"sasl_oauthbearer_token_endpoint_url": url} if mechanism == "OAUTHBEARER" else {}
            ways.append(security(secured, protocol, mechanism, **more))
    for way in ways:
        assert list(way.problems()) == []
        assert isinstance(await topics(Kafka((secured.bootstrap[way.security_protocol],), way)), list)
    assert tokens.n_tokens == 2, "each of two settings asks once, and shares its token"


async def test_signed_tokens_are_taken_as_they_should_be(secured: SecureKafka) -> None:
    """RS256 with the issuer's keys in a file: a good token is taken; another issuer's, audience's, or key's isn't."""
    issuer = secured.issuer
    other = Issuer(secured.issuer.jwks.parent / "other")
    for make, is_good in (
        (issuer.token, True),
        (partial(issuer.token, iss="https://other.example.com"), False),
        (partial(issuer.token, aud="another"), False),
        (other.token, False),
    ):
        with TokenEndpoint(60.0, make).running() as endpoint:
            way = security(secured, "SASL_PLAINTEXT", "OAUTHBEARER", sasl_oauthbearer_token_endpoint_url=endpoint.url)
            kafka = Kafka((secured.bootstrap["SIGNED"],), way)
            if is_good:
                assert isinstance(await topics(kafka), list)
            else:
                with pytest.raises(Unreachable, match=r"refuses the log-in by OAUTHBEARER.*Next: see in the broker"):
                    await topics(kafka)


async def test_each_refusal_says_why_and_what_to_do(secured: SecureKafka, tokens: TokenEndpoint) -> None:
    """Of the broker, of TLS, and of the token endpoint. Nobody has to read the broker's log first."""
    oauth = {"sasl_oauthbearer_token_endpoint_url": tokens.url}
    sasl_ssl, plain = security(secured, "SASL_SSL", "PLAIN"), Security()
    expired = TokenEndpoint(lifetime_s=-5.0)
    cases: list[tuple[str, Security, tuple[str, ...]]] = [
        ("SASL_SSL", replace(sasl_ssl, sasl_password="x"), ("refuses the log-in by PLAIN", "KAFKA_SASL_PASSWORD")),
        (
            "SASL_SSL",
            security(secured, "SASL_SSL", "SCRAM-SHA-256", sasl_password="x"),
            ("refuses the log-in by SCRAM-SHA-256", "KAFKA_SASL_USERNAME"),
        ),
        (
            "SASL_SSL",
            security(secured, "SASL_SSL", "OAUTHBEARER", sasl_oauthbearer_client_secret="x", **oauth),
            (tokens.url, "401", "KAFKA_SASL_OAUTHBEARER_CLIENT_ID"),
        ),
        (
            "SASL_SSL",
            security(secured, "SASL_SSL", "OAUTHBEARER", sasl_oauthbearer_token_endpoint_url="http://127.0.0.1:1/"),
            ("gives no token", "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL"),
        ),
        (
            "SASL_SSL",
            security(secured, "SASL_SSL", "OAUTHBEARER", sasl_oauthbearer_token_endpoint_url=expired.url),
            ("refuses the log-in by OAUTHBEARER", "invalid_token", "its end"),
        ),
        (
            "SASL_SSL",
            replace(sasl_ssl, ssl_ca_location=secured.certificates.other_ca),
            ("isn't trusted", "KAFKA_SSL_CA_LOCATION"),
        ),
        ("SSL", security(secured, "SSL", ssl_certificate_location=None), ("KAFKA_SSL_CERTIFICATE_LOCATION",)),
        ("SASL_SSL", plain, ("speaks TLS", "KAFKA_SECURITY_PROTOCOL", "SASL_SSL")),
        ("SASL_PLAINTEXT", plain, ("closes the connection under PLAINTEXT", "a log-in")),
        ("PLAINTEXT", security(secured, "SSL"), ("doesn't speak TLS on this port",)),
        ("SSL", replace(sasl_ssl, ssl_certificate_location=secured.certificates.client), ("wants no SASL",)),
    ]
    with expired.running():
        for listener, way, texts in cases:
            with pytest.raises(Unreachable) as raised:
                await topics(Kafka((secured.bootstrap[listener],), way))
            said = str(raised.value)
            assert ". Next: " in said, said
            assert PASSWORD not in said
            for text in texts:
                assert text in said, said


async def test_the_first_that_lets_us_in_is_enough(secured: SecureKafka) -> None:
    """A server that is down, before one that is up, is no reason to fail; and none to hide why the second refuses."""
    down, up = "127.0.0.1:1", secured.bootstrap["SASL_SSL"]
    way = security(secured, "SASL_SSL", "PLAIN")
    assert isinstance(await topics(Kafka((down, up), way)), list)
    with pytest.raises(Unreachable, match="refuses the log-in"):
        await topics(Kafka((down, up), replace(way, sasl_password="x")))
    with pytest.raises(Unreachable, match=r"no Kafka broker at 127.0.0.1:1 \(connection refused\)"):
        await topics(Kafka((down,), way))


async def test_whatever_a_token_endpoint_does_is_an_outage(secured: SecureKafka) -> None:
    """A web page, a cut answer, another protocol, a redirect: aiokafka waits after a KafkaError, and ends after
    anything else."""
    endpoint = TokenEndpoint(lifetime_s=60.0)
    answers = {
        b'HTTP/1.0 200 OK\r\n\r\n{"token": "x"}': "without access_token",
        b'HTTP/1.0 200 OK\r\n\r\n{"access_token": 7}': "gives no token",
        b"HTTP/1.0 200 OK\r\n\r\n<html>": "gives no token",
        b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 100_000: "gives no token",
        b'HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n{"access_token": "x"}': "gives no token",
        b"SSH-2.0-OpenSSH_9.2\r\n": "gives no token",
        b"HTTP/1.0 302 Found\r\nLocation: %b\r\n\r\n" % endpoint.url.encode(): "302",
        b"": "gives no token",
    }
    with endpoint.running():
        for answer, text in answers.items():
            with answering(answer) as url:
                way = security(secured, "SASL_SSL", "OAUTHBEARER", sasl_oauthbearer_token_endpoint_url=url)
                with pytest.raises(Unreachable, match=text):
                    await topics(Kafka((secured.bootstrap["SASL_SSL"],), way))
    assert endpoint.n_tokens == 0, "a redirect has carried the secret away"


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The address of a server that says this to everybody, and hangs up."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            self.request.sendall(answer)

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


async def until(holds: Callable[[], object], what: object) -> None:
    """Return when `holds()`; the worker may end meanwhile."""
    for _ in range(600):
        if holds():
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"not named: {what}")


def says(system: System, since: int, name: str) -> bool:
    """Whether the worker has said that it isn't allowed to use `name`."""
    return re.search(rf"{name}.*(right to see it|Next: grant it)", system.says()[since:]) is not None


@pytest.mark.long
async def test_tokens_end_and_nobody_is_alarmed(
    secured: SecureKafka, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Brokers close connections whose token has ended. The worker comes back with a new one, is ready all the while,
    and nothing is lost."""
    pair = Pair(Broker("apache", secured.bootstrap["PLAINTEXT"]), redis_server)
    system = await System.create(pair, tmp_path, [level()])
    with TokenEndpoint(lifetime_s=4.0).running() as endpoint:
        way = security(secured, "SASL_SSL", "OAUTHBEARER", sasl_oauthbearer_token_endpoint_url=endpoint.url)
        system.set(kafka_bootstrap=(secured.bootstrap["SASL_SSL"],), kafka_security=way, session_timeout_s=6.0)
        grant(secured.bootstrap["PLAINTEXT"], "worker", rights_of("worker", system.settings))
        try:
            system.start()
            for n in range(20):
                await system.send([Sent(b"m%d" % i, event("replace", document={"x": n})) for i in range(20)])
                await asyncio.sleep(1.0)
            await system.applied()
            assert endpoint.n_tokens > 4
            assert "unreachable" not in system.says()
            assert "can't be read" not in system.says()
        finally:
            await system.close()


async def secured_system(secured: SecureKafka, redis_server: RedisServer, directory: Path) -> System:
    """An installation whose worker and commands come by log-in, as `worker`; it may do nothing yet."""
    pair = Pair(Broker("apache", secured.bootstrap["PLAINTEXT"]), redis_server)
    system = await System.create(pair, directory, [level()])
    system.set(
        kafka_bootstrap=(secured.bootstrap["SASL_SSL"],),
        kafka_security=security(secured, "SASL_SSL", "SCRAM-SHA-512"),
        session_timeout_s=6.0,
        interactions_topic=unique("interactions"),
    )
    await create_topic(secured.bootstrap["PLAINTEXT"], system.settings.interactions_topic, partitions=2)
    return system


@pytest.mark.long
@pytest.mark.parametrize("role", ["worker", "interactions worker"])
async def test_each_missing_right_is_named(
    secured: SecureKafka, redis_server: RedisServer, tmp_path: Path, role: str
) -> None:
    """With the rights that docs/kafka-security.md lists a worker works; without one of them log or /readyz names what
    isn't allowed."""
    system = await secured_system(secured, redis_server, tmp_path)
    system = system if role == "worker" else Counting(system)
    needed, own_way = rights_of(role, system.settings), secured.bootstrap["PLAINTEXT"]
    foreign = system.settings.interactions_topic
    grant(own_way, "worker", needed)
    try:
        await system.send([Sent(b"m", event("replace", document={"x": 1})), Sent(b"m", b"{")])
        system.start()
        await system.applied()
        system.kill()
        for withheld in needed:
            if withheld.operation == "CREATE" or (withheld.name, withheld.operation) == (foreign, "WRITE"):
                continue  # the topics are there, and nobody counts interactions
            grant(own_way, "worker", [right for right in needed if right != withheld])
            await system.send([Sent(b"m", event("replace", document={"x": 2})), Sent(b"m", b"{")])
            before = len(system.says())
            system.start()
            await until(partial(says, system, before, re.escape(withheld.name.rstrip("*"))), withheld)
            system.kill()
        # One that may see the group, but not join it: aiokafka keeps silent, and wouldn't try again.
        [group] = [right for right in needed if right.resource == "group"]
        grant(own_way, "worker", [group._replace(operation="DESCRIBE"), *(right for right in needed if right != group)])
        before = len(system.says())
        system.start()
        await until(partial(says, system, before, f"READ on the consumer group {group.name}"), "READ on the group")
        await system.until(lambda: "READ on the consumer group" in health(system)[1]["kafka"]["problem"], "/readyz")
        grant(own_way, "worker", [group], in_addition=True)
        await until(lambda: system.pid is None, "its end: a restart joins")
        assert "Readmitted" in system.says()
        system.start()
        await system.applied()
    finally:
        await system.close()


@pytest.mark.long
async def test_the_rights_of_a_console(secured: SecureKafka, redis_server: RedisServer, tmp_path: Path) -> None:
    """With those of the page it follows the models' log, and knows topics and what reports have told."""
    system = await secured_system(secured, redis_server, tmp_path)
    settings, own_way = system.settings, secured.bootstrap["PLAINTEXT"]
    grant(own_way, "worker", rights_of("console", settings))
    following = Following(settings)
    task = asyncio.create_task(following.run())
    try:
        await until(lambda: following.was_read and bool(following.registry.live), "the models' log read")
        assert following.problem is None
        facts = await gather(settings)
        assert facts.kafka_problem is None
        assert {settings.topic, settings.models_topic} <= facts.topics.keys()
        assert await Findings(settings).read() == []
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await system.close()


@pytest.mark.long
async def test_each_missing_right_of_an_author_is_named(
    secured: SecureKafka, redis_server: RedisServer, tmp_path: Path
) -> None:
    """With the rights of the page commands do what they are for; without one of them its command names what isn't
    allowed, and what to do."""
    system = await secured_system(secured, redis_server, tmp_path)
    settings, own_way = system.settings, secured.bootstrap["PLAINTEXT"]
    await system.send([Sent(b"m", event("replace", document={"x": 1}))])
    for topic in (settings.dead_letter_topic, settings.interaction_dead_letter_topic):
        await create_topic(own_way, topic, partitions=1)
    async with AIOKafkaProducer(bootstrap_servers=own_way) as producer:
        for topic in (settings.topic, settings.interactions_topic):
            await producer.send_and_wait(topic, b"{", b"m", partition=0)
    files = {
        "model": orjson.dumps(level() | {"version": 2}),
        "predictors": orjson.dumps([{"name": "x", "path": "x"}]),
        "events": b'{"member_id": "m", "op": "delete", "at": "2026-01-01"}\n',
        "rows.csv": b"member_id,at\nm,2100-01-01T00:00:00Z\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    model, predictors, events, rows = (str(tmp_path / name) for name in files)
    commands: dict[tuple[str, str], list[str]] = {
        (f"{settings.group}-*", "READ"): ["model", "list"],
        (f"{settings.group}-*", "WRITE"): ["model", "publish", model, "--force"],
        (settings.topic, "READ"): [
            *("model", "training-data", predictors, "--rows", rows), "--out", str(tmp_path / "x.csv")
        ],
        (settings.topic, "WRITE"): ["events", "send", events],
        (settings.group, "DESCRIBE"): ["events", "skip", "0", "0", "--reason", "a test", "--yes"],
        (settings.interaction_group, "DESCRIBE"): ["events", "skip", "0", "0", "--interactions", "--yes"],
        (settings.interactions_topic, "READ"): ["events", "skip", "0", "0", "--interactions", "--yes"],
        (settings.dead_letter_topic, "READ"): ["dead-letters", "list"],
        (settings.interaction_dead_letter_topic, "READ"): ["dead-letters", "list", "--interactions"],
    }  # fmt: skip
    needed = rights_of("author", settings)
    tried = {(right.name, right.operation) for right in needed if right.operation != "CREATE"}
    tried.remove((settings.interactions_topic, "WRITE"))  # by `dead-letters resend`, as <topic>'s: it needs a letter
    assert tried == commands.keys()
    refused = "doesn't allow"
    for withheld in needed:
        if (command := commands.get((withheld.name, withheld.operation))) is None:
            continue
        grant(own_way, "worker", [right for right in needed if right != withheld])
        status, out, err = await memberstream(system, *command)
        said = out + err
        assert withheld.name.rstrip("*") in said, (withheld, said)
        if command[0] == "dead-letters":  # brokers hide a topic from who has no right to it
            assert "may not see it" in said, said
        else:
            assert (status, refused in said, "Next: grant it" in said) == (1, True, True), (withheld, said)
    grant(own_way, "worker", needed)
    for command in commands.values():
        _, out, err = await memberstream(system, *command)
        assert refused not in out + err, (command, out + err)
    await system.close()
