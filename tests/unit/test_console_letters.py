"""Dead letters in the console: counted without their data; sent again by whoever may, after a look at what would be."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.types import ASGIApp
from unit.consoles import HOST, NOON_MS, SETTINGS, Reply, a_shop, fetch, pages
from unit.test_console import at, text_of
from unit.test_doctor import WELL
from unit.test_resending import PATCH, dead

from memberstream.models.event import Reason
from memberstream.models.interaction import Refusal
from memberstream.models.timestamps import DAY_MS
from memberstream.stream.console import dead_letters, letter_acts
from memberstream.stream.console.dead_letters import DAYS, Letters, Masked
from memberstream.stream.console.following import Problem
from memberstream.stream.kafka.producer import SendError
from memberstream.stream.kafka.topic_reader import TopicUnreadable
from memberstream.stream.resending.advice import EVENTS, INTERACTIONS
from memberstream.stream.resending.letter import Choice, Letter
from memberstream.stream.resending.sending import Resent, Topic

ROOT = Path(__file__).parents[2]
TOPIC, SHOWN = Topic("docs", "docs.dead", False), Topic("shown", "shown.dead", True)
OPERATOR = {"x-forwarded-user": "ola", "x-forwarded-groups": "memberstream-operator"}
MANAGER = {"x-forwarded-user": "mia", "x-forwarded-groups": "memberstream-manager"}


def table(document: str, head: str) -> dict[str, list[str]]:
    """Return reason → the cells beside it, as plain text, of a table in a document."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8").partition(head)[2]
    found = dict[str, list[str]]()
    for line in text.splitlines()[2:]:
        if not line.startswith("|"):
            break
        names, *cells = line.strip("|").split(" | ")
        plain = [re.sub(r"\[([^]]*)]\([^)]*\)|`", r"\1", cell).strip() for cell in cells]
        found |= dict.fromkeys(re.findall(r"`(\w+)`", names), plain)
    return found


def test_what_each_reason_means_is_what_the_documents_say() -> None:
    """What was wrong is in the table of producers; what to do in that of operators, if it is there."""
    events, interactions = (table(name, "| reason | what was wrong ") for name in ("events.md", "interactions.md"))
    again = table("dead-letters.md", "| reason | what to do |")
    of_interactions = table("dead-letters.md", "| reason of interactions | what to do |")
    assert EVENTS.keys() == set(Reason)
    assert INTERACTIONS.keys() == set(Refusal)
    for reason, advice in EVENTS.items():
        wrong, producer = events[reason]
        assert advice == (wrong, *again.get(reason, [f"its producer: {producer}"])), reason
    for reason, advice in INTERACTIONS.items():
        wrong, producer = interactions[reason]
        [next_] = of_interactions.get(reason, [f"its producer: {producer}"])
        assert advice.wrong == wrong.removesuffix(" (events.md)"), reason
        assert advice.next == (EVENTS[reason].next if next_ == "as above" else next_), reason


def masked(offset: int, reason: str = "not_json", days_ago: int = 0, times: int = 0) -> Masked:
    return Masked((0, offset), reason, f"expected <JSON> at {offset}", NOON_MS - days_ago * DAY_MS, times, 2, None)


def test_letters_are_counted_by_reason_and_day() -> None:
    """Most first; a letter of long ago, or by a clock that is ahead, is in no day's count."""
    letters = [masked(0), masked(1, days_ago=13), masked(2, days_ago=14, times=1), masked(3, "new_one"), masked(4)]
    rows = Letters(TOPIC, (*letters, masked(5, days_ago=-1))).rows(NOON_MS)
    assert [(row.reason, row.letters, row.resent) for row in rows] == [("not_json", 5, 1), ("new_one", 1, 0)]
    assert rows[0].days == [1, *[0] * (DAYS - 2), 2]
    assert (rows[0].first_ms, rows[0].last_ms) == (NOON_MS - 14 * DAY_MS, NOON_MS + DAY_MS)
    assert rows[0].advice == EVENTS["not_json"]
    assert rows[1].advice.next == "update the console"
    assert [one.place[1] for one in Letters(TOPIC, tuple(letters)).samples("not_json")] == [0, 4, 1, 2]


class Consumer:
    """A topic of two partitions: the first has ten letters, the second one letter twice; and a record that is none."""

    def __init__(self) -> None:
        self.parts = ["p0", "p1"]

    async def beginning_offsets(self, _: object) -> dict[str, int]:
        """Return where they begin."""
        return {"p0": 90, "p1": 0}

    async def end_offsets(self, _: object) -> dict[str, int]:
        """Return where they end."""
        return {"p0": 100, "p1": 2}


