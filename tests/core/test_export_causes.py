"""Why a notebook's numbers and the file's differ: the cause that is named is the one that was made, or none is named.

A notebook makes one mistake (core.export_mistakes), and gives its matrix, its probabilities or its clusters alone.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from core.export_mistakes import NOW, PREDICTORS, N, book, median_age, members, report
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from memberstream.models.export import ExportError, from_estimator, relations
from memberstream.models.export.rereadings import duration
from memberstream.models.training.matrix import training_matrix

_rng = np.random.default_rng(1)
_MIDNIGHT = NOW.replace(hour=0, minute=0)
_NAMES = [p["name"] for p in PREDICTORS]
_SWAPPED = [PREDICTORS[i] for i in (0, 1, 2, 4, 3, 5)]
NONE = "No single cause found"
WINDOW = 'spend: yours have another window. Use: "window_days": 91, not 90'
DAYS = "recency: yours are days with fractions, the file counts whole days"
WHOLE = "recency: yours are whole periods of 24 hours"
CENTS = "spend: yours are 100 times the file's: a unit such as cents for euros"

#: mistake → (the notebook, arguments of the export, the cause)
MISTAKES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "window": (book(window=91), {}, WINDOW),
    "no window": (book(window=None), {}, "spend: yours have no window. Use: no window_days, not 90"),
    "edge": (
        book(includes_the_edge=True, now=_MIDNIGHT),
        {"documents": members(at_midnight=True), "at": _MIDNIGHT},
        'spend: yours count what is exactly 90 days ago, too. Use: "window_days": 90.00001',
    ),
    "fractions": (book(days="exact"), {}, DAYS),
    "24 hours": (book(days="whole"), {}, WHOLE),
    "seconds": (book(days="seconds"), {}, "recency: yours are seconds with fractions, the file's are days"),
    "zone": (book(zone=timezone(timedelta(hours=2))), {}, 'Use: "utc_offset_minutes": 120'),
    "later": (book(now=NOW + timedelta(days=3)), {}, "yours are as of 3 days later than at (then all 240 agree)"),
    "mean": (book(aggregate="mean"), {}, 'yours are the mean, not the sum. Use: "aggregate": "mean", "missing": 0'),
    "kinds": (book(kinds=("cd", "book")), {}, "n_orders: yours are of all elements, whatever kind is. Use: no `where`"),
    "median": (book(missing_age=median_age()), {}, 'yours are another value. Use: "missing": 46.5'),
    "text": (book(missing_country="none"), {}, 'yours are another value. Use: "missing": "none"'),
    "logarithm": (book(logs=True), {}, "spend: yours are log(1 + v) of the file's"),
    "cents": (book(unit=100), {}, CENTS),
    "columns": (
        book(),
        {"predictors": _SWAPPED, "is_named": False},
        f"the columns are in another order. Use: inputs={_NAMES}",
    ),
    "names": (
        book(values_of={"age": "opens", "opens": "age"}),
        {},
        "age is what opens reads, opens is what age reads. Use: their names exchanged",
    ),
    "rows": (book(rows=_rng.permutation(N)), {}, relations.ROWS),
    "two": (book(window=91, unit=100), {}, NONE),
    "others": (book(rows=np.arange(N) // 2), {}, NONE),
}  # fmt: skip


def cause_in(found: str) -> bool:
    return "Likely cause" in found or "Possible cause" in found


def alike(found: str) -> str:
    return found.replace("no single", "No single")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_matrix_tells_the_mistake(mistake: str) -> None:
    """With x the mistake itself is among what is named, and there is no cause where two mistakes meet."""
    notebook, more, cause = MISTAKES[mistake]
    found = report(notebook, "x", **more)
    assert cause in alike(found)
    assert cause != NONE or not cause_in(found)


@pytest.mark.parametrize("mistake", ["24 hours", "zone", "median", "names", "rows"])
def test_probabilities_tell_the_mistake(mistake: str) -> None:
    """So do probabilities alone: what the fitted object would say is asked."""
    notebook, more, cause = MISTAKES[mistake]
    found = report(notebook, "probabilities", **more)
    assert cause in found
    assert cause != NONE or not cause_in(found)


@pytest.mark.parametrize("mistake", ["window", "later", "columns", "two"])
def test_clusters_never_blame_another(mistake: str) -> None:
    """Clusters alone say less, so several causes explain them. The true one is among them, or they are told as a part
    of many; nothing is named that isn't so."""
    notebook, more, cause = MISTAKES[mistake]
    found = report(notebook, "clusters_of", **more)
    is_open = " or others" in found and "Possible cause" in found
    assert cause in found or is_open
    assert cause != NONE or not cause_in(found)


