"""The registry: whatever steps a log holds, its laws hold after each of them."""

from __future__ import annotations

import json
from typing import Any, get_args

import orjson
import pytest
from authored import BY, defined
from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.coverage import coverage, unseen_paths
from memberstream.models.log_record import COMPLETE, NOTHING, StepError, decode, encode
from memberstream.models.log_steps import (
    DeleteCampaign,
    GiveUp,
    PauseCampaign,
    Promote,
    Publish,
    PublishList,
    ResumeCampaign,
    Retire,
    Rollback,
    SetCampaign,
    Step,
    Upload,
)
from memberstream.models.model_file import parse
from memberstream.models.registry import Registry, SetAside, Status
from memberstream.models.terms import Terms
from memberstream.stream.keyspace.formats import format_campaign, format_model, parse_campaign, parse_model
from memberstream.stream.registry.publication import announce

NAMES, VERSIONS = ("a", "b"), (1, 2, 3)


def step_of(kind: str, name: str, version: int, replaces: int | None, content: int, token: str) -> Step:
    """Return a step about a version; what its kind doesn't have is left out."""
    definition = defined(name, version, content=content)
    kinds: dict[str, Step] = {
        "publish": Publish(name, version, definition, **BY),
        "upload": Upload(name, version, definition, token, **BY),
        "publish list": PublishList(name, version, definition, token, **BY),
        "give up": GiveUp(name, version, token, **BY),
        "retire": Retire(name, version, **BY),
        "promote": Promote(name, version, replaces, **BY),
        "rollback": Rollback(name, version, replaces, **BY),
    }
    return kinds[kind]


STEPS = st.lists(
    st.builds(
        step_of,
        st.sampled_from(["publish", "publish", "promote", "rollback", "retire", "upload", "publish list", "give up"]),
        st.sampled_from(NAMES),
        st.sampled_from(VERSIONS),
        st.none() | st.sampled_from(VERSIONS),
        st.integers(0, 1),
        st.sampled_from(["t", "u"]),
    ),
    max_size=30,
)


#: What a log may hold beside steps; each is set aside.
_BASE = {"action": "publish", "name": "a", "version": 9, "at_ms": 1, "actor": "x"}
_FILE = {"name": "a", "version": 9, "model": {"type": "logistic"}, "clusters": [{"id": 1, "name": "low"}]}


def _text(step: dict[str, Any], definition: str | None = None) -> bytes:
    body = orjson.dumps(step).decode()
    return (body if definition is None else body[:-1] + f',"definition":{definition}}}').encode()


