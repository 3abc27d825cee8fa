"""Hypothesis for the laws of the core: the same examples in every CI run, fresh ones on a laptop."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# No deadline: the machine is shared. Generating a model file is slow by Hypothesis' measure, and worth it.
_SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("ci", deadline=None, max_examples=30, derandomize=True, suppress_health_check=_SLOW_IS_FINE)
settings.register_profile("laptop", deadline=None, max_examples=30, suppress_health_check=_SLOW_IS_FINE)
settings.load_profile("ci" if os.environ.get("CI") else "laptop")
