"""Random model files and random events, from a seed: what docs/model-file.md and docs/events.md allow, and some of
what they don't. Times run from some months ago to now as the rounds go by, so windows and days move."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple

DAY_MS = 86_400_000
SPAN_DAYS = 120
CATEGORIES = ["cd", "book", "ünicode", "a.b"]
COUNTRIES = ["de", "fr", "at"]


class Sending(NamedTuple):
    """A record to be sent."""

    key: bytes | None
    value: bytes | None


def iso(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms / 1000)) + f".{ms % 1000:03d}Z"


class World:
    """Members, what happens to them, and models over their documents."""

    def __init__(self, seed: int, n_members: int) -> None:
        self.chance = random.Random(seed)
        self.members = [f"o{seed}-{i}".encode() for i in range(n_members)]
        self._end_ms = time.time_ns() // 1_000_000
        self.now_ms = self._end_ms - SPAN_DAYS * DAY_MS
        self._versions: dict[bytes, int] = {}
        self._sent: list[Sending] = []

    def pass_days(self, days: float) -> None:
        """Let time go by, for the events that come."""
        self.now_ms = min(self._end_ms, self.now_ms + round(days * DAY_MS))

    # -- documents and events ---------------------------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        chance = self.chance
        every: dict[str, Callable[[], Any]] = {
            "x": lambda: chance.choice([chance.gauss(0, 2), chance.randrange(5), True, "text", None]),
            "country": lambda: chance.choice([*COUNTRIES, "xx", 7, None]),
            "joined": self.time,
            "apps": lambda: {"shopping": {"opens": chance.randrange(40)}, "we.b": chance.random()},
            "purchases": lambda: [self.purchase() for _ in range(chance.randrange(5))],
            "tags": lambda: [chance.choice(["a", "b", 1, 1.0, True, 2.5, None]) for _ in range(chance.randrange(5))],
        }
        return {name: every[name]() for name in every if chance.random() < 0.75}

    def purchase(self) -> Any:
        chance = self.chance
        if chance.random() < 0.04:
            return chance.choice([None, "a text", 3, []])
        made: dict[str, Any] = {"at": self.time(), "amount": round(chance.expovariate(0.03), 2)}
        made["category"] = chance.choice(CATEGORIES)
        made["units"] = chance.choice([1, 2, 3, 2.0, "2", " 2.50 ", "1,5", None, True])
        made["paid"] = (self.now_ms - round(chance.uniform(-3, 100) * DAY_MS)) / 1_000
        made["paid"] = chance.choice([made["paid"], int(made["paid"]), str(made["paid"]), made["at"], None])
        return {name: value for name, value in made.items() if chance.random() < 0.93}

    def time(self) -> Any:
        """A point in time in one of its spellings, sometimes in the future, sometimes none at all."""
        chance = self.chance
        ms = self.now_ms - round(chance.uniform(-3, 100) * DAY_MS)
        day = time.strftime("%Y-%m-%d", time.gmtime(ms / 1000))
        offset = iso(ms)[:-5] + chance.choice(["+02:00", "-05:30", "Z", ""])
        return chance.choice([day, day, iso(ms), ms, offset, chance.choice(["never", "", None])])

    def everyone(self) -> list[Sending]:
        return [self._made(member, "replace") for member in self.members]

    def some(self, n: int) -> list[Sending]:
        """n events: patches and appends mostly, deletes, repeats, bad ones."""
        return [self._one() for _ in range(n)]

    def _one(self) -> Sending:
        chance, member = self.chance, self.chance.choice(self.members)
        roll = chance.random()
        if roll < 0.05:
            made = self._bad(member)
        elif roll < 0.08 and self._sent:
            made = chance.choice(self._sent)
        else:
            op = chance.choices(("patch", "append", "replace", "delete", "null"), (45, 25, 18, 6, 3))[0]
            made = self._made(member, op)
        self._sent = [*self._sent[-500:], made]
        return made

    def _made(self, member: bytes, op: str) -> Sending:
        chance = self.chance
        if op == "null":
            return Sending(member, None)
        event: dict[str, Any] = {"op": op}
        if op == "replace":
            event["document"] = self.document()
        elif op == "patch":
            event["patch"] = self.document() | chance.choice([{}, {"x": None}, {"apps": {"shopping": None}}])
        elif op == "append":
            event["path"] = chance.choice(["purchases", "purchases", "tags", "apps.more", "apps.we\\.b", "x"])
            event["value"] = self.purchase() if event["path"] == "purchases" else chance.choice(["a", 1, True])
        if op in ("patch", "append") and chance.random() < 0.8:
            event["create"] = chance.random() < 0.95
        event["at"] = self._at()
        if member[-1] % 3 == 0 and chance.random() < 0.9:
            event["version"] = self._version(member)
        if chance.random() < 0.1:
            event["member_id"] = chance.choice([member.decode(), None])
        return Sending(member, json.dumps(event, ensure_ascii=chance.random() < 0.5).encode())

    def _at(self) -> Any:
        ms = self.now_ms - round(abs(self.chance.gauss(0, 2)) * DAY_MS)
        return self.chance.choice([ms, iso(ms)])

    def _version(self, member: bytes) -> int:
        last = self._versions.get(member, 0)
        if last and self.chance.random() < 0.15:
            return self.chance.randrange(last + 1)
        self._versions[member] = last + self.chance.randrange(1, 4)
        return self._versions[member]

    def _bad(self, member: bytes) -> Sending:
        """A record with one fault, or that is one only if the member is as it happens to be."""
        good: dict[str, Any] = {"op": "replace", "document": {"x": 1}, "at": self._at()}
        later = time.time_ns() // 1_000_000 + 3_600_000
        changes: list[dict[str, Any]] = [
                {"op": "upsert"}, {"op": 3}, {"document": []}, {"patch": {}}, {"extra": 1}, {"at": "soon"},
                {"at": later}, {"at": True}, {"version": -1}, {"version": 2**53}, {"version": "1"}, {"version": True},
                {"at": 1e30}, {"document": {"x": "\ud800"}}, {"document": {"x": 2**70}},
                {"document": {"joined": 1e30}},
                {"member_id": "someone"}, {"op": "append", "path": "a..b", "value": 1}, {"op": "append"},
        ]  # fmt: skip
        values = [json.dumps(good | change).encode() for change in changes]
        append: dict[str, Any] = {"op": "append", "path": "tags.a", "value": 1, "at": self._at()}
        faulty: list[dict[str, Any]] = [{"path": path} for path in ("a\\", "...", ".".join("k" * 33), 4)]
        values += [json.dumps(append | change).encode() for change in (*faulty, {"create": 1}, {})]
        without = {name: value for name, value in good.items() if name != "op"}
        values += [json.dumps(without).encode(), json.dumps({"op": "patch", "at": self._at()}).encode()]
        values += [b"", b"{", b"[]", b'"text"', b"null", b"\xef\xbb\xbf{}", b'{"op":"delete","meta":"\xff"}']
        values += [b'{"op":"replace","document":{"x":NaN}}', b'{"op":"replace","document":{"x":1e999}}']
        values += [b'{"op":"replace","document":{"x":%b1%b}}' % (b"[" * n, b"]" * n) for n in (61, 62, 63, 90, 400)]
        key = self.chance.choice([b"", None, b"\xff", b"a\nb", b"k" * 513, "zero\u200bwidth".encode()])
        return self.chance.choice([Sending(member, self.chance.choice(values))] * 9 + [Sending(key, values[0])])

    # -- models -----------------------------------------------------------------------------------------------------

    def model(self, name: str, version: int) -> dict[str, Any]:
        """A model file of some predictors, any scorer and two to four clusters."""
        chance = self.chance
        predictors = [make(chance) | {"name": f"p{i}"} for i, make in enumerate(chance.sample(SOURCES, 5))]
        names = [column for predictor in predictors for column in column_names(predictor)]
        singles = [p["name"] for p in predictors if p["name"] in names]
        if len(singles) > 1 and chance.random() < 0.5:
            pair = chance.sample(singles, 2)
            made: dict[str, Any] = chance.choice([{"ratio": pair, "missing": 0.5}, {"product": pair}])
            predictors.append(made | {"name": "both", "transforms": [{"clip": {"min": -50, "max": 50}}]})
            names.append("both")
        n = chance.randrange(2, 5)
        ids = sorted(chance.sample(range(9), n))
        return {
            "format": 1,
            "name": name,
            "version": version,
            "predictors": predictors,
            "model": scorer(chance, names, n),
            "clusters": [{"id": i, "name": f"c{i}"} for i in ids],
        }


def column_names(predictor: dict[str, Any]) -> list[str]:
    name, transforms = predictor["name"], predictor.get("transforms", [])
    if transforms and isinstance(transforms[-1], dict) and "one_hot" in transforms[-1]:
        return [f"{name}={category}" for category in transforms[-1]["one_hot"]]
    return [name]


def scorer(chance: random.Random, inputs: list[str], n: int) -> dict[str, Any]:
    """Parameters of any scorer for n clusters."""
    d = len(inputs)

    def row(spread: float) -> list[float]:
        return [round(chance.gauss(0, spread), 3) for _ in range(d)]

    kind = chance.choice(["logistic", "multinomial", "kmeans", "gaussian_mixture", "trees"])
    made: dict[str, Any] = {"type": kind, "inputs": inputs}
    if kind == "logistic":
        thresholds = sorted(chance.sample([0.1, 0.2, 0.35, 0.5, 0.65, 0.8], n - 1))
        return made | {"coef": row(0.2), "intercept": round(chance.gauss(0, 0.5), 3), "thresholds": thresholds}
    if kind == "multinomial":
        return made | {
            "coef": [row(0.2) for _ in range(n)],
            "intercept": [round(chance.gauss(0, 0.5), 3) for _ in range(n)],
        }
    if kind == "kmeans":
        return made | {"centroids": [row(4) for _ in range(n)]}
    if kind == "trees":
        return made | trees(chance, d, n)
    shape = chance.choice(["full", "tied", "diag", "spherical"])

    def diagonal() -> list[float]:
        return [round(chance.uniform(0.05, 0.5), 3) for _ in range(d)]

    def triangle() -> list[list[float]]:
        own = diagonal()
        return [[own[i] if i == j else round(chance.gauss(0, 0.02), 3) * (j > i) for j in range(d)] for i in range(d)]

    precisions = {
        "full": lambda: [triangle() for _ in range(n)],
        "tied": triangle,
        "diag": lambda: [diagonal() for _ in range(n)],
        "spherical": lambda: diagonal()[:1] * n,
    }[shape]()
    weights = [1 / n] * n
    means = [row(4) for _ in range(n)]
    return made | {"weights": weights, "means": means, "covariance_type": shape, "precisions_cholesky": precisions}


def trees(chance: random.Random, n_inputs: int, n: int) -> dict[str, Any]:
    """Twelve trees: boosted bands, boosted classes or a forest, with values that can be missing."""
    kind = chance.choice(["bands", "classes", "forest"])

    def grown(depth: int) -> list[int]:
        if depth == 0 or chance.random() < 0.2:
            return [-1]
        return [chance.randrange(n_inputs), *grown(depth - 1), *grown(depth - 1)]

    def tree(output: int) -> dict[str, Any]:
        columns = grown(4)
        n_leaves = columns.count(-1)
        n_asking = len(columns) - n_leaves
        leaf = [[round(chance.random(), 3) for _ in range(n)] if kind == "forest" else chance.gauss(0, 1)
                for _ in range(n_leaves)]  # fmt: skip
        made = {"columns": columns, "values": leaf, "missing_left": [chance.randrange(2) for _ in range(n_asking)]}
        made["thresholds"] = [chance.choice([0, 0.5, 1, 2, 5, 10, 20, 40, 100]) for _ in range(n_asking)]
        return made | ({"output": output} if kind == "classes" else {})

    made: dict[str, Any] = {"scale": "value", "trees": [tree(i % n) for i in range(12)]}
    made["missing"] = [chance.choice([None, 0, 1]) for _ in range(n_inputs)]
    if kind == "bands":
        cuts = sorted(chance.sample([-3.0, -1.5, -0.5, 0.0, 0.5, 1.5, 3.0], n - 1))
        return made | {"base": [0.25], "thresholds": cuts, "threshold_rule": chance.choice([">", ">="])}
    return made | ({"divisor": 12, "scale": "probability"} if kind == "forest" else {"ties": [*range(n)][::-1]})


def _where(chance: random.Random) -> dict[str, Any]:
    return chance.choice(
        [
            {},
            {"where": {"category": "cd"}},
            {"where": {"category": {"in": ["book", "a.b"]}, "amount": {"gte": 10}}},
            {"where": {"units": {"exists": True}}},
            {"where": {"units": {"exists": False}, "amount": {"gt": 1, "lt": 90}}},
            {"where": {"units": 2}},
            {"where": {"units": True}},
        ]
    )


def _window(chance: random.Random) -> dict[str, Any]:
    return chance.choice([{}, {"time": "at"}, {"time": "at", "window_days": chance.choice([0.5, 7, 30, 45.25])}])


def _clock(chance: random.Random) -> dict[str, Any]:
    return chance.choice([{}, {"resolution": "hours"}, {"utc_offset_minutes": chance.choice([-300, 90, 660])}])


_LOG: dict[str, Any] = {"transforms": ["log1p"]}
_SCALED: dict[str, Any] = {"transforms": [{"clip": {"min": 0, "max": 300}}, {"scale": {"mean": 20, "sd": 15.5}}]}
_BINNED: dict[str, Any] = {"transforms": [{"bins": [0, 5, 20.5]}]}
_BIN_HOT: dict[str, Any] = {"transforms": [{"bins": [0, 5, 20.5]}, {"one_hot": [0, 1, 3]}]}


def _shape(chance: random.Random) -> dict[str, Any]:
    return chance.choice([{}, _LOG, _SCALED, _BINNED, _BIN_HOT])


_DEAR: dict[str, Any] = {"path": "purchases", "value": "amount"}
_PACKS: dict[str, Any] = {"path": "purchases", "value": "units"}
_KINDS: dict[str, Any] = {"path": "purchases", "value": "category"}
_AGES: dict[str, Any] = {"path": "purchases", "time": "at"}
_PAID: dict[str, Any] = {"path": "purchases", "time": "paid", "unit": "s"}
_KIND_HOT: dict[str, Any] = {"transforms": [{"one_hot": CATEGORIES[:3]}]}

SOURCES: list[Callable[[random.Random], dict[str, Any]]] = [
    lambda c: {"path": "x", "missing": c.choice([0, 1.5])} | c.choice([{}, _BINNED]),
    lambda c: {"path": "apps.shopping.opens", "missing": 2} | _shape(c),
    lambda c: {"path": "apps.we\\.b", "missing": 0},
    lambda c: {"path": "country", "transforms": [{"one_hot": COUNTRIES}]} | c.choice([{}, {"missing": "fr"}]),
    lambda c: {"path": "joined", "aggregate": "days_since", "missing": 80} | _shape(c) | _clock(c),
    lambda c: {"path": "purchases", "aggregate": "count"} | _where(c) | _window(c) | _shape(c),
    lambda c: _DEAR | {"aggregate": "sum"} | _where(c) | _window(c) | _shape(c),
    lambda c: _PACKS | {"aggregate": "mean", "missing": 1} | _window(c),
    lambda c: _DEAR | {"aggregate": "max", "missing": 0} | _where(c) | _window(c) | _LOG,
    lambda c: _DEAR | {"aggregate": "min", "missing": 5} | _window(c) | _SCALED,
    lambda c: _PACKS | {"aggregate": "last", "missing": 0} | _window(c),
    lambda c: _KINDS | {"aggregate": "last"} | _KIND_HOT | _window(c),
    lambda c: _KINDS | {"aggregate": "distinct"} | _where(c) | _window(c),
    lambda c: _AGES | {"aggregate": "days_since", "missing": 99} | _where(c) | _clock(c) | _LOG,
    lambda c: _AGES | {"aggregate": "decayed_count", "half_life_days": 6.5} | _clock(c),
    lambda c: _PAID | {"aggregate": "days_since", "missing": 99} | _clock(c),
    lambda c: _PAID | {"aggregate": "sum", "value": "amount", "window_days": 20} | _shape(c),
    lambda c: _PACKS | {"aggregate": c.choice(["sum", "max"]), "type": "number_text", "missing": 1} | _window(c),
    lambda c: {"path": "purchases", "aggregate": "count", "where": {"units": {"gte": 2, "type": "number_text"}}},
    lambda c: {"path": "tags", "aggregate": "distinct"},
    lambda c: {"path": "tags", "aggregate": "sum"},
    lambda c: {"path": "tags", "aggregate": "count"},
]