MISSHAPEN = [
    None,
    b"",
    b"null",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    _text(_BASE),
    _text(_BASE, "{}"),
    _text(_BASE, '{"x":' + "[" * 100_000 + "]" * 100_000 + "}"),
    _text(_BASE, orjson.dumps(_FILE).decode()[:-1] + ',"x":' + "[" * 300 + "]" * 300 + "}"),
    _text(_BASE, orjson.dumps(_FILE).decode()[:-1] + ',"x":123456789012345678901234567890}'),
    _text(_BASE, '{"x":NaN}'),
    _text(_BASE, '{"x":1e999}'),
    _text(_BASE, orjson.dumps(_FILE | {"version": 8}).decode()),
    _text(_BASE, orjson.dumps(_FILE | {"model": "logistic"}).decode()),
    _text(_BASE, orjson.dumps(_FILE | {"clusters": [{"id": True, "name": "low"}]}).decode()),
    _text(_BASE, orjson.dumps(_FILE | {"clusters": {"id": 1}}).decode()),
    _text(_BASE | {"name": "a\nb"}, orjson.dumps(_FILE | {"name": "a\nb"}).decode()),
    _text(_BASE | {"action": "frobnicate"}),
    _text(_BASE | {"action": "promote", "version": 2**40}),
    _text(_BASE | {"action": "promote", "at_ms": 2**63}),
    _text(_BASE | {"action": "retire", "token": "\x00"}),
    _text(_BASE | {"action": "campaign_set", "name": "c", "terms": {"model": "a", "clusters": [2**40]}}),
    _text(_BASE | {"action": "campaign_set", "name": "c", "terms": {"model": "\u001b[2J", "clusters": [1]}}),
    _text(_BASE | {"action": "campaign_pause", "name": "\u001b[2J"}),
    _text(_BASE | {"action": "campaign_set", "name": "c"}),
    b'{"action":"promote","name":"a","version":1234567890123456789012345678901234567890,"at_ms":1,"actor":"x"}',
]
ANYTHING = st.one_of(
    st.sampled_from(MISSHAPEN),
    st.binary(max_size=60),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    st.dictionaries(
        st.sampled_from([*_BASE, "replaces", "definition", "terms", "token", "forced", "reason"]),
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just({}) | st.just([]),
    ).map(lambda body: json.dumps(_BASE | {"action": "upload"} | body).encode()),
)
#: Each kind of step with its bytes, as they stand in the logs of all releases.
_DEFINITION = '{"name":"a","version":1,"model":{"type":"logistic"},"clusters":[{"id":1,"name":"low"}]}'
BYTES = [
    (
        Publish("a", 1, defined("a", 1), at_ms=5, actor="me", reason="new", forced=True),
        f'{{"action":"publish","name":"a","version":1,"at_ms":5,"actor":"me","reason":"new","definition":{_DEFINITION},'
        '"forced":true}',
    ),
    (
        Upload("a", 1, defined("a", 1), "t", **BY),
        f'{{"action":"upload","name":"a","version":1,"at_ms":1,"actor":"somebody","definition":{_DEFINITION},'
        '"token":"t"}',
    ),
    (
        PublishList("a", 1, defined("a", 1), "t", **BY),
        f'{{"action":"publish","name":"a","version":1,"at_ms":1,"actor":"somebody","definition":{_DEFINITION},'
        '"token":"t"}',
    ),
    (
        GiveUp("a", 1, "t", **BY),
        '{"action":"retire","name":"a","version":1,"at_ms":1,"actor":"somebody","token":"t"}',
    ),
    (Retire("a", 1, **BY), '{"action":"retire","name":"a","version":1,"at_ms":1,"actor":"somebody"}'),
    (Promote("a", 1, None, **BY), '{"action":"promote","name":"a","version":1,"at_ms":1,"actor":"somebody"}'),
    (
        Rollback("a", 1, 2, **BY),
        '{"action":"rollback","name":"a","version":1,"at_ms":1,"actor":"somebody","replaces":2}',
    ),
    (
        SetCampaign("c", None, Terms("a", (1, 2), until_ms=9), **BY),
        '{"action":"campaign_set","name":"c","version":0,"at_ms":1,"actor":"somebody",'
        '"terms":{"model":"a","clusters":[1,2],"until_ms":9}}',
    ),
    (
        PauseCampaign("c", 0, **BY),
        '{"action":"campaign_pause","name":"c","version":0,"at_ms":1,"actor":"somebody","replaces":0}',
    ),
    (
        ResumeCampaign("c", 7, **BY),
        '{"action":"campaign_resume","name":"c","version":0,"at_ms":1,"actor":"somebody","replaces":7}',
    ),
    (
        DeleteCampaign("c", 8, **BY),
        '{"action":"campaign_delete","name":"c","version":0,"at_ms":1,"actor":"somebody","replaces":8}',
    ),
]


@pytest.mark.parametrize(("step", "text"), BYTES)
def test_each_step_has_the_bytes_that_it_always_had(step: Step, text: str) -> None:
    """Written and read, so versions before and after understand one another; fields of a newer one are passed over."""
    assert encode(step).decode() == text
    assert decode(text.encode()) == step
    assert decode(f'{text[:-1]},"future":1}}'.encode()) == step
    assert step.label in ("a@1", "c")


def test_every_kind_of_step_has_its_bytes() -> None:
    """None is left out above."""
    assert {type(step) for step, _ in BYTES} == set(get_args(Step))


@pytest.mark.parametrize("value", MISSHAPEN)
def test_what_isnt_a_step_is_set_aside_with_its_reason(value: bytes | None) -> None:
    """It takes its offset and nothing else; the reason is one line, without control characters."""
    registry = Registry()
    why = registry.take(7, value)
    assert why.isprintable()
    assert (registry.offset, registry.n_set_aside, list(registry.set_aside)) == (7, 1, [SetAside(7, why)])
    assert not registry.versions | registry.campaigns


