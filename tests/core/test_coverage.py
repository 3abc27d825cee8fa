"""What is there is counted under exactly one heading, and nothing that is there is told as missing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from core import worlds
from core.evaluation import NOW
from oracle.events import moment
from oracle.predictors import at, moment_of, written

from memberstream.models.coverage import HEADINGS, MAX_MISFITS, Coverage, Tally, coverage, misfits
from memberstream.models.explain import explain_one
from memberstream.models.model import Model
from memberstream.models.model_file import parse
from memberstream.models.origins import origins
from memberstream.models.raw_words import words
from memberstream.models.what_if import levers

DEFINITIONS: list[dict[str, Any]] = [
    {"path": "a", "missing": 0},
    {"path": "o.a", "missing": 0, "type": "number_text"},
    {"path": "c", "transforms": [{"one_hot": ["x"]}]},
    {"path": "t", "aggregate": "days_since", "missing": 0},
    {"path": "o.t", "aggregate": "days_since", "missing": 0, "unit": "s"},
    {"path": "l", "aggregate": "sum", "value": "v", "time": "t", "window_days": 30},
    {"path": "l", "aggregate": "mean", "value": "v", "missing": 0, "type": "number_text", "where": {"k": "x"}},
    {"path": "l", "aggregate": "distinct", "value": "k", "time": "t", "unit": "days"},
    {"path": "l", "aggregate": "last", "value": "k", "transforms": [{"one_hot": ["x"]}]},
    {"path": "l", "aggregate": "count", "where": {"k": {"in": ["x", True]}, "v": {"gte": 3}, "w": {"exists": True}}},
    {"path": "l", "aggregate": "count", "where": {"v": {"lt": 3, "type": "number_text"}}},
    {"path": "l", "aggregate": "decayed_count", "half_life_days": 7, "time": "t", "unit": "ns"},
    {"path": "n", "aggregate": "max", "missing": 0},
]
ABSENT = object()


def model_of(definitions: list[dict[str, Any]]) -> Model:
    return parse(worlds.one_predictor_file([{"name": f"p{i}"} | one for i, one in enumerate(definitions)]))


def random_value(chance: random.Random) -> Any:
    """Anything that JSON holds; often a number or a time in some spelling."""
    at_ms = NOW - round(chance.uniform(-5, 90) * 86_400_000)
    return chance.choice([
        ABSENT, ABSENT, None, True, False, 0, -3.5, chance.random(), 1e300, "12.50", " 7 ", "1,5", "", "x", "y",
        {}, {"v": 1}, [], ["1"], at_ms, at_ms // 1_000, at_ms / 1_000, at_ms * 1_000, at_ms * 10**6,
        at_ms // 86_400_000, str(at_ms // 1_000), str(at_ms), worlds.format_ms(at_ms), "1970-01-01", "20260301", 1e17,
        1711120920345, "1711120920345", "never",
    ])  # fmt: skip


def random_object(chance: random.Random, keys: str, more: Callable[[], dict[str, Any]] = dict) -> dict[str, Any]:
    drawn = {key: random_value(chance) for key in keys} | more()
    return {key: value for key, value in drawn.items() if value is not ABSENT}


def random_list(chance: random.Random) -> Any:
    if chance.random() < 0.2:
        return random_value(chance)
    elements = [random_object(chance, "tvkw") for _ in range(chance.randrange(4))]
    return [*elements, random_value(chance)] if chance.random() < 0.1 and elements else elements


def random_document(chance: random.Random) -> dict[str, Any]:
    def more() -> dict[str, Any]:
        numbers = [value for value in (random_value(chance) for _ in range(3)) if value is not ABSENT]
        o = random_object(chance, "at") if chance.random() < 0.9 else random_value(chance)
        return {"l": without(random_list(chance)), "n": chance.choice([numbers, random_value(chance)]), "o": o}

    return random_object(chance, "act", more)


def without(value: Any) -> Any:
    return [one for one in value if one is not ABSENT] if isinstance(value, list) else value


# --- the headings once more, from the documents alone


def is_there(document: Any, path: str) -> bool:
    *parents, key = path.split(".")
    for parent in parents:
        document = document.get(parent) if isinstance(document, dict) else None
    return isinstance(document, dict) and key in document


def heading(definition: dict[str, Any], kind: str, value: Any) -> str:
    if kind == "list":
        return "usable" if isinstance(value, list) else "wrong_type"
    if kind == "time":
        found = moment_of(definition, value)
        as_number = written(value)
        if isinstance(as_number, int | float) and not isinstance(as_number, bool):
            if found is None and isinstance(value, str) and "unit" not in definition:
                return "wrong_type"
            ok = found is not None and "1990" <= worlds.format_ms(found)[:4] < "2100" and found > 0
            return "usable" if ok else "implausible"
        return "usable" if found is not None else "wrong_type"
    types: dict[str, Any] = {
        "number": (bool, int, float), "text": str, "scalar": (str, bool, int, float), "anything": object,
    }  # fmt: skip
    if kind == "number_text":
        return "usable" if isinstance(written(value), bool | int | float) else "wrong_type"
    if kind == "x or true":
        return "usable" if isinstance(value, str | bool) else "wrong_type"
    return "usable" if isinstance(value, types[kind]) else "wrong_type"


def meets(element: Any, conditions: dict[str, Any]) -> bool:
    tests: dict[str, Callable[[Any], bool]] = {
        "k": lambda v: v == "x" if conditions.get("k") == "x" else v == "x" or v is True,
        "w": lambda v: v is not None,
        "v": lambda v: compares(v, conditions["v"]),
    }
    return all(tests[path](at(element, path)) for path in conditions)


def compares(value: Any, wanted: dict[str, Any]) -> bool:
    value = written(value) if "type" in wanted else value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and (value >= wanted["gte"] if "gte" in wanted else value < wanted["lt"])


def places(definition: dict[str, Any]) -> list[tuple[str, str | None, str, dict[str, Any]]]:
    """(path, path in an element, what is read there, which elements) of each place of a predictor."""
    path, aggregate = definition["path"], definition.get("aggregate")
    number = definition.get("type", "text" if "one_hot" in str(definition) else "number")
    if aggregate is None:
        return [(path, None, number, {})]
    if aggregate == "days_since":
        return [(path, None, "time", {})]
    where = definition.get("where", {})
    found: list[tuple[str, str | None, str, dict[str, Any]]] = [(path, None, "list", {})]
    if aggregate not in ("count", "decayed_count"):
        found.append((path, definition.get("value", ""), "scalar" if aggregate == "distinct" else number, where))
    if "time" in definition:
        found.append((path, definition["time"], "time", where))
    for key, wanted in where.items():
        others = {name: one for name, one in where.items() if name != key}
        kind = {"k": "text" if wanted == "x" else "x or true", "w": "anything"}.get(key, "number")
        kind = "number_text" if isinstance(wanted, dict) and "type" in wanted else kind
        found.append((path, key, kind, others))
    return found


def headings(definition: dict[str, Any], place: tuple[str, str | None, str, dict[str, Any]], document: Any) -> set[str]:
    path, inner, kind, where = place
    value = at(document, path)
    if inner is None:
        values = [(is_there(document, path), value)]
    elif not isinstance(value, list):
        return set()
    else:
        kept = [element for element in value if meets(element, where)]
        values = [(not inner or is_there(e, inner), at(e, inner) if inner else e) for e in kept]
    if not values:
        return set()
    there = {heading(definition, kind, one) for is_in, one in values if is_in and one is not None}
    return there or {"null" if any(is_in for is_in, _ in values) else "absent"}


@pytest.mark.parametrize("n", [1_000, pytest.param(10_000, marks=pytest.mark.long)])  # 0.6 s a thousand
def test_documents_of_wrong_types_are_counted_under_one_heading_each(n: int) -> None:
    """Against the same judgement written once more, from the documents alone: every value that a model reads."""
    chance, model = random.Random(45), model_of(DEFINITIONS)
    tally, expected = Tally(model.predictors), [Counter[str]() for one in DEFINITIONS for _ in places(one)]
    every = [(one, place) for one in DEFINITIONS for place in places(one)]
    n_partly = Counter[int]()
    for _ in range(n):
        document = random_document(chance)
        tally.add(document)
        for i, (definition, place) in enumerate(every):
            found = headings(definition, place, document)
            decided = next((h for h in ("wrong_type", "implausible", "usable", "null", "absent") if h in found), None)
            expected[i].update([decided] if decided else [])
            n_partly[i] += "usable" in found and decided != "usable"
    for i, seen in enumerate(tally.found()):
        counts = dict(zip(HEADINGS, numbers(seen), strict=True))
        assert counts == {heading: expected[i][heading] for heading in HEADINGS}, seen
        assert sum(counts.values()) == seen.n
        assert seen.n_partly == n_partly[i]
        assert seen.n_misfits or seen.expected == "anything"  # each of them was tried
        assert bool(seen.trouble) == bool(seen.remedy) == bool(seen.n_misfits)


def numbers(found: Coverage) -> list[int]:
    return [getattr(found, f"n_{heading}") for heading in HEADINGS]


def test_nothing_that_is_there_is_told_as_missing() -> None:
    """Of 300 such documents: if a predictor reads nothing although something is there, that is said."""
    chance, model = random.Random(46), model_of(DEFINITIONS)
    sources, n = origins(model.predictors), 0
    for _ in range(300):
        document = random_document(chance)
        told = {one.place for one in explain_one(model, document, NOW).misfits}
        assert told == {one.place for one in misfits(coverage(model.predictors, [document]))}
        for origin in sources:
            raw, value = origin.read(document, NOW), at(document, ".".join(origin.source.path))
            if raw is None and value is not None and not isinstance(value, list):
                n += 1
                assert words(origin, None, origin.unread(document)).split(",")[0] not in ("none", "never")
    assert n > 300


def one(definition: dict[str, Any], *documents: Any) -> list[Coverage]:
    return coverage(model_of([{"missing": 0} | definition]).predictors, documents)


@pytest.mark.parametrize(
    ("definition", "document", "trouble", "remedy"),
    [
        (
            {"path": "a"}, {"a": "12.50"},
            "a: expected a number, found a number written as a text",
            '"type": "number_text" in the model file reads them',
        ),
        ({"path": "a"}, {"a": "x"}, "a: expected a number, found a text", "the producer has to send a number"),
        ({"path": "a"}, {"a": {}}, "a: expected a number, found an object", "the producer has to send a number"),
        (
            {"path": "l", "aggregate": "count"}, {"l": "[1]"},
            "l: expected a list, found a text", "the producer has to send a list",
        ),
        (
            {"path": "l", "aggregate": "count"}, {"l": "7"},
            "l: expected a list, found a number written as a text", "the producer has to send a list",
        ),
        (
            {"path": "l", "aggregate": "count", "time": "t"}, {"l": [{"t": NOW // 1_000}]},
            "l[].t: times before 1990 or after 2099: they look like seconds",
            '"unit": "s" in the model file reads them',
        ),
        (
            {"path": "t", "aggregate": "days_since"}, {"t": str(NOW * 1_000)},
            "t: expected a time, ISO 8601 or ms, found a number written as a text",
            '"unit": "us" in the model file reads them',
        ),
        (
            {"path": "t", "aggregate": "days_since"}, {"t": "1"},
            "t: expected a time, ISO 8601 or ms, found a number written as a text",
            "the producer has to send a time, ISO 8601 or ms",
        ),
        (
            {"path": "t", "aggregate": "days_since"}, {"t": 5},
            "t: times before 1990 or after 2099", "the producer has to send a time, ISO 8601 or ms",
        ),
        ({"path": "a"}, {"a": 1}, "", ""),
    ],
)  # fmt: skip
def test_what_is_said_of_a_misfit(definition: dict[str, Any], document: Any, trouble: str, remedy: str) -> None:
    """What is expected and found, and what to do: in the model file, if that helps."""
    [*_, found] = one(definition, document)
    assert (found.trouble, found.remedy) == (trouble, remedy)


def test_shares_by_which_a_place_is_judged() -> None:
    """Misfits are compared with what is there, not with all documents; a list may hold both."""
    documents: list[Any] = [{"a": 1}] * 9 + [{"a": "1"}] + [{}] * 5 + [{"a": None}]
    [found] = one({"path": "a"}, *documents)
    assert (found.n, found.n_there, found.n_misfits, found.n_null) == (16, 10, 1, 1)
    assert found.told.endswith("found a number written as a text, in 1 of 10 documents with a value")
    assert not found.misfits_often
    assert found.n_misfits == MAX_MISFITS * found.n_there
    [found] = one({"path": "a"}, *documents, {"a": "1"})
    assert found.misfits_often
    assert not found.never_fits
    assert one({"path": "a"}, {"a": "1"})[0].never_fits
    mixed = one({"path": "l", "aggregate": "sum"}, {"l": [1, "1"]})[1]
    assert (mixed.n_wrong_type, mixed.n_partly, mixed.never_fits) == (1, 1, False)


def test_only_elements_that_are_read_are_judged() -> None:
    """A list of several kinds of things: amounts are asked of purchases only."""
    definition = {"path": "l", "aggregate": "sum", "value": "v", "where": {"k": "sale", "v": {"gt": 0}}}
    documents = [{"l": [{"k": "note", "v": "hello"}, {"k": "sale", "v": 3}, {"k": 5, "v": 1}]}, {"l": [{"k": "note"}]}]
    of_list, value, kind, compared = one(definition, *documents)
    assert (of_list.n_usable, value.n_usable, value.n, compared.n, compared.n_usable) == (2, 1, 1, 1, 1)
    assert (kind.n, kind.n_wrong_type, kind.found, kind.n_partly) == (1, 1, "a number", 1)


def test_a_tally_may_judge_the_last_elements_only() -> None:
    """A worker bounds what it looks at; what was appended last tells of the producer of today."""
    tally = Tally(model_of([{"path": "l", "aggregate": "sum"}]).predictors, most=2)
    tally.add({"l": ["1", "1", 1, 2]})
    assert tally.found()[1].n_usable == 1


def test_two_tallies_are_told_together() -> None:
    """As if one had counted all; where they differ in words, the later one's count."""
    model = model_of([{"path": f"p{i}", "missing": 0} for i in range(40)])
    earlier, later, both = (Tally(model.predictors) for _ in range(3))
    for tally, value in ((earlier, "x"), (later, True), (later, 5), (earlier, None)):
        document: dict[str, Any] = {"p7": value if value is not True else {}}
        tally.add(document)
        both.add(document)
    found = later.found(earlier)
    assert [(one.n_wrong_type, one.n_null, one.n) for one in found] == [
        (one.n_wrong_type, one.n_null, one.n) for one in both.found()
    ]
    assert (found[7].n_wrong_type, found[7].found, found[8].n_absent) == (2, "an object", 4)
    assert (later.n_documents, later.total()) == (2, Counter(absent=78, wrong_type=1, usable=1))


