"""Fixtures for installations that get hurt: a crew of workers on Apache Kafka 4 and Debian's redis-server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from chaos.workers import Crew
from e2e.conftest import patient_readers
from e2e.system import Pair, System

__all__ = ["patient_readers"]

#: `await crew_on(pair, models)`, the fixture.
CrewOn = Callable[..., Awaitable[Crew]]


@pytest.fixture
async def crew_on(tmp_path: Path) -> AsyncIterator[CrewOn]:
    """`await crew_on(pair, models, n_partitions=4)`: an installation without a worker yet; it ends with the test."""
    made: list[Crew] = []

    async def make(pair: Pair, models: Iterable[dict[str, Any]], n_partitions: int = 2) -> Crew:
        directory = tmp_path / f"system-{len(made)}"
        directory.mkdir()
        made.append(Crew(await System.create(pair, directory, models, n_partitions)))
        return made[-1]

    yield make
    for crew in made:
        crew.close()
        await crew.system.close()
