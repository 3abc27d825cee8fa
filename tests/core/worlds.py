"""Random documents, histories and model files that speak of the same few paths, so that they meet.

Documents hold what JSON can hold, right and wrong: numbers of all sizes, texts, times, nulls, lists where objects are
expected. Model files hold every source, aggregate, transform and type of model.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from memberstream.models.event import ChangeEvent, Op
from memberstream.models.model import Model
from memberstream.models.model_file import parse
from memberstream.models.problems import ModelFileError
from memberstream.models.source import Aggregate
from memberstream.models.timestamps import DAY_MS, format_ms

BASE_MS = 1_767_225_600_000  # 2026-01-01
HOUR_MS = DAY_MS // 24

# --- documents

_moments = st.one_of(
    st.integers(-80 * 24, 40 * 24).map(lambda h: BASE_MS + h * HOUR_MS),  # many share an hour
    st.integers(BASE_MS - 80 * DAY_MS, BASE_MS + 40 * DAY_MS),
)
times = st.one_of(
    *(_moments, _moments.map(format_ms), _moments.map(lambda ms: ms + 0.5)),
    _moments.map(lambda ms: ms / 1_000),
    _moments.map(lambda ms: str(ms // 1_000)),
    _moments.map(lambda ms: ms * 1_000),
    _moments.map(lambda ms: ms / DAY_MS),
)
numbers = st.one_of(
    st.integers(-3, 12),
    st.floats(-10, 100),
    st.sampled_from([0.0, -0.0, -1.0, 1e-320, 1e99, 1e101, -1e308, 1e308, 2**63, -(2**63), 2**64 - 1]),
)
_texts = ["x", "y", "z", "", "1", "2026-01-01", "12.50", " 3 ", "1e3", "1,5", "1767225600", "1767225600000", "20454"]
scalars = st.one_of(st.none(), st.booleans(), numbers, st.sampled_from(_texts), times)
_elements = st.one_of(
    st.fixed_dictionaries({}, optional={"t": times, "v": numbers, "k": st.sampled_from(["x", "y", 1, True, None])}),
    st.fixed_dictionaries({"t": times, "v": st.one_of(numbers, scalars), "k": st.sampled_from(["x", "y"])}),
    scalars,
)
lists = st.lists(_elements, max_size=6)
_anything: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("xyl"), inner))
)
values = st.one_of(scalars, lists, _anything)
_inner = st.dictionaries(st.sampled_from(["x", "y", "l"]), values, max_size=3)
documents: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "a": scalars,
        "b": values,
        "t": times,
        "o": st.one_of(_inner, values),
        "l": st.one_of(lists, values),
        "m": lists,
    },
)

# --- model files

_paths = st.sampled_from(["a", "b", "o.x", "o.y", "t", "o"])
_list_paths = st.sampled_from(["l", "m", "o.l"])
_finite = st.floats(-20, 20)
_tests = st.one_of(
    st.sampled_from(["x", 1, True, 2.5]),
    st.fixed_dictionaries({}, optional={"gt": _finite, "gte": _finite, "lt": _finite, "lte": _finite}).filter(bool),
    st.fixed_dictionaries({"in": st.lists(st.sampled_from(["x", "y", 1, True]), min_size=1, max_size=3)}),
    st.fixed_dictionaries({"exists": st.booleans()}),
    st.fixed_dictionaries({"type": st.just("number_text"), "gte": _finite}, optional={"lt": _finite}),
)
_units = st.sampled_from([{}, {}, {"unit": "ms"}, {"unit": "s"}, {"unit": "us"}, {"unit": "ns"}, {"unit": "days"}])
_types = st.sampled_from([{}, {}, {"type": "number_text"}])
_scale = st.fixed_dictionaries({"mean": _finite, "sd": st.floats(0.1, 20)})
_clip = st.tuples(_finite, _finite).map(lambda ab: {"min": min(ab), "max": max(ab)})
_numeric_transforms = st.one_of(
    st.sampled_from(["log1p", "log", "sqrt"]),
    st.fixed_dictionaries({"scale": _scale}),
    st.fixed_dictionaries({"clip": st.one_of(_clip, st.sampled_from([{"min": 0}, {"max": 3}]))}),
    st.fixed_dictionaries({"bins": st.lists(_finite, min_size=1, max_size=4, unique=True).map(sorted)}),
)
_ONE_HOT: dict[str, Any] = {"one_hot": [0, 1, 2.5]}


@st.composite
def predictors(draw: st.DrawFn, name: str, operands: list[str] = []) -> dict[str, Any]:  # noqa: B006 (never changed)
    """Return the JSON of one predictor; `operands`: names that a ratio or product may use."""
    kinds = ["value", "text", "elapsed", "list"] + (["combination"] if operands else [])
    kind = draw(st.sampled_from(kinds))
    given: dict[str, Any] = {"name": name}
    if kind == "combination":
        pair = draw(st.lists(st.sampled_from(operands), min_size=2, max_size=2))
        given[draw(st.sampled_from(["ratio", "product"]))] = pair
    elif kind in ("value", "text"):
        given["path"] = draw(_paths)
    elif kind == "elapsed":
        given |= {"path": draw(_paths), "aggregate": "days_since"} | draw(_clock()) | draw(_units)
    else:
        given |= draw(_aggregate())
    if kind == "text" or (given.get("aggregate") == "last" and draw(st.booleans())):
        return given | {"transforms": [{"one_hot": ["x", "y"]}], "missing": draw(st.sampled_from([None, "x"]))}
    given["missing"] = draw(st.sampled_from([0, 1, 2.5, -0.5]))
    if kind == "value" or given.get("aggregate") in ("sum", "mean", "min", "max", "last"):
        given |= draw(_types)
    transforms = draw(st.lists(_numeric_transforms, max_size=2)) + draw(st.sampled_from([[], [], [_ONE_HOT]]))
    candidate = given | {"transforms": transforms}
    return candidate if _passes(candidate) else given


def _passes(candidate: dict[str, Any]) -> bool:
    plain = {"name": candidate["name"], "path": "a", "missing": candidate["missing"]}
    try:
        parse(one_predictor_file([plain | {"transforms": candidate["transforms"]}]))
    except ModelFileError:
        return False
    return True


@st.composite
def _aggregate(draw: st.DrawFn) -> dict[str, Any]:
    aggregate = draw(st.sampled_from(Aggregate.__args__))  # type: ignore[attr-defined]
    given: dict[str, Any] = {"path": draw(_list_paths), "aggregate": aggregate}
    if aggregate == "days_since":
        given |= {"time": "t"} | draw(_clock())
    elif aggregate == "decayed_count":
        given |= {"time": "t", "half_life_days": draw(st.sampled_from([0.01, 7, 30.5]))} | draw(_clock())
    else:
        given |= draw(st.sampled_from([{}, {"time": "t"}, {"time": "t"}]))
        if aggregate != "count":
            given |= draw(st.sampled_from([{}, {"value": "v"}, {"value": "k"}, {"value": "v"}]))
    if "time" in given:
        given |= draw(st.sampled_from([{}, {"window_days": 30}, {"window_days": 0.5}, {"window_days": 7.25}]))
        given |= draw(_units)
    if draw(st.booleans()):
        given["where"] = draw(st.dictionaries(st.sampled_from(["v", "k", "t"]), _tests, min_size=1, max_size=2))
    return given


@st.composite
def _clock(draw: st.DrawFn) -> dict[str, Any]:
    resolution = draw(st.sampled_from([None, "days", "hours", "seconds"]))
    offset = draw(st.sampled_from([None, 0, 330, -480]))
    return {k: v for k, v in {"resolution": resolution, "utc_offset_minutes": offset}.items() if v is not None}


def n_columns(predictor: dict[str, Any]) -> int:
    """Return how many columns the JSON of a predictor makes."""
    last = (predictor.get("transforms") or [None])[-1]
    return len(last["one_hot"]) if isinstance(last, dict) and "one_hot" in last else 1


def one_predictor_file(definitions: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the JSON of a model over all columns of these predictors."""
    width = sum(map(n_columns, definitions))
    return {
        "format": 1,
        "name": "m",
        "version": 1,
        "predictors": definitions,
        "model": {
            "type": "logistic",
            "inputs": [c for d in definitions for c in _column_names(d)],
            "coef": [0.25] * width,
            "intercept": 0,
            "thresholds": [0.5],
        },
        "clusters": [{"id": 1, "name": "low"}, {"id": 2, "name": "high"}],
    }


