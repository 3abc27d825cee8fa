"""How far the counts can be relied on, by campaign and cluster, and what each fault does to the conclusion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from memberstream.models.counts import EXPOSED, HEALTH, LATE, NO_CLUSTER, PAUSED, UNATTRIBUTED, Cell, Tally, is_health

#: Kind → what it is, and what it does to the conclusion. Other kinds of health are refusals.
_MEANINGS = {
    LATE: (
        "impressions sent over an hour late",
        "they count at their own time, so nothing is lost; the figures of the last days will still grow",
    ),
    PAUSED: (
        "impressions while the campaign was paused",
        "they count, in both groups alike, so the effect holds; see who shows a paused campaign",
    ),
    UNATTRIBUTED: (
        "clicks and others without an impression before them",
        "they count nowhere: impressions are lost or sent late. Rates are too low; the effect holds if impressions of "
        "both groups are lost alike",
    ),
    HEALTH + "not_targeted": (
        "refused: members in none of the campaign's clusters",
        "they count nowhere; the effect holds. See whether services show it by `visible`",
    ),
    HEALTH + "not_running": (
        "refused: before the campaign began, after its end, or after its deletion",
        "they count nowhere; the effect holds. See who shows it then",
    ),
    HEALTH + "too_late": (
        "refused: older than the horizon",
        "they are lost; the effect holds if both groups lose alike. Send sooner, or raise the horizon",
    ),
    HEALTH + "too_many": (
        "refused: more of one member than a person does",
        "they count nowhere; the effect holds. Find the source",
    ),
    HEALTH + "bad_token": (
        "refused: a token that isn't this campaign's",
        "they count nowhere; the effect holds if both groups' impressions carry the token. See who makes it",
    ),
}
_UNKNOWN = "they count nowhere; the effect holds if both groups lose alike"


@dataclass(frozen=True, slots=True)
class Fault:
    """What was found of one kind in one cluster.

    Attributes:
        cluster: None: not known. shown, held_out: events; of unknown clusters the group isn't known: they are in shown.
        share: of the impressions in this cluster, counted and not; None without any.
    """

    campaign: str
    cluster: int | None
    kind: str
    what: str
    so: str
    shown: int
    held_out: int
    share: float | None


def faults(counts: Mapping[Cell, Tally], until: int | None = None) -> tuple[Fault, ...]:
    """Return the faults of all campaigns in these counts."""
    found: dict[tuple[str, int, str], list[int]] = defaultdict(lambda: [0, 0])
    impressions: dict[tuple[str, int], int] = defaultdict(int)
    for cell, tally in counts.items():
        if until is not None and cell.day > until:
            continue
        if is_health(cell.kind):
            found[cell.campaign, cell.cluster, cell.kind][cell.is_held_out] += tally.events
        elif cell.kind == EXPOSED:
            impressions[cell.campaign, cell.cluster] += tally.events
    faults = []
    for (campaign, cluster, kind), (shown, held_out) in sorted(found.items()):
        if shown or held_out:
            what, so = _MEANINGS.get(kind, (f"refused: {kind.removeprefix(HEALTH)}", _UNKNOWN))
            whole = impressions[campaign, cluster]
            share = (shown + held_out) / whole if whole else None
            place = None if cluster == NO_CLUSTER else cluster
            faults.append(Fault(campaign, place, kind.removeprefix(HEALTH), what, so, shown, held_out, share))
    return tuple(faults)
