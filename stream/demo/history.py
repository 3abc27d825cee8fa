"""The CDNOW purchase history as change events, and as plain histories for the oracle.

Laws:
- One purchase, one event: 69,659 of them for 23,570 members, in date order. Purchases of one day keep the order of the
  source file. A member's first purchase replaces the whole document; each later one is an append to `purchases`.
- A date stands for its midnight in UTC. A purchase and its event carry the same time, and so does the joining day if it
  is the member's first purchase.
- Plain Python: the history can be read with the standard library alone.

Source and licence of the data: data/PROVENANCE.md.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

N_PURCHASES = 69_659
N_MEMBERS = 23_570
_DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Purchase:
    """One purchase: `units` CDs for `amount` dollars on a day.

    Attributes:
        at: the day, ISO 8601 (`1997-01-31`); at_ms: its midnight in UTC, ms since the epoch.
    """

    member_id: str
    at: str
    at_ms: int
    units: int
    amount: float

    @property
    def element(self) -> dict[str, Any]:
        """The purchase as an element of the document's list `purchases`."""
        return {"at": self.at, "units": self.units, "amount": self.amount}


@dataclass(frozen=True, slots=True)
class Change:
    """One record for topic `member-docs`: its key, its time in ms and the envelope, not yet encoded."""

    member_id: str
    at_ms: int
    envelope: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Customer:
    """What happened to one member: when they joined, and (at_ms, units, amount) of each purchase, in date order."""

    joined_ms: int
    purchases: tuple[tuple[int, int, float], ...]


def day_ms(day: str) -> int:
    """Return the midnight (UTC) of an ISO 8601 date in ms since the epoch."""
    return (date.fromisoformat(day).toordinal() - _EPOCH) * _DAY_MS


@cache  # events and histories both come from it; reading takes a second
def purchases() -> tuple[Purchase, ...]:
    """Return all purchases in date order."""
    packed = (files("memberstream.stream.demo") / "data" / "cdnow.csv.gz").read_bytes()
    rows = csv.reader(io.StringIO(gzip.decompress(packed).decode("ascii")))
    next(rows)  # the header
    days: dict[str, int] = {}  # 546 distinct days
    found: list[Purchase] = []
    for customer, at, units, amount in rows:
        if at not in days:
            days[at] = day_ms(at)
        found.append(Purchase(f"c{customer}", at, days[at], int(units), float(amount)))
    found.sort(key=lambda purchase: purchase.at_ms)  # stable: the file's order within a day stays
    return tuple(found)


def changes() -> Iterator[Change]:
    """Yield the change event of each purchase, in date order (format: docs/events.md)."""
    known: set[str] = set()
    for purchase in purchases():
        member_id, at = purchase.member_id, purchase.at
        if member_id in known:
            envelope = {"op": "append", "at": at, "path": "purchases", "value": purchase.element}
        else:
            known.add(member_id)
            document = {"member_id": member_id, "joined": at, "purchases": [purchase.element]}
            envelope = {"op": "replace", "at": at, "document": document}
        yield Change(member_id, purchase.at_ms, envelope)


def documents(until_ms: int) -> dict[str, dict[str, Any]]:
    """Return the documents after all events up to and including `until_ms`, by member id in order of joining."""
    made: dict[str, dict[str, Any]] = {}
    for purchase in purchases():
        if purchase.at_ms > until_ms:
            break
        if purchase.member_id not in made:
            made[purchase.member_id] = {"member_id": purchase.member_id, "joined": purchase.at, "purchases": []}
        made[purchase.member_id]["purchases"].append(purchase.element)
    return made


def histories() -> dict[str, Customer]:
    """Return every member's full history, by member id in order of joining; a member joins with the first purchase."""
    bought: dict[str, list[tuple[int, int, float]]] = {}
    for purchase in purchases():
        bought.setdefault(purchase.member_id, []).append((purchase.at_ms, purchase.units, purchase.amount))
    return {member_id: Customer(items[0][0], tuple(items)) for member_id, items in bought.items()}
