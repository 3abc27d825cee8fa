"""Documents, paths and times: RFC 7396's own examples, and the laws of `touched`."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from core import worlds
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.document import NotAList, append, merge_patch
from memberstream.models.path import Path, format_path, getter, getter_many, parse_path
from memberstream.models.timestamps import DAY_MS, MAX_MS, MIN_MS, format_ms, parse_ms

RFC_7396_APPENDIX_A: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "expected"), RFC_7396_APPENDIX_A, ids=str)
def test_merge_patch_gives_the_results_of_rfc_7396(target: Any, patch: Any, expected: Any) -> None:
    """The fifteen test cases of RFC 7396, appendix A."""
    assert merge_patch(target, patch, set()) == expected


def leaves(value: Any, at: Path = ()) -> dict[Path, Any]:
    """Return path → value for everything inside objects, the objects included."""
    found = {at: value}
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= leaves(inner, (*at, key))
    return found


def is_near(path: Path, touched: set[Path]) -> bool:
    """Return whether a path is on, above or below a touched one."""
    return any(path[: len(t)] == t[: len(path)] for t in touched)


def assert_touched_says_all(before: Any, after: Any, touched: set[Path]) -> None:
    """Check every path of both documents: what isn't near a touched one is there unchanged."""
    old, new = leaves(before), leaves(after)
    for path in old.keys() | new.keys():
        if not is_near(path, touched):
            assert repr(old[path]) == repr(new[path])


@given(worlds.documents, worlds.values)
def test_merge_patch_touches_what_it_says_and_leaves_the_old_document(document: dict[str, Any], patch: Any) -> None:
    """A path that isn't on, above or below a touched one is unchanged, and so is the document that was patched."""
    original, touched = deepcopy(document), set[Path]()
    patched = merge_patch(document, patch, touched)
    assert repr(document) == repr(original)
    assert_touched_says_all(document, patched, touched)


@given(worlds.documents, st.sampled_from([("l",), ("o", "l"), ("o", "x", "l"), ("a",), ("new", "l")]), worlds.scalars)
def test_append_touches_what_it_says_and_leaves_the_old_document(
    document: dict[str, Any], path: Path, value: Any
) -> None:
    """An append adds one element at the end of its list or refuses; all else, and the old document, is unchanged."""
    original, touched = deepcopy(document), set[Path]()
    before = getter(path)(document)
    try:
        changed = append(document, path, value, touched)
    except NotAList:
        assert repr(document) == repr(original)
        assert not touched
        return
    assert repr(document) == repr(original)
    assert repr(getter(path)(changed)) == repr([*(before or []), value])
    assert touched == {path}
    assert_touched_says_all(document, changed, touched)


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=32))
def test_paths_survive_being_written(keys: list[str]) -> None:
    """parse_path(format_path(p)) == p, whatever the keys hold."""
    assert parse_path(format_path(tuple(keys))) == tuple(keys)


@given(st.text(alphabet="ab.\\\n", max_size=8))
def test_texts_that_parse_are_written_back(text: str) -> None:
    """A text is refused with ValueError, or is exactly how its path is written."""
    try:
        path = parse_path(text)
    except ValueError:
        return
    assert format_path(path) == text


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a\\", "a\\b", ".".join("a" * 33)])
def test_bad_paths_are_refused(text: str) -> None:
    """Empty keys, lone backslashes and more than 32 keys are no path."""
    with pytest.raises(ValueError, match="expected"):
        parse_path(text)


@given(worlds.values, st.lists(st.sampled_from(["a", "o", "x", "l"]), max_size=4))
def test_getters_of_all_lengths_agree_with_a_walk(document: Any, keys: list[str]) -> None:
    """A getter finds what a walk along the keys finds, and None where the walk ends early."""
    value = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    assert getter(tuple(keys))(document) is value


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)))
def test_times_equal_datetime(moment: datetime) -> None:
    """An ISO text means what datetime says, in whole milliseconds, and format_ms writes it back."""
    at_ms = parse_ms(moment.isoformat())
    assert at_ms == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert parse_ms(format_ms(at_ms)) == at_ms
    assert parse_ms(at_ms) == parse_ms(at_ms + 0.5) == at_ms


@given(st.lists(st.one_of(worlds.documents, worlds.scalars), max_size=4), st.lists(st.sampled_from("abox"), max_size=3))
def test_paths_read_any_json_alike(values: list[Any], keys: list[str]) -> None:
    """Whatever the JSON and the length of the path, one by one or all at once, reading never raises and agrees."""
    path = tuple(keys)
    assert getter_many(path)(values) == [getter(path)(value) for value in values]


def test_paths_lead_through_objects_only() -> None:
    """A text or a list on the way is no object, at every length of path."""
    for path in [("a",), ("a", "b"), ("a", "b", "c")]:
        for value in ["a", ["a"], {"a": "b"}, {"a": ["b"]}, 1, None]:
            assert getter(path)(value) == (value["a"] if len(path) == 1 and isinstance(value, dict) else None)
    assert getter(("a", "b", "c"))({"a": {"b": {"c": 7}}}) == 7


def test_times_by_example() -> None:
    """Dates are midnights, no offset is UTC, numbers are milliseconds; everything else is no time."""
    for given_value, expected in [
        ("1970-01-02", DAY_MS),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01 00:00:00.001", 1),
        (1.9, 1),
        (-1.5, -2),
        (MAX_MS, MAX_MS),
        (MIN_MS, MIN_MS),
    ]:
        assert parse_ms(given_value) == expected
    for nonsense in ["", "yesterday", "2026-02-30", "1" * 100, True, None, [], {}, MAX_MS + 1, float("nan"), 10**400]:
        assert parse_ms(nonsense) is None
    assert format_ms(0) == "1970-01-01T00:00:00Z"
    assert format_ms(1) == "1970-01-01T00:00:00.001Z"


@given(st.one_of(worlds.scalars, st.text(max_size=80), st.floats(), st.integers()))
def test_any_value_is_a_time_in_range_or_none(value: Any) -> None:
    """parse_ms never raises and never leaves the years 1 to 9999 by more than a UTC offset."""
    at_ms = parse_ms(value)
    assert at_ms is None or MIN_MS - DAY_MS <= at_ms <= MAX_MS + DAY_MS
