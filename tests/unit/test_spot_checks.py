"""Spot checks: a few documents of now, told by version; bounded in what they take, and quick to show a change."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from e2e.definitions import level

from memberstream.models.coverage import HEADINGS
from memberstream.models.model_file import parse
from memberstream.stream.keyspace.formats import Announcement
from memberstream.stream.members import spot_checks
from memberstream.stream.members.computing import changed_documents
from memberstream.stream.members.spot_checks import LEAST, MOST, WINDOW, SpotChecks
from memberstream.stream.registry.publication import Current, compile_models

MODEL = parse(level())


def current(*models: Any) -> Current:
    return Current(compile_models(list(models)), Announcement(-1, (), {}))


def look(checks: SpotChecks, document: Any, n: int = 1) -> None:
    """Offer a document in each of n seconds, as often as there is room."""
    for _ in range(n):
        checks.offer([document] * (MOST + 5))
        asyncio.run(checks.look())


def test_a_change_of_a_producer_shows_within_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is told of too few; then the share follows the documents of now. The log names the place, once, and says
    what to do; and that it is over."""
    checks = SpotChecks(current(MODEL))
    assert checks.told == {}
    look(checks, {"x": 1}, LEAST // MOST - 1)
    assert checks.told["level@1"].misfits is None
    with caplog.at_level(logging.INFO):
        look(checks, {"x": 1})
        assert checks.told["level@1"].misfits == 0
        n = 0
        while checks.told["level@1"].misfits == 0 or not caplog.records:
            look(checks, {"x": "1"})
            n += 1
        assert n == 2  # two of twelve are more than a tenth
        look(checks, {"x": "1"}, 120)
        assert (checks.told["level@1"].misfits or 0) > 0.9
        look(checks, {"x": 1}, 2 * WINDOW // MOST)
    assert checks.told["level@1"].misfits == 0
    assert [record.message for record in caplog.records] == [
        "level@1 reads what doesn't fit: x: x: expected a number, found a number written as a text, in 40 of 240 "
        'documents with a value. Next: "type": "number_text" in the model file reads them',
        "level@1: values fit again at x",
    ]


def test_values_are_counted_under_their_headings_since_the_start() -> None:
    """Over all generations; of versions that come and go, as long as they are published."""
    now = current(MODEL)
    checks = SpotChecks(now)
    look(checks, {"x": 1}, WINDOW // MOST)
    look(checks, {"x": None})
    look(checks, {})
    assert dict(checks.told["level@1"].values) == dict.fromkeys(HEADINGS, 0) | {
        "usable": WINDOW,
        "null": 20,
        "absent": 20,
    }
    now.publication = current(MODEL, parse(level(version=2))).publication
    look(checks, {"x": True})
    assert [one.values["usable"] for one in checks.told.values()] == [WINDOW + MOST, MOST]
    now.publication = current(parse(level(version=2))).publication
    look(checks, {})
    assert list(checks.told) == ["level@2"]


def test_what_is_looked_at_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch hands over nothing while enough waits; a look stops when its time is over, and breathes meanwhile."""
    checks, asked = SpotChecks(current(MODEL)), []

    def documents() -> Any:
        for i in range(10 * MOST):
            asked.append(i)
            yield {"x": i}

    checks.offer(documents())
    checks.offer(documents())
    assert len(asked) == MOST
    wide = level()
    wide["predictors"] = [{"name": f"p{i}", "path": f"p{i}", "missing": 0} for i in range(100)]
    wide["model"]["coef"] = [0] * 100
    checks = SpotChecks(current(parse(wide)))
    monkeypatch.setattr(spot_checks, "LOOK_S", -1)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def beside() -> None:
        task = asyncio.create_task(others())
        checks.offer([{}] * 5)
        await checks.look()
        task.cancel()

    asyncio.run(beside())
    assert checks.told["level@1"].values["absent"] == 100  # of one document
    assert turns >= 6
    assert list(changed_documents([])) == []


def test_looking_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a second, by itself."""
    monkeypatch.setattr(spot_checks, "_REST_S", 0.001)
    checks = SpotChecks(current(MODEL))

    async def run() -> None:
        task = asyncio.create_task(checks.run())
        while not checks.told or checks.told["level@1"].values["usable"] < 3:
            checks.offer([{"x": 1}])
            await asyncio.sleep(0.001)
        task.cancel()

    asyncio.run(run())
