"""A comparison as a picture: the agreement matrix, and the probabilities under both versions. Needs Matplotlib."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from memberstream.models.compare import Shift
from memberstream.models.wording import counted
from memberstream.stream.authoring.comparing import Compared
from memberstream.stream.terminal.output import CommandError

_OLD, _NEW = "#818b98", "#0969da"  # different in brightness, too, for people who can't tell the colours


def check(path: Path) -> None:
    """Return if a picture can be made and called so. Raises CommandError."""
    if path.suffix not in (".svg", ".png"):
        raise CommandError(f"{path}: expected a name that ends in .svg or .png. Next: rename it")
    if find_spec("matplotlib") is None:
        raise CommandError("a picture needs Matplotlib. Next: pip install 'memberstream[pictures]'")


def save(found: Compared, path: Path) -> None:
    """Write the picture, as SVG or PNG by the path's ending."""
    from matplotlib.figure import Figure  # slow to import, and not everybody has it

    shifts = found.comparison.shifts
    figure = Figure(figsize=(5.2 + 3.6 * len(shifts), 4.2), layout="constrained")
    axes = figure.subplots(1, 1 + len(shifts), squeeze=False)[0]
    _draw_matrix(axes[0], found)
    for axis, shift in zip(axes[1:], shifts, strict=True):
        _draw_probabilities(axis, shift, found)
    figure.suptitle(f"{found.new} against {found.old}: {counted(found.comparison.n_both, 'member')}", fontsize=12)
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_matrix(axis: Any, found: Compared) -> None:
    """Draw shares of each old cluster's members as shades, counts as numbers."""
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
