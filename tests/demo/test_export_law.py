"""The law of the export: no file is wrong in silence.

A file either gives each document the cluster that its author means, or it says that it is unproven, or there is none.
Estimators, classes, names, thresholds, precision, mistakes and the author's numbers are permuted (demo.export_cases).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from demo.export_cases import COMPONENTS, FACTORS, Case, is_possible, must_export, pairwise, product, verdict
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.export import compared

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
#: One of those that are opened or read alike: the full product leaves the others out.
ALIKE = ("cv", "grid", "random", "tuned", "logit formula", *COMPONENTS[3:])
DISTINCT = [kind for kind in FACTORS["estimator"] if kind not in ALIKE]


def holds(case: Case) -> str:
    """Return the verdict, having asserted the law."""
    found = verdict(case)
    assert found != "silently wrong", case
    assert found == "right" or not must_export(case), case
    return found


@pytest.fixture(autouse=True, scope="module")
def without_causes() -> Iterator[None]:
    """Likely causes are looked for by asking the fitted object hundreds of times; here nobody reads them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compared, "explaining", lambda *_: [])
        yield


def test_each_pair_of_levels() -> None:
    """Each two levels of two factors occur together: once among all cases, once among those that must export."""
    cases = list(product())
    verdicts = Counter(holds(case) for case in pairwise(cases))
    assert verdicts["refused"] > verdicts["right"] > 0
    verdicts = Counter(holds(case) for case in pairwise([case for case in cases if must_export(case)]))
    assert set(verdicts) == {"right"}


@given(st.fixed_dictionaries({name: st.sampled_from(levels) for name, levels in FACTORS.items()}).filter(is_possible))
def test_any_case(case: Case) -> None:
    """Cases at random."""
    holds(case)


@pytest.mark.long
@pytest.mark.parametrize("kind", DISTINCT)
def test_the_full_product(kind: str) -> None:
    """Every case of an estimator of each kind."""
    verdicts = Counter(holds(case) for case in product() if case["estimator"] == kind)
    assert verdicts["right"] > 0