def test_what_the_matrix_leaves_open() -> None:
    """Columns in another order: the file's or the matrix's? Probabilities tell, otherwise both are named."""
    swapped = {"predictors": _SWAPPED, "is_named": False}
    advice, other = f"Use: inputs={_NAMES}", "x has its columns in another order"
    assert all(words in report(book(), "x", **swapped) for words in (advice, other))
    found = report(book(), "x probabilities", **swapped)
    assert advice in found
    assert other not in found
    order = ["recency", "spend", "n_orders", "opens", "age"]
    matrix = report(book(), "x probabilities", own_order=order, is_named=False)
    assert other in matrix
    assert "inputs=" not in matrix
    both = report(book(), "x probabilities", own_order=order, is_named=False, refitted=True)
    assert all(words in both for words in ("Use: inputs=", other))


def test_two_mistakes_in_two_columns() -> None:
    """Each is named for its own column; what one cause explains of several columns is told of these."""
    found = report(book(window=91, zone=timezone(timedelta(hours=-5))), "x")
    assert "x: spend. Possible causes, then all 240 agree with each alone: another time of scoring" in found
    assert WINDOW in found
    assert 'x: recency. Likely cause: recency: yours count the midnights of another time zone. Use: "utc_' in found
    found = report(book(now=NOW - timedelta(days=5)), "x")
    assert "x: spend, n_orders. Likely cause: another time of scoring: yours are as of 5 days earlier than at" in found
    assert "x: recency: yours are the file's minus 5" in found


def test_one_cause_for_all_goes_before_causes_of_a_part() -> None:
    """A day earlier explains both columns. That a longer window explains one of them isn't told."""
    documents = [{"seen": f"2025-12-{1 + i % 28:02}", "l": [{"at": f"2025-12-0{1 + i % 3}"}]} for i in range(30)]
    predictors: list[dict[str, Any]] = [
        {"name": "recency", "path": "seen", "aggregate": "days_since", "missing": 0},
        {"name": "n", "path": "l", "aggregate": "count", "time": "at", "window_days": 30},
    ]
    x = training_matrix(predictors, documents, "2025-12-31").x
    fitted = LogisticRegression().fit(x, np.arange(30) % 2)
    with pytest.raises(ExportError) as error:
        from_estimator(fitted, name="m", version=1, predictors=predictors, documents=documents, at="2026-01-01", x=x)
    first = str(error.value).split("\n")[0]
    shifts = "1 day earlier or 1 hour earlier or 2 hours earlier or others"
    assert first.endswith(
        f". Possible cause: another time of scoring: yours are as of {shifts} than at (then all 30 agree)"
    )


def test_what_comes_behind_the_predictors() -> None:
    """A stale model, other thresholds, rows in another order: what x can't tell is told apart from it."""
    found = report(book(), "x probabilities", refitted=True)
    assert f"{NONE}. x agrees, so it isn't the predictors. Use: what predict_proba says of this x, anew" in found
    found = report(book(rows=_rng.permutation(N)), "clusters_of")
    assert f"{NONE}. Each cluster has as many documents in both: compare the order of rows. Use: x=" in found
    found = report(book(rows=np.arange(N)[::-1]), "clusters_of")
    assert f"Likely cause: {relations.ROWS}: yours are backwards (then all 240 agree)" in found
    assert f"{NONE}. They differ as little as in single precision" in report(book(is_single=True), "probabilities")
    assert report(book(is_single=True), "x probabilities clusters_of") == ""
    found = report(book(), "x clusters_of", cut=0.3)
    assert "Likely cause: other thresholds: yours are cut between 0.2" in found
    assert ", the file's at 0.5" in found


