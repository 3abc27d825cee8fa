"""Training data: a row is what the stream would have computed at its time, bit for bit; nothing later has a part."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pandas as pd
import polars as pl
import pytest
from core import worlds
from core.evaluation import x_of
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from memberstream.models.apply import apply_one
from memberstream.models.event import BadEvent, ChangeEvent, Op, decode
from memberstream.models.explain import score_many
from memberstream.models.export import from_estimator
from memberstream.models.member import Member, encode
from memberstream.models.member import decode as decode_state
from memberstream.models.model import Model
from memberstream.models.path import format_path
from memberstream.models.plan import Plan
from memberstream.models.rescore import rescore_many
from memberstream.models.timestamps import DAY_MS
from memberstream.models.training import Record, TrainingError, from_history, training_matrix
from memberstream.models.training import history as history_module
from memberstream.models.training.history import By

HOUR = worlds.HOUR_MS
BASE = worlds.BASE_MS
MEMBERS = ["m0", "m1", "Zoë"]


def value_of(event: ChangeEvent, at: Any) -> bytes:
    """Return the envelope of an event; `at` None leaves its time to the record."""
    envelope: dict[str, Any] = {"op": event.op, "at": at, "version": event.version}
    if event.op is Op.REPLACE:
        envelope["document"] = event.body
    elif event.op is Op.PATCH:
        envelope |= {"patch": event.body, "create": event.create}
    elif event.op is Op.APPEND:
        envelope |= {"path": format_path(event.path), "value": event.body, "create": event.create}
    return orjson.dumps(envelope)


times = st.integers(0, 40).map(lambda n: BASE + n * HOUR)  # few, so that events and rows share some


@st.composite
def records(draw: st.DrawFn, at: st.SearchStrategy[int] = times) -> Record:
    """Return a record of any kind, some of them bad, some late, some ahead of their record."""
    key = draw(st.sampled_from(MEMBERS)).encode()
    timestamp = draw(at)
    if draw(st.integers(0, 9)) == 0:
        bad = draw(st.sampled_from([None, b"{", b"[]", b'{"op": "replace"}']))
        return Record(draw(st.sampled_from([key, key, b"\xff", None])), bad, timestamp)
    stated = draw(st.sampled_from(["same", "late", "ahead", "none"]))
    lag = 0 if stated == "same" else draw(st.sampled_from([HOUR, 3 * HOUR, 240_000]))
    event_ms = timestamp - lag if stated == "late" else timestamp + lag if stated == "ahead" else timestamp
    return Record(key, value_of(draw(worlds.events()), None if stated == "none" else event_ms), timestamp)


histories = st.lists(records(), max_size=25)
rows = st.lists(st.tuples(st.sampled_from([*MEMBERS, "nobody"]), times), max_size=12)
bys = st.sampled_from(["event_time", "arrival"])


def known_by(record: Record, by: By) -> int | None:
    """Return from when on a record counts; None: a worker can't read it."""
    try:
        event = decode(record.key, record.value, record.timestamp_ms, record.timestamp_ms)
    except BadEvent:
        return None
    return event.at_ms if by == "event_time" else record.timestamp_ms


def worker_says(plan: Plan, history: list[Record], member_id: str, at_ms: int, by: By) -> bytes | None:
    """Return the row of x of a worker that has consumed just what counts at `at_ms`, one event after the other, its
    state encoded in between; None where it doesn't know the member."""
    state = encode(Member(), 0)
    for offset, record in enumerate(history):
        known_ms = known_by(record, by)
        if record.key != member_id.encode() or known_ms is None or known_ms > at_ms:
            continue
        member = decode_state(state)
        event = decode(record.key, record.value, record.timestamp_ms, record.timestamp_ms)
        try:
            apply_one(member, offset, event, len(record.value or b""))
        except BadEvent:
            continue
        if member.document is not None:
            rescore_many(plan, [member], [min(at_ms, event.at_ms)])
        state = encode(member, 0)
    member = decode_state(state)
    if member.document is None:
        return None
    rescore_many(plan, [member], [at_ms])
    found: bytes = x_of(plan, member).tobytes()
    return found


