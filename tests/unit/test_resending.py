"""Which dead letters may be sent again, and why the others aren't."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from typer.testing import CliRunner

from memberstream.models.event import Reason
from memberstream.models.interaction import Refusal
from memberstream.models.placement import Placement
from memberstream.models.resend import encode_resend, resent_in
from memberstream.stream.cli import dead_letters
from memberstream.stream.kafka.clients import RIGHTS, Kafka
from memberstream.stream.kafka.producer import SendError
from memberstream.stream.resending import sending as sending_module
from memberstream.stream.resending.judging import (
    Rules,
    judge_event,
    judge_interaction,
    understand_event,
    understand_interaction,
)
from memberstream.stream.resending.letter import Choice, Letter, to_letter
from memberstream.stream.resending.sending import Resending, Resent, Topic, _waves
from memberstream.stream.resending.since import Since
from memberstream.stream.settings import Settings

NOW_MS = 1_800_000_000_000
RULES = Rules(NOW_MS, Placement("murmur2", 4), kinds=("click", "impression"))
FOREIGN = 3  # the partition of "m" is 0


@dataclass(frozen=True)
class Record:
    """A record as aiokafka gives it."""

    offset: int
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    key: bytes | None = b"m"
    partition: int = 0
    timestamp: int = NOW_MS - 1_000


def event(op: str = "patch", **fields: Any) -> bytes:
    bodies: dict[str, dict[str, Any]] = {"patch": {"patch": {"a": 1}}, "replace": {"document": {}}}
    return orjson.dumps({"op": op} | bodies.get(op, {}) | fields)


def dead(record: Record, reason: str = "future_time", **marks: str) -> Letter:
    """Return the letter of a record."""
    added = {
        **{"reason": reason, "detail": "at: …", "origin_topic": "docs", "origin_partition": str(record.partition)},
        **{"origin_offset": str(record.offset), "origin_timestamp_ms": str(record.timestamp), "failed_at_ms": "9"},
        **marks,
    }
    headers = [*record.headers, *((name, value.encode()) for name, value in added.items())]
    letter = to_letter(replace(record, offset=99, partition=2, headers=tuple(headers)))
    assert letter is not None
    return letter


def since(
    letters: list[Letter], records: list[Record], rules: Rules = RULES, understand: Any = understand_event
) -> Any:
    nobody: Any = None
    found = Since(nobody, "docs", {}, letters, lambda record: understand(record, rules))
    for record in records:
        found._take(record.partition, record)
    return found


def why(record: Record, reason: str, later: list[Record], rules: Rules = RULES, *, is_there: bool = True) -> str:
    letter = dead(record, reason)
    return judge_event(letter, since([letter], [record, *later] if is_there else later, rules), rules).why


PATCH, VERSIONED = Record(5, event()), Record(5, event(version=7))
REPLACE = Record(9, event("replace"))


@pytest.mark.parametrize(
    ("record", "reason", "later", "expected"),
    [
        (PATCH, "future_time", [], ""),
        (PATCH, "future_time", [Record(9, event("replace"), key=b"other")], ""),
        (PATCH, "future_time", [Record(9, b"{")], ""),
        (PATCH, "future_time", [Record(4, event("replace"))], ""),
        (PATCH, "future_time", [REPLACE], "had an event since (partition 0, offset 9), and not both have versions"),
        (PATCH, "future_time", [Record(9, event("replace", version=3))], "not both have versions"),
        (PATCH, "future_time", [Record(9, None)], "deleted since"),
        (PATCH, "future_time", [Record(9, b'{"op":"forget","partition":0}')], "deleted since"),
        (PATCH, "future_time", [Record(9, b'{"op":"rewrite","partition":0}')], ""),
        (VERSIONED, "future_time", [Record(9, event("replace", version=6))], ""),
        (VERSIONED, "future_time", [Record(9, event("replace", version=8))], "newer version, 8"),
        (VERSIONED, "future_time", [REPLACE], "not both have versions"),
        (VERSIONED, "future_time", [Record(9, event("delete", version=6))], "deleted since"),
        (PATCH, "unknown_member", [], "would fail again (unknown_member): nothing of its member has changed"),
        (PATCH, "not_a_list", [], "would fail again (not_a_list)"),
        (VERSIONED, "unknown_member", [Record(9, event("replace", version=6))], ""),
        (Record(5, event(at="2999-01-01")), "future_time", [], "would fail again: future_time"),
        (Record(5, b"{"), "not_json", [], "would fail again: not_json"),
        (Record(5, event("replace", document={"a": "x" * 899_900})), "future_time", [], "would fail again: too_large"),
        (PATCH, "skipped", [], "set it aside"),
        (replace(PATCH, partition=FOREIGN), "wrong_partition", [], "no version and stood in a foreign partition"),
        (replace(VERSIONED, partition=FOREIGN), "wrong_partition", [], ""),
        (replace(VERSIONED, partition=FOREIGN), "wrong_partition", [Record(1, None)], "deleted since"),
        (VERSIONED, "wrong_partition", [], "its own today"),
    ],
)
def test_an_event_is_sent_again_if_nothing_newer_is_there(
    record: Record, reason: str, later: list[Record], expected: str
) -> None:
    """The text says what stands in the way; none: nothing does."""
    found = why(record, reason, later)
    assert expected in found
    assert bool(expected) == bool(found)
    assert not found or "Next: " in found


def test_without_its_record_nothing_is_sent() -> None:
    """Retention has removed it, and perhaps a delete behind it, of which a version says nothing."""
    for record, reason in [(PATCH, "future_time"), (VERSIONED, "future_time"), (VERSIONED, "unknown_member")]:
        assert "the topic no longer holds its record" in why(record, reason, [], is_there=False)


def test_a_letter_of_a_foreign_partition_needs_its_own_from_the_beginning_on() -> None:
    """Also when it failed again there: where it stood first says nothing."""
    letter = dead(replace(VERSIONED, partition=FOREIGN), "wrong_partition")
    sent = Record(20, encode_resend(VERSIONED.value, 0, -1, 20, [], NOW_MS, "me"), (("resent", b"1"),))
    for one, records in ((letter, []), (dead(sent, "superseded"), [sent])):
        rules = replace(RULES, dead={one.place})
        found = since([one], records)
        assert judge_event(one, found, rules).why == ""
        found.gaps.add(0)
        assert "partition 0, its own, no longer begins at offset 0" in judge_event(one, found, rules).why


class Retention:
    """A consumer of partitions of which nothing is left; `begins` is where they begin and end."""

    def __init__(self, begins: int) -> None:
        self.begins = begins

    async def beginning_offsets(self, parts: Any) -> Any:
        return dict.fromkeys(parts, self.begins)

    end_offsets = beginning_offsets


async def test_what_retention_removed_unread_is_a_gap() -> None:
    """Of a partition with one, no letter's record counts as there: a delete behind it may be gone."""
    letter, consumer = dead(PATCH), Retention(6)
    found: Any = Since(consumer, "docs", {0: 6}, [letter], lambda _: None)
    found._take(0, PATCH)
    await found.read_on()
    assert (found.gaps, found.there) == (set(), {(0, 5)})
    consumer.begins = 7
    await found.read_on()
    assert (found.gaps, found.there) == ({0}, set())