def test_few_documents_prove_little() -> None:
    """Where one document differs, a single cause that explains it is only possible."""
    x = np.arange(40.0)[:, None]
    fitted = LogisticRegression().fit(x, x[:, 0] > 19)
    documents = [{"v": v} for v in x[:, 0].tolist()]
    documents[3] = {}
    more: dict[str, Any] = {"name": "m", "version": 1, "predictors": [{"name": "v", "path": "v", "missing": 999}]}
    with pytest.raises(ExportError, match="Possible cause: v: where the documents have nothing, yours are another val"):
        from_estimator(fitted, documents=documents, clusters_of=fitted.predict(x), **more)


LISTED = [{"l": [{"v": float(j), "at": f"2025-12-{10 + j}"} for j in range(i % 4)]} for i in range(24)]


@pytest.mark.parametrize(
    ("written", "own", "cause"),
    [
        ({"aggregate": "sum", "value": "v"}, lambda v: float(len(v)), 'yours are the count, not the sum. Use: "aggre'),
        ({"aggregate": "sum", "value": "v"}, lambda v: sum(v) if v else 7.0, "yours are 7, the file's 0: nothing adds"),
        ({"aggregate": "count"}, lambda v: float(len(v)) or -1.0, "yours are -1, the file's 0: nothing counts there"),
        ({"aggregate": "sum", "value": "v"}, lambda v: sum(v) if v else math.nan, "the file has what its `miss"),
        ({"aggregate": "sum", "value": "v", "time": "at"}, lambda v: float(sum(v)), ""),
        ({"aggregate": "max", "value": "v", "missing": 0}, lambda v: sum(v), 'the sum, not the max. Use: "aggreg'),
        (
            {"aggregate": "count", "where": {"v": {"gte": 1, "lt": 3}}},
            lambda v: float(len(v)),
            "yours are of all elements, whatever v is. Use: no `where`",
        ),
        (
            {"aggregate": "count", "where": {"v": {"gte": 1}, "at": "2025-12-11"}},
            lambda v: float(sum(e >= 1 for e in v)),
            "yours are without the condition on at. Use: no at in `where`",
        ),
        (
            {"aggregate": "count", "time": "at"},
            lambda v: float(len(v)),
            "yours count what was later than `at`, too. Use: only what was before it in the notebook",
        ),
        (
            {"aggregate": "decayed_count", "time": "at", "half_life_days": 1},
            lambda v: sum(2.0 ** -(11 + 10 / 24 - 10 - j) for j in range(len(v)) if 10 + j <= 11),
            'yours count time in another resolution. Use: "resolution": "hours", not "days"',
        ),
    ],
)  # fmt: skip
def test_lists_read_otherwise(written: dict[str, Any], own: Any, cause: str) -> None:
    """A sum for a count, another value for nothing, conditions, elements of the future: each as the list is read."""
    predictors = [{"name": "p", "path": "l", **written}]
    x = np.array([[own([e["v"] for e in d["l"]])] for d in LISTED])
    fitted = LogisticRegression().fit(np.nan_to_num(x), np.arange(24) % 2)
    more: dict[str, Any] = {"name": "m", "version": 1, "predictors": predictors, "documents": LISTED, "x": x}
    at: dict[str, Any] = {"at": "2025-12-11T10:00:00Z"} if "time" in written and cause else {"at": "2026-01-01"}
    if cause:
        with pytest.raises(ExportError) as error:
            from_estimator(fitted, **more, **at)
        assert cause in str(error.value)
    else:
        assert from_estimator(fitted, **more, **at).proven_by == ("x",)