def record(offset: int, origin: int) -> Any:
    marks = {"reason": "not_json", "detail": "x", "origin_partition": "0", "origin_offset": str(origin),
             "origin_timestamp_ms": "5", "failed_at_ms": "7"}  # fmt: skip
    headers = [(name, value.encode()) for name, value in marks.items()]
    return SimpleNamespace(offset=offset, key=b"ann", value=b"secret", headers=headers)


async def test_the_newest_letters_are_read_and_their_data_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many of each partition that all together are no more than MOST; a letter that came twice is one."""
    began = {}

    async def count(*_: object) -> int:
        return 2

    @asynccontextmanager
    async def connected(*_: object) -> AsyncIterator[tuple[Consumer, list[str]]]:
        yield Consumer(), ["p0", "p1"]

    async def records(_: object, partition: str, start: int) -> AsyncIterator[list[Any]]:
        began[partition] = start
        yield [record(n, n) for n in range(start, 100)] if partition == "p0" else [record(0, 500), record(1, 500)]
        yield [SimpleNamespace(offset=9, key=None, value=b"", headers=[])]

    monkeypatch.setattr(dead_letters, "count_partitions", count)
    monkeypatch.setattr(dead_letters, "connected", connected)
    monkeypatch.setattr(dead_letters, "records", records)
    whole = await dead_letters.read(SETTINGS.kafka, TOPIC)
    assert (len(whole.letters), whole.is_part, began) == (11, False, {"p0": 90, "p1": 0})
    assert whole.letters[0] == Masked((0, 90), "not_json", "x", 7, 0, 3, 6)
    assert "secret" not in repr(whole)
    monkeypatch.setattr(dead_letters, "MOST", 8)
    part = await dead_letters.read(SETTINGS.kafka, TOPIC)
    assert (len(part.letters), part.is_part, began) == (5, True, {"p0": 96, "p1": 0})

    async def away(*_: object) -> int:
        raise TopicUnreadable("no broker at k:1. Next: start one")

    monkeypatch.setattr(dead_letters, "count_partitions", away)
    assert (await dead_letters.read(SETTINGS.kafka, TOPIC)).problem == Problem("no broker at k:1", "start one")


class Planned:
    """A run that would send one letter, and knows why another one isn't sent. `made`: what it was asked for."""

    made: list[Any] = []  # noqa: RUF012  (of the class: the console makes the runs)
    error: Exception | None = None
    waits: asyncio.Event | None = None
    began: asyncio.Event | None = None

    def __init__(self, _: object, topic: Topic, choice: Choice, by: str, *, named: tuple[str, ...]) -> None:
        self.outcome = Resent(chosen=3, done=1, refused=[(dead(PATCH), "its member had an event since")])
        self.made.append((topic.dead, choice.reasons, named, by, choice.until_ms))

    @asynccontextmanager
    async def planned(self) -> AsyncIterator[list[Letter]]:
        """Give the letters."""
        if self.began is not None:
            self.began.set()
        if self.waits is not None:
            await self.waits.wait()
        if self.error is not None:
            raise self.error
        yield [dead(PATCH)._replace(reason="future_time")] * (3 if self.made[-1][4] else 0)

    async def send(self, letters: list[Letter], rate: float) -> None:
        """Send them. Without any there is nothing to send by."""
        assert letters
        self.outcome.sent["future_time"] += len(letters)
        self.outcome.overtaken.append(dead(PATCH))


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> ASGIApp:
    """A console whose proxy says who asks; two topics, of which one has letters."""

    async def read(_: object, topic: Topic) -> Letters:
        letters = (masked(1), masked(2, "<b>odd", 1, 2))
        return Letters(topic) if topic.is_of_interactions else Letters(topic, letters, True)

    monkeypatch.setattr(dead_letters, "read", read)
    monkeypatch.setattr(letter_acts, "Resending", Planned)
    monkeypatch.setattr(Planned, "made", [])
    settings = replace(SETTINGS, console_proxies=("127.0.0.1",), interactions_topic="shown")
    return pages(a_shop(), now=at(WELL), settings=settings)


async def post(app: ASGIApp, path: str, who: dict[str, str], **fields: str) -> Reply:
    page = (await fetch(app, "/dead-letters", headers=who)).text
    token = re.search(r'name="token" value="([^"]+)"', page)
    form = urlencode({"token": token.group(1) if token else ""} | fields).encode()
    headers = {"content-type": "application/x-www-form-urlencoded", "origin": f"http://{HOST}"} | who
    return await fetch(app, path, method="POST", headers=headers, body=form)