def _column_names(predictor: dict[str, Any]) -> list[str]:
    last = (predictor.get("transforms") or [None])[-1]
    if isinstance(last, dict) and "one_hot" in last:
        labels = [c if isinstance(c, str) else f"{float(c):.17g}" for c in last["one_hot"]]
        return [f"{predictor['name']}={label}" for label in labels]
    return [predictor["name"]]


@st.composite
def models(draw: st.DrawFn, version: int = 1) -> Model:
    """Return a model of any type over 1 to 7 random predictors."""
    definitions: list[dict[str, Any]] = []
    for i in range(draw(st.integers(1, 7))):
        operands = [d["name"] for d in definitions if n_columns(d) == 1]
        definitions.append(draw(predictors(f"p{i}", operands)))
    file = one_predictor_file(definitions)
    inputs = file["model"]["inputs"]
    weights = st.lists(_finite, min_size=len(inputs), max_size=len(inputs))
    n = draw(st.integers(1, 4))
    kind = draw(st.sampled_from(["logistic", "multinomial", "kmeans", "gaussian_mixture", "trees"]))
    model: dict[str, Any] = {"type": kind, "inputs": inputs}
    if kind == "logistic":
        cuts = draw(st.lists(st.floats(0.01, 0.99), min_size=n - 1, max_size=n - 1, unique=True))
        model |= {"coef": draw(weights), "intercept": draw(_finite), "thresholds": sorted(cuts)}
        model |= draw(st.sampled_from([{}, {"threshold_rule": ">"}, {"threshold_rule": ">="}]))
    elif kind == "multinomial":
        model |= {"coef": [draw(weights) for _ in range(n)], "intercept": [draw(_finite) for _ in range(n)]}
    elif kind == "kmeans":
        model |= {"centroids": [draw(weights) for _ in range(n)]}
    elif kind == "trees":
        model |= draw(trees(len(inputs), n))
    else:
        model |= {"weights": [1 / n] * n, "means": [draw(weights) for _ in range(n)]} | draw(_factors(n, len(inputs)))
    clusters = [{"id": 2 * i, "name": f"c{i}"} for i in range(n)]
    return parse(file | {"name": kind, "version": version, "model": model, "clusters": clusters})


