"""Model files: the good ones load, the bad ones give all their problems at once, word for word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from core.files import BAD, GOOD, base, changed, replaced
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.document import MAX_DEPTH
from memberstream.models.model_file import load, parse
from memberstream.models.problems import ModelFileError, describe
from memberstream.models.scorer import GaussianMixture, KMeans, Logistic, Multinomial, Trees

GOLDEN = Path(__file__).with_name("bad_files.txt")


def problems_of(definition: Any) -> list[str]:
    """Return the problems of a bad file as texts."""
    with pytest.raises(ModelFileError) as raised:
        parse(definition)
    assert str(raised.value) == "\n".join(map(str, raised.value.problems))
    return [str(problem) for problem in raised.value.problems]


def golden() -> dict[str, list[str]]:
    """Return name → expected problems."""
    sections = GOLDEN.read_text().split("## ")[1:]
    return {section.splitlines()[0]: section.splitlines()[1:] for section in sections}


@pytest.mark.parametrize("name", GOOD)
def test_good_files_load(name: str) -> None:
    """Each file of the corpus loads, reproduces its examples and keeps its definition."""
    model = load(orjson.dumps(GOOD[name]))
    assert model.definition == GOOD[name]
    assert model.label == f"activity@{GOOD[name]['version']}"
    assert [c.id for c in model.clusters] == model.cluster_ids.tolist()
    assert isinstance(model.scorer, Logistic | Multinomial | KMeans | GaussianMixture | Trees)


@pytest.mark.parametrize("name", BAD)
def test_bad_files_give_all_their_problems(name: str) -> None:
    """Path, expectation and finding of every problem of a file are those written down in bad_files.txt."""
    assert problems_of(changed(BAD[name])) == golden()[name]


def test_every_golden_text_belongs_to_a_file() -> None:
    """bad_files.txt and the corpus list the same names."""
    assert list(golden()) == list(BAD)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff", b"[" * 3_000 + b"]" * 3_000, b'{"a": NaN}'],
    ids=["empty", "cut", "bytes", "deep", "nan"],
)
def test_what_is_no_json_is_one_problem(data: bytes) -> None:
    """Bytes that don't decode are reported as such, as JSON and as TOML."""
    for is_toml, kind in ((False, "JSON"), (True, "TOML")):
        with pytest.raises(ModelFileError) as raised:
            load(data, is_toml=is_toml)
        if not (is_toml and data == b""):  # an empty TOML file is an empty object
            assert f"expected {kind}" in str(raised.value)
    assert problems_of([1]) == ["file: expected an object, found a list of 1"]


TOML = """
format = 1
name = "from_toml"
version = 1

[[predictors]]
name = "days"
path = "joined"
aggregate = "days_since"
missing = 0

[model]
type = "logistic"
coef = [1]
intercept = 0
thresholds = [0.6]

[[clusters]]
id = 1
name = "new"
[[clusters]]
id = 2
name = "old"

[[examples]]
at = 2026-01-02
cluster = 2
document = { joined = 2026-01-01T07:00:00Z, local = 2026-01-01T07:00:00, clock = 07:30:00 }
predictors = { days = 1 }
"""


def test_toml_dates_are_texts() -> None:
    """TOML's dates and times mean what their texts would in JSON, and the definition is plain JSON."""
    model = load(TOML.encode(), is_toml=True)
    assert model.definition["examples"][0]["document"] == {
        "joined": "2026-01-01T07:00:00+00:00",
        "local": "2026-01-01T07:00:00",
        "clock": "07:30:00",
    }
    assert load(orjson.dumps(model.definition)).definition == model.definition


@pytest.mark.parametrize("value", ["nan", "inf", "9" * 30, "9" * 5_000, "[" * 400 + "]" * 400, "[" * 90 + "]" * 90])
def test_what_json_cannot_carry_is_refused_in_toml(value: str) -> None:
    """NaN, infinities, huge integers and depth in TOML are problems, never a crash."""
    with pytest.raises(ModelFileError):
        load(TOML.replace("missing = 0", f"missing = {value}").encode(), is_toml=True)


def test_depth_is_bounded() -> None:
    """A file may nest as deeply as an event, so that what is published can always be written."""
    assert problems_of(changed(BAD["too deep"])) == [f"file: expected at most {MAX_DEPTH} levels of nesting, found 74"]


_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.floats(), st.sampled_from(["log1p", "a", "a..b", ""])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    max_leaves=6,
)


def places(value: Any, at: str = "") -> list[str]:
    """Return the paths of everything inside a file."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    # a key with a dot of its own (in `where`) has no path in this notation
    return [p for k, inner in items if "." not in str(k) for p in (f"{at}{k}", *places(inner, f"{at}{k}."))]


@given(st.sampled_from(sorted(GOOD)), st.data(), _json)
def test_a_good_file_with_anything_anywhere_loads_or_lists_problems(name: str, data: st.DataObject, value: Any) -> None:
    """Whatever stands at whatever place of a file, the answer is a model or a list of problems."""
    path = data.draw(st.sampled_from(places(GOOD[name])))
    try:
        parse(replaced(GOOD[name], {path: value}))
    except ModelFileError as error:
        assert error.problems  # noqa: PT017 (either outcome is right)
        assert len({str(p) for p in error.problems}) == len(error.problems)  # noqa: PT017 (either outcome is right)


def test_values_are_described_briefly() -> None:
    """What was found is shown as it stands in a file, long texts cut."""
    shown = [describe(v) for v in (None, True, 1, "a", [], [1], {}, {"a": 1}, "x" * 99)]
    assert shown[:-1] == ["null", "true", "1", "'a'", "a list of 0", "a list of 1", "an empty object", "an object"]
    assert len(shown[-1]) == 58


def test_parameters_are_read_in_the_order_of_inputs() -> None:
    """`inputs` picks and orders columns; without it all columns count, in the order of the predictors."""
    model = parse(GOOD["inputs chosen"])
    assert model.inputs == ("country=fr", "opens")
    assert parse(base()).inputs == ("opens", "country=de", "country=fr")
