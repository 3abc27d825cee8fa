"""What a member's worker holds of it: its document, and why it is in its clusters. Values in, values out.

Laws:
- An explanation is the one of `memberstream explain`, at the moment of the member's last scoring.
- Without the right to see documents no value of the document is handed on: neither the document, nor what predictors
  read in it. Nor what each predictor contributes, as a number: whoever has the model could work out what it read. Said
  is how much it weighs, in steps (WEIGHTS), for that is the reason of the cluster.
"""

from __future__ import annotations

from typing import NamedTuple

import orjson

from memberstream.models.explain import explain_one
from memberstream.models.model import Model
from memberstream.models.model_file import parse
from memberstream.models.position import split_position
from memberstream.models.problems import ModelFileError
from memberstream.models.registry import Registry, Version
from memberstream.models.wording import counted
from memberstream.stream.console.overview import scored_versions
from memberstream.stream.console.versions import told
from memberstream.stream.queries.asking import Held
from memberstream.stream.terminal.explanation import merits, named, names, next_cluster, pull

MASKED = "masked"
#: Lines of a document that a page shows.
_LINES = 400
_MODELS = 32  # parsed, and kept
#: What a masked contribution is told as: from which part of the largest one, in percent, what it is, its bar.
WEIGHTS = ((50, "much", 100.0), (10, "some", 40.0), (0, "little", 10.0))


class Pulling(NamedTuple):
    """What some predictors contribute. `share`: of the largest contribution, in percent; below 0 if it is.

    `value`: what they read, in words with units. Without the right it is MASKED, and the others are in steps.
    """

    predictors: str
    value: str
    contribution: str
    share: float


class Why(NamedTuple):
    """Why a member is in its cluster under a version.

    `merit`, `following`: by what, and how far the next one is. `pull`: what a contribution above 0 does.
    """

    label: str
    status: str
    cluster: str
    merit: str
    following: str
    pull: str
    reasons: list[Pulling]
    misfits: list[str]


class Known(NamedTuple):
    """What is held of a member, as of an event.

    Attributes:
        document: its lines; None: masked. `n_lines`: of the whole document.
    """

    partition: int
    offset: int
    as_of_ms: int
    whys: list[Why]
    document: list[str] | None
    n_lines: int


class Models:
    """The models of versions, each parsed once: that of a large one takes a second."""

    def __init__(self) -> None:
        self._parsed: dict[str, Model | None] = {}

    def of(self, entry: Version) -> Model | None:
        """Return a computed version's model; None: a newer memberstream published it."""
        digest = entry.definition.digest
        if digest not in self._parsed:
            if len(self._parsed) >= _MODELS:
                self._parsed.clear()
            try:
                self._parsed[digest] = parse(entry.definition.body)
            except ModelFileError:
                self._parsed[digest] = None
        return self._parsed[digest]


def known(registry: Registry, held: Held, models: Models, may_see: bool) -> Known | None:
    """Return what is held of a member; None: it has no document. May take a while: not in the event loop.

    Args:
        may_see: whether who asks may see documents.
    """
    member = held.member
    if (document := member.document) is None:
        return None
    whys, statuses = [], told(registry)
    for entry in scored_versions(registry):
        if entry.definition.is_list or (model := models.of(entry)) is None:
            continue
        whys.append(_why(model, document, member.as_of_ms, statuses[entry.label], may_see))
    lines = orjson.dumps(document, option=orjson.OPT_INDENT_2).decode().splitlines()
    _, offset = split_position(member.position)
    return Known(held.partition, offset, member.as_of_ms, whys, lines[:_LINES] if may_see else None, len(lines))


def _why(model: Model, document: dict[str, object], now_ms: int, status: str, may_see: bool) -> Why:
    found = explain_one(model, document, now_ms)
    largest = max((abs(part.contribution) for part in found.parts), default=0.0) or 1.0
    reasons = [
        pulling(names(part.predictors), part.words if may_see else MASKED, part.contribution, largest)
        for part in sorted(found.parts, key=lambda part: -abs(part.contribution))
    ]
    misfits = [f"{one.trouble}. Next: {one.remedy}" for one in {one.place: one for one in found.misfits}.values()]
    if not may_see and misfits:
        misfits = [
            f"{counted(len(misfits), 'place that it reads holds', 'places that it reads hold')} what doesn't fit"
        ]
    return Why(
        model.label, status, named(found.cluster), merits(found), next_cluster(found), pull(found), reasons, misfits
    )


def pulling(predictors: str, value: str, contribution: float, largest: float) -> Pulling:
    """Return what some predictors contribute, as it may be shown beside this value."""
    share = 100 * contribution / largest
    if value is not MASKED:
        return Pulling(predictors, value, f"{contribution:+.4f}", share)
    if not share:
        return Pulling(predictors, value, "nothing", 0.0)
    said, bar = next((said, bar) for least, said, bar in WEIGHTS if abs(share) >= least)
    return Pulling(predictors, value, f"{said}, {'above' if share > 0 else 'below'} 0", bar if share > 0 else -bar)
