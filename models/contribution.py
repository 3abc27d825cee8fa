"""What a member that met a campaign is counted as: its cells, and what one more act adds to them.

Laws:
- All cells of a member and a campaign are those of its exposure: period, version, cluster, group, day.
- What a member adds for a kind lies in one cell, by the size of its sum. A sum of another size moves all of it there.
"""

from __future__ import annotations

from memberstream.models.counts import (
    EXPOSED,
    LATE,
    ONE_EVENT,
    PAUSED,
    SWITCHED,
    Cell,
    Changes,
    Tally,
    add,
    new_cell,
    new_tally,
    size_of,
)
from memberstream.models.engagement import Act, Done, Met
from memberstream.models.timestamps import DAY_MS


def cell_of(campaign: str, met: Met, kind: str, size: int = 0) -> Cell:
    """Return the cell in which a member that met a campaign is counted for a kind."""
    day = met.at_ms // DAY_MS
    return new_cell((campaign, met.period_ms, met.version, met.cluster, met.is_held_out, kind, day, size))


def contribution(campaign: str, met: Met) -> dict[Cell, Tally]:
    """Return what a member that met a campaign is counted as."""
    cells = {cell_of(campaign, met, EXPOSED): Tally(1, met.impressions)}
    for kind, n in ((LATE, met.late), (PAUSED, met.paused)):
        if n:
            cells[cell_of(campaign, met, kind)] = Tally(events=n)
    if met.has_switched:
        cells[cell_of(campaign, met, SWITCHED)] = Tally(members=1)
    for kind, done in met.done.items():
        total = int(done.value_sum)
        cells[cell_of(campaign, met, kind, size_of(total))] = Tally(1, done.n, total, total * total)
    return cells


def take_impression(campaign: str, met: Met, is_late: bool, is_paused: bool, changes: Changes) -> None:
    """Count one more impression of a member that had met the campaign."""
    met.impressions += 1
    add(changes, cell_of(campaign, met, EXPOSED), ONE_EVENT)
    if is_late:
        met.late += 1
        add(changes, cell_of(campaign, met, LATE), ONE_EVENT)
    if is_paused:
        met.paused += 1
        add(changes, cell_of(campaign, met, PAUSED), ONE_EVENT)


def take_act(campaign: str, met: Met, act: Act, changes: Changes) -> None:
    """Count one more act of a member that had met the campaign."""
    kind = act.kind
    before, total, n = more(met.done, act)
    size = size_of(total)
    if before is not None:
        size_before = size_of(before)
        if size_before == size:
            more_of_it = 0, 1, total - before, total * total - before * before
            add(changes, cell_of(campaign, met, kind, size), new_tally(more_of_it))
            return
        less = -1, 1 - n, -before, -before * before
        add(changes, cell_of(campaign, met, kind, size_before), new_tally(less))
    add(changes, cell_of(campaign, met, kind, size), new_tally((1, n, total, total * total)))


def more(done: dict[str, Done], act: Act) -> tuple[int | None, int, int]:
    """Add an act to what was done, by kind. Returns the sum of its kind before, None for the first; now; how many."""
    its, value = done.get(act.kind), int(act.value) if act.value else 0
    if its is None:
        done[act.kind] = Done(1, act.at_ms, act.at_ms, act.value or "0")
        return None, value, 1
    before = int(its.value_sum)
    its.n += 1
    if act.at_ms < its.first_ms:
        its.first_ms = act.at_ms
    elif act.at_ms > its.last_ms:
        its.last_ms = act.at_ms
    if value:
        its.value_sum = str(before + value)
    return before, before + value, its.n