def test_texts_and_what_is_missing() -> None:
    """A text that stands for nothing isn't a matter of capitals; missing on one side, other names, mixed."""

    def of(file: list[Any], own: list[Any], empty: bool = False) -> str | None:
        a, b = (np.array([math.nan if v is None else v for v in values], dtype=object) for values in (file, own))
        return relations.of_column(a, b, np.full(len(file), empty))

    assert of(["de", None, "fr"], ["de", "none", "fr"]) == (
        'the documents have no usable value there, and yours are all "none". Use: "missing": "none"'
    )
    assert of(["de", None, None], ["de", "a", "b"]) == "the documents have no usable value there"
    assert of(["de", "fr"], ["de", None]) == "yours are missing there, though the documents have a value"
    assert str(of(["de", "x"], ["de", None], empty=True)).startswith("yours are missing there, and the file has what")
    assert of(["De ", None], ["de", "none"]) is None
    assert of(["De ", "fr"], ["de", "FR"]) == "they differ in capitals or spaces only"
    assert of([" De", "fr"], ["de", "fr"]) == "yours are the file's without spaces around, in lower case"
    assert of(["de", "fr", "de"], ["Germany", "fr", "Germany"]) == (
        "the same categories under other names: where the file has 'de', yours have 'Germany'"
    )
    assert of(["de", "fr", "us"], ["de", "us", "us"]) is None
    assert of(["de", "fr"], [1, 2]) == "yours are of type int, the file's of type str"
    assert of([None, None], [1, 2]) == "the documents have no usable value there"
    assert of([None, "de"], [1, 2]) == "yours are of type int, the file's of type str"


def test_numbers_of_a_column() -> None:
    """What the author's numbers are of the file's, one relation at a time; two values are explained by anything."""

    def of(file: Any, own: Any, empty: bool = False) -> str | None:
        return relations.of_column(np.array(file), np.array(own), np.full(len(file), empty))

    a = [1.0, 2.5, 7.123456789, 40.0]
    assert of([1.0, math.nan, 7.0], [1.0, 2.5, 7.0]) == (
        'the documents have no usable value there, and yours are all 2.5. Use: "missing": 2.5'
    )
    assert of([3.0] * 4, a) == (
        "the file finds the same value in each document: are path, conditions and value as documents have them?"
    )
    assert of([1.0, 1.0, 2.0, 2.0], a) is None
    assert of([0.0, 0.0, 0.5, 0.7], [1.0, 2.0, 0.0, 0.5]) is None
    assert of(a, [5.0, 1.0, 2.0, -7.0]) is None
    assert of([*a, math.nan], [*np.multiply(a, 2), 3.0]) is None
    assert of(a, np.array(a, dtype=np.float32).astype(float).tolist()) == "yours are in single precision"
    assert str(of(a, np.trunc(a).tolist())).startswith("yours are the whole part of the file's")
    assert of(a, [v - 3 for v in a]) == "yours are the file's minus 3"
    assert str(of(a, [v * 2 + 3 for v in a])).startswith("yours are 2 times the file's plus 3. If a scaler")


def test_orders() -> None:
    """Columns that are equal may be confused; rows are found again though sums differ in their last digits."""
    a, b = np.arange(5.0), np.arange(5.0)[::-1].copy()
    assert relations.column_order({"a": a, "b": b, "c": a}, {"a": b, "b": a, "c": a}) == ["b", "a", "c"]
    assert relations.column_order({"a": a, "b": b}, {"a": a, "b": a}) is None
    noisy = np.array([0.1 + 0.2, 1 / 3, 7.0, math.nan, math.nan, -1e-300])
    texts = np.array(["a", "b", math.nan, "d", "e", "e"], dtype=object)
    turn = np.array([5, 2, 0, 1, 4, 3])
    exact = noisy.copy()
    exact[0] = 0.3
    assert relations.row_order([noisy, texts], [exact[turn], texts[turn]]).tolist() == turn.tolist()  # type: ignore[union-attr]
    assert relations.row_order([noisy], [noisy + 1]) is None
    assert relations.row_order([a[:2]], [b[3:]]) is None
    assert duration(-90 * 60_000) == "90 minutes earlier"
    assert duration(-1) == "1 millisecond earlier"


