"""A hook for services that have prometheus-client:

lookup = Lookup(url, on_call=counting())
"""

from typing import TYPE_CHECKING

from .observing import OnCall

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

# Seconds: a look-up beside the server takes some 30 µs; the default time-out is 1 s.
_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)


def counting(registry: "CollectorRegistry | None" = None) -> OnCall:
    """Return a hook that counts calls in the histogram `memberstream_lookup_seconds`, by `call` and `outcome`.

    Make one for each registry and share it. Raises ImportError without prometheus-client; ValueError if the registry
    has that metric already.
    """
    from prometheus_client import REGISTRY, Histogram

    seconds = Histogram(
        "memberstream_lookup_seconds",
        "Time that look-ups take, by call (get, get_many) and outcome (ok, unavailable, error)",
        ["call", "outcome"],
        buckets=_BUCKETS,
        registry=registry or REGISTRY,
    )

    def on_call(call: str, took_s: float, outcome: str) -> None:
        seconds.labels(call, outcome).observe(took_s)

    return on_call
