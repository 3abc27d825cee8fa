"""Which of a model's paths occur in documents: a path that never does is nearly always misspelt.

Law: a path is seen when its value is there and isn't null, in one document at least; inside a list, in one element.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from models.model import Model
from models.path import Path, format_path, getter
from models.predictor import Combination
from models.source import ListAggregate


def unseen_paths(model: Model, documents: Iterable[Any]) -> list[str]:
    """Return the paths of a model that none of the documents has, as `purchases` or `purchases[].amount`.

    Paths inside the elements of a list that isn't there itself are left out: they would only be its echo.
    """
    missing = dict.fromkeys(place for predictor in model.predictors for place in _places(predictor.source))
    for document in documents:
        if not missing:
            break
        for place in [place for place in missing if _has(document, *place)]:
            del missing[place]
    lists = {outer for outer, inner in missing if not inner}
    return [
        f"{format_path(outer)}[].{format_path(inner)}" if inner else format_path(outer)
        for outer, inner in missing
        if not inner or outer not in lists
    ]


def _places(source: Any) -> list[tuple[Path, Path]]:
    """Return the (path in the document, path in its elements or none) that a source reads."""
    if isinstance(source, Combination):
        return []
    if not isinstance(source, ListAggregate):
        return [(source.path, ())]
    inner = [source.value, source.time or (), *(condition.path for condition in source.where)]
    return [(source.path, ()), *((source.path, path) for path in inner if path)]


def _has(document: Any, outer: Path, inner: Path) -> bool:
    value = getter(outer)(document)
    if not inner:
        return value is not None
    get = getter(inner)
    return isinstance(value, list) and any(get(element) is not None for element in value)
