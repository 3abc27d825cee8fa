"""What all of these tests run under."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def cheap_collections() -> Iterator[None]:
    """statsmodels' multipletests calls gc.collect() each time: 0.2 s among pytest's objects, so these are set aside."""
    gc.freeze()
    yield
    gc.unfreeze()