def test_letters_sent_just_before_are_named_by_those_with_a_version() -> None:
    """The owner refuses what stands behind the command's last look. Of letters from foreign partitions, sent behind
    it, it must know; to one without a version nothing says whether they are older."""
    foreign = [dead(Record(n, event(version=n), partition=FOREIGN), "wrong_partition") for n in (1, 2)]
    rules = replace(RULES, dead={(0, 5), *(letter.place for letter in foreign)})
    found = since([*foreign, dead(PATCH)], [PATCH])
    found.note(foreign[0], (0, 20))
    assert judge_event(foreign[1], found, rules) == ("", False, (20,))
    assert judge_event(dead(PATCH), found, rules) == ("", False, ())
    found = since([*foreign, dead(VERSIONED)], [VERSIONED])
    found.note(foreign[0], (0, 20))
    assert judge_event(dead(VERSIONED), found, rules) == ("", False, (20,))
    found.note(dead(VERSIONED), (0, 21))
    assert judge_event(foreign[1], found, rules).before == (20,)


def test_a_record_says_how_far_the_topic_was_read() -> None:
    run, letter = sending([dead(PATCH)], [PATCH])
    run._since._next[0] = 9
    inside = resent_in(run._record(letter[0], 0).value)
    assert inside is not None
    assert (inside.origin, inside.seen_to) == (5, 9)


