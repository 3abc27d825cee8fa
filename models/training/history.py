"""A history of change events, and rows of (member, as-of time) → the training matrix.

Laws:
- A row is what a worker says at `now` = T, the row's time, if it has consumed exactly the events that count at T.
- `by="event_time"` (what had happened by T): an event counts from its own time on, `at` or else the record's timestamp.
  `by="arrival"` (what had reached the stream by T): an event counts from the record's timestamp on, so late events are
  left out. If a history was loaded into Kafka after the fact, only its event times mean something.
- An event more than five minutes ahead of its record's timestamp is refused, as by a worker that keeps up.
- A delete without any time always counts: forgetting goes before training.
- How members are shared out among processes changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import index
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import orjson

from memberstream.models.event import BadEvent, ChangeEvent, Reason, decode, decode_key, json_key
from memberstream.models.model import Model
from memberstream.models.resend import resent_event, resent_in
from memberstream.models.timestamps import MAX_MS
from memberstream.models.training.columns import Predictors, TrainingError, compile_columns, in_hand
from memberstream.models.training.fold import Happened, documents_at
from memberstream.models.training.given import is_table
from memberstream.models.training.matrix import Refused, TrainingMatrix, empty, evaluate
from memberstream.models.training.rows import read_rows

By = Literal["event_time", "arrival"]
#: What becomes of a record whose key is JSON itself, as by MEMBERSTREAM_JSON_KEYS of a worker.
JsonKeys = Literal["refuse", "allow"]
NO_TIME = -1  # what Kafka says of a record without a timestamp
# A process is busy with so many rows for a good part of a second, and many processes get tasks.
_TASK_ROWS = 4_000


class Record(NamedTuple):
    """A record of the topic of change events, as it came.

    Attributes:
        offset: in its partition, if known. Then records may come in any order, and a record that comes twice counts
            once.
    """

    key: bytes | None
    value: bytes | None
    timestamp_ms: int = NO_TIME
    offset: int | None = None


class Asked(NamedTuple):
    """What is asked about one member. `rows`: (at_ms, number of the row), by time. `records`: with their numbers."""

    key: bytes
    records: list[tuple[int, Record]]
    rows: list[tuple[int, int]]


class Task(NamedTuple):
    """Some members, for any process to answer."""

    predictors: Predictors | Model
    by: By
    members: list[Asked]


class Answer(NamedTuple):
    """Numbers of the rows whose member was known then, their predictors, and the events that were refused."""

    numbers: list[int]
    x: Any
    refused: list[Refused]


def from_history(
    predictors: Iterable[Mapping[str, Any]] | Model,
    events: Iterable[Record | tuple[Any, ...] | Mapping[str, Any]],
    rows: Iterable[Any],
    *,
    by: By = "event_time",
    json_keys: JsonKeys = "refuse",
    map: Callable[[Callable[[Task], Answer], Iterable[Task]], Iterable[Answer]] = map,
) -> TrainingMatrix:
    """Return the predictors of members as of times, from the history of their change events.

    Args:
        predictors: as for `training_matrix`.
        events: in the order of the topic: `Record`s or tuples like them, or envelopes as objects that name their
            member_id. Those of the members in `rows` are held in memory.
        rows: (member id, time) pairs in any order, or a DataFrame with the columns member_id and at; a member may have
            several. The matrix has their order.
        by: which time of an event says from when on it is known: see the laws above.
        json_keys: the workers' MEMBERSTREAM_JSON_KEYS: whether a key that is JSON itself is a member id.
        map: `map` of a ProcessPoolExecutor, to use all cores.

    Raises:
        TrainingError: with every problem of the predictors, or of the rows. Also for events that aren't any, that lack
            the time asked for, or that lack an offset while others of the member have one.
    """
    if by not in get_args(By):
        raise TrainingError([f"by: expected one of {', '.join(get_args(By))}, found {by!r}"])
    if json_keys not in get_args(JsonKeys):
        raise TrainingError([f"json_keys: expected one of {', '.join(get_args(JsonKeys))}, found {json_keys!r}"])
    chosen = in_hand(predictors)
    columns = compile_columns(chosen)
    asked = read_rows(rows)
    n = len(asked.member_ids)
    x, is_known = empty(columns, n), np.zeros(n, dtype=np.bool_)
    wanted, refused = asked.by_member(), list[Refused]()
    records = _gather(events, wanted, refused, may_be_json=json_keys == "allow")
    _check_offsets(records)
    if by == "arrival":
        _check_timestamps(records)
    for answer in map(answer_one, _tasks(chosen, by, wanted, records)):
        x[answer.numbers] = answer.x
        is_known[answer.numbers] = True
        refused += answer.refused
    at_ms = np.array(asked.at_ms, dtype=np.int64)
    refused.sort()
    return TrainingMatrix(x, columns.names, asked.member_ids, at_ms, is_known, columns.texts, tuple(refused))


def record_of(envelope: Mapping[str, Any]) -> Record:
    """Return the record of an envelope that names its member.

    Raises:
        BadEvent: there is no member_id.
    """
    member_id = envelope.get("member_id")
    if not isinstance(member_id, str):
        raise BadEvent(Reason.MISSING_FIELD, "member_id: expected a text (it becomes the record's key)")
    return Record(member_id.encode(), orjson.dumps(envelope))


def _gather(
    events: Iterable[Any], wanted: Mapping[bytes, Any], refused: list[Refused], *, may_be_json: bool
) -> dict[bytes, list[tuple[int, Record]]]:
    """Return the records of the wanted keys, numbered. A record that can't belong to a member is refused.

    Raises:
        TrainingError: something can't be a record at all.
    """
    found: dict[bytes, list[tuple[int, Record]]] = {key: [] for key in wanted}
    taken = {key for key in wanted if may_be_json or not key or json_key(key) is None}
    for number, event in enumerate(_in_turn(events)):
        try:
            record = record_of(event) if isinstance(event, Mapping) else Record(*event)
            if record.key is not None and record.key in taken:
                found[record.key].append((number, _typed(record)))
            else:
                decode_key(record.key, may_be_json=may_be_json)
        except BadEvent as error:
            refused.append(Refused(number, error.reason, error.detail))
        except (TypeError, ValueError, AttributeError) as error:
            expected = "a record, its key and value bytes, its times whole numbers, or an envelope that JSON can hold"
            raise TrainingError([f"events[{number}]: expected {expected}, found something else: {error}"]) from None
    return found


def _in_turn(events: Any) -> Iterable[Any]:
    """Return events to go through once. Raises TrainingError: they aren't any."""
    if is_table(events) or isinstance(events, (str, bytes, Mapping)) or not isinstance(events, Iterable):
        kind = "None" if events is None else type(events).__name__
        raise TrainingError(
            [
                f"events: expected records or envelopes, found {kind}. Use: a list of dicts with member_id and op, "
                "Records, or change_history(member_ids).records"
            ]
        )
    return events


