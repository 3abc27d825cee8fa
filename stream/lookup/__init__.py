"""Look up members' clusters in Redis, blocking (`Lookup`) or with asyncio (`AsyncLookup`).

    from stream.lookup import Lookup

    with Lookup("redis://localhost:6379/0") as lookup:
        answer = lookup.get("m-1")
        if answer.status == "current" and answer.cluster("repeat_buyer") == 3:
            ...

The contract with Redis, for any language: docs/redis.md.
Imports neither Faust nor NumPy, only hiredis and the standard library; a test proves it.
"""

from stream.lookup.aio import AsyncLookup
from stream.lookup.answer import Answer
from stream.lookup.client import Lookup
from stream.lookup.exchange import LookupUnavailable
from stream.lookup.values import Membership, Status, Visible

__all__ = ["Answer", "AsyncLookup", "Lookup", "LookupUnavailable", "Membership", "Status", "Visible"]