@given(worlds.models(), histories, rows, bys)
def test_a_row_is_what_the_stream_says(model: Model, history: list[Record], asked: list[Any], by: By) -> None:
    """For a model and for its predictors as a list: bits of the row, who is known, and which events are refused."""
    plan = Plan([model])
    of_model = from_history(model, history, asked, by=by)
    of_list = from_history(model.definition["predictors"], history, asked, by=by)
    positions = [plan.positions(model)[name] for name in of_list.columns]
    assert of_model.columns == model.inputs
    for i, (member_id, at_ms) in enumerate(asked):
        expected = worker_says(plan, history, member_id, at_ms, by)
        assert of_model.is_known[i] == of_list.is_known[i] == (expected is not None)
        if expected is None:
            assert np.isnan(of_model.x[i]).all()
            assert np.isnan(of_list.x[i]).all()
            continue
        x = np.frombuffer(expected)
        assert of_model.x[i].tobytes() == x.take(plan.inputs(model)).tobytes()
        assert of_list.x[i].tobytes() == x.take(positions).tobytes()
    assert of_model.member_ids == tuple(member_id for member_id, _ in asked)
    assert of_model.at_ms.tolist() == [at_ms for _, at_ms in asked]
    wanted = {member_id.encode() for member_id, _ in asked}
    unreadable = {
        i
        for i, record in enumerate(history)
        if known_by(record, by) is None and (record.key in wanted or record.key in (None, b"\xff"))
    }
    told = {one.number for one in of_model.refused}
    assert unreadable <= told
    assert len(told) == len(of_model.refused)


LATEST = BASE + 40 * HOUR
later = st.integers(1, 2_000).map(lambda n: LATEST + n * HOUR)


@given(worlds.models(), histories, rows, bys, st.data())
def test_nothing_later_has_a_part(
    model: Model, history: list[Record], asked: list[Any], by: By, data: st.DataObject
) -> None:
    """Events from after the as-of time, wherever they stand in the topic, change no bit of a row."""
    before = from_history(model, history, asked, by=by)
    more = list(history)
    for record in data.draw(st.lists(records(later), max_size=8)):
        known_ms = known_by(record, by)
        if known_ms is None or known_ms > LATEST:
            more.insert(data.draw(st.integers(0, len(more))), record)
    after = from_history(model, more, asked, by=by)
    assert after.x.tobytes() == before.x.tobytes()
    assert after.is_known.tolist() == before.is_known.tolist()


