"""Who is compared with whom: which members of a family count, who doesn't, and was the share held out that was meant.

Laws:
- Only strata in which some are held out and some aren't are compared.
- Members count up to the last day of exposure whose windows were over before the holdout was changed. So rolling a
  campaign out keeps what was found before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from memberstream.models.terms import WHOLE
from memberstream.models.timestamps import DAY_MS
from memberstream.stream.readout import ratio
from memberstream.stream.readout.courses import Stratum, Table
from memberstream.stream.readout.ratio import RatioCheck
from memberstream.stream.readout.sequential import Array
from memberstream.stream.readout.setup import Setup


@dataclass(frozen=True, slots=True)
class Cut:
    """Members who aren't compared, because others were held out before their windows were over.

    Attributes:
        first_day, last_day: of their exposure. holdout: the share that is held out since then.
    """

    campaign: str
    first_day: int
    last_day: int
    holdout: float


def mask_of(found: Table, by_id: Mapping[str, Setup], kind: str) -> Array:
    """Return 1 where members of a day of exposure and a stratum are compared, else 0."""
    mask = np.zeros((len(found.days), len(found.strata)))
    days = np.array(found.days)
    for i, stratum in enumerate(found.strata):
        setup = by_id.get(stratum.campaign)
        if setup is None:
            continue
        period = next(p for p in setup.periods if p.begin_ms == stratum.period)
        last = setup.last_day(period, kind)
        if 0 < period.terms.holdout < WHOLE:
            mask[:, i] = 1 if last is None else days <= last
    return mask


def cuts_of(found: Table, by_id: Mapping[str, Setup], kind: str) -> tuple[Cut, ...]:
    """Return who isn't compared, of the days on which anybody was exposed."""
    found_cuts = []
    for setup in by_id.values():
        for period in setup.periods:
            last, change = setup.last_day(period, kind), setup.change(period)
            if last is None or change is None or not 0 < period.terms.holdout < WHOLE:
                continue
            first, end = max(last + 1, period.begin_ms // DAY_MS), change.begin_ms // DAY_MS
            if any(first <= day <= end for day in found.days):
                found_cuts.append(Cut(setup.id, first, end, setup.meant(change)))
    return tuple(found_cuts)


def checked(found: Table, by_id: Mapping[str, Setup]) -> RatioCheck | None:
    many = sum(len(setup.clusters) for setup in by_id.values()) > 1 or len(by_id) > 1
    strata = []
    for i, stratum in enumerate(found.strata):
        setup = by_id.get(stratum.campaign)
        if setup is not None:
            name = _name(setup, stratum, len(by_id) > 1) if many else setup.id
            shown, held_out = (found.exposed[held][:, i] for held in (False, True))
            strata.append(ratio.Stratum(name, meant_of(by_id, stratum), shown, held_out))
    return ratio.check(strata, found.days)


def meant_of(by_id: Mapping[str, Setup], stratum: Stratum) -> float:
    setup = by_id.get(stratum.campaign)
    return 0.0 if setup is None else setup.meant(next(p for p in setup.periods if p.begin_ms == stratum.period))


def _name(setup: Setup, stratum: Stratum, with_campaign: bool) -> str:
    cluster = f"{stratum.cluster} {setup.clusters[stratum.cluster]}".strip()
    return f"{setup.id}: {cluster}" if with_campaign else cluster
