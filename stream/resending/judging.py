"""May a dead letter be sent again, and if not, why? Asked of each letter, from what the source topic holds.

Laws, of change events:
- Into a topic that may be compacted none is sent: it would stand for its member's last document, whatever the worker
  made of it.
- What can't be read today would fail again. What was cut isn't the event.
- Its record must still be in the topic: then all that came since is there, deletes too.
- An event without a version is sent again only if its member has had no event since. What failed itself doesn't count
  as an event. Nor does what was sent again and is older.
- An event with a version is judged by versions, as the worker judges it. But it isn't sent behind a delete, nor behind
  an event without a version: nothing says which of the two is newer.
- What failed for its member's document (no such member, no list) fails again, unless that document has changed.
- What failed in a foreign partition goes to its own, if it has a version. Offsets of two partitions can't be compared.
  So its own must still be there from its beginning on.
- The worker judges once more, in order (models/apply.py): if an event comes between this look and the record, the
  record changes nothing.

Laws, of interactions:
- Their ids make it harmless to send one again. What was refused for where the member or the campaign stood then is
  remembered by its id, and stays refused.
- Nothing of a member is sent that was forgotten since. So the letter's record must still be in the topic.

Of both:
- A letter is sent again once; if it fails again, that is another letter. After MOST_TIMES nothing is, unless asked for.
- What an operator has set aside, and what came too late, is sent only if its reason is named.
"""

from __future__ import annotations

from collections.abc import Collection, Container
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from memberstream.models.command import decode_command
from memberstream.models.event import DELETE, BadEvent, ChangeEvent, Order, Reason, decode
from memberstream.models.interaction import Refusal
from memberstream.models.interaction import decode as decode_interaction
from memberstream.models.placement import Placement
from memberstream.models.resend import decode_resend, encode_resend, resent_event
from memberstream.models.wording import counted
from memberstream.stream.resending.letter import Letter, Place
from memberstream.stream.resending.since import Later, Since

#: How often a letter is sent again: once for a cause that is gone, once more for a second one behind it.
MOST_TIMES = 2
#: Earlier letters of a member of which a letter names the offsets: more in a row don't fail.
_BEFORE = 50
_BY_DOCUMENT = (Reason.UNKNOWN_MEMBER, Reason.NOT_A_LIST)
_ONLY_IF_NAMED: dict[str, str] = {
    Reason.SKIPPED: "an operator set it aside, because no worker could handle it. Next: once they can, name its reason",
    Refusal.TOO_LATE: "it was too late and stays so. Next: if the horizon was raised since, name its reason",
}
_STAYS_REFUSED = (Refusal.BAD_TOKEN, Refusal.NOT_RUNNING, Refusal.NOT_TARGETED, Refusal.UNKNOWN_CLUSTER)


@dataclass(frozen=True, slots=True)
class Rules:
    """By what letters are judged.

    Attributes:
        named: reasons that the operator has named.
        most_times: how often a letter may have been sent again, and once more.
        dead: places of all failed records.
        whole_only: the topic may be compacted.
        json_keys: a key that is JSON itself is a member id.
        kinds: of interactions.
    """

    now_ms: int
    placement: Placement
    named: Container[str] = ()
    most_times: int = MOST_TIMES
    dead: Container[Place] = ()
    whole_only: bool = False
    json_keys: bool = False
    kinds: Collection[str] = field(default_factory=tuple)


class Verdict(NamedTuple):
    """What became of a letter.

    Attributes:
        why: it isn't sent again; "": it may be.
        is_done: it was sent again by an earlier run.
        before: as of models/resend.py.
    """

    why: str
    is_done: bool = False
    before: tuple[int, ...] = ()


def judge_event(letter: Letter, since: Since, rules: Rules, *, is_behind: bool = False) -> Verdict:
    """Judge a letter of change events. `is_behind`: an earlier letter of its member is sent again, too."""
    try:
        if why := _of_any(letter, since, rules):
            return why
        event = decode(letter.key, letter.value, letter.at_ms, rules.now_ms, may_be_json=rules.json_keys)
        _check_size(letter)
    except BadEvent as error:
        return Verdict(f"would fail again: {error}. Next: its producer corrects it and sends it again")
    if rules.whole_only:
        return Verdict(
            "the topic may be compacted, and this would stand there for its member's last document. "
            "Next: send the whole document"
        )
    if letter.reason == Reason.WRONG_PARTITION or letter.first[1] < 0:  # it stood in one, or failed again in its own
        return _of_a_foreign_partition(letter, event, since, rules)
    partition, first = letter.first
    its = since.of(partition, letter.key)
    older = tuple({one.offset for one in its if one.first is not None and one.first < first})
    newer = [one for one in its if _is_newer(one, first) and (partition, one.offset) not in rules.dead]
    if letter.first not in since.there:
        return Verdict(
            "the topic no longer holds its record: what came since can't be told, nor whether its member was deleted. "
            "Next: send a replace of the whole document"
        )
    if why_not := _behind(event.version, newer, partition):
        return Verdict(why_not)
    if letter.reason in _BY_DOCUMENT and not (newer or older or is_behind):
        return Verdict(
            f"would fail again ({letter.reason}): nothing of its member has changed. "
            "Next: send a replace of the whole document"
        )
    if event.version is not None:  # those of foreign partitions have one, too: the worker compares
        older += tuple(since.from_elsewhere(partition, letter.key))
    return Verdict("", before=tuple(sorted(older))[-_BEFORE:])


