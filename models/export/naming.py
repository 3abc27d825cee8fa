"""Which cluster each class becomes.

Laws:
- Names that are the classes are matched by value, whatever their order. scikit-learn sorts texts by the alphabet, so
  a place in a list says nothing about them.
- Names that aren't the classes are matched by their order only where classes have one of their own: numbers, booleans,
  the components of a clustering, the bands of a probability. Otherwise a mapping of class → name says it.
- Ids are the author's, otherwise the classes if these are whole numbers from 0, otherwise 0, 1, 2 … in the order in
  which the author names them. The file's clusters ascend by id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from memberstream.models.export.bands import find_class, have_order
from memberstream.models.export.scorers import Fitted
from memberstream.models.wording import counted

Name = str | Mapping[str, Any]
Clusters = Sequence[Name] | Mapping[Any, Name]


def name_clusters(
    clusters: Clusters | None, fitted: Fitted, problems: list[str]
) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the file's clusters, and which of the fitted object's clusters stands at each place."""
    order = list(range(fitted.n_clusters))
    if fitted.labels is None:
        return _bands(clusters, fitted.n_clusters, problems), order
    named = _matched(clusters, fitted.labels, fitted.are_components, problems)
    if named is None:
        return [], order
    whole = whole_numbers(fitted.labels)
    found: dict[int, dict[str, Any]] = {}
    for position, (place, name) in enumerate(named):
        own_id = whole[place] if whole else position
        found[place] = dict(name) if isinstance(name, Mapping) else {"id": own_id, "name": name}
    if all(type(found[place].get("id")) is int for place in order):
        order.sort(key=lambda place: found[place]["id"])
    return [found[place] for place in order], order


def whole_numbers(classes: Sequence[Any]) -> list[int]:
    """Return classes as ids; nothing if one can't be an id. (scikit-learn takes only floats that are whole.)"""
    are_whole = all(type(c) in (int, float) and c >= 0 for c in classes)
    return list(map(int, classes)) if are_whole else []


def label_text(label: Any) -> str:
    """Return a class as people write it: 3, not 3.0."""
    return str(int(label)) if type(label) is float and label.is_integer() else str(label)


def _bands(clusters: Clusters | None, n: int, problems: list[str]) -> list[dict[str, Any]]:
    if clusters is None or isinstance(clusters, Mapping) or len(clusters) != n:
        found = "none" if clusters is None else str(len(clusters))
        problems.append(f"clusters: expected {counted(n, 'name')}, one for each band between thresholds, found {found}")
        return []
    return [dict(c) if isinstance(c, Mapping) else {"id": i, "name": c} for i, c in enumerate(clusters)]


def _matched(
    clusters: Clusters | None, labels: Sequence[Any], are_components: bool, problems: list[str]
) -> list[tuple[int, Name]] | None:
    """Return (place of the class, its name), in the author's order. None, and the problem is noted, if it isn't sure
    which is which."""
    texts = [label_text(label) for label in labels]
    if clusters is None:
        return list(enumerate(texts))
    if isinstance(clusters, Mapping):
        return _by_key(clusters, labels, problems)
    if isinstance(clusters, str) or len(clusters) != len(labels):
        problems.append(f"clusters: expected {len(labels)}, found {1 if isinstance(clusters, str) else len(clusters)}")
        return None
    names = [c.get("name") if isinstance(c, Mapping) else c for c in clusters]
    if set(names) == set(texts):
        return [(texts.index(str(name)), cluster) for name, cluster in zip(names, clusters, strict=True)]
    what = "components" if are_components else "classes"
    shown, mapping = ", ".join(texts), f"clusters={{{labels[0]!r}: …, {labels[-1]!r}: …}}"
    if taken := [name for name in names if name in texts]:
        problems.append(
            f"clusters: {', '.join(map(str, taken))} is one of the {what} {shown}, other names aren't. Use: {mapping}"
        )
        return None
    ids = [c.get("id") for c in clusters if isinstance(c, Mapping)]
    is_ordered = are_components or (have_order(labels) and list(labels) == sorted(labels))
    if not is_ordered or (not are_components and set(ids) == set(labels) and ids != list(labels)):
        problems.append(
            f"clusters: which name belongs to which of the {what} {shown}? Their order here is scikit-learn's, not "
            f"yours. Use: {mapping}"
        )
        return None
    return list(enumerate(clusters))


def _by_key(clusters: Mapping[Any, Name], labels: Sequence[Any], problems: list[str]) -> list[tuple[int, Name]] | None:
    places = [find_class(key, labels) for key in clusters]
    if None in places or len(set(places)) < len(labels) or len(places) > len(labels):
        shown = ", ".join(map(label_text, labels))
        problems.append(f"clusters: expected a name for each of {shown}, found {', '.join(map(str, clusters))}")
        return None
    return [(place, name) for place, name in zip(places, clusters.values(), strict=True) if place is not None]
