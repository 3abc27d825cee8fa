"""The registry: whatever steps a log holds, its laws hold after each of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.coverage import unseen_paths
from models.model_file import parse
from models.registry import Registry, Status, Step, StepError, decode, digest, encode

NAMES, VERSIONS = ("a", "b"), (1, 2, 3)
STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["publish", "promote", "rollback", "retire", "upload"]),
        st.sampled_from(NAMES),
        st.sampled_from(VERSIONS),
        st.integers(0, 50),
        st.just("somebody"),
        replaces=st.none() | st.sampled_from(VERSIONS),
        definition=st.fixed_dictionaries({"content": st.integers(0, 1)}),
        token=st.sampled_from(["", "", "t", "u"]),
    ),
    max_size=30,
)


def publish(version: int = 1, name: str = "a", **content: Any) -> Step:
    return Step("publish", name, version, 1, "somebody", definition=content)


def promote(version: int, replaces: int | None, at_ms: int = 2, name: str = "a") -> Step:
    return Step("promote", name, version, at_ms, "somebody", replaces=replaces)


def folded(*steps: Step) -> Registry:
    """Return the registry of a log in which every step counts."""
    registry = Registry()
    for offset, step in enumerate(steps):
        assert registry.add(offset, step) == ""
    return registry


@given(STEPS)
def test_the_laws_hold_after_every_step(steps: list[Step]) -> None:
    """A label's content never changes once it is published; at most one version of a name is live, and it is a
    published one that isn't retired; at most one upload of a name is under way; a retired one stays so; a step that
    doesn't count changes nothing but the offset and says what to do."""
    registry, contents, retired = Registry(), {}, set()
    for offset, step in enumerate(steps):
        before = (dict(registry.live), [(k, v.status) for k, v in registry.versions.items()], len(registry.history))
        why_not = registry.add(offset, step)
        assert registry.offset == offset >= registry.changed_at
        if why_not:
            assert "Next: " in why_not
            assert before == (
                registry.live, [(k, v.status) for k, v in registry.versions.items()], len(registry.history)
            )  # fmt: skip
        for label, entry in registry.versions.items():
            assert entry.digest == digest(entry.definition)
            if entry.status is not Status.UPLOADING and label not in retired:
                assert contents.setdefault(label, entry.digest) == entry.digest
            assert (entry.status is Status.LIVE) == (registry.live.get(entry.name) == entry.version)
            assert (entry.status is Status.RETIRED) == (entry.retired_at is not None)
            assert label not in retired or entry.status is Status.RETIRED
            retired |= {label} if entry.status is Status.RETIRED else set()
        uploading = [entry for entry in registry.versions.values() if entry.status is Status.UPLOADING]
        assert len({entry.name for entry in uploading}) == len(uploading)
        expected = registry.versions.keys() - retired - {f"{e.name}@{e.version}" for e in uploading}
        assert {f"{e.name}@{e.version}" for e in registry.scored()} == expected
        for name in NAMES:
            assert f"{name}@{registry.next_version(name)}" not in registry.versions
            assert registry.live_at(name, -1) is None
            previous = registry.previous(name)
            assert previous is None or (previous != registry.live.get(name) and f"{name}@{previous}" not in retired)


@given(STEPS)
def test_a_fold_depends_on_the_log_alone(steps: list[Step]) -> None:
    """Two folds of the same log agree, also over the wire."""
    first, second = Registry(), Registry()
    for offset, step in enumerate(steps):
        assert first.add(offset, step) == second.add(offset, decode(encode(step)))
    assert first == second


def test_publishing_twice() -> None:
    """The same content again changes nothing; other content is refused, and so is a label that was retired."""
    registry = folded(publish(x=1), publish(x=1), publish(2))
    assert registry.changed_at == 2
    assert [step.version for step in registry.history] == [1, 2]
    assert "other content" in registry.add(3, publish(x=2))
    registry.add(4, Step("retire", "a", 2, 5, "somebody"))
    assert "retired" in registry.add(5, publish(2))
    assert registry.changed_at == 4


def test_the_first_of_two_deciders_wins() -> None:
    """Two people promote different versions over the same live one: the second is told, and nothing has changed."""
    registry = folded(publish(1), publish(2), publish(3), promote(1, None))
    assert registry.add(4, promote(2, 1)) == ""
    assert registry.add(5, promote(3, 1)) == (
        "a: version 1 was live when this was decided, now version 2 is. Next: look and try again"
    )
    assert "none was live when this was decided, now version 2 is" in registry.add(6, promote(3, None))
    assert "live already" in registry.add(7, promote(2, 2))
    assert registry.live == {"a": 2}


def test_what_lived_when() -> None:
    """`live_at` and `previous` follow promotions and rollbacks; a retired version isn't gone back to."""
    registry = folded(publish(1), publish(2), publish(3), promote(1, None, 10), promote(2, 1, 20))
    assert [registry.live_at("a", at_ms) for at_ms in (9, 10, 19, 20, 99)] == [None, 1, 1, 2, 2]
    assert registry.previous("a") == 1
    registry.add(5, Step("rollback", "a", 1, 30, "somebody", replaces=2))
    assert (registry.live, registry.previous("a"), registry.live_at("a", 30)) == ({"a": 1}, 2, 1)
    registry.add(6, Step("retire", "a", 2, 40, "somebody"))
    assert registry.previous("a") is None
    assert registry.previous("unknown") is None


def test_steps_that_name_nothing_are_told_what_there_is() -> None:
    """An unknown version, an unknown name, a retired one, the live one retired."""
    registry = folded(publish(1), publish(2), promote(1, None), Step("retire", "a", 2, 5, "somebody"))
    for step, expected in (
        (promote(9, 1), "a@9 isn't published; of a: a@1, a@2"),
        (promote(1, None, name="b"), "b@1 isn't published; of b: no version"),
        (promote(2, 1), "a@2 is retired"),
        (Step("retire", "a", 1, 6, "somebody"), "a@1 is live"),
    ):
        assert expected in registry.objection(step)