def judge_interaction(letter: Letter, since: Since, rules: Rules, *, is_behind: bool = False) -> Verdict:
    """Judge a letter of interactions. `is_behind` plays no part: their order changes no count."""
    try:
        if why := _of_any(letter, since, rules):
            return why
        decode_interaction(
            letter.key, letter.value, letter.at_ms, rules.now_ms, rules.kinds, may_be_json=rules.json_keys
        )
    except BadEvent as error:
        return Verdict(f"would fail again: {error}. Next: its producer corrects it and sends it again")
    if letter.reason in _STAYS_REFUSED:
        return Verdict(
            "was judged by its own time, and its id is remembered: it would be refused or a duplicate. "
            "Next: send a corrected one with a new id"
        )
    if letter.first not in since.there:
        return Verdict(
            "the topic no longer holds its record: whether its member was forgotten since can't be told. Next: nothing"
        )
    if any(one.is_delete and one.offset > letter.first[1] for one in since.of(letter.first[0], letter.key)):
        return Verdict("its member was forgotten since. Next: nothing")
    return Verdict("")


def understand_event(record: Any, rules: Rules) -> Later | None:
    """Return what a record of change events says of its member; None: it changes nothing."""
    event, first = _event_of(record, rules)
    if event is None or event.op is Order.REWRITE:
        return None
    return Later(record.offset, event.version, event.op in (DELETE, Order.FORGET), first)


def understand_interaction(record: Any, rules: Rules) -> Later | None:
    """Return whether a record of interactions forgets its member."""
    return Later(record.offset, is_delete=True) if record.value is None else None


def _event_of(record: Any, rules: Rules) -> tuple[ChangeEvent | None, int | None]:
    try:
        return decode(record.key, record.value, record.timestamp, rules.now_ms), None
    except BadEvent:
        if (command := decode_command(record.value, record.partition)) is not None:
            return command.event, None
        if (resend := decode_resend(record.value, record.partition)) is None:
            return None, None
    first = None if resend.origin < 0 else resend.origin
    try:
        return resent_event(resend, (record.key or b"").decode(errors="replace"), 0, rules.now_ms), first
    except BadEvent:
        return None, None


def _of_any(letter: Letter, since: Since, rules: Rules) -> Verdict | None:
    if letter.is_cut:
        return Verdict("was cut to what its topic takes. Next: its producer sends it again")
    if letter.place in since.sent:
        partition, offset = since.sent[letter.place]
        return Verdict(f"was sent again, as partition {partition}, offset {offset}", is_done=True)
    if letter.times >= rules.most_times:
        return Verdict(
            f"was sent again {counted(letter.times, 'time')} and failed each time. Next: find out why; "
            f"--most-times {letter.times + 1} sends it once more"
        )
    if letter.reason in _ONLY_IF_NAMED and letter.reason not in rules.named:
        return Verdict(f"{_ONLY_IF_NAMED[letter.reason]} (--reason {letter.reason})")
    return None


def _check_size(letter: Letter) -> None:
    """Raise BadEvent if the record around the event isn't one that an owner can read: too large, or too deep."""
    wrapped = encode_resend(letter.value, 0, letter.first[1], letter.first[1], range(_BEFORE), letter.at_ms, "x" * 100)
    try:
        decode(b"m", wrapped, 0, 0)
    except BadEvent as error:
        if error.reason is not Reason.UNKNOWN_OP:
            raise


def _of_a_foreign_partition(letter: Letter, event: ChangeEvent, since: Since, rules: Rules) -> Verdict:
    own = target(letter, rules)
    if own == letter.place[0] and letter.reason == Reason.WRONG_PARTITION:
        return Verdict("its partition is its own today. Next: check MEMBERSTREAM_PARTITIONER")
    if event.version is None:
        return Verdict(
            "has no version and stood in a foreign partition: what came before and after it can't be told. "
            "Next: its producer sends it again, with the right partitioner"
        )
    if own in since.gaps:
        return Verdict(
            f"partition {own}, its own, no longer begins at offset 0: whether its member was deleted can't be told. "
            "Next: send a replace of the whole document"
        )
    its = [one for one in since.of(own, letter.key) if (own, one.offset) not in rules.dead]
    return Verdict(_behind(event.version, its, own), before=tuple(since.from_elsewhere(own, letter.key))[-_BEFORE:])


def target(letter: Letter, rules: Rules) -> int:
    """Return the partition that a letter of change events goes to."""
    if letter.reason != Reason.WRONG_PARTITION or letter.key is None or rules.placement.partitioner == "any":
        return letter.place[0]
    return rules.placement.partition_of(letter.key)


def _is_newer(one: Later, first: int) -> bool:
    return one.first > first if one.first is not None else one.offset > first


def _behind(version: int | None, newer: Collection[Later], partition: int) -> str:
    """Return why an event may not come behind newer records of its member; "" if it may."""
    for one in newer:
        where = f"partition {partition}, offset {one.offset}"
        if one.is_delete:
            return f"its member was deleted since ({where}). Next: nothing, or send a replace if that was a mistake"
        if version is None or one.version is None:
            return f"its member has had an event since ({where}), and not both have versions. Next: send a replace"
        if one.version >= version:
            return f"its member has a newer version, {one.version} ({where}). Next: nothing"
    return ""
