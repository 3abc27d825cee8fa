"""docs/model-file.schema.json against the checker: never stricter than it, and the docs' own examples load."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from core.files import BAD, GOOD, changed, replaced
from core.test_model_file import places
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from memberstream.models.event import Op, Reason, decode
from memberstream.models.model_file import load, parse
from memberstream.models.problems import ModelFileError

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = orjson.loads((DOCS / "model-file.schema.json").read_bytes())
validator = Draft202012Validator(SCHEMA)


def blocks(name: str, language: str) -> list[str]:
    """Return the code blocks of a language in a document."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)


def is_accepted(definition: Any) -> bool:
    """Return whether the checker takes a file."""
    try:
        parse(definition)
    except ModelFileError:
        return False
    return True


def test_schema_is_a_schema() -> None:
    """The published schema is valid JSON Schema 2020-12."""
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", GOOD)
def test_good_files_validate(name: str) -> None:
    """Whatever the checker takes, the schema takes."""
    validator.validate(GOOD[name])


_values = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 0.5, 1, 2, 1e101, 2**40, "x", "a..b", "a\\", "", "log1p", "days", "Bad Name", [], {}]),
    st.sampled_from([["a", "a"], [1, "x"], [1, 2], {"a": 1}, {"min": 0}, {"one_hot": [True]}, {"clip": {}}, [[1]]]),
)


@given(st.sampled_from(sorted(GOOD)), st.data(), _values)
def test_what_the_schema_refuses_the_checker_refuses(name: str, data: st.DataObject, value: Any) -> None:
    """A good file with something else at some place: taken by the checker only if the schema takes it."""
    path = data.draw(st.sampled_from(places(GOOD[name])))
    definition = replaced(GOOD[name], {path: value})
    assert validator.is_valid(definition) or not is_accepted(definition)


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_by_the_checker_at_least(name: str) -> None:
    """The corpus of bad files: the schema may miss what it can't say, the checker misses nothing."""
    assert not is_accepted(changed(BAD[name]))


def test_examples_in_the_docs_load() -> None:
    """The complete files shown in docs/model-file.md load and reproduce their examples, as JSON and as TOML."""
    (shown,) = (block for block in blocks("model-file.md", "json") if '"format"' in block)
    model = load(shown.encode())
    assert model.examples
    validator.validate(model.definition)
    (toml,) = blocks("model-file.md", "toml")
    same = load(toml.encode(), is_toml=True)
    assert same.examples
    validator.validate(same.definition)


def fields(schema: Any) -> set[str]:
    """Return the names of all properties that a schema speaks of."""
    inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else []
    own = set(schema.get("properties", ())) if isinstance(schema, dict) else set()
    return own.union(*map(fields, inner))


def test_docs_name_every_word_of_the_format() -> None:
    """Every field, aggregate and type of the schema stands in docs/model-file.md."""
    text = (DOCS / "model-file.md").read_text()
    words = fields(SCHEMA) | {"log1p", "logistic", "multinomial", "kmeans", "gaussian_mixture"}
    words |= set(SCHEMA["$defs"]["aggregate"]["properties"]["aggregate"]["enum"])
    assert len(words) > 50
    assert {word for word in words if f"`{word}`" not in text} == set()


def test_docs_name_every_reason() -> None:
    """Every reason of a dead letter stands in docs/events.md, and no other."""
    _, table = (DOCS / "events.md").read_text().split("| reason | what was wrong ")
    assert set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)) == {str(reason) for reason in Reason}


def test_examples_of_events_decode() -> None:
    """The envelopes shown in docs/events.md are events; together they show every op."""
    (shown,) = blocks("events.md", "json")
    ops = [decode(b"m", line.encode(), 0, 2**41).op for line in shown.splitlines()]
    assert set(ops) == set(Op)
