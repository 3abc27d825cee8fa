"""The demo's rate of catching up counts all work on the events that it counts."""

from __future__ import annotations

from memberstream.stream.demo.measure import CatchingUp

LAGS = {"0": 900.0, "1": 1_000.0}


def test_clock_starts_before_the_first_fetch() -> None:
    """A partition is one batch here, so nothing is counted until it is done. Its work is in the seconds, too."""
    catching_up = CatchingUp(1_900, now_s=10.0)
    catching_up.look(12.0, {}, {}, 12.1)
    catching_up.look(13.0, LAGS, {}, 13.1)
    catching_up.look(17.0, LAGS, {"applied": 1_000.0}, 17.1)
    assert catching_up.seconds is None
    assert catching_up.n_done == 1_000
    catching_up.look(18.0, LAGS, {"applied": 1_890.0, "dead_letter": 10.0}, 18.5)
    assert catching_up.seconds == 6.5


def test_done_between_two_looks() -> None:
    """What was fetched and done between two looks took at most the time from the first to the second."""
    catching_up = CatchingUp(5, now_s=10.0)
    catching_up.look(11.0, {}, {}, 11.1)
    catching_up.look(12.0, {}, {"applied": 5.0}, 12.1)
    assert catching_up.seconds == 12.1 - 11.0
