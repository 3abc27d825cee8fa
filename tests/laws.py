"""How many random examples a law is tried with: one place decides, no test writes a number.

1. Two profiles: `few`, the default, and `many`, which `make proof` chooses (`--hypothesis-profile=many`). With CI=true
   each run draws the same examples.
2. What must always be run stands as an example of its own: the coverage of models/ is measured without the laws.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, settings

# The machine is shared: no deadline. Generating a model file is slow by Hypothesis' measure, and worth it.
_COMMON = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def choose_profile() -> None:
    """Register the profiles and load the small one. To be called before the first test module is imported."""
    is_ci = os.environ.get("CI") == "true"
    settings.register_profile("few", _COMMON, max_examples=20, derandomize=is_ci)
    settings.register_profile("many", _COMMON, max_examples=100, derandomize=is_ci)
    settings.load_profile("few")


def leave_uncovered(items: Iterable[pytest.Item]) -> None:
    """Mark the laws as not measured: a line that only a random example reaches is a line without a test."""
    for item in items:
        if item.get_closest_marker("hypothesis"):
            item.add_marker("no_cover")