def test_probabilities_that_are_something_else() -> None:
    """Logarithms, percent, or what predict says."""
    p = np.array([0.1, 0.4, 0.7, 0.9])
    assert str(relations.of_probabilities(p, np.log(p))).startswith("yours are logarithms")
    assert str(relations.of_probabilities(p, 100 * p)).startswith("yours are 100 times the file's: give shares")
    assert str(relations.of_probabilities(p, np.array([0.0, 0, 1, 1]))).startswith("yours are only 0 and 1")
    assert relations.of_probabilities(p, p[::-1] / 3) is None


def test_thresholds_of_bands() -> None:
    """Other thresholds explain clusters only if all of them do, and one is another."""
    p, own = np.linspace(0.05, 0.95, 10), np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 2])
    assert relations.cuts(p, own, [0.3, 0.5]) == (
        "other thresholds: yours are cut between 0.25 and 0.35 and between 0.65 and 0.75, the file's at 0.3 and 0.5"
    )
    assert relations.cuts(p, own, [0.3, 0.7]) is None
    assert relations.cuts(p, own[::-1], [0.3, 0.5]) is None
    assert relations.cuts(p, np.zeros(10, dtype=int), [0.5]) is None
    assert relations.renamed(np.array([0, 1]), np.array([1, 1]), ["a", "b"]) is None


def test_many_columns() -> None:
    """Of many columns, pairs and moved ones are tried; more than sixty wrong ones aren't put into order."""
    n = 7
    x = np.random.default_rng(0).normal(size=(60, n))
    fitted = LogisticRegression().fit(x, x @ [1, 2, -1, 0.5, 3, -2, 1] > 0)
    names = [f"x{i}" for i in range(n)]
    documents = [dict(zip(names, row, strict=True)) for row in x.tolist()]
    more: dict[str, Any] = {"name": "m", "version": 1, "documents": documents}
    p = fitted.predict_proba(x)
    for order in (["x6", *names[1:6], "x0"], [*names[1:4], "x0", *names[4:]]):
        reads = [{"name": name, "path": name, "missing": 0} for name in order]
        with pytest.raises(ExportError) as error:
            from_estimator(fitted, predictors=reads, probabilities=p, **more)
        assert f"Likely cause: the columns are in another order. Use: inputs={names}" in str(error.value)
        with pytest.raises(ExportError, match=NONE):
            from_estimator(fitted, predictors=reads, probabilities=p / 3, **more)
    wide = np.random.default_rng(1).normal(size=(12, 61))
    linear = LogisticRegression().fit(wide, np.arange(12) % 2)
    reads = [{"name": f"x{i}", "path": f"x{i}", "missing": 0} for i in range(61)]
    documents = [{f"x{i}": v for i, v in enumerate(row)} for row in wide.tolist()]
    with pytest.raises(ExportError) as error:
        from_estimator(linear, name="m", version=1, predictors=reads, documents=documents, x=np.roll(wide, 1, axis=1))
    assert not cause_in(str(error.value))