def _typed(record: Record) -> Record:
    """Return a record with Python's own integers. Raises TypeError: it isn't one."""
    key, value, timestamp_ms, offset = record
    if value is not None and not isinstance(value, bytes):
        raise TypeError(f"value: {type(value).__name__}")
    return Record(key, value, index(timestamp_ms), None if offset is None else index(offset))


def _check_offsets(records: Mapping[bytes, list[tuple[int, Record]]]) -> None:
    """Raise TrainingError if only some of a member's records have an offset: then their order isn't known."""
    for numbered in records.values():
        without = [number for number, one in numbered if one.offset is None]
        if 0 < len(without) < len(numbered):
            raise TrainingError(
                [f"events[{without[0]}]: expected an offset, as other records of the member have one, found none"]
            )


def _check_timestamps(records: Mapping[bytes, list[tuple[int, Record]]]) -> None:
    timeless = sorted(number for numbered in records.values() for number, one in numbered if one.timestamp_ms < 0)
    if timeless:
        found = f"{len(timeless):,} without one, the first of them events[{timeless[0]}]"
        raise TrainingError([f"by: expected records with timestamps, found {found}. Use: by='event_time'"])


def _tasks(
    predictors: Predictors | Model,
    by: By,
    wanted: Mapping[bytes, list[tuple[int, int]]],
    records: dict[bytes, list[tuple[int, Record]]],
) -> Iterator[Task]:
    """Yield the members in parts of a few thousand rows, handing their records on."""
    members: list[Asked] = []
    n_rows = 0
    for key, rows in wanted.items():
        members.append(Asked(key, records.pop(key), rows))
        n_rows += len(rows)
        if n_rows >= _TASK_ROWS:
            yield Task(predictors, by, members)
            members, n_rows = [], 0
    yield Task(predictors, by, members)


def answer_one(task: Task) -> Answer:
    """Return the rows of a task's members."""
    refused: dict[int, BadEvent] = {}
    numbers: list[int] = []
    documents: list[Any] = []
    times: list[int] = []
    for key, records, rows in task.members:
        at_ms = [at_ms for at_ms, _ in rows]
        found = documents_at(_decode(key, records, task.by, refused), at_ms, refused)
        for (time, number), document in zip(rows, found, strict=True):
            if document is not None:
                numbers.append(number)
                documents.append(document)
                times.append(time)
    x = evaluate(compile_columns(task.predictors), documents, times)
    return Answer(numbers, x, [Refused(number, error.reason, error.detail) for number, error in refused.items()])


def _decode(key: bytes, records: list[tuple[int, Record]], by: By, refused: dict[int, BadEvent]) -> list[Happened]:
    """Return one member's events by ascending position. Events that can't be read are refused."""
    if records and records[0][1].offset is not None:
        records = sorted(records, key=lambda numbered: numbered[1].offset or 0)
    happened: list[Happened] = []
    last = None
    for number, (_, value, timestamp_ms, offset) in records:
        if offset is not None and offset == last:  # it came twice
            continue
        last = offset
        now_ms = MAX_MS if timestamp_ms < 0 else timestamp_ms
        try:
            event = _event(key, value, timestamp_ms, now_ms)
        except BadEvent as error:
            refused[number] = error
            continue
        counts_from_ms = event.at_ms if by == "event_time" else timestamp_ms
        position = number if offset is None else offset
        happened.append(Happened(counts_from_ms, position, event, len(value or b""), number))
    return happened


def _event(key: bytes, value: bytes | None, timestamp_ms: int, now_ms: int) -> ChangeEvent:
    """Return the event of a record, or of the dead letter that it sends again. Raises BadEvent."""
    try:
        return decode(key, value, timestamp_ms, now_ms)
    except BadEvent as error:
        if error.reason is not Reason.UNKNOWN_OP or (resend := resent_in(value)) is None:
            raise
        return resent_event(resend, decode_key(key), 0, now_ms)
