"""What the parts of a split are called."""

from __future__ import annotations

from models.registry import Registry, Step
from stream.campaigning import split_ids


def registry(*names: str) -> Registry:
    """A registry with one live model whose clusters have these names, numbered from 1."""
    found = Registry()
    clusters = [{"id": i, "name": name} for i, name in reversed(list(enumerate(names, 1)))]
    found.add(0, Step("publish", "activity", 1, 0, "me", definition={"clusters": clusters}))
    found.add(1, Step("promote", "activity", 1, 0, "me"))
    return found


def test_parts_are_named_after_clusters() -> None:
    """In an id's letters, by cluster; by number where the names are alike in these letters, or have none of them."""
    assert split_ids(registry("low", "Very High!"), "spring", "activity") == {"spring-low": 1, "spring-very-high": 2}
    for names in (("A b", "a_b", "a-b"), ("low", "高い")):
        expected = {f"spring-{i}": i for i in range(1, len(names) + 1)}
        assert split_ids(registry(*names), "spring", "activity") == expected
