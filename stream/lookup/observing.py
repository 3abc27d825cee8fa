"""What a service sees of its look-ups: each call for a hook, and one line in the log when an outage begins and ends."""

from collections.abc import Callable, Coroutine
from time import monotonic, perf_counter
from typing import Any, TypeVar

from .exchange import LookupUnavailable

T = TypeVar("T")
#: Called after each call that asks Redis: `get` or `get_many`, the seconds it took, and `ok`, `unavailable` (Redis
#: couldn't be asked) or `error` (anything else, such as a cancellation).
OnCall = Callable[[str, float, str], None]


#: Milliseconds by which clocks may differ before that is logged: beacons are believed for 30 s.
CLOCK_MS = 5_000


class Outages:
    """Logs, as `memberstream_lookup`, when look-ups begin to fail and when they work again; and once a wrong clock."""

    __slots__ = ("_has_told", "since")

    def __init__(self) -> None:
        self.since: float | None = None  # monotonic clock; None: all is well
        self._has_told = False

    def clock(self, ahead_ms: int | None) -> None:
        """Note how far this host's clock is ahead of Redis'."""
        if ahead_ms is not None and abs(ahead_ms) > CLOCK_MS and not self._has_told:
            self._has_told = True
            _log().warning(
                "this host's clock is %.1f s %s Redis': campaigns begin and end %s here, and a dead worker is noticed "
                "at another time. Next: set both clocks (NTP)",
                abs(ahead_ms) / 1_000,
                *(("ahead of", "earlier") if ahead_ms > 0 else ("behind", "later")),
            )

    def failed(self, why: LookupUnavailable) -> None:
        """Note a call that failed."""
        if self.since is None:
            self.since = monotonic()
            _log().warning("look-ups fail: %s", why)

    def over(self) -> None:
        """Note that a call was answered although `since` is set."""
        since, self.since = self.since, None
        if since is not None:  # otherwise another thread was first
            _log().warning("look-ups are answered again, after %.1f s", monotonic() - since)


def _log() -> Any:
    import logging  # takes a tenth of this package's import, and is rarely needed

    return logging.getLogger("memberstream_lookup")


def timed(name: str, call: Callable[..., T], on_call: OnCall) -> Callable[..., T]:
    """Return the call with the hook."""

    def observed(*args: Any, **named: Any) -> T:
        began, outcome = perf_counter(), "error"
        try:
            found = call(*args, **named)
            outcome = "ok"
            return found
        except LookupUnavailable:
            outcome = "unavailable"
            raise
        finally:
            on_call(name, perf_counter() - began, outcome)

    return observed


def timed_async(
    name: str, call: Callable[..., Coroutine[Any, Any, T]], on_call: OnCall
) -> Callable[..., Coroutine[Any, Any, T]]:
    """Return the coroutine function with the hook."""

    async def observed(*args: Any, **named: Any) -> T:
        began, outcome = perf_counter(), "error"
        try:
            found = await call(*args, **named)
            outcome = "ok"
            return found
        except LookupUnavailable:
            outcome = "unavailable"
            raise
        finally:
            on_call(name, perf_counter() - began, outcome)

    return observed
