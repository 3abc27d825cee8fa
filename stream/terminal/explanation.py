"""Why a member is in its cluster, and what would move it, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from memberstream.models.explain import Explanation, Part
from memberstream.models.model import Cluster
from memberstream.models.timestamps import format_ms
from memberstream.models.what_if import Change, Lever
from memberstream.models.wording import counted
from memberstream.stream.terminal.output import out
from memberstream.stream.terminal.safe import SafeConsole, escape
from memberstream.stream.terminal.table import print_table

_MOST_NAMES = 3
_LARGE = 1e15
_MOST_CHANGES = 4  # of one origin: a category may have hundreds of others


def print_explanation(member_id: str, at_ms: int, explanation: Explanation, to: SafeConsole = out) -> None:
    """Print an explanation as a table with its conclusion."""
    cluster = explanation.cluster
    to.print(
        f"[bold]{escape(member_id)}[/] under [bold]{explanation.model}[/], as of {format_ms(at_ms)}: "
        f"cluster [bold]{escape(named(cluster))}[/]"
    )
    largest = max((abs(part.contribution) for part in explanation.parts), default=0.0) or 1.0
    rows = []
    for part in explanation.parts:
        bar = f"[{'green' if part.contribution > 0 else 'red'}]{'█' * round(12 * abs(part.contribution) / largest)}[/]"
        told = escape(names(part.predictors)), escape(part.words), _x(part, explanation)
        rows.append((*told, f"{part.contribution:+.4f}", bar))
    print_table(("predictor", "value", "x", "contribution", ""), rows, right=(2, 3), sentences=(1,), to=to)
    for one in {one.place: one for one in explanation.misfits}.values():
        to.print(f"[yellow]doesn't fit:[/] {escape(f'{one.trouble}. Next: {one.remedy}')}")
    for line in (merits(explanation), next_cluster(explanation)):
        if line:
            to.print(escape(line))


def merits(explanation: Explanation) -> str:
    """Return by what the cluster was chosen: "eta +0.4231 → probability 0.6042"."""
    name, merit = _merit(explanation)
    if isinstance(merit, float):
        arrow = "" if explanation.probability is None else f" → probability {explanation.probability:.4f}"
        return f"{name} {merit:+.4f}{_baseline(explanation)}{arrow}"
    if isinstance(explanation.probability, list):
        return "probabilities " + " ".join(f"{p:.4f}" for p in explanation.probability)
    if merit is not None:
        return "raw scores " + " ".join(f"{each:.4f}" for each in merit)
    return "distances to centroids " + " ".join(f"{d:.4f}" for d in explanation.distances or ())


def pull(explanation: Explanation) -> str:
    """Return what a contribution above 0 does."""
    name, merit = _merit(explanation)
    return f"raises {_the(name)}" if isinstance(merit, float) else "speaks for the cluster"


def next_cluster(explanation: Explanation) -> str:
    """Return which cluster is next, and what separates the two; "" if there is only one."""
    cluster, following = explanation.cluster, explanation.next_cluster
    if following is None:
        return ""
    name, merit = _merit(explanation)
    other, by = named(following), f"{explanation.distance_to_next:.4f}"
    if isinstance(merit, float):
        verb = "rose" if following.id > cluster.id else "fell"
        return f"would become {other} if {_the(name)} {verb} by {by}"
    if explanation.distances is not None:
        return f"next is {other}: its centroid is {by} farther away"
    return f"next is {other}: its {name} is {by} lower"


def _the(name: str) -> str:
    return name if name == "eta" else f"the {name}"


def _merit(explanation: Explanation) -> tuple[str, float | list[float] | None]:
    return ("eta", explanation.eta) if explanation.raw is None else ("raw score", explanation.raw)


def _baseline(explanation: Explanation) -> str:
    """Return what the contributions of trees add up from."""
    return "" if explanation.baseline is None else f" (of which {explanation.baseline:+.4f} is the mean of training)"


def print_levers(levers: Sequence[Lever]) -> None:
    """Print the changes that move a member, each alone; then what moves it in no way."""
    rows = [
        (
            escape(names(lever.predictors)) if i == 0 else "",
            escape(lever.words) if i == 0 else "",
            escape(_target(change)),
            escape(named(change.cluster)),
        )
        for lever in levers
        for i, change in enumerate(lever.changes[:_MOST_CHANGES])
    ]
    if rows:
        out.print("\n[bold]one change alone that gives another cluster[/]")
        print_table(("predictor", "now", "changed to", "cluster"), rows, sentences=(1, 2))
    more = [
        f"{names(lever.predictors)} ({len(lever.changes) - _MOST_CHANGES:,})"
        for lever in levers
        if len(lever.changes) > _MOST_CHANGES
    ]
    _print_names("more categories that do, with --json", more)
    _print_names("changes nothing alone", _idle(levers, is_settled=True))
    _print_names("nothing found, though not everything was looked at", _idle(levers, is_settled=False))


def _idle(levers: Iterable[Lever], *, is_settled: bool) -> list[str]:
    return [names(lever.predictors) for lever in levers if not lever.changes and lever.is_settled == is_settled]


def _print_names(what: str, names: Sequence[str]) -> None:
    if names:
        out.print(f"{what}: {escape(', '.join(names))}")


def _target(change: Change) -> str:
    return change.words if change.is_smallest else f"{change.words}, or less of a change"


def named(cluster: Cluster) -> str:
    """Return a cluster's id and name."""
    return f"{cluster.id} {cluster.name}"


def names(predictors: Sequence[str]) -> str:
    """Return the names of predictors, of many the first."""
    more = len(predictors) - _MOST_NAMES
    return ", ".join(predictors[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _x(part: Part, explanation: Explanation) -> str:
    if len(part.columns) == 1:
        x = explanation.predictors[part.columns[0]]
        return f"{x:.4f}" if abs(x) < _LARGE else f"{x:.4g}"  # such as what means missing to trees
    return counted(len(part.columns), "column")
