"""Bounds before work: what a producer or an author may send at most, and what is said beyond."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from core.test_worst_cases import file_of

from memberstream.models import model_file
from memberstream.models.apply import MAX_TOUCHED, apply_one
from memberstream.models.event import BadEvent, Reason, decode
from memberstream.models.examples import MAX_EXAMPLES
from memberstream.models.member import Member
from memberstream.models.model_file import MAX_BYTES, MAX_CLUSTERS, MAX_TOML_BYTES, load, parse
from memberstream.models.path import MAX_CHARACTERS, parse_path
from memberstream.models.plan import EVERYTHING, Plan
from memberstream.models.predictor_file import MAX_COLUMNS, MAX_CONDITIONS, MAX_OPERANDS, MAX_TRANSFORMS
from memberstream.models.problems import MAX_PROBLEMS, ModelFileError
from memberstream.models.rescore import rescore_many
from memberstream.models.scorer_file import MAX_PRODUCTS
from memberstream.models.where import Condition

NOW = 1_767_225_600_000


def problems(definition: Any) -> list[str]:
    with pytest.raises(ModelFileError) as refused:
        parse(definition)
    return [str(problem) for problem in refused.value.problems]


def predictor(**more: Any) -> dict[str, Any]:
    return file_of(predictors=[{"name": "x", "path": "x", "missing": 0} | more])


def test_a_path_is_measured_before_it_is_cut() -> None:
    """In an event it makes a dead letter; what fits is taken as ever."""
    path = ".".join(["a" * 127] * 32)
    assert len(path) == MAX_CHARACTERS - 1
    assert len(parse_path(path)) == 32
    value = orjson.dumps({"op": "append", "path": "a" * (MAX_CHARACTERS + 1), "value": 1})
    with pytest.raises(BadEvent) as refused:
        decode(b"m", value, NOW, NOW)
    assert refused.value.reason is Reason.BAD_PATH
    assert refused.value.detail == "path: expected at most 4096 characters"


@pytest.mark.parametrize("n", [MAX_TOUCHED, MAX_TOUCHED + 1])
def test_many_changed_paths_count_as_a_changed_document(n: int) -> None:
    """The predictors come out the same as of few: each is evaluated."""
    plan = Plan([parse(file_of())])
    member = Member()
    value = orjson.dumps({"op": "replace", "document": {"x": 1}})
    apply_one(member, 0, decode(b"m", value, NOW, NOW))
    rescore_many(plan, [member], [NOW])
    before = dict(member.rows)
    patch = orjson.dumps({"op": "patch", "patch": {f"k{i}": 1 for i in range(n - 1)} | {"x": 7}})
    apply_one(member, 1, decode(b"m", patch, NOW, NOW))
    assert (member.touched == EVERYTHING) is (n > MAX_TOUCHED)
    rescore_many(plan, [member], [NOW])
    fresh = Member(document=member.document, touched=set(EVERYTHING))
    rescore_many(plan, [fresh], [NOW])
    assert member.rows == fresh.rows != before


ONE = {"document": {"x": 1}, "at": 0, "cluster": 1}


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        (predictor(path="a" * 5_000), "predictors[0].path: expected at most 4096 characters"),
        (predictor(transforms=["log1p"] * 33), f"predictors[0].transforms: expected at most {MAX_TRANSFORMS} elements"),
        (
            predictor(aggregate="count", where={f"k{i}": 1 for i in range(65)}),
            f"predictors[0].where: expected at most {MAX_CONDITIONS} conditions, found 65",
        ),
        (
            predictor(aggregate="count", where={"a": {"in": list(range(10_001))}}),
            f"predictors[0].where.a.in: expected at most {MAX_OPERANDS} elements, found 10001",
        ),
        (
            predictor(transforms=[{"one_hot": list(range(5_000))}]),
            f"predictors[0].transforms[0].one_hot: expected at most {MAX_COLUMNS} elements, found 5000",
        ),
        (file_of(predictors=[1] * 4_097), f"predictors: expected at most {MAX_COLUMNS} elements, found 4097"),
        (file_of(clusters=[1] * 1_001), f"clusters: expected at most {MAX_CLUSTERS} elements, found 1001"),
        (file_of(examples=[ONE] * 10_001), f"examples: expected at most {MAX_EXAMPLES} elements, found 10001"),
        (
            file_of(description="x" * 100_001),
            "description: expected a text of at most 100000 characters, found 100001",
        ),
        (
            file_of(clusters=[{"id": 0, "name": "x" * 1_001}, {"id": 1, "name": "y"}]),
            "clusters[0].name: expected a text of at most 1000 characters, found 1001",
        ),
    ],
)
def test_a_file_beyond_a_bound_is_told_which(definition: Any, problem: str) -> None:
    assert any(found.startswith(problem) for found in problems(definition)), problems(definition)


def test_a_mixture_whose_factors_are_multiplied_too_often() -> None:
    """500 clusters that share one matrix of 300 × 300 take 45 million multiplications a member."""
    n, k = 300, 500
    eye = [[float(i == j) for j in range(n)] for i in range(n)]
    definition = file_of(
        predictors=[{"name": f"p{i}", "path": f"p{i}", "missing": 0} for i in range(n)],
        clusters=[{"id": i, "name": str(i)} for i in range(k)],
        model={
            "type": "gaussian_mixture",
            "weights": [1 / k] * k,
            "means": [[0.0] * n] * k,
            "covariance_type": "tied",
            "precisions_cholesky": eye,
        },
    )
    assert problems(definition) == [f"model: expected at most {MAX_PRODUCTS} as clusters × inputs², found {n * n * k}"]


def test_no_more_than_a_thousand_problems_are_listed() -> None:
    """Of any kind, examples that don't reproduce included; the last says that there are more."""
    found = problems(file_of(model={"type": "logistic", "coef": [None] * 5_000, "intercept": 0, "thresholds": [0.5]}))
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == "file: expected fewer than 1000 problems, found more: the rest wasn't read"
    wrong = ONE | {"cluster": 0}
    assert MAX_PROBLEMS <= len(problems(file_of(examples=[wrong] * 5_000))) < MAX_PROBLEMS + 100
    assert problems(file_of(examples=[*[ONE] * 150, wrong]))[0].startswith("examples[150].cluster: expected cluster 1")