@given(worlds.models(), histories, rows, bys, st.randoms())
def test_with_offsets_order_and_repeats_do_not_matter(
    model: Model, history: list[Record], asked: list[Any], by: By, random: Any
) -> None:
    """Records that know their offsets may come in any order and more than once."""
    numbered = [record._replace(offset=offset) for offset, record in enumerate(history)]
    shuffled = [*numbered, *numbered[: len(numbered) // 2]]
    random.shuffle(shuffled)
    expected = from_history(model, history, asked, by=by)
    found = from_history(model, shuffled, asked, by=by)
    assert found.x.tobytes() == expected.x.tobytes()
    assert found.is_known.tolist() == expected.is_known.tolist()


def elsewhere(answer: Callable[[Any], Any], tasks: Any) -> list[Any]:
    """Do what the map of a pool of processes does."""
    return [pickle.loads(pickle.dumps(answer(task))) for task in pickle.loads(pickle.dumps(list(tasks)))]


@given(model=worlds.models(), history=histories, asked=rows)
def test_processes_change_nothing(model: Model, history: list[Record], asked: list[Any]) -> None:
    """Tasks and answers travel between processes; small tasks give what a large one gives."""
    expected = from_history(model, history, asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_module, "_TASK_ROWS", 1)
        found = from_history(model, history, asked, map=elsewhere)
    assert found.x.tobytes() == expected.x.tobytes()
    assert found.refused == expected.refused


VISITS: list[dict[str, Any]] = [
    {"name": "n", "path": "visits", "aggregate": "count", "time": "at"},
    {"name": "level", "path": "level", "missing": 0},
]


def at(day: int) -> str:
    return f"2026-01-{day:02}"


def test_late_events() -> None:
    """A late event counts from its own time on by event time, from its arrival on by arrival, and in both in its place
    in the topic: what stands behind it has the last word."""
    events = [
        Record(b"m", orjson.dumps({"op": "replace", "at": at(1), "document": {"level": 1}}), day_ms(1)),
        Record(b"m", orjson.dumps({"op": "patch", "at": at(5), "patch": {"level": 5}}), day_ms(5)),
        Record(b"m", orjson.dumps({"op": "patch", "at": at(3), "patch": {"level": 3}}), day_ms(7)),
    ]
    asked = [("m", at(day)) for day in (8, 6, 4, 2, 1)] + [("m", "2025-12-31")]
    by_event = from_history(VISITS, events, asked)
    by_arrival = from_history(VISITS, events, asked, by="arrival")
    assert by_event.x[:5, 1].tolist() == [3, 3, 3, 1, 1]
    assert by_arrival.x[:5, 1].tolist() == [3, 5, 1, 1, 1]
    assert by_event.is_known.tolist() == by_arrival.is_known.tolist() == [True] * 5 + [False]


def day_ms(day: int) -> int:
    return BASE + (day - 1) * DAY_MS


def test_envelopes_and_what_is_refused() -> None:
    """Envelopes may be given as objects; each event that can't be applied is told of with its place and reason."""
    events: list[Any] = [
        {"op": "replace", "member_id": "m", "at": at(1), "document": {"level": 1}},
        {"op": "replace", "at": at(1), "document": {}},
        {"op": "patch", "member_id": "new", "at": at(2), "patch": {"level": 2}},
        {"op": "append", "member_id": "m", "at": at(2), "path": "level", "value": 1},
        {"op": "patch", "member_id": "m", "patch": {"level": 9}},
        {"op": "nonsense", "member_id": "not asked for"},
        Record(None, b"{}", day_ms(1)),
        {"op": "delete", "member_id": "m", "at": at(4)},
        {"op": "patch", "member_id": "m", "at": at(5), "patch": {"level": 2}, "create": True},
        Record(b"gone", orjson.dumps({"op": "replace", "at": at(1), "document": {}})),
        Record(b"gone", None),
    ]
    asked = [("m", at(2)), ("m", at(4)), ("m", at(5)), ("new", at(9)), ("gone", at(9)), ("gone", at(1))]
    matrix = from_history(VISITS, events, asked)
    assert matrix.is_known.tolist() == [True, False, True, False, False, False]
    assert matrix.x[:3, 1].tolist()[::2] == [1, 2]
    assert [(one.number, str(one.reason)) for one in matrix.refused] == [
        (1, "missing_field"),
        (2, "unknown_member"),
        (3, "not_a_list"),
        (4, "bad_time"),
        (6, "bad_key"),
    ]
    with pytest.raises(
        TrainingError, match=r"found 10 without one, the first of them events\[0\]\. Use: by='event_time'"
    ):
        from_history(VISITS, events[9:] * 5, asked, by="arrival")
    json_keys: Any = "take"
    with pytest.raises(TrainingError, match="json_keys: expected one of refuse, allow, found 'take'"):
        from_history(VISITS, events, asked, json_keys=json_keys)
    by: Any = "arival"  # would make everything known at any time
    with pytest.raises(TrainingError, match="by: expected one of event_time, arrival, found 'arival'"):
        from_history(VISITS, events, asked, by=by)


@pytest.mark.parametrize(
    "event",
    [
        5,
        (b"m",),
        Record("m", b"{}"),  # type: ignore[arg-type]
        {"op": "replace", "member_id": "m", "at": pd.Timestamp(0), "document": {}},
        {"op": "delete", "member_id": "\ud800"},
        Record(b"m", b"{}", None),  # type: ignore[arg-type]
        Record(b"m", b"{}", "2026-01-01"),  # type: ignore[arg-type]
        Record(b"m", b"{}", 5, "5"),  # type: ignore[arg-type]
        Record(b"m", "{}"),  # type: ignore[arg-type]
    ],
    ids=["number", "short", "text key", "no JSON", "surrogate", "no time", "text time", "text offset", "text value"],
)
def test_what_is_no_event_says_where(event: Any) -> None:
    """Not a worker's dead letter but a mistake of the caller's: an error with its place, no traceback of ours."""
    with pytest.raises(TrainingError, match=r"events\[1\]: expected a record"):
        from_history(VISITS, [{"op": "delete", "member_id": "m"}, event], [("m", at(1))])


def test_what_is_told_as_refused() -> None:
    """As of the member's last row: what a late event makes applicable isn't, what it makes impossible is. Once, however
    often the record came."""
    events = [
        Record(b"m", orjson.dumps({"op": "replace", "at": at(5), "document": {"level": 1}}), day_ms(5), 0),
        Record(b"m", orjson.dumps({"op": "patch", "at": at(3), "patch": {"level": 3}}), day_ms(6), 1),
        Record(b"m", b"{", day_ms(6), 2),
        Record(b"m", orjson.dumps({"op": "append", "at": at(1), "path": "level", "value": 1}), day_ms(6), 3),
    ]
    twice = [event for event in events for _ in range(2)]
    both = from_history(VISITS, twice, [("m", at(4)), ("m", at(6))])
    assert both.is_known.tolist() == [False, True]
    assert [(one.number, str(one.reason)) for one in both.refused] == [(4, "not_json"), (6, "not_a_list")]
    before = from_history(VISITS, twice, [("m", at(4))])
    assert [(one.number, str(one.reason)) for one in before.refused] == [
        (2, "unknown_member"), (4, "not_json"), (6, "unknown_member"),
    ]  # fmt: skip
    numbers: Any = np.int64
    whole = [event._replace(timestamp_ms=numbers(event.timestamp_ms), offset=numbers(event.offset)) for event in events]
    assert len(from_history(VISITS, whole, [("m", at(6))]).refused) == 2


def test_offsets_of_some_records_only() -> None:
    """They can be put in no order, and a number taken for an offset would let an event pass for a replayed one."""
    events = [
        Record(b"m", orjson.dumps({"op": "replace", "at": at(1), "document": {"level": 1}}), offset=offset)
        for offset in (None, 5, 3)
    ]
    with pytest.raises(TrainingError, match=r"events\[0\]: expected an offset"):
        from_history(VISITS, events, [("m", at(2))])
    assert from_history(VISITS, events, [("other", at(2))]).is_known.tolist() == [False]


def test_rows_as_tables_have_them() -> None:
    """Times as texts, numbers, datetimes and NumPy's own; what is no row is told of, every one."""
    noon = datetime(2026, 1, 2, 12)
    moments = [
        ("2026-01-02T12:00:00Z", noon),
        (worlds.BASE_MS + 36 * HOUR, noon),
        (np.int64(BASE + 36 * HOUR), noon),
        (float(BASE + 36 * HOUR), noon),
        (noon.replace(tzinfo=UTC), noon),
        (pd.Timestamp(noon, tz="UTC").tz_convert("Asia/Tokyo"), noon),
        (date(2026, 1, 2), datetime(2026, 1, 2)),
        (np.datetime64("2026-01-02"), datetime(2026, 1, 2)),
    ]
    matrix = from_history(VISITS, [], [("m", moment) for moment, _ in moments])
    expected = [(moment - datetime(1970, 1, 1)) // timedelta(milliseconds=1) for _, moment in moments]
    assert matrix.at_ms.tolist() == expected
    frame = pd.DataFrame({"member_id": ["m"], "at": [pd.Timestamp(noon, tz="UTC")]})
    assert from_history(VISITS, [], frame.itertuples(index=False)).at_ms.tolist() == expected[:1]
    assert from_history(VISITS, [], frame.assign(bought=True)).at_ms.tolist() == expected[:1]
    assert from_history(VISITS, [], pl.from_pandas(frame)).at_ms.tolist() == expected[:1]
    with pytest.raises(TrainingError, match="rows: expected columns member_id and at, found no at"):
        from_history(VISITS, [], frame[["member_id"]])
    with pytest.raises(TrainingError, match=r"rows: expected pairs \(member id, time\), found None"):
        from_history(VISITS, [], None)  # type: ignore[arg-type]
    bad = [
        ("m", "yesterday"),
        (7, at(1)),
        "m",
        ("m", at(1)),
        ("m", None),
        ("m", pd.NaT),
        ("m", np.datetime64("NaT")),
        5,
        ("\ud800", at(1)),
    ]
    with pytest.raises(TrainingError) as error:
        from_history(VISITS, [], bad)
    assert [problem.partition(":")[0] for problem in error.value.problems] == [
        f"rows[{i}]" for i in (0, 1, 2, 4, 5, 6, 7, 8)
    ]
    assert from_history(VISITS, [], []).x.shape == (0, 2)


@pytest.mark.parametrize(
    "naive", [datetime(2026, 1, 2, 12), pd.Timestamp("2026-01-02 12:00"), np.datetime64("2026-01-02T12:00")]
)
def test_a_clock_without_a_zone_is_refused(naive: Any) -> None:
    """It may be anybody's local time: hours of events would be on the wrong side of a row, and nobody would know."""
    for call in (lambda: from_history(VISITS, [], [("m", naive)]), lambda: training_matrix(VISITS, [{}], naive)):
        with pytest.raises(TrainingError, match=r"expected a time with its zone, found 2026-01-02.12:00") as error:
            call()
        assert "Use: datetime(…, tzinfo=UTC)" in str(error.value)


@pytest.mark.parametrize(
    ("predictors", "documents", "at", "problem"),
    [
        (VISITS, None, 0, "documents: expected a list of dicts, found None. Use: a list of dicts"),
        (VISITS, {"level": 1}, 0, "documents: expected a list of dicts, found dict. Use: […], a list of documents"),
        (VISITS, "d", 0, "documents: expected a list of dicts, found str"),
        (VISITS, 5, 0, "documents: expected a list of dicts, found int"),
        (VISITS, pd.DataFrame({"level": [1]}), 0, "found DataFrame. Use: frame.to_dict('records'), if its columns"),
        (VISITS, pl.DataFrame({"level": [1]}), 0, "found DataFrame. Use: frame.to_dicts(), if its columns"),
        (None, [{}], 0, "predictors: expected a list of dicts, found None"),
        (VISITS[0], [{}], 0, "predictors: expected a list of dicts, found dict. Use: […], a list of predictors"),
        (VISITS, [{}], None, "at: expected a time, ISO 8601 or ms or a datetime, found None"),
        (VISITS, [{}], object, "at: expected a time, found type"),
        (VISITS, [{}, {}], ["2026-01-01", "soon"], "at[1]: expected a time"),
        (VISITS, [{}], [0, 0], "at: expected one time, or one for each of 1 document, found 2"),
    ],
)
def test_what_a_notebook_hands_over(predictors: Any, documents: Any, at: Any, problem: str) -> None:
    """Anything but a list is told a way out; a generator is as good as a list."""
    with pytest.raises(TrainingError) as error:
        training_matrix(predictors, documents, at)
    assert problem in str(error.value)
    generated = training_matrix((p for p in VISITS), (d for d in DOCUMENTS), (at_ms for at_ms in [0, 0, 0]))
    assert generated.x.tolist() == training_matrix(VISITS, DOCUMENTS, 0).x.tolist()
    assert from_history((p for p in VISITS), iter([]), iter([("m", 0)])).x.shape == (1, 2)


@pytest.mark.parametrize("events", [None, pd.DataFrame({"key": [b"m"]}), {"op": "delete"}, "events.ndjson", 5])
def test_what_are_no_events(events: Any) -> None:
    """Going through a table or a text would give its columns or letters."""
    with pytest.raises(TrainingError, match=r"events: expected records or envelopes, found .* Use: a list"):
        from_history(VISITS, events, [("m", 0)])


MIXED: list[dict[str, Any]] = [
    {"name": "recency", "path": "visits", "aggregate": "days_since", "time": "at"},
    {"name": "country", "path": "country", "type": "text"},
    {"name": "tier", "path": "tier", "type": "text", "missing": "none"},
    {"name": "level", "path": "level", "missing": 2, "transforms": ["log1p"]},
    {"name": "size", "path": "size", "missing": 0, "transforms": [{"one_hot": [1, 2]}]},
    {"name": "n", "path": "visits", "aggregate": "count"},
    {"name": "level_n", "product": ["level", "n"]},
    {"name": "n_level", "ratio": ["n", "level"]},
]
DOCUMENTS: list[dict[str, Any]] = [
    {"member_id": "a", "visits": [{"at": at(1)}], "country": "de", "level": 7, "size": 2},
    {"member_id": "b", "country": 4, "level": "x", "tier": "gold", "visits": []},
    {"level": 0},
]


def test_documents() -> None:
    """Texts, gaps, one-hots, ratios and products: gaps are NaN, all else is as in a model file."""
    matrix = training_matrix(MIXED, DOCUMENTS, at=[at(3), at(4), at(4)])
    log = [np.log1p(7.0), np.log1p(2.0), 0.0]
    expected = [
        [2.0, "de", "none", log[0], 0.0, 1.0, 1.0, log[0], 1 / log[0]],
        [np.nan, np.nan, "gold", log[1], 0.0, 0.0, 0.0, 0.0, 0.0],
        [np.nan, np.nan, "none", log[2], 0.0, 0.0, 0.0, 0.0, np.nan],
    ]
    assert matrix.columns == ("recency", "country", "tier", "level", "size=1", "size=2", "n", "level_n", "n_level")
    pd.testing.assert_frame_equal(pd.DataFrame(matrix.x.tolist()), pd.DataFrame(expected))
    assert matrix.member_ids == ("a", "b", "")
    assert matrix.at_ms.tolist() == [day_ms(3), day_ms(4), day_ms(4)]
    assert training_matrix(VISITS, DOCUMENTS, at=day_ms(3)).x.tolist() == [[1, 7], [0, 0], [0, 0]]
    huge = training_matrix([{"name": "v", "path": "v"}], [{"v": 1e101}, {"v": 5}] * 300, at=0)
    assert np.isnan(huge.x[::2]).all()
    assert (huge.x[1::2] == 5).all()
    assert training_matrix(MIXED, [], at=0).x.shape == (0, 9)
    with pytest.raises(TrainingError, match="one for each of 3 documents, found 1"):
        training_matrix(VISITS, DOCUMENTS, at=[0])


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"level": np.int64(7)}, r"documents\[1\]\.level: expected what JSON holds, found int64\. Next: convert it"),
        ({"visits": [{"at": 1}, {"at": datetime(2026, 1, 1)}]}, r"documents\[1\]\.visits\[1\]\.at: .* found datetime"),
        ({"visits": ({"at": 1},)}, r"documents\[1\]\.visits: .* found tuple"),
        (None, r"documents\[1\]: expected a dict, found NoneType"),
        (pd.Series({"level": 7}), r"documents\[1\]: expected a dict, found Series"),
    ],
)
def test_documents_hold_what_json_holds(document: Any, problem: str) -> None:
    """Anything else would count as missing, and nobody would know; the first of a table are told."""
    with pytest.raises(TrainingError, match=problem):
        training_matrix(VISITS, [{"level": np.float64(1), "visits": [1, "a", None, True]}, document], at=0)
    with pytest.raises(TrainingError) as error:
        training_matrix(VISITS, [document] * 1_000, at=0)
    assert len(error.value.problems) == 20


