"""How a change acts on a member document, and which paths it touched.

Laws:
- A change returns a new document and leaves the old one as it was. Unchanged parts are shared, not copied.
- `touched` names every path whose value may differ. A path that isn't on, above or below a touched one is unchanged.
"""

from __future__ import annotations

from typing import Any

from memberstream.models.packed_list import PackedList
from memberstream.models.path import Path

Document = dict[str, Any]
MAX_DEPTH = 64  # orjson writes at most 254 levels; patches and appends add at most MAX_SEGMENTS to this


class NotAList(ValueError):
    """An append names a path whose value is there and isn't a list, or whose way leads through no object."""


def merge_patch(target: Any, patch: Any, touched: set[Path], at: Path = ()) -> Any:
    """Return `target` changed by a JSON Merge Patch; adds the paths it set or removed to `touched`.

    Source: RFC 7396, section 2.
    """
    if not isinstance(patch, dict):
        touched.add(at)
        return patch
    if isinstance(target, dict):
        merged = target.copy()
    else:
        merged = {}
        touched.add(at)
    for key, change in patch.items():
        path = (*at, key)
        if type(change) is dict:
            merged[key] = merge_patch(merged.get(key), change, touched, path)
            continue
        touched.add(path)
        if change is None:
            merged.pop(key, None)
        else:
            merged[key] = change
    return merged


def append(document: Document, path: Path, value: Any, touched: set[Path]) -> Document:
    """Return `document` with `value` at the end of the list at `path`. What is missing or null on the way is created.

    Raises:
        NotAList: the value at `path` is no list, or the path leads through a value that is no object.
    """
    changed = document.copy()
    parent = changed
    for key in path[:-1]:
        inner = parent.get(key)
        if inner is not None and not isinstance(inner, dict):
            raise NotAList
        parent[key] = parent = dict(inner or {})
    items = parent.get(path[-1])
    if type(items) is PackedList:
        parent[path[-1]] = items.plus(value)
    elif items is None or isinstance(items, list):
        parent[path[-1]] = [*(items or ()), value]
    else:
        raise NotAList
    touched.add(path)
    return changed


def depth(value: Any) -> int:
    """Return how many objects and lists lie inside one another: 0 for a scalar, 1 for `[]`; without recursion."""
    levels, level = 0, [value]
    while level := [inner for inner in level if isinstance(inner, (dict, list))]:
        levels += 1
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)]
    return levels
