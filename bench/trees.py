"""What a hundred trees cost beside a logistic regression: microseconds a row, by the processor's clock.

`python -m bench.trees`. Both are fitted by scikit-learn on the same rows and exported; only scorers are measured, side
by side in one run. Then the share of rows that a day of time leaves where they are, so that the trees aren't asked.
Last the question whether LightGBM's own library finds leaves faster than NumPy's walk; the sum is ours in both.
"""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from typing import Any

import numpy as np
from lightgbm import LGBMClassifier
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from memberstream.models.export import from_estimator
from memberstream.models.forest import Forest
from memberstream.models.scorer import Trees

N_ROWS, N_INPUTS, N_TREES = 4_000, 12, 100
BATCHES = (1, 20, 100, 1_000)
_LEAST_S = 0.3


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    x = rng.lognormal(size=(N_ROWS, N_INPUTS))
    x[:, 0] = rng.integers(0, 400, N_ROWS)  # days since something
    y = (rng.random(N_ROWS) < 1 / (1 + np.exp(x[:, 0] / 100 - x[:, 1]))).astype(int)
    fitted = {
        "logistic regression": LogisticRegression(max_iter=5_000),
        "GradientBoosting": GradientBoostingClassifier(n_estimators=N_TREES, random_state=0),
        "HistGradientBoosting": HistGradientBoostingClassifier(max_iter=N_TREES, random_state=0),
        "RandomForest": RandomForestClassifier(N_TREES, min_samples_leaf=5, random_state=0),
        "LightGBM": LGBMClassifier(n_estimators=N_TREES, n_jobs=1, verbose=-1),
    }
    print(f"{'µs a row, in batches of':24}" + "".join(f"{n:>10,}" for n in BATCHES) + f"{'nodes':>10}{'same cell':>12}")
    for name, estimator in fitted.items():
        scorer = from_estimator(
            estimator.fit(x, y), name="m", version=1,
            predictors=[{"name": f"x{i}", "path": f"x{i}", "missing": 0} for i in range(N_INPUTS)],
            documents=[{f"x{i}": v for i, v in enumerate(row)} for row in x[:200].tolist()], x=x[:200],
        ).model.scorer  # fmt: skip
        more = f"{scorer.forest.size:>10,}{_stay(scorer, x):>12.1%}" if isinstance(scorer, Trees) else ""
        print(f"{name:24}{_columns(scorer.score_many, x)}{more}")
        if isinstance(estimator, LGBMClassifier) and isinstance(scorer, Trees):
            route = _by_lightgbm(estimator, scorer.forest)
            np.testing.assert_array_equal(route(x), scorer.forest.raw_many(x))
            print(f"{'  the walk and its sum':24}{_columns(scorer.forest.raw_many, x)}")
            print(f"{'  pred_leaf and our sum':24}{_columns(route, x)}")


def _by_lightgbm(estimator: Any, forest: Forest) -> Callable[[Any], Any]:
    """Return raw scores whose leaves LightGBM finds, in one thread, and whose sums are ours."""
    booster = estimator.booster_
    dumped = [_leaves(tree["tree_structure"]) for tree in booster.dump_model()["tree_info"]]
    table = np.zeros((len(dumped), max(map(len, dumped))))  # leaf values by LightGBM's numbers of leaves
    for row, leaves in zip(table, dumped, strict=True):
        row[list(leaves)] = list(leaves.values())
    trees = np.arange(len(dumped))[:, None]

    def raw_many(x: Any) -> Any:
        leaves = booster.predict(x, pred_leaf=True, num_threads=1).T
        return forest._summed(table[trees, leaves])

    return raw_many


def _leaves(node: dict[str, Any]) -> dict[int, float]:
    if "split_feature" not in node:
        return {node.get("leaf_index", 0): node["leaf_value"]}
    return _leaves(node["left_child"]) | _leaves(node["right_child"])


def _columns(score: Callable[[Any], object], x: Any) -> str:
    return "".join(f"{_per_row_us(score, x[:n]):10.2f}" for n in BATCHES)


def _per_row_us(score: Callable[[Any], object], x: Any) -> float:
    """Return the processor time of a row, the best of three runs."""

    def run() -> float:
        n, began = 0, process_time()
        while process_time() - began < _LEAST_S:
            score(x)
            n += len(x)
        return (process_time() - began) / n * 1e6

    score(x)
    return min(run() for _ in range(3))


def _stay(scorer: Trees, x: Any) -> float:
    """Return the share of rows that lie in the same cell a day later."""
    later = x.copy()
    later[:, 0] += 1
    return float(scorer.forest.are_alike(x, later).mean())


if __name__ == "__main__":
    main()