def test_combined_predictors_are_read_again() -> None:
    """A ratio changes with what it is computed of."""
    documents = [{"a": float(i % 7), "n": float(1 + i % 3), "seen": f"2025-12-{1 + i % 28:02}"} for i in range(40)]
    predictors: list[dict[str, Any]] = [
        {"name": "a", "path": "a", "missing": 0},
        {"name": "seen", "path": "seen", "aggregate": "days_since", "missing": 0},
        {"name": "a_per_day", "ratio": ["a", "seen"], "missing": 0},
    ]
    days = np.array([28.0 - i % 28 for i in range(40)])
    a = np.array([d["a"] for d in documents])
    x = pd.DataFrame({"a": a, "seen": days, "a_per_day": a / days})
    fitted = LogisticRegression(max_iter=999).fit(x, np.arange(40) % 2)
    more: dict[str, Any] = {"name": "m", "version": 1, "predictors": predictors, "documents": documents}
    for given in ({"x": x}, {"probabilities": fitted.predict_proba(x)}):
        with pytest.raises(ExportError) as error:
            from_estimator(fitted, at="2026-01-01", **given, **more)
        assert "another time of scoring: yours are as of 3 days earlier than at (then all 40 agree)" in str(error.value)


def test_what_has_nothing_to_be_written_otherwise() -> None:
    """A predictor encoded by itself, hours, the last element, texts of a list: nothing of theirs is to blame for other
    probabilities, and none is named."""
    documents = [
        {
            "seen": f"2025-12-{1 + i % 28:02}",
            "l": [{"v": i % 5, "at": "2025-11-01"}],
            "c": "ab"[i % 2],
            "n": float(i % 7),
        }
        for i in range(60)
    ]
    predictors: list[dict[str, Any]] = [
        {"name": "hours", "path": "seen", "aggregate": "days_since", "resolution": "hours", "missing": 0},
        {"name": "last", "path": "l", "aggregate": "last", "value": "v", "time": "at", "missing": 0},
        {"name": "c", "path": "c", "missing": None, "transforms": [{"one_hot": ["a", "b"]}]},
        {"name": "n", "path": "n", "missing": 1, "transforms": ["log1p"]},
    ]
    more: dict[str, Any] = {"name": "m", "version": 1, "predictors": predictors, "documents": documents}
    x = training_matrix(predictors, documents, "2026-01-01").x
    fitted = LogisticRegression(max_iter=999).fit(x, np.arange(60) % 3 == 0)
    with pytest.raises(ExportError, match=NONE):
        from_estimator(fitted, at="2026-01-01", probabilities=fitted.predict_proba(x)[:, 1] / 3, **more)
    own = x.copy()
    own[:, 4] = 5.0  # one value for all, where nothing is missing
    own[7, 0] = math.nan
    with pytest.raises(ExportError) as error:
        from_estimator(fitted, at="2026-01-01", x=own, **more)
    assert "x: hours: yours are missing there, though the documents have a value" in str(error.value)
    assert "x: n: yours are 5 in each document, the file's aren't" in str(error.value)
    documents[9].pop("n")
    own[9, 4] = -1.0  # which the logarithm can't take
    own[:9, 4], own[10:, 4] = x[:9, 4], x[10:, 4]
    with pytest.raises(ExportError) as error:
        from_estimator(fitted, at="2026-01-01", x=own, **more)
    assert "x: n: no single cause found" in str(error.value)


ORDERS: list[dict[str, Any]] = [
    {
        "orders": [
            {
                "at": (NOW - timedelta(hours=1 + (37 * i + 211 * j * j) % 4_800)).isoformat(),
                "u": 1 + (i + 3 * j) % 5,
                "s": f"s{i * j % 3}",
            }
            for j in range(i % 9)
        ]
    }
    for i in range(300)
]
COUNT = {"name": "n", "path": "orders", "aggregate": "count", "time": "at", "window_days": 90}
ALL = {"name": "all", "path": "orders", "aggregate": "count", "time": "at"}


def told_of(predictors: list[dict[str, Any]], x: Any, given: str = "x", **more: Any) -> str:
    """What an export of these predictors says to a notebook's own matrix, or to the probabilities of it."""
    fitted = make_pipeline(SimpleImputer(), LogisticRegression()).fit(x, np.arange(len(x)) % 2)
    own = {"x": x} if given == "x" else {given: fitted.predict_proba(x)}
    with pytest.raises(ExportError) as raised:
        from_estimator(fitted, name="m", version=1, predictors=predictors, **own, **{"documents": ORDERS, **more})
    return str(raised.value)


