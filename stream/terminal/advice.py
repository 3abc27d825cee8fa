"""What the status of a look-up means to a person, and what to do: the same in the terminal and in the console."""

from __future__ import annotations

from collections.abc import Mapping

from memberstream.stream.keyspace.formats import BEACON_STALE_MS
from memberstream.stream.lookup import Status

ADVICE: Mapping[Status, str] = {
    "current": "The clusters hold now.",
    "stale": (
        f"no worker has written for {BEACON_STALE_MS // 1000} s, or time has moved on since. Next: check the workers"
    ),
    "rebuilding": (
        "Redis isn't known to be whole: what is shown is right, and something may be missing. Next: see that "
        "workers run, and wait for them; memberstream doctor says how far they are"
    ),
    "unknown member": "no document of it was applied, and it is on no list. Next: check the id, and the dead letters",
}
