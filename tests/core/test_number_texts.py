"""Numbers written as texts and times of another unit: by example; and laws against JSON and exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import orjson
import pytest
from core.evaluation import NOW, plan_of, until_of, value_of
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models import number_text
from memberstream.models.model_file import load
from memberstream.models.plan import Plan
from memberstream.models.source import number, number_or_text
from memberstream.models.timestamps import DAY_MS, MAX_MS, MIN_MS, UNITS, format_ms, looks_like, parse_ms, time_reader
from memberstream.models.training.columns import compile_columns

NUMBERS = {
    "12.50": 12.5, " 12.50\t\r\n": 12.5, "1e3": 1e3, "+1.0E+3": 1e3, "-4": -4.0, ".5": 0.5, "5.": 5.0, "007": 7.0,
    "-0": 0.0, "0" * 63 + "9": 9.0, "18446744073709551617": 2.0**64, "1e-400": 0.0, "-.5e1": -5.0,
}  # fmt: skip
NONE = [
    "", " ", "-", ".", "e3", "1e", "1,5", "1,234.5", "1_000", "NaN", "nan", "Infinity", "-inf", "0x10", "true", "12 €",
    "1 2", "١٢", "1e400", "-1e400", "1.2.3", "--1", "\u00a012", "12\0", "0" * 64 + "9", "2026-01-01",
]  # fmt: skip


@pytest.mark.parametrize("text", NUMBERS)
def test_texts_that_write_a_number(text: str) -> None:
    """Each as the model's author reads it; -0 is 0."""
    assert number_or_text(text) == NUMBERS[text]
    assert value_of({"path": "a", "type": "number_text"}, {"a": text}) == NUMBERS[text]


@pytest.mark.parametrize("text", NONE)
def test_texts_that_write_none(text: str) -> None:
    """They are missing, also where numbers may be texts."""
    assert number_or_text(text) is None
    assert value_of({"path": "a", "type": "number_text"}, {"a": text}) == -7


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**80), 2**80), st.booleans()))
def test_what_json_reads_as_a_number_is_that_number(value: Any) -> None:
    """Whatever a JSON writer writes for a number, as a text in quotes it is the same number, to the last bit."""
    read = number(orjson.loads(repr(value) if not isinstance(value, bool) else str(value).lower()))
    assert number_or_text(value) == number(value)
    if not isinstance(value, bool):
        assert number_or_text(f" {value!r} ") == read


@given(st.text(alphabet="0123456789+-.eE ,_xNa\u0661", max_size=70))
def test_a_text_is_a_number_only_if_python_agrees(text: str) -> None:
    """Nothing that isn't a finite float to Python is a number; what Python reads beyond the rules isn't one."""
    found = number_text.read(text)
    if found is not None:
        assert math.isfinite(found)
        assert float(text) == float(found)
    elif len(text) <= number_text.MAX_CHARACTERS and "_" not in text and "\u0661" not in text:
        with pytest.raises((ValueError, AssertionError)):
            assert math.isfinite(float(text))


@pytest.mark.parametrize("more", [{}, {"where": {"k": {"gte": 2, "type": "number_text"}}}], ids=["all", "where"])
def test_aggregates_of_texts_are_those_of_the_numbers(more: dict[str, Any]) -> None:
    """The list of texts gives what the list of numbers gives; without the type all of it is missing."""
    values = [(1.25, 1), (2, 2), (0.5, 3), (10, 4)]
    numbers = {"l": [{"v": v, "k": k} for v, k in values]}
    texts = {"l": [{"v": f" {v} ", "k": str(k)} for v, k in values]}
    for aggregate in ("sum", "mean", "min", "max", "last"):
        plain = {"path": "l", "aggregate": aggregate, "value": "v"} | more
        assert value_of(plain | {"type": "number_text"}, texts) == value_of(plain, numbers) != -7
    assert value_of({"path": "l", "aggregate": "max", "value": "v"}, texts) == -7
    both = {"where": {"k": {"in": ["2", "3"], "gte": 3, "type": "number_text"}}}
    assert value_of({"path": "l", "aggregate": "count"} | both, texts) == 1


