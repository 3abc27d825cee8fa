"""What the costliest bytes cost that a producer or a model's author can send, measured by the processor's clock.

Each kind stands at its bound: an event of 900,000 bytes, a path of 4,096 characters, a model file of 8 MiB. A law looks
for worse ones by mutation, with the clock as its aim. Time is told in units of plain Python work, measured beside it,
so that a slow or busy machine changes nothing; limits are about ten times what was found, so they see what grows faster
than its input, and no busy neighbour.

`python tests/core/test_worst_cases.py` prints the table of docs/operations.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from time import process_time
from typing import Any

import orjson
import pytest
from hypothesis import given, target
from hypothesis import strategies as st

from memberstream.models.apply import apply_one
from memberstream.models.document import MAX_DEPTH, depth
from memberstream.models.event import MAX_VALUE_BYTES, BadEvent, decode_value
from memberstream.models.member import Member, decode, encode
from memberstream.models.model_file import MAX_BYTES, MAX_TOML_BYTES, load, parse
from memberstream.models.path import MAX_SEGMENTS
from memberstream.models.plan import Plan
from memberstream.models.problems import ModelFileError
from memberstream.models.rescore import rescore_many

pytestmark = [pytest.mark.long, pytest.mark.no_cover]  # CPU time is what is measured here

NOW = 1_767_225_600_000
FULL = MAX_VALUE_BYTES - 200  # room for the envelope


def unit_s() -> float:
    """Return the processor time of a million steps of plain Python, the best of some."""

    def once() -> float:
        began, n = process_time(), 0
        for i in range(1_000_000):
            n += i
        return process_time() - began

    return min(once() for _ in range(3))


def filled(piece: bytes, n_bytes: int = FULL, between: bytes = b",") -> bytes:
    """Return as many pieces as fit."""
    return between.join([piece] * (n_bytes // (len(piece) + len(between))))


def numbered(form: str, n_bytes: int = FULL) -> bytes:
    """Return pieces that differ, as many as fit."""
    n = n_bytes // (len(form % 0) + 1)
    return b",".join([(form % i).encode() for i in range(n)])


def replace(document: bytes) -> bytes:
    return b'{"op":"replace","document":' + document + b"}"


def append(path: bytes, value: bytes = b"1") -> bytes:
    return b'{"op":"append","create":true,"path":"' + path + b'","value":' + value + b"}"


# Kind of event → its bytes; what it does to a member that has these fields already is part of its cost.
EVENTS: dict[str, Callable[[], bytes]] = {
    "an ordinary document of 600 bytes": lambda: replace(orjson.dumps({f"f{i}": "a text of it" for i in range(22)})),
    "a path of 440,000 keys": lambda: append(filled(b"a", between=b".")),
    "a path of one key of 880 KB": lambda: append(b"a" * FULL),
    "a path at its bound": lambda: append(filled(b"a" * 127, 4_096, b".")),
    "a document of empty lists": lambda: replace(b'{"seen":[' + filled(b"[]") + b"]}"),
    "a document of elements with times": lambda: replace(
        b'{"seen":[' + numbered('{"at":%06d}', 850_000).replace(b":0", b":1") + b"]}"
    ),
    "elements with ISO times that differ": lambda: replace(
        b'{"seen":['
        + b",".join(
            [
                b'{"at":"2025-01-01T00:%02d:%02d.%03dZ"}' % (i // 60_000, i // 1_000 % 60, i % 1_000)
                for i in range(FULL // 36)
            ]
        )
        + b"]}"
    ),
    "a patch of 75,000 keys": lambda: b'{"op":"patch","create":true,"patch":{' + numbered('"%06x":1') + b"}}",
    "a patch of 20,000 keys, 60 levels deep": lambda: (
        b'{"op":"patch","create":true,"patch":'
        + b'{"a":' * 60
        + b"{"
        + numbered('"%06x":1', 400_000)
        + b"}"
        + b"}" * 60
        + b"}"
    ),
    "one key of 880 KB": lambda: b'{"op":"patch","create":true,"patch":{"' + b"k" * FULL + b'":1}}',
    "a number of 880,000 digits": lambda: replace(b'{"x":' + b"9" * FULL + b"}"),
    "a fraction of 880,000 digits": lambda: replace(b'{"x":0.' + b"9" * FULL + b"}"),
    "numbers of 4,000 digits in meta": lambda: b'{"op":"delete","meta":[' + filled(b"9" * 4_000) + b"]}",
    "numbers that grow when written": lambda: replace(b'{"x":[' + filled(b"9e15") + b"]}"),
    "200,000 levels": lambda: replace(b'{"a":' * (FULL // 6) + b"1" + b"}" * (FULL // 6)),
    "`at` of 880 KB": lambda: b'{"op":"delete","at":"' + b"1" * FULL + b'"}',
    "75,000 unknown fields": lambda: b'{"op":"delete",' + numbered('"%06x":1') + b"}",
    "a text of escapes": lambda: replace(b'{"x":"' + b"\\u00e9" * (FULL // 6) + b'"}'),
}


@cache
def plan() -> Plan:
    """Return the plan of five models with twelve predictors each, most over the list that the events fill."""

    def model(number: int) -> Any:
        windows = [
            {"name": f"w{i}", "path": "seen", "time": "at", "aggregate": "count", "window_days": number + 5 * i + 1}
            for i in range(8)
        ]
        others: list[dict[str, Any]] = [
            {"name": "x", "path": "x", "missing": number},
            {"name": "sum", "path": "seen", "aggregate": "sum", "value": "at"},
            {"name": "last", "path": "seen", "time": "at", "aggregate": "days_since", "missing": 0},
            {"name": "here", "path": "seen", "aggregate": "count", "where": {"at": {"gt": number}}},
        ]
        return parse({
            "format": 1, "name": f"m{number}", "version": 1, "predictors": [*windows, *others],
            "model": {"type": "logistic", "coef": [0.1] * 12, "intercept": 0, "thresholds": [0.5]},
            "clusters": [{"id": 0, "name": "low"}, {"id": 1, "name": "high"}],
        })  # fmt: skip

    return Plan([model(number) for number in range(5)])


def handle(value: bytes, held: bytes = b"") -> bytes:
    """Do what a worker does with one event of a member whose stored state is `held`; returns the new one."""
    member = decode(held) if held else Member()
    try:
        event = decode_value("m", value, NOW, NOW)
        apply_one(member, member.position + 1, event, len(value))
    except BadEvent:
        return held
    if member.document is not None:
        assert depth(member.document) <= MAX_DEPTH + MAX_SEGMENTS
        rescore_many(plan(), [member], [NOW])
    return encode(member, 1)


def file_of(**changes: Any) -> dict[str, Any]:
    """Return a small model file with changes."""
    return {
        "format": 1, "name": "m", "version": 1,
        "predictors": [{"name": "x", "path": "x", "missing": 0}],
        "model": {"type": "logistic", "coef": [1.0], "intercept": 0, "thresholds": [0.5]},
        "clusters": [{"id": 0, "name": "low"}, {"id": 1, "name": "high"}],
    } | changes  # fmt: skip


def wide(n: int, n_classes: int) -> dict[str, Any]:
    return file_of(
        predictors=[{"name": f"p{i}", "path": f"a{i}", "missing": 0} for i in range(n)],
        model={"type": "multinomial", "coef": [[0.5] * n] * n_classes, "intercept": [0] * n_classes},
        clusters=[{"id": i, "name": str(i)} for i in range(n_classes)],
        examples=[{"document": {"a0": i}, "at": 0, "cluster": 0} for i in range(100)],
    )


# Kind of file → its bytes, and whether it is TOML.
FILES: dict[str, tuple[Callable[[], bytes], bool]] = {
    "4,096 columns × 100 classes, 100 examples": (lambda: orjson.dumps(wide(4_096, 100)), False),
    "2 columns × 1,000 classes, 100 examples": (lambda: orjson.dumps(wide(2, 1_000)), False),
    "10,000 examples that don't reproduce": (
        lambda: orjson.dumps(file_of(examples=[{"document": {"x": 1}, "at": 0, "cluster": 0}] * 10_000)), False),
    "100,000 predictors": (lambda: orjson.dumps(file_of(predictors=[1] * 100_000)), False),
    "4,096 predictors that nobody uses": (
        lambda: orjson.dumps(wide(4_096, 2) | {"model": {"type": "multinomial", "inputs": ["p0", "p1"],
                                                          "coef": [[0, 0]] * 2, "intercept": [0, 0]}}), False),
    "999 inputs that are no columns": (
        lambda: orjson.dumps(wide(4_096, 2) | {"model": {"type": "multinomial", "inputs": [f"q{i}" for i in range(999)],
                                                          "coef": [[0] * 999] * 2, "intercept": [0, 0]}}), False),
    "1,000 numbers too many in each of 100 rows": (
        lambda: orjson.dumps(file_of(model={"type": "multinomial", "coef": [[1] * 8_000] * 100, "intercept": [0, 0]})),
        False),
    "a million unknown fields": (lambda: orjson.dumps(file_of(**{f"f{i}": 1 for i in range(500_000)})), False),
    "a where with 10,000 operands": (
        lambda: orjson.dumps(file_of(predictors=[{"name": "x", "path": "x", "aggregate": "count",
                                                  "where": {"a": {"in": list(range(10_000))}}}])), False),
    "200,000 levels": (lambda: b"[" * 200_000, False),
    "8 MiB of digits": (lambda: b'{"format":' + b"9" * (MAX_BYTES - 20) + b"}", False),
    "TOML: a dotted key of 500,000 parts": (lambda: filled(b"a", MAX_TOML_BYTES - 10, b".") + b" = 1", True),
    "TOML: a table of 500,000 parts": (lambda: b"[" + filled(b"a", MAX_TOML_BYTES - 10, b".") + b"]", True),
    "TOML: keys of 64 parts": (
        lambda: b"\n".join([b".".join([b"a"] * 62) + b".k%d = 1" % i for i in range(MAX_TOML_BYTES // 136)]), True),
    "TOML: quoted parts": (lambda: filled(b'"a"', MAX_TOML_BYTES - 10, b" . ") + b" = 1", True),
    "TOML: 500,000 brackets": (lambda: b"a = " + b"[" * (MAX_TOML_BYTES // 2), True),
    "TOML: a number of a million digits": (lambda: b"a = " + b"9" * (MAX_TOML_BYTES - 10), True),
    "TOML: a megabyte of numbers": (lambda: b"a = [" + filled(b"0.5", MAX_TOML_BYTES - 10) + b"]", True),
    "TOML: 100,000 tables": (lambda: b"\n".join([b"[t%06d]" % i for i in range(MAX_TOML_BYTES // 11)]), True),
}  # fmt: skip


def read(data: bytes, is_toml: bool) -> None:
    with suppress(ModelFileError):
        load(data, is_toml=is_toml)


def cost_s(work: Callable[[], Any]) -> float:
    began = process_time()
    work()
    return process_time() - began


# In units; about ten times what was found. What a list's elements cost is bounded by an event's bytes alone.
EVENT_LIMIT, LIST_LIMIT, FILE_LIMIT = 40, 250, 350
LISTS = ("a document of empty lists", "a document of elements with times", "elements with ISO times that differ")


@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_costs_little_whatever_it_holds(kind: str) -> None:
    """To a member that is new, and to the member that it has made."""
    value, unit = EVENTS[kind](), unit_s()
    assert len(value) <= MAX_VALUE_BYTES
    held = b""

    def twice() -> None:
        nonlocal held
        held = handle(value)
        handle(append(b"seen"), held)

    assert cost_s(twice) < (LIST_LIMIT if kind in LISTS else EVENT_LIMIT) * unit


@pytest.mark.parametrize("kind", FILES)
def test_a_model_file_costs_little_whatever_it_holds(kind: str) -> None:
    data, is_toml = FILES[kind][0](), FILES[kind][1]
    assert len(data) <= (MAX_TOML_BYTES if is_toml else MAX_BYTES)
    unit = unit_s()
    assert cost_s(lambda: read(data, is_toml)) < FILE_LIMIT * unit


PIECES = st.sampled_from([
    b"1", b"-0.0", b"1e300", b"[]", b"{}", b'""', b'{"at":1}', b'{"at":"2025-01-01"}', b'{"at":[]}', b"null", b"true",
    b'{"at":1.5}', b'[{"at":1}]', b'"\\u0000"', b'{"seen":[]}', b"18446744073709551615", b"[[[[]]]]", b'"\xc3\xa9"',
])  # fmt: skip


PART = 8  # of the most bytes: what grows faster than its input is far beyond a part of the limit, too


@st.composite
def worst_events(draw: st.DrawFn) -> bytes:
    """A large event, of a few kinds of pieces, in one of the places where bytes may stand."""
    block = b",".join(draw(st.lists(PIECES, min_size=1, max_size=4)))
    body = b"[" + filled(block, FULL // PART) + b"]"
    field = draw(st.sampled_from([b"seen", b"x", b"other"]))
    inside = b'{"' + field + b'":' + body + b"}"
    levels = draw(st.sampled_from([0, 30, 58]))
    nested = b'{"a":' * levels + inside + b"}" * levels
    return draw(st.sampled_from([
        replace(nested),
        b'{"op":"patch","create":true,"patch":' + nested + b"}",
        append(field, body),
        b'{"op":"delete","meta":' + body + b"}",
    ]))  # fmt: skip


@given(worst_events())
def test_no_event_found_costs_more(value: bytes) -> None:
    """The search climbs towards what costs most, and finds nothing beyond the limit."""
    cost = cost_s(lambda: handle(value, handle(value)))
    target(cost)
    assert cost < LIST_LIMIT / PART * _unit()


@cache
def _unit() -> float:
    return unit_s()


def test_patches_and_appends_cant_dig_deeper_than_both_bounds() -> None:
    """However many follow one another: each begins at the document's root, with at most 32 keys to a value of 63."""
    deepest = b"[" * (MAX_DEPTH - 2) + b"]" * (MAX_DEPTH - 2)
    path = b".".join([b"a"] * MAX_SEGMENTS)
    held = b""
    for value in [append(path, deepest)] * 3 + [
        b'{"op":"patch","patch":' + b'{"a":' * 62 + b"1" + b"}" * 62 + b"}"
    ] * 3:
        held = handle(value, held)  # asserts it
    assert held


def table() -> Iterator[str]:
    """Yield the lines of the table."""
    plan()
    yield "| input | CPU ms |"
    yield "|---|---|"
    works: dict[str, Callable[[], Any]] = {f"event: {kind}": partial(handle, make()) for kind, make in EVENTS.items()}
    works |= {f"model file: {kind}": partial(read, make(), is_toml) for kind, (make, is_toml) in FILES.items()}
    for what, work in works.items():
        yield f"| {what} | {cost_s(work) * 1e3:,.0f} |"
    yield f"\n(a million steps of plain Python: {unit_s() * 1e3:,.0f} ms)"


if __name__ == "__main__":
    sys.stdout.write("\n".join(table()) + "\n")
