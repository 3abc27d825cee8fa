"""`memberstream model compare`: what a promotion would change, as tables, JSON or a picture."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import typer

from memberstream.models.compare import Shift
from memberstream.models.timestamps import format_ms
from memberstream.models.wording import counted, percent_of
from memberstream.stream.authoring.comparing import Compared, Mover, compare
from memberstream.stream.cli.arguments import Json, a_label, in_a_folder, moment
from memberstream.stream.cli.model.picture import check, save
from memberstream.stream.terminal.bar import bar
from memberstream.stream.terminal.coverage import print_misfits
from memberstream.stream.terminal.output import CommandError, out, print_json, reports_errors, settings
from memberstream.stream.terminal.safe import escape
from memberstream.stream.terminal.table import print_table

#: Population stability index: what its values are commonly taken to mean.
_PSI_WORDS = ((0.1, "nothing to speak of"), (0.25, "some"), (float("inf"), "a lot"))


@reports_errors
def compare_(
    new: Annotated[
        str,
        typer.Argument(
            metavar="NEW",
            help="NAME@VERSION, or NAME: its live one",
            show_default=False,
            callback=a_label,
        ),
    ],
    old: Annotated[
        str,
        typer.Argument(metavar="OLD", help="what to compare it with", show_default=False, callback=a_label),
    ],
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="compute as of then, from the documents of now: ISO 8601, or `list`: when the list was uploaded",
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=0, max=100, help="members shown of each kind of flip")] = 2,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="write a picture, .svg or .png (pip install 'memberstream\\[pictures]')", callback=in_a_folder
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compare two versions over all members: who would move and why; what changes for campaigns and probabilities."""
    if picture is not None:
        check(picture)
    at_ms: int | Literal["list"] | None = "list" if at == "list" else None if at is None else moment("--at", at)
    with bar("reading members") as meter:
        found = asyncio.run(compare(settings(), new, old, at_ms=at_ms, n_samples=samples, progress=meter))
    if not found.comparison.n_both:
        raise CommandError("no member has a cluster under both. Next: send documents, and see that a worker runs")
    if picture is not None:
        save(found, picture)
    if json:
        print_json(_as_json(found))
    else:
        _print(found)
        if picture is not None:
            out.print(f"\npicture: {picture}", markup=False)


def _as_json(found: Compared) -> dict[str, object]:
    comparison = found.comparison
    return {
        "old": found.old,
        "new": found.new,
        "at_ms": found.at_ms,
        "members": comparison.n_both,
        "agree": comparison.n_agree,
        "old_clusters": comparison.old,
        "new_clusters": comparison.new,
        "matrix": comparison.matrix,
        "flips": [flip._asdict() for flip in comparison.flips],
        "shifts": [
            {
                "of": shift.of,
                "psi": shift.psi,
                "ks": shift.ks,
                "old_mean": float(shift.old.mean()),
                "new_mean": float(shift.new.mean()),
            }
            for shift in comparison.shifts
        ],
        "campaigns": [campaign._asdict() for campaign in found.campaigns],
        "misfits": [{"version": version, "place": one} for version, one in found.misfits],
        "movers": [
            {
                "member_id": mover.member_id,
                "as_of_ms": mover.as_of_ms,
                "old_cluster": mover.old_cluster,
                "new_cluster": mover.new_cluster,
                "reasons": [reason._asdict() for reason in mover.reasons],
            }
            for mover in found.movers
        ],
    }


def _print(found: Compared) -> None:
    comparison = found.comparison
    n, agree = comparison.n_both, comparison.n_agree
    at = "" if found.at_ms is None else f", as of {format_ms(found.at_ms)}"
    out.print(f"[bold]{found.new}[/] against [bold]{found.old}[/]: {counted(n, 'member')} under both{at}")
    out.print(f"{agree:,} agree ({percent_of(agree, n)}), {n - agree:,} would move ({percent_of(n - agree, n)})\n")
    _print_matrix(found)
    if found.campaigns:
        out.print()
        print_table(
            ("campaign", "members now", "after", "change"),
            [(escape(c), f"{before:,}", f"{after:,}", f"{after - before:+,}") for c, before, after in found.campaigns],
            right=(1, 2, 3),
        )
    for shift in comparison.shifts:
        _print_shift(shift)
    for version, one in found.misfits:
        print_misfits([one], version)
    if found.movers:
        names = [{cluster.id: cluster.name for cluster in side} for side in (comparison.old, comparison.new)]
        counts = {(flip.old, flip.new): flip.n for flip in comparison.flips}
        shown: set[tuple[int, int]] = set()
        for mover in found.movers:
            kind = mover.old_cluster, mover.new_cluster
            if kind not in shown:
                shown.add(kind)
                out.print(
                    f"\n[bold]{escape(f'{kind[0]} {names[0][kind[0]]} → {kind[1]} {names[1][kind[1]]}')}[/]: "
                    f"{counted(counts[kind], 'member')}, such as"
                )
            _print_mover(mover)


def _print_matrix(found: Compared) -> None:
    """Rows: old clusters; columns: new ones. Members of whom a version says nothing are shown if there are any."""
    comparison = found.comparison
    *inner, last = comparison.matrix
    has_row, has_column = any(last), any(row[-1] for row in comparison.matrix)
    heads = [f"{cluster.id} {cluster.name}" for cluster in comparison.new] + (["none"] if has_column else [])
    table = []
    rows = [(escape(f"{cluster.id} {cluster.name}"), row) for cluster, row in zip(comparison.old, inner, strict=True)]
    new_ids = [cluster.id for cluster in comparison.new]
    old_ids: list[int | None] = [cluster.id for cluster in comparison.old]
    if has_row:
        rows.append(("none", last))
        old_ids.append(None)
    for old_id, (head, row) in zip(old_ids, rows, strict=True):
        cells = [
            f"[green]{count:,}[/]" if new_id == old_id else f"{count:,}" if count else "[dim]0[/]"
            for new_id, count in zip(new_ids, row[:-1], strict=True)
        ]
        table.append([head, *cells, *([f"{row[-1]:,}"] if has_column else [])])
    print_table((f"{found.old} ↓  {found.new} →", *heads), table, right=range(1, len(heads) + 1))


def _print_shift(shift: Shift) -> None:
    of = f" of {escape(shift.of)}" if shift.of else ""
    words = next(words for bound, words in _PSI_WORDS if shift.psi < bound)
    out.print(
        f"\nprobability{of}: mean {shift.old.mean():.4f} → {shift.new.mean():.4f}, "
        f"PSI {shift.psi:.3f} ({words}), KS {shift.ks:.3f}"
    )


def _print_mover(mover: Mover) -> None:
    as_of = "no document" if mover.as_of_ms is None else f"as of {format_ms(mover.as_of_ms)}"
    out.print(f"  {mover.member_id}, {as_of}", markup=False)
    for name, old_x, new_x, old_part, new_part in mover.reasons:
        values = [f"{x:.4f}" for x in (old_x, new_x) if x is not None]
        parts = ["–" if x is None else f"{part:+.4f}" for x, part in ((old_x, old_part), (new_x, new_part))]
        out.print(f"    {name} = {' → '.join(dict.fromkeys(values))}: contribution {' → '.join(parts)}", markup=False)