@st.composite
def trees(draw: st.DrawFn, n_inputs: int, n_clusters: int) -> dict[str, Any]:
    """Return the fields of trees of any kind: bands or classes, numbers or rows in leaves, single or double."""
    is_banded = n_clusters == 1 or draw(st.booleans())
    n_outputs = 1 if is_banded else n_clusters
    has_rows = draw(st.booleans())
    numbers = st.one_of(_finite, st.sampled_from([0.0, 1.0, 0.1, -0.5]))
    more: dict[str, Any] = {}
    if is_banded:
        cuts = st.lists(numbers, min_size=n_clusters - 1, max_size=n_clusters - 1, unique=True)
        more |= {"thresholds": sorted(draw(cuts)), "threshold_rule": draw(st.sampled_from([">", ">="]))}
    elif draw(st.booleans()):
        more["ties"] = draw(st.permutations(range(n_clusters)))
    if draw(st.booleans()):
        more["missing"] = [draw(st.sampled_from([None, None, 0, 1, 2.5, -0.5])) for _ in range(n_inputs)]
    if draw(st.booleans()):
        more["base"] = [draw(numbers) for _ in range(n_outputs)]
    optional = {
        "input_precision": st.sampled_from(["single", "double"]),
        "sum_precision": st.sampled_from(["single", "double"]),
        "divisor": st.sampled_from([1, 3]),
    }
    more |= draw(st.fixed_dictionaries({}, optional=optional))

    coded = draw(st.one_of(st.just(set()), st.sets(st.integers(0, n_inputs - 1))))  # inputs that are asked for codes
    codes = st.sets(st.integers(0, 5)).map(sorted)

    def tree() -> dict[str, Any]:
        columns = preorder(draw, n_inputs, 3)
        n_leaves = columns.count(-1)
        n_asking = len(columns) - n_leaves
        leaf = st.lists(numbers, min_size=n_outputs, max_size=n_outputs) if has_rows else numbers
        made: dict[str, Any] = {
            "columns": columns,
            "thresholds": [
                draw(codes if column in coded else st.one_of(numbers, st.integers(0, 30)))
                for column in columns
                if column != -1
            ],
            "values": [draw(leaf) for _ in range(n_leaves)],
        }
        if draw(st.booleans()):
            made["missing_left"] = [draw(st.integers(0, 1)) for _ in range(n_asking)]
        if draw(st.booleans()):
            made["covers"] = [draw(st.integers(0, 9)) for _ in range(n_leaves)]
        if not has_rows and n_outputs > 1:
            made["output"] = draw(st.integers(0, n_outputs - 1))
        return made

    scale = draw(st.sampled_from(["logit", "probability", "value"]))
    return {"scale": scale, "trees": [tree() for _ in range(draw(st.integers(1, 4)))]} | more