def counted_in(days: float) -> list[int]:
    since = NOW - timedelta(days=days)
    return [sum(datetime.fromisoformat(order["at"]) > since for order in d["orders"]) for d in ORDERS]


def test_a_shorter_window_is_not_taken_for_another_time() -> None:
    """Nothing happens after the time of scoring: a window that is two days shorter, and scoring two days later, are the
    same of these documents. Both are told."""
    found = told_of([COUNT], np.array([counted_in(88)]).T, at=NOW)
    assert "Possible causes" in found
    assert "as of 2 days later" in found
    assert 'Use: "window_days": 88, not 90' in found


def test_a_day_counted_more_is_not_taken_for_another_clock() -> None:
    """From the first day to the last, both counted: another time of scoring or time zone gives the same at one time."""
    documents = [{"joined": (NOW - timedelta(days=30 + i)).date().isoformat()} for i in range(300)]
    days = {"name": "days", "path": "joined", "aggregate": "days_since", "missing": 0}
    x = np.arange(31.0, 331)[:, None]
    for at in (NOW, NOW.replace(hour=0, minute=0)):
        found = told_of([days], x, documents=documents, at=at)
        assert "Possible causes" in found
        assert "days: yours are the file's plus 1" in found


def test_a_time_that_explains_all_columns_is_found_beside_those_that_explain_one() -> None:
    """Of a column without a window many times of scoring are right, of both together one is."""
    x = np.array([counted_in(90), counted_in(9_999)]).T
    found = told_of([COUNT, ALL], x, at=NOW - timedelta(days=3))
    assert "n, all. Likely cause: another time of scoring: yours are as of 3 days later than at" in found


def test_an_aggregate_is_found_though_the_pipeline_imputes() -> None:
    """What is missing stays missing under the other aggregate, too."""
    units = [[order["u"] for order in d["orders"]] for d in ORDERS]
    most = np.array([[max(these, default=math.nan)] for these in units])
    read = {"name": "u", "path": "orders", "aggregate": "min", "value": "u"}
    assert 'u: yours are the max, not the min. Use: "aggregate": "max" (' in told_of([read], most)
    kinds = {"name": "k", "path": "orders", "aggregate": "distinct", "value": "s"}
    n = np.array([[len(these)] for these in units])
    assert 'k: yours are the count, not the distinct. Use: "aggregate": "count" (' in told_of([kinds], n)


def test_probabilities_that_are_all_0_or_1_have_no_cause_by_themselves() -> None:
    """Log-odds of them are infinite, and nothing is near to that."""
    years = np.arange(500, 800)[:, None] / 365.25
    documents = [{"days": 500 + i} for i in range(300)]
    found = told_of(
        [{"name": "years", "path": "days", "missing": 0}], 1e4 * years, "probabilities", documents=documents
    )
    assert "log-odds" not in found
    assert relations.of_probabilities(np.ones(9), np.full(9, 0.25)) is None


def test_whatever_a_library_raises_while_a_cause_is_looked_for() -> None:
    """patsy has an error of its own for a category that the fit doesn't know."""
    documents = [{"n": i % 7, "c": ["de", "fr", None][i % 3]} for i in range(90)]
    table = pd.DataFrame({"n": [d["n"] for d in documents], "c": [d["c"] or "none" for d in documents]})
    result = smf.logit("y ~ n + C(c)", table.assign(y=[i * 7 % 11 > 4 for i in range(90)]).astype({"y": int})).fit(
        disp=0
    )
    predictors = [{"name": "n", "path": "n", "missing": 0}]
    predictors += [{"name": "c", "path": "c", "type": "text", "missing": "none"}]
    more: dict[str, Any] = {"predictors": predictors, "documents": documents}
    with pytest.raises(ExportError, match="No single cause found"):
        from_estimator(result, name="m", version=1, probabilities=result.predict(table.assign(n=table.n * 1.3)), **more)