def test_what_failed_itself_is_nothing_newer() -> None:
    """A row of letters of one member: none stands in another's way, and each names where those before it went."""
    records = [Record(offset, event()) for offset in (5, 6, 7)]
    letters = [dead(record, "future_time") for record in records]
    rules = replace(RULES, dead={letter.place for letter in letters})
    found = since(letters, records, rules)
    assert [judge_event(letter, found, rules) for letter in letters] == [("", False, ())] * 3
    found.note(letters[0], (0, 20))
    assert [judge_event(letter, found, rules)[1:] for letter in letters] == [(True, ()), (False, (20,)), (False, (20,))]
    found.note(letters[2], (0, 21))
    assert "had an event since (partition 0, offset 21)" in judge_event(letters[1], found, rules).why


def test_a_document_changed_by_an_earlier_letter_is_changed() -> None:
    """A patch of an unknown member behind the replace that failed before it."""
    letters = [dead(Record(5, event("replace"))), dead(Record(6, event()), "unknown_member")]
    rules = replace(RULES, dead={letter.place for letter in letters})
    found = since(letters, [Record(5, event("replace")), Record(6, event())], rules)
    assert "would fail again" in judge_event(letters[1], found, rules).why
    assert judge_event(letters[1], found, rules, is_behind=True).why == ""
    found.note(letters[0], (0, 20))
    assert judge_event(letters[1], found, rules).why == ""


def test_a_letter_is_sent_again_once_and_its_successor_no_more_than_twice() -> None:
    """The topic says what was sent; the header, how often. The letter that came of it holds the event inside."""
    letter = dead(PATCH)
    mark = (("resent", b"1"), ("resent_origin", b"0/5"))
    sent = Record(20, encode_resend(PATCH.value, 0, 5, 20, [], NOW_MS, "me"), mark)
    found = since([letter], [PATCH, sent])
    assert judge_event(letter, found, RULES) == ("was sent again, as partition 0, offset 20", True, ())
    successor = dead(sent, "not_a_list")
    assert (successor.place, successor.first, successor.value, successor.times) == ((0, 20), (0, 5), PATCH.value, 1)
    rules = replace(RULES, dead={(0, 5), (0, 20)})
    found = since([successor], [PATCH, sent], rules)
    assert "nothing of its member has changed" in judge_event(successor, found, rules).why
    third = successor._replace(times=2)
    assert "was sent again 2 times and failed each time" in judge_event(third, found, rules).why
    assert "was sent again" not in judge_event(third, found, replace(rules, most_times=3)).why


def test_settings_and_named_reasons_count() -> None:
    """A compacted topic takes none; what was set aside is sent if it is named; keys may be JSON."""
    whole = replace(RULES, whole_only=True)
    assert "may be compacted" in why(replace(REPLACE, offset=5), "future_time", [], whole)
    assert why(PATCH, "skipped", [], replace(RULES, named=("skipped",))) == ""
    assert "bad_key" in why(replace(PATCH, key=b'"m"'), "bad_key", [])
    assert why(replace(PATCH, key=b'"m"'), "bad_key", [], replace(RULES, json_keys=True)) == ""


def test_what_was_cut_is_not_the_event() -> None:
    letter = dead(PATCH, "bad_key", cut="value")
    assert "was cut" in judge_event(letter, since([letter], [PATCH]), RULES).why


@pytest.mark.parametrize(
    ("value", "reason", "later", "expected"),
    [
        (b'{"kind":"click","id":"a"}', Refusal.UNKNOWN_KIND, [], ""),
        (b'{"kind":"share","id":"a"}', Refusal.UNKNOWN_KIND, [], "would fail again: unknown_kind"),
        (b'{"kind":"click","id":"a"}', Refusal.UNKNOWN_CAMPAIGN, [Record(4, None), Record(9, b"{}")], ""),
        (b'{"kind":"click","id":"a"}', Refusal.UNKNOWN_KIND, [Record(9, None)], "forgotten since"),
        (b'{"kind":"click","id":"a"}', Refusal.NOT_RUNNING, [], "its id is remembered"),
        (b'{"kind":"click","id":"a"}', Refusal.TOO_LATE, [], "too late"),
    ],
)
def test_interactions_are_kept_from_counting_twice_by_their_ids(
    value: bytes, reason: str, later: list[Record], expected: str
) -> None:
    """So their order doesn't matter, only whether their member was forgotten since."""
    record = Record(5, value)
    letter = dead(record, reason)
    found = judge_interaction(letter, since([letter], [record, *later], understand=understand_interaction), RULES).why
    assert expected in found
    assert bool(expected) == bool(found)
    without = since([letter], later, understand=understand_interaction)
    assert judge_interaction(letter, without, RULES).why


