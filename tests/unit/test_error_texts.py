"""Every error text of the product was read by somebody: it says what is wrong, where, and what to do next."""

from __future__ import annotations

import ast
import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import cast

import pytest
from unit import error_texts

from memberstream.models.definition import VersionDefinition
from memberstream.models.registry import Version
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.authoring.uploading import Uploading
from memberstream.stream.kafka import refusal
from memberstream.stream.kafka.clients import Kafka
from memberstream.stream.kafka.security import Security
from memberstream.stream.keyspace.formats import KeyspaceError
from memberstream.stream.registry.refused import PublishError

#: Errors that reach a person as they are, and so end with the next action; and what says that.
FINAL = {
    *("CannotSkip", "CommandError", "CountsUnavailable", "DataDirInUse", "LookupUnavailable", "ModelsLogError"),
    *("PublishError", "SendError", "StartError", "StateUnusable", "TopicChanged", "TopicUnreadable"),
}
SAYS = re.compile(
    r"Next: |_advice|NEXT_|str\(error\)|explain\(|why|wrong|misfit\(|\.said\(|nothing was changed|: \{error\}'\)$"
)


def test_each_text_is_in_the_list() -> None:
    """A new one, or a new wording: is it true, plain, and does it help? Then `python tests/unit/error_texts.py`."""
    assert error_texts.listed() == error_texts.LIST.read_text(encoding="utf-8"), test_each_text_is_in_the_list.__doc__


def test_the_list_sees_what_is_raised_logged_and_noted() -> None:
    """Also through a helper that makes the error, behind a name, and advice that stands elsewhere."""
    source = """
class OwnError(ValueError): ...
class Refused(OwnError): ...
def made(n): return Refused(f"no {n + 1} things there")
def call():
    "a docstring isn't one"
    log.info("all is well")
    log.warning("it is %s", "not well")
    node.problem("a number above 0")
    self.problems.append("too many of them")
    text = "look there. Next: go there"
    raise Other("raised as " + text if text else "or so it")
"""
    tree = ast.parse(source)
    errors = error_texts.exceptions([tree])
    assert errors == {"OwnError", "Refused"}
    assert list(error_texts.texts(tree, "models/x.py", errors)) == [
        "no {n + 1} things there", "it is %s", "not well", "a number above 0", "too many of them",
        "look there. Next: go there", "raised as ", "or so it",
    ]  # fmt: skip


def raised() -> Iterator[tuple[str, str]]:
    """Yield place and source of each error that reaches a person."""
    for where, tree in error_texts.parsed():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and error_texts.called(node) in FINAL:
                yield f"{where}:{node.lineno}", ast.unparse(node)


def test_what_reaches_a_person_says_what_to_do_next() -> None:
    """Itself, or in the text that it hands on."""
    found = list(raised())
    assert len(found) > 100
    assert [one for one in found if not SAYS.search(one[1])] == []


@contextmanager
def foreign() -> Iterator[str]:
    """The address of a program that takes connections and closes them, as a listener for TLS does with plain bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(1)

        def serve() -> None:
            with suppress(TimeoutError):
                while True:
                    server.accept()[0].close()

        thread = Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1:1", "[::1]:1"])
def test_where_nobody_listens_a_broker_is_to_be_started(host: str) -> None:
    """Or the address is wrong."""
    said = asyncio.run(Kafka((host,)).refusal())
    assert said is not None
    assert said.startswith(f"no Kafka broker at {host} (connection refused). Next: start one")


@pytest.mark.parametrize("security", [Security(), Security("SSL")], ids=["plain", "tls"])
def test_a_name_that_nobody_knows_is_to_be_checked(security: Security) -> None:
    """Starting a broker wouldn't help, nor would going without TLS."""
    said = asyncio.run(Kafka(("no.such.host.invalid:9092",), security).refusal())
    assert said is not None
    assert re.fullmatch(r"Kafka at no.such.* can't be reached \(.*\)\. Next: check MEMBERSTREAM_KAFKA_BOOTSTRAP", said)


def test_who_says_nothing_is_not_said_to_lack_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage must not advise to go without encryption."""
    monkeypatch.setattr(refusal, "PATIENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, by its backlog
        address = f"127.0.0.1:{server.getsockname()[1]}"
        said = asyncio.run(Kafka((address,), Security("SSL")).refusal())
    assert said is not None
    assert f"Kafka at {address} doesn't answer within 0.2 s. Next: check" in said


def test_where_something_listens_nobody_is_told_to_start_a_broker() -> None:
    """It wants a log-in, most likely."""
    with foreign() as address:
        said = asyncio.run(Kafka(("127.0.0.1:1", address)).refusal())
    assert said is not None
    assert f"Kafka at {address} closes the connection under PLAINTEXT. Next: it may want a log-in" in said
    assert "start" not in said


async def test_a_list_that_cant_be_promoted_names_the_command_whose_options_are_meant() -> None:
    """`clusters upload` has no --force."""

    class Refusing:
        async def promote(self, *_: object, **__: object) -> None:
            raise PublishError("loyalty@2: 9 events wait. Next: memberstream model wait; or --force")

    uploading = Uploading.__new__(Uploading)
    uploading.publishing = cast("Publishing", Refusing())
    definition = VersionDefinition("list", {1: "low"}, "", "0" * 16, {})
    with pytest.raises(PublishError) as refused:
        await uploading.promote(Version("loyalty", 2, definition, 7), reason="", max_flips=0.2)
    assert str(refused.value) == (
        "loyalty@2 is uploaded, but `memberstream model promote loyalty@2` is refused: "
        "loyalty@2: 9 events wait. Next: memberstream model wait; or --force"
    )


def test_a_foreign_value_in_redis_says_what_to_do() -> None:
    """The reader of such an error sees no docstring."""
    assert str(KeyspaceError("pos: expected a, found b")).startswith("pos: expected a, found b. Next: find what else")