OLD_ID = 17192505975057295184  # computed by the release before
MOMENT = NOW - 5 * DAY_MS - 1
WRITTEN: list[tuple[str, Any, int]] = [
    ("ms", MOMENT, MOMENT),
    ("ms", MOMENT + 0.75, MOMENT),
    ("s", MOMENT // 1_000, MOMENT // 1_000 * 1_000),
    ("s", MOMENT / 1_000, MOMENT),
    ("s", str(MOMENT / 1_000), MOMENT),
    ("us", MOMENT * 1_000 + 999, MOMENT),
    ("ns", MOMENT * 1_000_000 + 999_999, MOMENT),
    ("ns", str(MOMENT * 1_000_000), MOMENT),
    ("days", MOMENT // DAY_MS, MOMENT // DAY_MS * DAY_MS),
    ("days", MOMENT / DAY_MS, MOMENT),
    ("s", format_ms(MOMENT), MOMENT),
    ("s", "20260301", 20_260_301_000),
    ("s", -1, -1_000),
]


@pytest.mark.parametrize(("unit", "value", "at_ms"), WRITTEN)
def test_times_of_a_unit(unit: str, value: Any, at_ms: int) -> None:
    """Numbers and texts that write one are of the unit, other texts are ISO 8601. Windows and days go by them."""
    assert time_reader(unit)(value) == at_ms
    fields = {"aggregate": "days_since", "resolution": "seconds", "unit": unit}
    now_ms = at_ms + 3 * DAY_MS + 1
    for definition, document in (
        (fields | {"path": "t"}, {"t": value}),
        (fields | {"path": "l", "time": "t"}, {"l": [{"t": value}]}),
    ):
        assert value_of(definition, document, now_ms) == pytest.approx(3, abs=1.1 / 86_400)
        assert until_of(definition, document, now_ms) == (now_ms // 1_000 + 1) * 1_000
    window = {"path": "l", "aggregate": "count", "time": "t", "unit": unit, "window_days": 2}
    for moment, n in ((at_ms - 1, 0), (at_ms, 1), (at_ms + 2 * DAY_MS - 1, 1), (at_ms + 2 * DAY_MS, 0)):
        assert value_of(window, {"l": [{"t": value}]}, moment) == n
    assert until_of(window, {"l": [{"t": value}]}, at_ms) == at_ms + 2 * DAY_MS  # then the member falls due


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("value", [True, None, [], {}, "", "x", "1,5", math.nan, math.inf, -math.inf, 10**400, "1e99"])
def test_what_is_no_time_in_any_unit(unit: str, value: Any) -> None:
    """Nothing else is a time, and nothing raises."""
    assert time_reader(unit)(value) is None


@given(st.sampled_from(sorted(UNITS)), st.one_of(st.integers(-(2**70), 2**70), st.floats(-1e20, 1e20)))
def test_a_unit_is_exact(unit: str, value: float) -> None:
    """Against exact fractions: the nearest ms of seconds and days, the ms that has begun of the others."""
    ms, n = UNITS[unit]
    exact = Fraction(value) * ms / n
    found = time_reader(unit)(value)
    if found is None:
        assert not MIN_MS <= exact <= MAX_MS
    elif ms > 1:
        assert abs(found - exact) <= Fraction(1, 2) + Fraction(1, 1_000)
    else:
        assert found == math.floor(exact)
    assert found is None or time_reader(unit)(repr(value)) == found


@given(st.integers(MIN_MS, MAX_MS))
def test_a_number_looks_like_one_unit_at_most(value: int) -> None:
    """The years 1990 to 2099 in one unit are no such year in another."""
    fits = [unit for unit in UNITS if (at := time_reader(unit)(value)) and "1990" <= format_ms(at)[:4] < "2100"]
    assert fits == ([looks_like(value)] if looks_like(value) else [])


def test_without_a_unit_times_are_read_as_ever() -> None:
    """The function is the same one."""
    assert time_reader(None) is parse_ms


def test_training_reads_what_the_stream_reads() -> None:
    """The matrix of an author's predictors has the stream's numbers; a text that writes none is a gap."""
    predictors = [
        {"name": "v", "path": "v", "type": "number_text"},
        {"name": "since", "path": "l", "aggregate": "days_since", "time": "t", "unit": "s"},
        {"name": "word", "path": "v", "type": "text"},
    ]
    documents = [{"v": "12.50", "l": [{"t": MOMENT / 1_000}]}, {"v": "1,5", "l": []}]
    rows = compile_columns(predictors).evaluate_many(documents, [NOW, NOW]).tolist()
    assert rows[0] == [12.5, 6.0, "12.50"]
    assert [math.isnan(x) for x in rows[1][:2]] == [True, True]


def test_old_files_keep_the_rows_that_are_stored() -> None:
    """The id of a plan names stored rows. That of definitions without these fields is what it was before there were
    any, so an upgrade evaluates nothing anew; and a field in use makes another definition."""
    old = plan_of(
        {"name": "a", "path": "a", "missing": 0},
        {"name": "b", "path": "l", "aggregate": "sum", "time": "t", "window_days": 3, "where": {"k": {"gt": 1}}},
        {"name": "c", "path": "t", "aggregate": "days_since", "missing": 1},
    )
    assert old.id == OLD_ID
    ids = {
        plan_of({"name": "a", "missing": 0} | definition).id
        for definition in (
            {"path": "a"},
            {"path": "a", "type": "number_text"},
            {"path": "l", "aggregate": "sum", "time": "t"},
            {"path": "l", "aggregate": "sum", "time": "t", "unit": "ms"},
            {"path": "l", "aggregate": "sum", "time": "t", "unit": "s"},
            {"path": "l", "aggregate": "sum", "time": "t", "type": "number_text"},
            {"path": "l", "aggregate": "sum", "time": "t", "where": {"k": {"gt": 1}}},
            {"path": "l", "aggregate": "sum", "time": "t", "where": {"k": {"gt": 1, "type": "number_text"}}},
        )
    }
    assert len(ids) == 8


def test_predictors_that_read_one_list_in_two_ways_stay_apart() -> None:
    """What predictors of a plan share is shared only where they read alike."""
    shared = {"path": "l", "value": "v", "time": "t", "aggregate": "sum"}
    kinds = [{}, {"type": "number_text"}, {"unit": "s"}, {"unit": "s", "type": "number_text"}]
    definitions = [{"name": f"p{i}", "missing": -7} | shared | kind for i, kind in enumerate(kinds)]
    document = {"l": [{"t": MOMENT, "v": 1}, {"t": MOMENT, "v": "2"}, {"t": MOMENT // 1_000, "v": 4}]}
    x, _ = plan_of(*definitions).evaluate_many([document], [NOW])
    assert x[0].tolist() == [value_of(shared | kind, document) for kind in kinds] == [5.0, 7.0, 4.0, 4.0]
    assert isinstance(Plan([load(orjson.dumps(plan_of(*definitions).models[0].definition))]), Plan)
