"""A comparison as a picture: the agreement matrix, and the probabilities under both versions. Needs Matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models.compare import Shift
from stream.cli.console import CommandError
from stream.comparing import Compared

_OLD, _NEW = "#818b98", "#0969da"  # apart in brightness, too, for who can't tell the colours


def save(found: Compared, path: Path) -> None:
    """Write the picture, as SVG or PNG by the path's ending. Raises CommandError without Matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise CommandError("a picture needs Matplotlib. Next: pip install 'memberstream[pictures]'") from None
    shifts = found.comparison.shifts
    figure = Figure(figsize=(5.2 + 3.6 * len(shifts), 4.2), layout="constrained")
    axes = figure.subplots(1, 1 + len(shifts), squeeze=False)[0]
    _draw_matrix(axes[0], found)
    for axis, shift in zip(axes[1:], shifts, strict=True):
        _draw_probabilities(axis, shift, found)
    figure.suptitle(f"{found.new} against {found.old}: {found.comparison.n_both:,} members", fontsize=12)
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_matrix(axis: Any, found: Compared) -> None:
    """Shares of each old cluster's members, as shades; counts as numbers."""
    counts = np.array(found.comparison.matrix)[:-1, :-1]
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), count in np.ndenumerate(counts):
        colour = "white" if shares[i, j] > 0.6 else "black"
        axis.text(j, i, f"{count:,}\n{shares[i, j]:.0%}", ha="center", va="center", color=colour, fontsize=9)
    axis.set_xticks(range(counts.shape[1]), [f"{c.id} {c.name}" for c in found.comparison.new])
    axis.set_yticks(range(counts.shape[0]), [f"{c.id} {c.name}" for c in found.comparison.old])
    axis.set_xlabel(found.new)
    axis.set_ylabel(found.old)


def _draw_probabilities(axis: Any, shift: Shift, found: Compared) -> None:
    edges = np.linspace(0, 1, 41)
    axis.hist(shift.old, edges, color=_OLD, alpha=0.6, label=found.old)
    axis.hist(shift.new, edges, color=_NEW, histtype="step", linewidth=1.6, label=found.new)
    axis.set_xlabel("probability" + (f" of {shift.of}" if shift.of else ""))
    axis.set_ylabel("members")
    axis.legend(frameon=False)
