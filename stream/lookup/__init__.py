"""Look up members' clusters in Redis, blocking (`Lookup`) or with asyncio (`AsyncLookup`).

    from memberstream import Lookup

    with Lookup("redis://localhost:6379/0") as lookup:
        answer = lookup.get("m-1")
        if answer.status == "current" and answer.cluster("repeat_buyer") == 3:
            ...

The contract with Redis, for any language: docs/redis.md.
It imports neither Faust nor NumPy, only hiredis, msgspec and the standard library. A test proves it. asyncio takes
longer to load than all the rest, so it is loaded when `AsyncLookup` is asked for.
"""

from typing import TYPE_CHECKING, Any

from .answer import Answer
from .client import Lookup
from .exchange import LookupUnavailable
from .values import Membership, Status, Visible

if TYPE_CHECKING:
    from .aio import AsyncLookup

__all__ = ["Answer", "AsyncLookup", "Lookup", "LookupUnavailable", "Membership", "Status", "Visible"]


def __getattr__(name: str) -> Any:
    if name != "AsyncLookup":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .aio import AsyncLookup

    globals()[name] = AsyncLookup
    return AsyncLookup