def test_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """pandas gets the predictors, indexed; Polars and tables the keys before them; neither is needed to import."""
    matrix = training_matrix(MIXED, DOCUMENTS, at=at(3))
    frame = matrix.to_pandas()
    assert list(frame.columns) == list(matrix.columns)
    assert frame.index.names == ["member_id", "at"]
    assert frame.loc[("a", pd.Timestamp("2026-01-03", tz="UTC")), "recency"] == 2
    assert frame["country"].isna().tolist() == [False, True, True]
    assert frame["level"].dtype == float
    table = matrix.to_polars()
    assert table.columns == ["member_id", "at", "is_known", *matrix.columns]
    assert table.schema["at"] == pl.Datetime("ms", "UTC")
    assert table["country"].to_list() == ["de", None, None]
    assert table["level"].to_numpy().tobytes() == np.array(matrix.x[:, 3], dtype=float).tobytes()
    assert training_matrix(MIXED, [{}], at=0).to_polars().schema["country"] == pl.String
    numbers = training_matrix(VISITS, DOCUMENTS, at=at(3))
    assert numbers.to_pandas().to_numpy().tobytes() == numbers.x.tobytes()
    with pytest.raises(TrainingError, match="at: expected another name"):
        training_matrix([{"name": "at", "path": "at", "missing": 0}], [], at=0).to_polars()
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ModuleNotFoundError, match="Next: pip install pandas"):
        matrix.to_pandas()
    with pytest.raises(ModuleNotFoundError, match="Next: pip install polars"):
        matrix.to_polars()