@given(st.data(), STEPS)
def test_no_record_changes_what_the_others_give(data: st.DataObject, steps: list[Step]) -> None:
    """Any bytes as records, anywhere among steps: the registry is that of the steps alone, and it can be announced."""
    with_all, without, offset = Registry(), Registry(), 0
    for step in steps:
        for value in data.draw(st.lists(ANYTHING, max_size=3)):
            if value in (NOTHING, COMPLETE):  # no steps, but they say something
                continue
            try:
                decode(value)
            except StepError:
                with_all.take(offset, value)
                offset += 1
        assert with_all.take(offset, encode(step)) == without.take(offset, encode(step))
        offset += 1
    for name in ("versions", "live", "campaigns", "history", "campaign_history", "changed_at", "is_complete"):
        assert getattr(with_all, name) == getattr(without, name)
    assert announce(with_all).models == announce(without).models


@given(st.lists(ANYTHING))
def test_whatever_is_in_a_log_it_is_folded_and_told(values: list[bytes | None]) -> None:
    """Also what happens to be a step: readers can be told of the registry, and each record took its offset."""
    registry = Registry()
    for offset, value in enumerate(values):
        registry.take(offset, value)
        assert registry.offset == offset
    announcement = announce(registry)
    for model in announcement.models:
        assert parse_model(format_model(model)) == (model.type, dict(model.clusters))
    assert all(parse_campaign(c.id.encode(), format_campaign(c)) == c for c in announcement.campaigns)


def test_a_log_that_is_begun_anew_isnt_complete_until_it_says_so() -> None:
    """The records that take the lost log's offsets say nothing of models."""
    registry = Registry()
    assert [registry.take(offset, NOTHING) for offset in range(3)] == ["", "", ""]
    assert (registry.offset, registry.is_complete, registry.n_set_aside) == (2, False, 0)
    registry.take(3, COMPLETE)
    assert registry.is_complete


def publish(version: int = 1, name: str = "a", **content: Any) -> Publish:
    return Publish(name, version, defined(name, version, **content), **BY)


def promote(version: int, replaces: int | None, at_ms: int = 2, name: str = "a") -> Promote:
    return Promote(name, version, replaces, at_ms=at_ms, actor="somebody")


def retire(version: int) -> Retire:
    return Retire("a", version, **BY)


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
    registry, contents, retired = Registry(), dict[str, Any](), set[str]()
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
            assert label == entry.label
            if entry.status is not Status.UPLOADING and label not in retired:
                assert contents.setdefault(label, entry.definition) == entry.definition
            assert (entry.status is Status.LIVE) == (registry.live.get(entry.name) == entry.version)
            assert (entry.status is Status.RETIRED) == (entry.retired_at is not None)
            assert label not in retired or entry.status is Status.RETIRED
            retired |= {label} if entry.status is Status.RETIRED else set()
        uploading = [entry for entry in registry.versions.values() if entry.status is Status.UPLOADING]
        assert len({entry.name for entry in uploading}) == len(uploading)
        expected = registry.versions.keys() - retired - {e.label for e in uploading}
        assert {e.label for e in registry.scored()} == expected
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
    registry.add(4, retire(2))
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
    registry.add(5, Rollback("a", 1, 2, at_ms=30, actor="somebody"))
    assert (registry.live, registry.previous("a"), registry.live_at("a", 30)) == ({"a": 1}, 2, 1)
    registry.add(6, retire(2))
    assert registry.previous("a") is None
    assert registry.previous("unknown") is None


def test_steps_that_name_nothing_are_told_what_there_is() -> None:
    """An unknown version, an unknown name, a retired one, the live one retired."""
    registry = folded(publish(1), publish(2), promote(1, None), retire(2))
    for step, expected in (
        (promote(9, 1), "a@9 isn't published; of a: a@1, a@2"),
        (promote(1, None, name="b"), "b@1 isn't published; of b: no version"),
        (promote(2, 1), "a@2 is retired"),
        (retire(1), "a@1 is live"),
    ):
        assert expected in registry.objection(step)


def upload(version: int, token: str) -> Upload:
    return Upload("a", version, defined("a", version, {}), token, **BY)


def published(version: int, token: str) -> PublishList:
    return PublishList("a", version, defined("a", version), token, **BY)


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
    assert (entry.label, entry.definition, entry.offset) == ("a@1", defined("a", 1), 1)
    assert (entry.token, entry.status) == ("t", Status.CANDIDATE)
    assert "the upload of a@1 was ended" in registry.objection(published(1, "t"))  # a list is published once
    assert registry.add(2, promote(1, None)) == ""