def test_many_names_are_shortened_in_a_message() -> None:
    names = [f"p{i}" for i in range(50)]
    definition = file_of(
        predictors=[{"name": name, "path": name, "missing": 0} for name in names],
        model={"type": "logistic", "inputs": ["q"], "coef": [1], "intercept": 0, "thresholds": [0.5]},
    )
    assert "p38, p39 … (50 in all), found 'q'" in problems(definition)[0]


@pytest.mark.parametrize("is_toml", [False, True])
def test_a_file_of_too_many_bytes_isnt_read(is_toml: bool) -> None:
    most = MAX_TOML_BYTES if is_toml else MAX_BYTES
    with pytest.raises(ModelFileError, match=f"^file: expected at most {most} bytes, found {most + 1}$"):
        load(b" " * (most + 1), is_toml=is_toml)


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        (".".join(["a"] * 63) + " = 1", False),
        (".".join(["a"] * 200) + " = 1", True),
        ("[" + " . ".join(["'a b'"] * 200) + "]", True),
        ('a = [{ "x"."y" = 1.5, ' + ".".join(['"é."'] * 200) + " = 2 }]", True),
        ("a = [" + "0.5, " * 500 + "]", False),
        ('a = "' + "x." * 500 + '"\nb = 2001-01-01T00:00:00.5Z # ' + "y." * 10, False),
    ],
)
def test_long_keys_of_toml_are_found_before_they_are_read(text: str, is_refused: bool) -> None:
    """Numbers, texts and dates have dots, too, and are no keys."""
    if is_refused:
        with pytest.raises(ValueError, match="keys of at most 64 parts"):
            model_file._read_toml(text)
    else:
        assert model_file._read_toml(text)


@pytest.mark.parametrize("value", [1, True, 1.0, "1", None, [1], {"a": 1}])
def test_in_is_equality_with_one_of_them(value: Any) -> None:
    """Looked up at once, and still true is not 1, and 1.0 is."""
    is_in = Condition((), "in", (1, "a")).compile()
    assert is_in(value) is (value in (1, 1.0) and not isinstance(value, (bool, list, dict)))
