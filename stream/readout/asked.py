"""The report of campaigns as they are now: their terms from the models' log and their counts from Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from memberstream.models.counts import EXPOSED
from memberstream.models.registry import Registry
from memberstream.stream.projection.count_reader import read
from memberstream.stream.readout.before import NEXT_AFTER_UPGRADE, counted_before
from memberstream.stream.readout.courses import ReadoutError
from memberstream.stream.readout.report import Report
from memberstream.stream.readout.report import report as report_of
from memberstream.stream.readout.setup import Setup, family_of, setup_of
from memberstream.stream.settings import Settings


class Asked(NamedTuple):
    """A report. `before`: a sentence for each campaign of which members were counted by the rules before."""

    report: Report
    before: list[str]


def ask(
    settings: Settings,
    registry: Registry,
    campaigns: Sequence[str],
    kind: str | None = None,
    last_day: int | None = None,
    *,
    although_broken: bool = False,
) -> Asked:
    """Return the report of campaigns and of all others of their splits. It takes a second, and blocks.

    Raises:
        ReadoutError: a campaign doesn't exist, or there is nothing to report; the text says what to do.
        CountsUnavailable: see count_reader.py.
    """
    setups: list[Setup] = []
    for campaign in family_of(registry, list(dict.fromkeys(campaigns))):
        setup = setup_of(registry, campaign, settings.interaction_kinds)
        if setup is None:
            raise ReadoutError(f"there is no campaign {campaign}. Next: memberstream campaign list")
        setups.append(setup)
    ids = [setup.id for setup in setups]
    counts = read(settings.redis_url, settings.keys, ids)
    before = counted_before(settings, ids)
    if before and not any(cell.kind == EXPOSED for cell in counts):
        raise ReadoutError(f"{' '.join(before)} Nobody is counted since. {NEXT_AFTER_UPGRADE}")
    found = report_of(counts, setups, settings.interaction_kinds, kind, last_day, although_broken=although_broken)
    return Asked(found, before)
