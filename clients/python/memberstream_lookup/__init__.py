"""Look up members' clusters and campaigns in Redis: the reader's half of memberstream, and nothing else of it.

    from memberstream_lookup import Lookup

    with Lookup("redis://localhost:6379/0") as lookup:
        answer = lookup.get("m-1")
        if answer.status == "current" and answer.cluster("repeat_buyer") == 3:
            ...

The folders beside this file are links to memberstream's own: the same code, under a second name, for services that
don't want a stream processor installed. `memberstream.Lookup` is the same class in the large package.
"""

from typing import TYPE_CHECKING, Any

from .lookup import Answer, Lookup, LookupUnavailable, Membership, Status, Visible

if TYPE_CHECKING:
    from .lookup import AsyncLookup

__all__ = ["Answer", "AsyncLookup", "Lookup", "LookupUnavailable", "Membership", "Status", "Visible"]


def __getattr__(name: str) -> Any:
    if name != "AsyncLookup":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .lookup import AsyncLookup

    globals()[name] = AsyncLookup
    return AsyncLookup
