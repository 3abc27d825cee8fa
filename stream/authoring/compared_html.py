"""A comparison as a notebook shows it: who agrees, who would move, and why."""

from __future__ import annotations

from typing import Any

from memberstream.models.html import notes, table, title
from memberstream.models.timestamps import format_ms
from memberstream.models.wording import counted, percent_of


def html_of(found: Any) -> str:
    """Return a `Compared` as HTML."""
    comparison = found.comparison
    n, agree = comparison.n_both, comparison.n_agree
    at = "" if found.at_ms is None else f", as of {format_ms(found.at_ms)}"
    head = title(f"{found.new} against {found.old}", f": {counted(n, 'member')} under both{at}")
    if not n:
        return head
    said = f"{agree:,} agree ({percent_of(agree, n)}), {n - agree:,} would move ({percent_of(n - agree, n)})"
    heads = [f"{found.old} ↓  {found.new} →", *(f"{cluster.id} {cluster.name}" for cluster in comparison.new)]
    rows = [
        [f"{cluster.id} {cluster.name}", *(f"{count:,}" for count in row[:-1])]
        for cluster, row in zip(comparison.old, comparison.matrix, strict=False)
    ]
    shifts = [
        f"probability{f' of {shift.of}' if shift.of else ''}: mean {shift.old.mean():.4f} → {shift.new.mean():.4f}, "
        f"PSI {shift.psi:.3f}, KS {shift.ks:.3f}"
        for shift in comparison.shifts
    ]
    campaigns = [(one.campaign, f"{one.old_reach:,}", f"{one.new_reach:,}") for one in found.campaigns]
    parts = [head, notes([said]), table(heads, rows)]
    parts += [table(("campaign", "members now", "after"), campaigns)] if campaigns else []
    parts.append(notes(shifts))
    if found.movers:
        parts.append(table(("member", "from", "to", "because of"), [_mover(mover) for mover in found.movers]))
    return "".join(parts)


def _mover(mover: Any) -> tuple[str, str, str, str]:
    reasons = [
        f"{reason.predictor} {'–' if x is None else f'{x:.4g}'}"
        for reason in mover.reasons
        for x in [reason.old_x if reason.new_x is None else reason.new_x]
    ]
    return mover.member_id, str(mover.old_cluster), str(mover.new_cluster), ", ".join(reasons)
