"""A history of change events, and rows of (member, as-of time) → the training matrix.

Laws:
- A row is what a worker would say that has consumed exactly the events that count at the row's time T, at `now` = T.
- `by="event_time"`: an event counts from its own time on (`at`, else the record's timestamp): what had happened by T.
  `by="arrival"`: from the record's timestamp on: what the stream had by T, late events left out. Histories that were
  loaded into Kafka after the fact have only event times that mean something.
- An event more than five minutes ahead of its record's timestamp is refused, as by a worker that keeps up.
- A delete without any time counts always: forgetting goes before training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson

from models.event import BadEvent, Reason, decode, decode_key
from models.model import Model
from models.timestamps import MAX_MS
from models.training.columns import Predictors, TrainingError, compile_columns
from models.training.fold import Happened, documents_at
from models.training.matrix import CHUNK, Refused, TrainingMatrix, empty
from models.training.rows import read_rows

By = Literal["event_time", "arrival"]
NO_TIME = -1  # Kafka's word for a record without a timestamp


class Record(NamedTuple):
    """A record of the topic of change events, as it came.

    Attributes:
        offset: in its partition, if known: then records may come in any order, and one that comes twice counts once.
    """

    key: bytes | None
    value: bytes | None
    timestamp_ms: int = NO_TIME
    offset: int | None = None


Numbered = list[tuple[int, Record]]  # records with their numbers in the history


def from_history(
    predictors: Predictors | Model,
    events: Iterable[Record | tuple[Any, ...] | Mapping[str, Any]],
    rows: Iterable[Any],
    *,
    by: By = "event_time",
) -> TrainingMatrix:
    """Return the predictors of members as of times, from the history of their change events.

    Args:
        predictors: as for `training_matrix`.
        events: in the order of the topic: records, (key, value, timestamp_ms) tuples, or envelopes as objects, with
            their member_id. Those of the members in `rows` are held in memory.
        rows: (member id, time) pairs in any order; the matrix has theirs.
        by: which time of an event says from when on it is known; see the laws above.

    Raises:
        TrainingError: with every problem of the predictors and the rows.
    """
    columns = compile_columns(predictors)
    asked = read_rows(rows)
    wanted = asked.by_member()
    refused: dict[int, BadEvent] = {}
    histories = _gather(events, wanted.keys(), refused)
    n = len(asked.member_ids)
    x, is_known = empty(columns, n), np.zeros(n, dtype=np.bool_)
    numbers: list[int] = []
    documents: list[Any] = []

    def evaluate() -> None:
        x[numbers] = columns.evaluate_many(documents, [asked.at_ms[number] for number in numbers])
        is_known[numbers] = True
        numbers.clear()
        documents.clear()

    for key, its_rows in wanted.items():
        happened = _decode(key, histories.pop(key, []), by, refused)
        for (_, number), document in zip(
            its_rows, documents_at(happened, [at_ms for at_ms, _ in its_rows], refused), strict=True
        ):
            if document is not None:
                numbers.append(number)
                documents.append(document)
        if len(numbers) >= CHUNK:
            evaluate()
    evaluate()
    told = tuple(Refused(number, error.reason, error.detail) for number, error in sorted(refused.items()))
    return TrainingMatrix(
        x, columns.names, asked.member_ids, np.array(asked.at_ms, np.int64), is_known, columns.texts, told
    )


def record_of(envelope: Mapping[str, Any]) -> Record:
    """Return the record of an envelope that names its member.

    Raises:
        BadEvent: there is no member_id.
    """
    member_id = envelope.get("member_id")
    if not isinstance(member_id, str):
        raise BadEvent(Reason.MISSING_FIELD, "member_id: expected a text (it becomes the record's key)")
    return Record(member_id.encode(), orjson.dumps(envelope))


def _gather(events: Iterable[Any], wanted: Any, refused: dict[int, BadEvent]) -> dict[bytes, Numbered]:
    """Return the records of the wanted keys; a record that can be nobody's is refused."""
    found: dict[bytes, Numbered] = {}
    for number, event in enumerate(events):
        try:
            record = record_of(event) if isinstance(event, Mapping) else Record(*event)
            if record.key in wanted:
                found.setdefault(record.key or b"", []).append((number, record))
            else:
                decode_key(record.key)
        except BadEvent as error:
            refused[number] = error
    return found


def _decode(key: bytes, records: Numbered, by: By, refused: dict[int, BadEvent]) -> list[Happened]:
    """Return one member's events by ascending position; those that can't be read are refused."""
    if records and records[0][1].offset is not None:
        records = sorted(records, key=lambda numbered: numbered[1].offset)
    happened: list[Happened] = []
    for number, (_, value, timestamp_ms, offset) in records:
        if by == "arrival" and timestamp_ms < 0:
            raise TrainingError([f"events[{number}]: expected a record with a timestamp. Use: by=\"event_time\""])
        now_ms = MAX_MS if timestamp_ms < 0 else timestamp_ms
        try:
            event = decode(key, value, timestamp_ms, now_ms)
        except BadEvent as error:
            refused[number] = error
            continue
        counts_from_ms = event.at_ms if by == "event_time" else timestamp_ms
        position = number if offset is None else offset
        happened.append(Happened(counts_from_ms, position, event, len(value or b""), number))
    return happened
