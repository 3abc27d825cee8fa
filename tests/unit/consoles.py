"""A console over fakes: what it asks is given by the test; and a browser that only fetches."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from authored import BY, defined
from starlette.types import ASGIApp

from memberstream.models.log_steps import PauseCampaign, Promote, Publish, PublishList, SetCampaign, Step, Upload
from memberstream.models.registry import Registry
from memberstream.models.terms import Terms
from memberstream.stream.console.access import Access
from memberstream.stream.console.app import application
from memberstream.stream.console.asking import Asking, Now
from memberstream.stream.console.following import Following, Problem
from memberstream.stream.console.live import Live
from memberstream.stream.console.site import Site
from memberstream.stream.doctor.facts import Facts
from memberstream.stream.keyspace.formats import Behind, Scored
from memberstream.stream.lookup import Answer, Lookup
from memberstream.stream.lookup.answer import Reading, parse_meta
from memberstream.stream.projection.partitions import Look
from memberstream.stream.settings import Settings

SETTINGS = Settings(topic="docs", group="g")
HOST = "127.0.0.1:9470"
LEVELS = {1: "low", 2: "high"}
#: 2026-11-29, noon.
NOON_MS = 1_796_040_000_000


def published(*steps: Step) -> Registry:
    """Return the registry of a log; a step that doesn't count fails the test."""
    registry = Registry()
    for offset, step in enumerate(steps):
        assert registry.add(offset, step) == "", step
    return registry


def by(actor: str, reason: str = "", at_ms: int = NOON_MS) -> Any:
    return BY | {"actor": actor, "reason": reason, "at_ms": at_ms}


def a_shop() -> Registry:
    """Two versions of a model, a list, an upload under way, and campaigns in each state."""
    listed = {"type": "list", "token": "t", "since_ms": 0, "first": [0], "end": [40], "n_rows": 40}
    buyers = defined("buyers", 1, {1: "no"}, format=1, description="Last year's buyers", model=listed)
    campaign = ("open", "paused", "early", "over", "held")
    terms = {
        "open": Terms("level", (2,), title="Open to all"),
        "paused": Terms("level", (1,)),
        "early": Terms("level", (1,), from_ms=2**42),
        "over": Terms("level", (1,), until_ms=1),
        "held": Terms("level", (1, 2), holdout=10_000),
    }
    return published(
        Publish("level", 1, defined("level", 1, LEVELS), **by("ann", "the first")),
        Promote("level", 1, None, **by("ann", at_ms=NOON_MS + 1)),
        Publish("level", 2, defined("level", 2, LEVELS, description="The second"), **by("bob")),
        Upload("buyers", 1, buyers, "t", **by("cem")),
        PublishList("buyers", 1, buyers, "t", **by("cem")),
        Upload("buyers", 2, buyers, "u", **by("cem")),
        *(SetCampaign(one, None, terms[one], **by("dora", "a plan")) for one in campaign),
        PauseCampaign("paused", 7, **by("zoe")),
    )


def answer(row: bytes | None, *, complete: bool = True, live: Mapping[bytes, bytes] | None = None) -> Answer:
    """Return what a look-up of `m` answers: the row, with readers told of all of a shop's campaigns."""
    told = {
        b"open": b'{"model":"level","clusters":[2],"from":null,"until":null,"holdout":0,"state":"enabled"}',
        b"held": b'{"model":"level","clusters":[1,2],"from":null,"until":null,"holdout":10000,"state":"enabled"}',
    }
    flat = [part for pair in told.items() for part in pair]
    models = {b"level@1": b'{"type":"logistic","clusters":{"1":"low","2":"high"}}'}
    beacons = {b"0": f"10:{NOON_MS}:{NOON_MS}".encode()}
    meta = parse_meta({b"level": b"1"} if live is None else live, models, beacons, flat)
    return Answer("m", row, Reading(meta, complete, NOON_MS))


class Followed:
    """A models' log that is known, or isn't."""

    def __init__(self, registry: Registry, problem: Problem | None, was_read: bool) -> None:
        self.registry, self.problem, self.doubt, self.was_read = registry, problem, problem, was_read
        self.is_told = asyncio.Event()
        self.is_told.set()

    @property
    def offset(self) -> int:
        """The last step."""
        return self.registry.offset

    @property
    def current(self) -> Registry | None:
        """What is known without doubt."""
        return self.registry if self.was_read and self.problem is None else None

    async def run(self) -> None:
        """It is as it is."""


class Told:
    """What workers tell of partitions."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    async def scored(self) -> Mapping[int, Scored]:
        """Return it."""
        return self._facts.scored

    async def behind(self) -> Mapping[int, Behind]:
        """Return it."""
        return self._facts.behind

    async def look(self) -> Look:
        """Return it."""
        return Look(self._facts.is_whole, 0, dict(self._facts.beacons))


class Asked:
    """What Redis and Kafka tell."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self.partitions = Told(now.facts or Facts(0))

    async def now(self, patience_s: float = 0) -> Now:
        """Return it."""
        return self._now

    async def close(self) -> None:
        """Nothing is open."""


class LookedUp:
    """A look-up with one answer, or an error."""

    def __init__(self, found: Answer | Exception) -> None:
        self._found = found

    def get_patiently(self, member_id: str) -> Answer:
        """Return it, or raise it."""
        if isinstance(self._found, Exception):
            raise self._found
        return self._found

    def close(self) -> None:
        """Nothing is open."""


def a_site(
    registry: Registry | None = None,
    *,
    now: Now = Now(None, [], None),  # noqa: B008  (a value)
    problem: Problem | None = None,
    was_read: bool = True,
    found: Answer | Exception | None = None,
    settings: Settings = SETTINGS,
) -> Site:
    """Return what the console's pages ask."""
    following = Followed(registry or Registry(), problem, was_read)
    looked_up = LookedUp(found or answer(None))
    asked = cast(Asking, Asked(now))
    return Site(settings, cast(Following, following), asked, cast(Lookup, looked_up), Access(settings))


def pages(registry: Registry | None = None, **known: Any) -> ASGIApp:
    """Return the console of a site."""
    site = a_site(registry, **known)
    return application(site, Live(site))


class Reply(NamedTuple):
    """What a browser gets."""

    status: int
    headers: dict[str, str]
    text: str


async def fetch(
    app: ASGIApp,
    path: str,
    host: str = HOST,
    method: str = "GET",
    *,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    peer: str = "127.0.0.1",
) -> Reply:
    """Ask for a page."""
    sent: list[Any] = []
    given = headers.items() if isinstance(headers, Mapping) else headers

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    address, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": address, "raw_path": address.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(b"host", host.encode()), *((name.lower().encode(), one.encode()) for name, one in given)],
        "server": ("127.0.0.1", 9470), "client": (peer, 1),
    }  # fmt: skip
    try:
        await app(scope, receive, send)
    except RuntimeError as error:  # Starlette raises a fault again, once it is answered
        if not sent:
            raise error
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], told, b"".join(one.get("body", b"") for one in sent[1:]).decode())
