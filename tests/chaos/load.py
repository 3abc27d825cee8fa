"""Random change events of every kind, from a seed: what a careless and a careful producer send together."""

from __future__ import annotations

import random
import time
from collections.abc import Collection
from typing import Any

from e2e.bad_events import KINDS
from e2e.definitions import demo_models, level, recent
from e2e.system import Sent, event

_DAY_MS = 86_400_000


def models() -> list[dict[str, Any]]:
    """Return models of numbers, of lists and of time: 4 of them, with 12 predictors."""
    return [level(), recent(), *demo_models()]


class Load:
    """Events of a fixed set of members; a third of them send versions.

    `without`: kinds of bad events (e2e/bad_events.py) that nobody sends.
    """

    def __init__(self, seed: int, n_members: int, without: Collection[str] = ()) -> None:
        # On these members some of them are good: whether, is for the replay to say.
        self._bad = [make for name, (_, make) in KINDS.items() if name not in without]
        self.chance = random.Random(seed)
        self.member_ids = [f"m{seed}-{i}".encode() for i in range(n_members)]
        self._versions: dict[bytes, int] = {}
        self._sent: list[Sent] = []
        self._now_ms = time.time_ns() // 1_000_000

    def everyone(self) -> list[Sent]:
        """Return a whole document of each member."""
        return self._keep([self._made(member_id, "replace") for member_id in self.member_ids])

    def some(self, n: int) -> list[Sent]:
        """Return n events: patches and appends mostly, some deletes, replaces, repeats and bad ones."""
        return self._keep([self._one() for _ in range(n)])

    def about(self, member_ids: list[bytes], op: str) -> list[Sent]:
        """Return one event of this kind for each of the members; `null` is a delete without a version."""
        return self._keep([self._made(member_id, op) for member_id in member_ids])

    def _keep(self, records: list[Sent]) -> list[Sent]:
        self._sent = [*self._sent[-2_000:], *records]
        return records

    def _one(self) -> Sent:
        chance, roll = self.chance, self.chance.random()
        member_id = chance.choice(self.member_ids)
        if roll < 0.03:
            own = (("trace", b"%d" % chance.randrange(1_000)),)
            return Sent(member_id, chance.choice(self._bad)(), own if chance.random() < 0.5 else ())
        if roll < 0.035:
            return Sent(None, event("replace", document={}))
        if roll < 0.075 and self._sent:
            return chance.choice(self._sent)
        op = chance.choices(("patch", "append", "replace", "delete", "null"), (45, 25, 15, 7, 4))[0]
        return self._made(member_id, op)

    def _made(self, member_id: bytes, op: str) -> Sent:
        chance = self.chance
        if op == "null":
            return Sent(member_id, None)
        fields: dict[str, Any] = {}
        if op == "replace":
            fields["document"] = self._document()
        elif op == "patch":
            fields["patch"] = self._patch()
        elif op == "append":
            fields |= {"path": "purchases", "value": self._purchase()}
        if op in ("patch", "append") and chance.random() < 0.8:
            fields["create"] = True
        if chance.random() < 0.6:
            fields["at"] = self._now_ms - chance.randrange(300 * _DAY_MS)
        if member_id[-1] % 3 == 0 and chance.random() < 0.9:
            fields["version"] = self._version(member_id)
        return Sent(member_id, event(op, **fields))

    def _version(self, member_id: bytes) -> int:
        last = self._versions.get(member_id, 0)
        if last and self.chance.random() < 0.15:
            return self.chance.randrange(last + 1)  # late, or the same again
        self._versions[member_id] = last + self.chance.randrange(1, 4)
        return self._versions[member_id]

    def _document(self) -> dict[str, Any]:
        document = self._patch() | {"joined": self._day(), "nested": {"a": 1, "b": {"c": [1, 2]}}}
        return document | {"purchases": [self._purchase() for _ in range(self.chance.randrange(4))]}

    def _patch(self) -> dict[str, Any]:
        chance = self.chance
        every: dict[str, Any] = {
            "x": chance.gauss(0, 2),
            "seen": self._day(),
            "nested": chance.choice([{"a": None, "b": {"d": chance.random()}}, {"e": [chance.randrange(9)]}, 7, None]),
            "note": chance.choice(["ü", "", None, True, 12]),
        }
        return {name: every[name] for name in chance.sample(sorted(every), chance.randrange(1, 4))}

    def _purchase(self) -> dict[str, Any]:
        return {
            "at": self._day(),
            "units": self.chance.randrange(1, 5),
            "amount": round(self.chance.expovariate(0.03), 2),
        }

    def _day(self) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self._now_ms / 1000 - 86_400 * self.chance.randrange(1, 400)))