def test_explanations_name_what_does_not_fit() -> None:
    """In the words of a value, of a lever and beside them."""
    model = model_of([
        {"path": "a", "missing": 2},
        {"path": "l", "aggregate": "mean", "value": "v", "missing": 1},
        {"path": "t", "aggregate": "days_since", "missing": 9},
        {"path": "u", "aggregate": "days_since", "missing": 9},
        {"path": "l", "aggregate": "days_since", "time": "t", "missing": 9},
    ])  # fmt: skip
    document = {"a": "12.50", "l": [{"v": "x"}], "t": "2030-01-01", "u": 5}
    explanation = explain_one(model, document, NOW)
    expected = [
        "a number written as a text, counts as 2",
        "a text at l[].v, counts as 1",
        "in the future, counts as 9 days ago",
        "20,454 days ago",
        "never, counts as 9 days ago",
    ]
    assert [part.words for part in explanation.parts] == expected
    assert [lever.words for lever in levers(model, document, NOW)] == expected
    assert [(one.predictor, one.place) for one in explanation.misfits] == [("p0", "a"), ("p1", "l[].v"), ("p3", "u")]
    implausible = explain_one(model, {"l": [{"t": 5 * 10**17}]}, NOW)
    assert implausible.parts[4].words == "times before 1990 or after 2099 at l[].t, counts as 9 days ago"
    assert moment("2030-01-01") is not None
