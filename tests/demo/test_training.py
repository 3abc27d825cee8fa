"""Training data on CDNOW: each row is what the worker's own code computed when it got there, event by event."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from itertools import groupby

import numpy as np
import orjson
import pytest
from e2e.definitions import demo_models
from unit.shell import Record as Consumed

from memberstream.models.member import decode
from memberstream.models.model import Model
from memberstream.models.model_file import parse
from memberstream.models.placement import Placement
from memberstream.models.rescore import rescore_many
from memberstream.models.steps import finish
from memberstream.models.timestamps import DAY_MS
from memberstream.models.training import Record, from_history, training_matrix
from memberstream.stream.demo import history
from memberstream.stream.members.applying import applying, scoring
from memberstream.stream.members.batch import begin
from memberstream.stream.members.decoding import decoding
from memberstream.stream.members.encoding import encoding, to_items
from memberstream.stream.members.recent import Recent
from memberstream.stream.partition.bookkeeping import Progress
from memberstream.stream.registry.publication import Publication, compile_models

pytestmark = pytest.mark.long
Asked = tuple[str, int]
FIRST, LAST = history.day_ms("1997-01-01"), history.day_ms("1998-07-01")


def asked_rows() -> tuple[list[Asked], list[Asked]]:
    """Return (every purchase of each tenth member, at its time; two random times of every member)."""
    rng = random.Random(0)
    members = history.histories()
    at_events = [
        (member_id, at_ms)
        for member_id in list(members)[::10]
        for at_ms in sorted({at_ms for at_ms, _, _ in members[member_id].purchases})
    ]
    at_random = [(member_id, rng.randrange(FIRST, LAST)) for member_id in members for _ in range(2)]
    return at_events, at_random


def worker_says(publication: Publication, rows: list[Asked]) -> dict[Asked, Mapping[int, bytes] | None]:
    """Return the rows of x of each (member, time). The purchases go through the worker's batches, a day in each, scored
    at that day; between two, time alone moves those that are asked for. What is asked at the time of an event was just
    stored.
    """
    due: defaultdict[int, list[Asked]] = defaultdict(list)
    for member_id, at_ms in rows:
        due[at_ms // DAY_MS * DAY_MS].append((member_id, at_ms))
    of_day = {day: list(changes) for day, changes in groupby(history.changes(), lambda change: change.at_ms)}
    said: dict[Asked, Mapping[int, bytes] | None] = {}
    states: dict[bytes, bytes | None] = {}
    progress, offset, recent = Progress(), 0, Recent()
    for day in sorted({*of_day, *due}):
        records = []
        for change in of_day.get(day, ()):
            records.append(Consumed(offset, change.member_id.encode(), orjson.dumps(change.envelope), change.at_ms))
            offset += 1
        stored = set()
        if records:
            batch = begin(0, progress, records, -1, None, publication, {}, Placement("murmur2", 1), 8 << 20)
            events = finish(decoding(batch, list(batch.records), day))
            members = finish(applying(batch, events, [states.get(key) for key in events], recent))
            finish(scoring([(batch, members)], publication, day))
            finish(encoding(batch, members, publication, recent))
            states.update(to_items(batch))
            progress, stored = batch.progress, set(events)
        for member_id, at_ms in due[day]:
            state = states.get(member_id.encode())
            if state is None:
                said[member_id, at_ms] = None
                continue
            member = decode(state)
            if not (at_ms == day and member_id.encode() in stored):
                rescore_many(publication.plan, [member], [at_ms])
            said[member_id, at_ms] = member.rows
    return said


def test_rows_are_the_workers() -> None:
    """All demo models, all 23,570 members: two random as-of times of each, and the moments of a tenth's purchases."""
    models: list[Model] = [parse(definition) for definition in demo_models(boosted=True)]
    publication = compile_models(models)
    rows = [row for part in asked_rows() for row in part]
    said = worker_says(publication, rows)
    records = [Record(c.member_id.encode(), orjson.dumps(c.envelope), c.at_ms) for c in history.changes()]
    for model in models:
        matrix = from_history(model, records, rows)
        expected = [said[row] for row in rows]
        assert matrix.is_known.tolist() == [x is not None for x in expected]
        assert 1_000 < (~matrix.is_known).sum() < 10_000
        [part] = [part for part in publication.plan.parts if model in part.models]
        cells = b"".join([rows[part.id][: 8 * part.n_columns] for rows in expected if rows is not None])
        known = np.frombuffer(cells).reshape(-1, part.n_columns)
        assert matrix.x[matrix.is_known].tobytes() == known.take(part.inputs(model), axis=1).tobytes()
        assert matrix.refused == ()


def test_documents_and_history_agree() -> None:
    """The documents of a day, made without events, give the rows of the history at that day."""
    day = "1997-10-01"
    model = parse(demo_models()[0])
    documents = list(history.documents(history.day_ms(day)).values())
    envelopes = ({"member_id": c.member_id} | c.envelope for c in history.changes())
    matrix = training_matrix(model, documents, at=day)
    assert from_history(model, envelopes, [(i, day) for i in matrix.member_ids]).x.tobytes() == matrix.x.tobytes()