async def test_the_page_of_dead_letters(app: ASGIApp) -> None:
    """By reason, with what was wrong and what to do; samples without data; a form only for whoever may send."""
    page = (await fetch(app, "/dead-letters", headers=MANAGER)).text
    text = text_of(page)
    assert "2 dead letters in docs.dead : the newest, older ones weren't read." in text.replace("dead:", "dead :")
    assert "Not one JSON text in UTF-8. Next: its producer: serialise with a JSON library" in text
    assert "0/1 not_json expected <JSON> at 1 2 bytes none" in text
    assert "None are seen in shown.dead. Kafka hides a topic from who has no right to it." in text
    assert "sent again 2 times" in text
    assert "<b>odd" not in page
    assert 'aria-label="failed on each of the last 14 days: 0, ' in page
    assert "what would be sent" not in text
    text = text_of((await fetch(app, "/dead-letters?reason=not_json", headers=OPERATOR)).text)
    assert "See what would be sent" in text
    assert "expected <JSON> at 1" in text
    assert "expected <JSON> at 2" not in text


async def test_letters_are_looked_at_and_then_sent(app: ASGIApp, caplog: pytest.LogCaptureFixture) -> None:
    """What is sent are the letters that were looked at: those that had failed by then. It is written down who did."""
    caplog.set_level("INFO")
    looked = await post(app, "/dead-letters/look", OPERATOR, of="events", reason="future_time")
    text = text_of(looked.text)
    assert looked.status == 200
    assert "3 dead letters of 3 to docs: 3 future_time." in text
    assert "1 dead letter was sent again before" in text
    assert "Its member had an event since" in text
    until = re.search(r'name="until" value="(\d+)"', looked.text)
    assert until is not None
    sent = await post(app, "/dead-letters/send", OPERATOR, of="events", reason="future_time", until=until.group(1))
    assert "3 dead letters to docs" in text_of(sent.text)
    assert "may be back: partition" in text_of(sent.text)
    who = "docs.dead", ("future_time",), ("future_time",), "ola via console", int(until.group(1))
    assert Planned.made == [who, who]
    told = [each.getMessage() for each in caplog.records if "audit: ola" in each.getMessage()]
    assert told == ["audit: ola (operator) by proxy: sent 3 dead letters again to docs, from 127.0.0.1"]
    await post(app, "/dead-letters/look", OPERATOR, of="interactions", reason="")
    assert Planned.made[-1][:3] == ("shown.dead", None, ())
    await post(app, "/dead-letters/send", OPERATOR, of="events", reason="", until="x" * 20)
    assert Planned.made[-1][4] == 0  # nothing had failed before then, so there is nothing to send


async def test_nobody_else_sends(app: ASGIApp) -> None:
    """Neither another role, nor a form that isn't the console's."""
    for path in ("/dead-letters/look", "/dead-letters/send"):
        assert (await post(app, path, MANAGER, of="events", reason="")).status == 403
        assert (await post(app, path, OPERATOR, token="other", of="events", reason="")).status == 403
        assert (await fetch(app, path, headers=OPERATOR)).status == 405
    assert Planned.made == []


async def test_what_keeps_letters_from_being_sent(app: ASGIApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage, a topic too large to be read meanwhile, and another run that is under way."""

    async def tried() -> tuple[int, str]:
        reply = await post(app, "/dead-letters/send", OPERATOR, of="events", reason="", until="9")
        return reply.status, text_of(reply.text)

    monkeypatch.setattr(Planned, "error", SendError("no broker at k:1. Next: start one; then repeat"))
    status, text = await tried()
    assert (status, "no broker at k:1 Next: start one; then repeat" in text) == (503, True)
    monkeypatch.setattr(Planned, "error", None)
    monkeypatch.setattr(letter_acts, "LOOK_S", 0.05)
    monkeypatch.setattr(Planned, "waits", asyncio.Event())
    status, text = await tried()
    assert (status, "couldn't be read within 0.05 s Next: memberstream dead-letters resend" in text) == (503, True)
    monkeypatch.setattr(letter_acts, "LOOK_S", 60.0)
    monkeypatch.setattr(Planned, "began", began := asyncio.Event())
    first = asyncio.create_task(tried())
    await began.wait()
    status, text = await tried()
    assert (status, "sent again by somebody Next: wait until that is done" in text) == (409, True)
    assert Planned.waits is not None
    Planned.waits.set()
    assert (await first)[0] == 200