def test_our_headers_stand_behind_the_records_own() -> None:
    """Whatever names those have; what has none of ours, or not all, is no letter."""
    own = (("reason", b"mine"), ("resent", b"x"), ("cut", b"hair"))
    letter = dead(replace(PATCH, headers=own), "bad_key")
    assert (letter.headers, letter.reason, letter.is_cut, letter.times) == (own, "bad_key", False, 0)
    assert to_letter(PATCH) is None
    assert to_letter(replace(PATCH, headers=(("reason", b"bad_key"),))) is None
    assert to_letter(replace(PATCH, headers=(("resent_origin", b"zero/1"),))) is None
    assert since([letter], [replace(PATCH, headers=(("resent_origin", b"zero/1"),))]).sent == {}


def test_a_choice_is_by_reason_partition_and_time() -> None:
    letter = dead(PATCH, Reason.BAD_KEY)
    assert Choice().has(letter)
    assert Choice(("bad_key",), 0, 9, 10).has(letter)
    assert not any(one.has(letter) for one in (Choice(("x",)), Choice(None, 1), Choice(None, None, 10)))
    assert not Choice(until_ms=9).has(letter)


def test_letters_of_one_member_go_one_after_the_other() -> None:
    letters = [dead(Record(offset, event(), key=key)) for offset, key in enumerate([b"a", b"a", b"b", b"a", b"c"])]
    assert [[one.place[1] for one in wave] for wave in _waves(letters)] == [[0, 2, 4], [1], [3]]
    letters[1] = letters[1]._replace(place=(FOREIGN, 1), first=(FOREIGN, 1))
    assert len(_waves(letters)) == 3, "they meet in one partition"


def sending(letters: list[Letter], records: list[Record], **rules: Any) -> tuple[Resending, list[Letter]]:
    """Return a run that has read these letters, and these records of the topic."""
    run = Resending(Settings(), Topic("docs", "docs.dead", is_of_interactions=False), Choice(), "me")
    run._letters, run._rules = letters, replace(RULES, **rules)
    run._since = since(letters, records)
    return run, letters


def overtaken(run: Resending) -> list[bytes | None]:
    run._look_back()
    return [letter.key for letter in run.outcome.overtaken]


def test_a_delete_that_came_just_before_is_told() -> None:
    """Nothing of it is kept, so the worker can't see it: the topic shows it, between the letter's place and the new
    one. A delete before the letter, or behind the new record, is none of them. Nor is one that failed or has a
    version."""
    keys = [b"before", b"between", b"behind", b"both", b"dead", b"versioned", b"failed", b"unsent"]
    letters = [dead(Record(5, event(), key=key))._replace(place=(1, i)) for i, key in enumerate(keys)]
    deletes = [Record(4, None, key=b"before"), Record(25, None, key=b"behind"), Record(26, None, key=b"both")]
    deletes += [Record(15, None, key=key) for key in (b"between", b"both", b"failed", b"unsent")]
    deletes += [Record(14, event("delete"), key=b"dead"), Record(15, event("delete", version=1), key=b"versioned")]
    run, _ = sending(letters, deletes, dead={(0, 14), (0, 21)})
    for letter in letters[:-1]:
        run._since.note(letter, (0, 21 if letter.key == b"failed" else 20))
    assert overtaken(run) == [b"between"]
    run._since._take(0, Record(30, None, key=b"between"))
    assert overtaken(run) == []