def test_problems_of_predictors() -> None:
    """All of them at once; a gap may neither be computed with nor be transformed before it is filled."""
    predictors: list[dict[str, Any]] = [
        {"name": "a", "path": "a"},
        {"name": "b", "path": "b", "transforms": ["log1p"]},
        {"name": "c", "ratio": ["a", "b"]},
    ]
    with pytest.raises(TrainingError) as error:
        training_matrix(predictors, [], at=0)
    assert error.value.problems == [
        "predictors[1]: expected a field `missing`, or the transforms in the pipeline behind its imputer, found none",
        "predictors[2]: expected a field `missing` in a and b, which it is computed from, found none",
    ]
    with pytest.raises(TrainingError, match="predictors: expected a list of predictors, not empty") as error:
        training_matrix([], [], at=0)
    assert len(error.value.problems) == 1
    with pytest.raises(TrainingError, match=r"predictors\[0\]\.path: expected keys"):
        from_history([{"name": "a", "path": "a."}], [], [])


def test_from_training_to_a_model_file() -> None:
    """Fit on a history's matrix, gaps imputed and texts encoded; export: the file's probabilities are the fitted
    pipeline's, on the members' documents as of the same times."""
    rng = np.random.default_rng(0)
    predictors = [*MIXED[:3], {"name": "spend", "path": "visits", "aggregate": "sum", "value": "amount", "time": "at"}]
    events, asked = [], []
    for i in range(60):
        document: dict[str, Any] = {"country": "de" if i % 3 else "fr"} if i % 7 else {}
        events.append({"op": "replace", "member_id": f"m{i}", "at": at(1), "document": document})
        for day in sorted(rng.integers(2, 20, size=rng.integers(0, 4)).tolist()):
            visit = {"at": at(day), "amount": float(rng.random())}
            events.append({"op": "append", "member_id": f"m{i}", "at": at(day), "path": "visits", "value": visit})
        asked += [(f"m{i}", at(10)), (f"m{i}", at(25))]
    matrix = from_history(predictors, events, asked)
    y = np.arange(len(asked)) % 2
    imputed = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore")
    )
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["recency", "spend"]),
            ("texts", imputed, ["country", "tier"]),
        ]
    )
    frame = matrix.to_pandas().astype({"country": object, "tier": object})
    fitted = make_pipeline(columns, LogisticRegression()).fit(frame, y)
    documents = [documents_by_hand(events, member_id, moment) for member_id, moment in asked]
    file = from_estimator(
        fitted,
        name="m",
        version=1,
        predictors=predictors,
        documents=documents,
        x=frame,
        allow=["tier"],
        at=[moment for _, moment in asked],
    )
    assert f"verified on {len(asked)} documents" in repr(file)
    for moment in (at(10), at(25)):
        chosen = [i for i, (_, when) in enumerate(asked) if when == moment]
        scored = score_many(file.model, [documents[i] for i in chosen], day_ms(int(moment[-2:])))
        expected = fitted.predict_proba(frame.iloc[chosen])[:, 1]
        np.testing.assert_allclose([row["probability"] for row in scored], expected, rtol=1e-12, atol=1e-12)


def documents_by_hand(events: list[dict[str, Any]], member_id: str, moment: str) -> dict[str, Any]:
    """Return a member's document as of a day, without the core."""
    document: dict[str, Any] = {}
    for event in events:
        if event["member_id"] == member_id and event["at"] <= moment:
            if event["op"] == "replace":
                document = dict(event["document"])
            else:
                document["visits"] = [*document.get("visits", []), event["value"]]
    return document


def test_keys_that_a_worker_refuses_train_nobody() -> None:
    """By the rule that workers and the reader of the topic have, whether the member is asked for or not."""
    events = [
        Record(key, orjson.dumps({"op": "replace", "at": at(1), "document": {}})) for key in (b"m", b'"m"', b"[1]")
    ]
    asked = [("m", at(2)), ('"m"', at(2))]
    matrix = from_history(VISITS, events, asked)
    assert matrix.is_known.tolist() == [True, False]
    assert [(one.number, str(one.reason)) for one in matrix.refused] == [(1, "bad_key"), (2, "bad_key")]
    matrix = from_history(VISITS, events, asked, json_keys="allow")
    assert (matrix.is_known.tolist(), matrix.refused) == ([True, True], ())
