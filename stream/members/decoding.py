"""Records of a batch to events; whatever is none, or isn't for this partition, becomes a dead letter.

Laws:
- A record is an event, a command of an operator, a dead letter that comes again, or bad.
- An event that belongs to another partition (models/placement.py) is refused before anything else. Offsets of two
  partitions can't be compared, so a member with events in both could never be right. A member that the state holds is
  served where it is, even if a version without this law took it in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memberstream.models.command import decode_command
from memberstream.models.event import (
    DELETE,
    REPLACE,
    BadEvent,
    ChangeEvent,
    Order,
    Reason,
    decode_key,
    decode_value,
    json_key,
)
from memberstream.models.position import position_of
from memberstream.models.resend import decode_resend, resent_event
from memberstream.models.steps import Steps
from memberstream.stream.members.batch import STEP_BYTES, Batch, refuse
from memberstream.stream.partition.bookkeeping import Progress
from memberstream.stream.partition.source_topic import Record

_MAY_BE_AN_OPERATORS = (Reason.UNKNOWN_OP, Reason.BAD_KEY)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say of records.

    Attributes:
        whole_only: the topic may be compacted, so an event that changes a document without holding all of it is bad.
        json_keys: a key that is JSON itself is a member id.
    """

    whole_only: bool = False
    json_keys: bool = True


Events = dict[bytes, list[tuple[Record, ChangeEvent]]]  # member id → its events in order, with their records


def decoding(batch: Batch, keys: Sequence[bytes | None], now_ms: int, rules: Rules = Rules()) -> Steps[Events]:
    """Return the events of some of the batch's keys. Bad events become dead letters.

    Args:
        now_ms: wall clock, by which events from the future are recognised.
    """
    events: Events = {}
    clock_ms, n_bytes = batch.progress.clock_ms, 0
    for key in keys:
        its_records = batch.records[key]
        try:
            member_id = decode_key(key)
        except BadEvent as error:
            for record in its_records:
                refuse(batch, record, error)
            continue
        unwanted = None if rules.json_keys or key is None else json_key(key)  # an operator may name such a member still
        its_events: list[tuple[Record, ChangeEvent]] = []
        for record in its_records:
            n_bytes += len(record.value or b"")
            if n_bytes > STEP_BYTES:
                n_bytes = 0
                yield
            try:
                if unwanted is not None and record.value is not None:  # a member of before may be deleted: `turn_away`
                    raise unwanted
                event = decode_value(member_id, record.value, record.timestamp, now_ms)
                _check_whole(event, rules)
            except BadEvent as error:
                try:
                    event = _of_an_operator(batch, member_id, record, error, now_ms)
                    if event.again is not None:
                        if unwanted is not None:
                            raise unwanted
                        _check_whole(event, rules)
                except BadEvent as refusal:
                    refuse(batch, record, refusal)
                    continue
            if event.at_ms > clock_ms:
                clock_ms = event.at_ms
            its_events.append((record, event))
        if its_events and key:
            events[key] = its_events
    batch.progress = Progress(batch.progress.position, clock_ms, batch.progress.topic_id)
    return events


def _check_whole(event: ChangeEvent, rules: Rules) -> None:
    if rules.whole_only and event.op is not REPLACE and event.op is not DELETE:
        raise BadEvent(Reason.NOT_WHOLE, f'op: expected "replace" or "delete", found "{event.op}"')


def turn_away(
    batch: Batch, events: Events, states: Sequence[bytes | None], rules: Rules = Rules()
) -> Sequence[bytes | None]:
    """Refuse events of members that aren't held here and can't be. Returns the states of the other members.

    Those are another partition's members; and deletes by a key that is JSON, where such keys aren't member ids: the
    producer means another member, who would stay. (`decoding` has refused their other events.)

    A replay isn't refused: its position shows it, and it may still owe a write to Redis. Nor is a command refused.
    """
    if None not in states:
        return states
    placement, base = batch.placement, position_of(batch.progress.epoch, 0)
    unknown = [key for key, state in zip(events, states, strict=True) if state is None]
    wrong: dict[bytes, BadEvent] = {}
    if not rules.json_keys:
        wrong = {key: refusal for key in unknown if (refusal := json_key(key)) is not None}
    for key in placement.misplaced(unknown, batch.partition):
        detail = f"key: {placement.partitioner} puts it into partition {placement.partition_of(key)}, found in "
        wrong.setdefault(key, BadEvent(Reason.WRONG_PARTITION, f"{detail}{batch.partition}"))
    if not wrong:
        return states
    keys = list(events)
    for key, refusal in wrong.items():
        kept = []
        for record, event in events.pop(key):
            if base + record.offset <= batch.done_position or type(event.op) is Order:
                kept.append((record, event))
            else:
                refuse(batch, record, refusal)
        if kept:
            events[key] = kept
    stored = dict(zip(keys, states, strict=True))
    return [stored[key] for key in events]


def _of_an_operator(batch: Batch, member_id: str, record: Record, error: BadEvent, now_ms: int) -> ChangeEvent:
    """Return what an operator has sent: a command, or a dead letter again. Raises BadEvent: it is neither."""
    if error.reason not in _MAY_BE_AN_OPERATORS:
        raise error
    epoch = batch.progress.epoch
    is_new = position_of(epoch, record.offset) > batch.done_position
    if (command := decode_command(record.value, batch.partition)) is not None:
        if is_new:
            batch.commands.append((record.offset, command))
        return command.event
    if (resend := decode_resend(record.value, batch.partition)) is None:
        raise error
    batch.n_resent += is_new
    return resent_event(resend, member_id, epoch, now_ms)