async def test_a_look_back_is_not_lost_with_an_earlier_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was cut short looked back at nothing. The next one does for it, even if nothing is left to send."""
    mark = (("resent", b"1"), ("resent_origin", b"0/5"))
    sent = Record(20, encode_resend(PATCH.value, 0, 5, 6, [], NOW_MS, "me"), mark)

    async def read_letters(*_: Any) -> AsyncIterator[Letter]:
        yield dead(PATCH)

    @asynccontextmanager
    async def connected(*_: Any) -> AsyncIterator[Any]:
        yield None, range(4)

    async def read_on(its: Since, *_: Any) -> None:
        for record in (PATCH, Record(15, None), sent):
            its._take(0, record)

    for name, made in {"read_letters": read_letters, "connected": connected}.items():
        monkeypatch.setattr(sending_module, name, made)
    monkeypatch.setattr(Since, "read_on", read_on)
    run = Resending(Settings(), Topic("docs", "docs.dead", is_of_interactions=False), Choice(), "me")
    async with run.planned() as letters:
        assert (letters, run.outcome.done, [one.place for one in run.outcome.overtaken]) == ([], 1, [(0, 5)])


class Denied:
    """A producer that Kafka lets send one record, and no second one."""

    def __init__(self, run: Resending) -> None:
        self._run, self._n = run, 0

    async def start(self) -> None:
        """Nothing to do."""

    stop = start

    async def send_batch(self, *_: Any, **__: Any) -> Any:
        self._n += 1
        if self._n == 2:
            raise TopicAuthorizationFailedError("docs")
        acked: asyncio.Future[Any] = asyncio.Future()
        acked.set_result(SimpleNamespace(offset=20))
        return acked


async def test_after_a_failure_the_run_looks_back_and_says_which_right_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was sent stays sent; a delete that came just before it is told all the same."""
    records = [Record(5, event()), Record(6, event())]
    run: Any
    run, letters = sending([dead(record) for record in records], records, dead={(0, 5), (0, 6)})
    looks = iter([[], [Record(15, None)]])

    async def read_on(*_: Any) -> None:
        for record in next(looks):
            run._since._take(0, record)

    run._since.read_on = read_on
    run._since._next[0] = 7
    monkeypatch.setattr(Kafka, "producer", lambda _: Denied(run))
    with pytest.raises(SendError) as caught:
        await run.send(letters, 1e6)
    assert "topic docs: " in str(caught.value)
    assert f"Next: {RIGHTS}; then repeat" in str(caught.value)
    assert (run.outcome.sent.total(), run.outcome.overtaken) == (1, letters[:1])


class Planned:
    """A run with one letter to send. It ends in an outage, and has found a delete."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.outcome = Resent(chosen=1, overtaken=[dead(PATCH)])

    @asynccontextmanager
    async def planned(self) -> AsyncIterator[list[Letter]]:
        yield [dead(PATCH)]

    async def send(self, *_: Any) -> None:
        self.outcome.sent["future_time"] += 1


class CutShort(Planned):
    async def send(self, *_: Any) -> None:
        raise SendError("no broker. Next: …")


def test_the_question_is_not_in_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--json` without `--yes`: standard output is JSON alone. Deletes are told, whatever the end."""
    monkeypatch.setattr(dead_letters, "Resending", Planned)
    result = CliRunner().invoke(dead_letters.app, ["resend", "--json"], input="y\n")
    echo, _, output = result.stdout.partition("\n")  # click's runner shows there what it types
    assert (echo, orjson.loads(output)["sent"]) == (" y", {"future_time": 1})
    assert "Send to member-docs?" in result.stderr
    assert (result.exit_code, result.stderr.count("send the delete again")) == (1, 1)
    for kind, answer in [(Planned, "n\n"), (CutShort, "y\n")]:
        monkeypatch.setattr(dead_letters, "Resending", kind)
        result = CliRunner().invoke(dead_letters.app, ["resend", "--json"], input=answer)
        assert (result.exit_code, result.stdout) == (1, f" {answer}")
        assert result.stderr.count("send the delete again") == 1


def test_the_help_names_the_page() -> None:
    assert "docs/dead-letters.md" in (dead_letters.app.info.help or "")


def test_what_came_from_a_foreign_partition_is_an_event_like_any() -> None:
    """Its offset there says nothing here: one with a version stops none with a higher one, and all without."""
    records = [Record(offset, event(version=n), partition=FOREIGN) for offset, n in [(8, 1), (9, 2)]]
    letters, own = [dead(record, "wrong_partition") for record in records], dead(Record(20, event()))
    sent = Record(30, encode_resend(event(version=1), 0, -1, 30, [], NOW_MS, "me"), (("resent_origin", b"3/8"),))
    found = since([*letters, own], [Record(20, event()), sent])
    found.note(letters[0], (0, 30))
    rules = replace(RULES, dead={own.place, *(letter.place for letter in letters)})
    assert judge_event(letters[0], found, rules).is_done
    assert judge_event(letters[1], found, rules) == ("", False, (30,))
    assert "not both have versions" in judge_event(own, found, rules).why