def test_a_model_never_takes_a_lists_version() -> None:
    """Neither while the list is uploaded nor later; its author learns that it is a list, and what helps."""
    steps: list[Step] = [upload(1, "t"), published(1, "t"), promote(1, None)]
    for n in range(1, len(steps) + 1):
        said = folded(*steps[:n]).objection(publish(1))
        assert said == "a@1 is an uploaded list. Next: publish this one as a new version"


def test_nobody_uploads_into_a_log_that_isnt_complete() -> None:
    """Readers aren't told of it yet, and so nobody who is deleted meanwhile would leave the list."""
    registry = Registry()
    registry.take(0, NOTHING)
    why_not = registry.add(1, upload(1, "x"))
    assert "not complete" in why_not
    assert why_not.endswith("then upload")
    assert not registry.versions
    assert registry.add(2, publish(name="b")) == ""
    registry.take(3, COMPLETE)
    assert registry.add(4, upload(1, "x")) == ""


def test_another_upload_ends_the_one_under_way() -> None:
    """Whoever was interrupted, or is slower, is retired: workers remove its rows, and its publication doesn't count."""
    registry = folded(upload(1, "t"), upload(2, "u"))
    assert [(v.version, v.status, v.retired_at) for v in registry.versions.values()] == [
        (1, Status.RETIRED, 1), (2, Status.UPLOADING, None),
    ]  # fmt: skip
    assert "the upload of a@1 was ended" in registry.add(2, published(1, "t"))
    assert registry.add(3, retire(2)) == ""  # given up by its author
    assert "the upload of a@2 was ended" in registry.add(4, published(2, "u"))
    assert registry.next_version("a") == 3


def test_whoever_gives_an_upload_up_is_heard_even_if_it_was_ended() -> None:
    """It may have written since: its rows are to be withdrawn once more. A published list isn't given up so."""

    def give_up(version: int, token: str) -> GiveUp:
        return GiveUp("a", version, token, **BY)

    registry = folded(upload(1, "t"), upload(2, "u"), give_up(1, "t"))
    assert (registry.versions["a@1"].status, registry.versions["a@1"].retired_at) == (Status.RETIRED, 2)
    assert registry.changed_at == 2
    assert registry.add(3, published(2, "u")) == ""
    for step in (give_up(2, "u"), give_up(1, "another"), give_up(3, "t")):
        assert "isn't being uploaded. Next: " in registry.objection(step)


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

    def unseen(some: list[Any]) -> list[str]:
        return unseen_paths(coverage(model.predictors, some))

    assert unseen([]) == everything
    assert unseen([{"apps": {"shopping": {"opens": None}}, "purchases": "none"}]) == [
        "apps.shopping.opens", "apps.typo", "visits",
    ]  # fmt: skip
    documents = [
        {"apps": {"shopping": {"opens": 1}, "typo": 0}},
        {"purchases": [{}, {"amount": 1}], "visits": [{"kind": "x"}]},
        {"purchases": [{"at": "2020-01-01", "kind": "cd"}]},
    ]
    assert unseen(documents) == ["purchases[].amount"]  # of cds: only they are summed
    assert unseen([*documents, {"purchases": [{"amount": 2, "kind": "cd"}]}]) == []
    assert unseen(documents[:2]) == ["purchases[].kind"]


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (Promote("a", 1, 1 << 62, **BY), "replaces: expected a version or an offset"),
        (SetCampaign("c", None, Terms("a", (1,), from_ms=1 << 62), **BY), "terms: expected times in ms"),
        (SetCampaign("c", None, Terms("a", (1,), window_ms=-1), **BY), "terms: expected windows in ms"),
    ],
)
def test_numbers_that_nobody_could_use_are_set_aside(step: Step, why: str) -> None:
    """A step with a number that is no offset and no time is named by it."""
    registry = Registry()
    assert registry.take(0, encode(step)) == why
    assert list(registry.set_aside) == [SetAside(0, why)]


def test_a_registry_becomes_another() -> None:
    """Whoever holds it sees the log that was read anew, as those do who read it first."""
    held, anew = Registry(), Registry()
    anew.take(0, b"no step")
    held.become(anew)
    assert (held, held.offset, list(held.set_aside)) == (anew, 0, list(anew.set_aside))