def upload(version: int, token: str) -> Step:
    return Step("upload", "a", version, 1, "somebody", definition={"begun": True}, token=token)


def published(version: int, token: str) -> Step:
    return Step("publish", "a", version, 2, "somebody", definition={"rows": 7}, token=token)


def test_a_list_is_a_version_once_it_is_whole() -> None:
    """While it is uploaded nobody scores, promotes or finds it; with the step of the same token it is a candidate."""
    registry = folded(upload(1, "t"))
    assert (registry.scored(), registry.next_version("a"), registry.changed_at) == ([], 2, 0)
    assert "a@1 isn't published; of a: no version" in registry.objection(promote(1, None))
    assert "the upload of a@1 was ended" in registry.objection(published(1, "another"))
    assert "the upload of a@2 was ended" in registry.objection(published(2, "t"))
    assert "a@1 is taken" in registry.objection(upload(1, "u"))
    assert registry.add(1, published(1, "t")) == ""
    [entry] = registry.scored()
    assert (entry.definition, entry.offset, entry.token, entry.status) == ({"rows": 7}, 1, "t", Status.CANDIDATE)
    assert "the upload of a@1 was ended" in registry.objection(published(1, "t"))  # a list is published once
    assert registry.add(2, promote(1, None)) == ""


def test_a_model_never_takes_a_lists_version() -> None:
    """Neither while the list is uploaded nor later; its author learns that it is a list, and what helps."""
    steps = [upload(1, "t"), published(1, "t"), promote(1, None)]
    for n in range(1, len(steps) + 1):
        said = folded(*steps[:n]).objection(publish(1))
        assert said == "a@1 is an uploaded list. Next: publish this one as a new version"


def test_another_upload_ends_the_one_under_way() -> None:
    """Whoever was interrupted, or is slower, is retired: workers remove its rows, and its publication doesn't count."""
    registry = folded(upload(1, "t"), upload(2, "u"))
    assert [(v.version, v.status, v.retired_at) for v in registry.versions.values()] == [
        (1, Status.RETIRED, 1), (2, Status.UPLOADING, None),
    ]  # fmt: skip
    assert "the upload of a@1 was ended" in registry.add(2, published(1, "t"))
    assert registry.add(3, Step("retire", "a", 2, 5, "somebody")) == ""  # given up by its author
    assert "the upload of a@2 was ended" in registry.add(4, published(2, "u"))
    assert registry.next_version("a") == 3


def test_whoever_gives_an_upload_up_is_heard_even_if_it_was_ended() -> None:
    """It may have written since: its rows are to be withdrawn once more. A published list isn't given up so."""

    def give_up(version: int, token: str) -> Step:
        return Step("retire", "a", version, 3, "somebody", token=token)

    registry = folded(upload(1, "t"), upload(2, "u"), give_up(1, "t"))
    assert (registry.versions["a@1"].status, registry.versions["a@1"].retired_at) == (Status.RETIRED, 2)
    assert registry.changed_at == 2
    assert registry.add(3, published(2, "u")) == ""
    for step in (give_up(2, "u"), give_up(1, "another"), give_up(3, "t")):
        assert "isn't being uploaded. Next: " in registry.objection(step)


def test_a_record_that_is_no_step_is_refused() -> None:
    """It names what was found; it may be of a newer version."""
    for data in (b"{", b"[]", b'{"action":"explode","name":"a","version":1,"at_ms":1,"actor":"x"}'):
        with pytest.raises(StepError, match="expected a step, found"):
            decode(data)


def test_paths_that_no_document_has_are_named() -> None:
    """A path is seen in any one document; null isn't there; inside a list one element is enough; what would only be the
    echo of a missing list is left out, and operands have paths of their own."""
    predictors = [
        {"name": "opens", "path": "apps.shopping.opens", "missing": 0},
        {"name": "odd", "path": "apps.typo", "missing": 0},
        {
            "name": "spent",
            "path": "purchases",
            "aggregate": "sum",
            "value": "amount",
            "time": "at",
            "where": {"kind": "cd"},
        },
        {"name": "n", "path": "visits", "aggregate": "count", "where": {"kind": "web"}},
        {"name": "share", "ratio": ["opens", "spent"], "missing": 0},
    ]
    model = parse(
        {
            "format": 1,
            "name": "m",
            "version": 1,
            "predictors": predictors,
            "model": {"type": "kmeans", "centroids": [[0, 0, 0, 0, 0]]},
            "clusters": [{"id": 1, "name": "all"}],
        }
    )
    everything = ["apps.shopping.opens", "apps.typo", "purchases", "visits"]
    assert unseen_paths(model, []) == everything
    assert unseen_paths(model, [{"apps": {"shopping": {"opens": None}}, "purchases": "none"}]) == [
        "apps.shopping.opens", "apps.typo", "purchases[].amount", "purchases[].at", "purchases[].kind", "visits",
    ]  # fmt: skip
    documents = [
        {"apps": {"shopping": {"opens": 1}, "typo": 0}},
        {"purchases": [{}, {"amount": 1}], "visits": [{"kind": "x"}]},
        {"purchases": [{"at": "2020-01-01", "kind": "cd"}]},
    ]
    assert unseen_paths(model, documents) == []
    assert unseen_paths(model, documents[:2]) == ["purchases[].at", "purchases[].kind"]
    assert unseen_paths(model, iter([*documents, NotImplemented])) == []  # nothing is read once all is seen
