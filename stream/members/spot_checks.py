"""Do the documents of now hold what the models read? A few members whom events have just changed are looked at.

Laws:
- A batch only hands over references, MOST a second, and nothing at all in between. They are judged by a task beside the
  stream, a second later, for LOOK_S of a core at most; what is left then is dropped. So the stream doesn't feel it.
- Of a list the last elements are judged: what a producer of today has appended. That bounds the time as well.
- What is told of a place is its share among the last WINDOW to 2 × WINDOW documents. So it shows within a minute that a
  producer writes another type, however many members it hasn't reached yet.
- There are as many series as published versions, however many predictors they have. The log names the place.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from time import thread_time
from typing import Any

from memberstream.models import packed_list
from memberstream.models.coverage import HEADINGS, MAX_MISFITS, Coverage, Heading, Tally, Told
from memberstream.models.model import Model
from memberstream.stream.registry.publication import Current

log = logging.getLogger(__name__)
SPOT_CHECKS = "spot_checks"
#: Documents a second, at most; and of how many something must be there before a share is told. Of 200 it is off by
#: 0.07 at most, 19 times in 20.
MOST, LEAST = 20, 200
WINDOW = 1_000
LAST = 100  # elements of a list
# Of one core, a second. 20 documents of the demo under its two models take 1 ms.
LOOK_S = 0.01
_REST_S = 1.0
_LINES = 5  # of the log, at one look


@dataclass(slots=True)
class _Read:
    """What was counted of a version: in the generation under way, in the one before, and in all before that."""

    now: Tally
    before: Tally | None = None
    earlier: Counter[Heading] = field(default_factory=Counter)
    named: set[str] = field(default_factory=set)  # places of which the log has told


class SpotChecks:
    """Looks at documents of the worker's members.

    Attributes:
        told: label → what is known. Each look makes a new mapping, so any thread may read it.
    """

    def __init__(self, current: Current) -> None:
        self._current = current
        self._waiting: list[Any] = []
        self._read: dict[str, _Read] = {}
        self.told: Mapping[str, Told] = {}

    def offer(self, documents: Iterable[Any]) -> None:
        """Take a few documents, if there is room."""
        room = MOST - len(self._waiting)
        if room > 0:
            self._waiting += islice(documents, room)

    async def run(self) -> None:
        """Look once a second. Never returns."""
        while True:
            await self.look()
            await asyncio.sleep(_REST_S)

    async def look(self) -> None:
        """Judge the documents that wait."""
        documents, self._waiting = self._waiting, []
        models, known = self._current.publication.models, self._read
        self._read = {model.label: known.get(model.label) or _Read(_tally(model)) for model in models}
        began = thread_time()
        for document in documents:
            document = packed_list.read(document)
            for model in models:
                for _ in self._read[model.label].now.adding(document):
                    await asyncio.sleep(0)
            if thread_time() - began > LOOK_S:
                break
        for model in models:
            read = self._read[model.label]
            if read.now.n_documents >= WINDOW:
                read.earlier += read.now.total()
                read.before, read.now = read.now, _tally(model)
        self.told = {label: self._tell(label, read) for label, read in self._read.items()}

    def _tell(self, label: str, read: _Read) -> Told:
        found = read.now.found() if read.before is None else read.now.found(read.before)
        known = [one for one in found if one.n_there >= LEAST]
        self._log(label, read, known)
        share = max((one.n_misfits / one.n_there for one in known), default=None)
        values = read.earlier + read.now.total()
        return Told({heading: values[heading] for heading in HEADINGS}, share)

    def _log(self, label: str, read: _Read, known: list[Coverage]) -> None:
        for one in [one for one in known if one.misfits_often and one.place not in read.named][:_LINES]:
            read.named.add(one.place)
            log.warning("%s reads what doesn't fit: %s: %s. Next: %s", label, one.predictor, one.told, one.remedy)
        for one in known:
            if one.place in read.named and one.n_misfits < MAX_MISFITS / 2 * one.n_there:
                read.named.remove(one.place)
                log.info("%s: values fit again at %s", label, one.place)


def _tally(model: Model) -> Tally:
    return Tally(model.predictors, LAST)