def preorder(draw: st.DrawFn, n_inputs: int, depth: int) -> list[int]:
    """Return the nodes of a random tree of at most this depth."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return [-1]
    return [
        draw(st.integers(0, n_inputs - 1)),
        *preorder(draw, n_inputs, depth - 1),
        *preorder(draw, n_inputs, depth - 1),
    ]


@st.composite
def _factors(draw: st.DrawFn, n_clusters: int, width: int) -> dict[str, Any]:
    positive = st.floats(0.01, 5)
    kind = draw(st.sampled_from(["full", "tied", "diag", "spherical"]))

    def triangle() -> list[list[float]]:
        return [[0.0] * i + [draw(positive)] + [draw(_finite) for _ in range(width - i - 1)] for i in range(width)]

    u: Any
    if kind == "full":
        u = [triangle() for _ in range(n_clusters)]
    elif kind == "tied":
        u = triangle()
    elif kind == "diag":
        u = [[draw(positive) for _ in range(width)] for _ in range(n_clusters)]
    else:
        u = [draw(positive) for _ in range(n_clusters)]
    return {"covariance_type": kind, "precisions_cholesky": u}


# --- histories

_patches = st.dictionaries(
    st.sampled_from(["a", "b", "t", "o", "l", "m"]),
    st.one_of(values, st.dictionaries(st.sampled_from(["x", "y", "l"]), values, max_size=2)),
    max_size=3,
)
_versions = st.one_of(st.none(), st.integers(0, 30))


@st.composite
def events(draw: st.DrawFn) -> ChangeEvent:
    """Return a change of any kind; many name what is there, some what is not."""
    op = draw(st.sampled_from([Op.REPLACE, Op.PATCH, Op.PATCH, Op.APPEND, Op.APPEND, Op.DELETE]))
    version, create = draw(_versions), draw(st.sampled_from([True, True, False]))
    if op is Op.REPLACE:
        return ChangeEvent(op, BASE_MS, version, draw(documents))
    if op is Op.PATCH:
        return ChangeEvent(op, BASE_MS, version, draw(_patches), create=create)
    if op is Op.APPEND:
        path = draw(st.sampled_from([("l",), ("m",), ("o", "l"), ("a",), ("o", "x", "l")]))
        return ChangeEvent(op, BASE_MS, version, draw(_elements), path, create)
    return ChangeEvent(op, BASE_MS, version)


# (how far time moves, ms; the events that arrive then, one batch)
advances = st.one_of(st.just(0), st.integers(0, 3 * HOUR_MS), st.integers(0, 20 * DAY_MS))
histories = st.lists(st.tuples(advances, st.lists(events(), max_size=3)), min_size=1, max_size=8)
