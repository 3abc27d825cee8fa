"""The order of the tests: each known name is a test's, and nothing is lost or doubled."""

from __future__ import annotations

from pathlib import Path

import pytest
from order import SECONDS, deal, longest_first

HERE = Path(__file__).parent


def test_every_long_test_is_there() -> None:
    """A test that is renamed or moved would start last again."""
    for key in SECONDS:
        file, _, name = key.partition("::")
        assert f"def {name or 'test_'}" in (HERE / file).read_text(), key


def test_hands_take_about_as_long() -> None:
    hands = deal({"a": 9, "b": 5, "c": 4, "d": 3, "e": 2}, 2)
    assert hands == [["a", "d"], ["b", "c", "e"]]


def test_all_tests_stay(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of processes, also where there are fewer tests than processes."""
    items = request.session.items
    for n in (1, 2, 6, len(items) + 1):
        monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", str(n))
        assert sorted(map(id, longest_first(items))) == sorted(map(id, items))
