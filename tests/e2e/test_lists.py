"""Uploaded lists: from a file to look-ups, through interruptions, lost Redis, deletions, and their replacement."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from authored import BY
from e2e.commands import memberstream
from e2e.definitions import level
from e2e.system import PATIENCE_S, Install, Pair, Sent, System, event, pause_s
from keys import KEYS
from prefork import PythonProcess

from memberstream.models.definition import read_definition
from memberstream.models.list_version import ListVersion
from memberstream.models.log_steps import Publish
from memberstream.models.model_file import parse
from memberstream.models.problems import ModelFileError
from memberstream.models.registry import Status
from memberstream.models.terms import Terms
from memberstream.stream.authoring import comparing
from memberstream.stream.authoring import uploading as lists
from memberstream.stream.authoring.campaigning import Campaigning
from memberstream.stream.authoring.memberships import memberships, pairs
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.authoring.steps import Steps, find
from memberstream.stream.authoring.uploading import Options, RowsRejected, Uploaded, Uploading
from memberstream.stream.files.lists import read_rows
from memberstream.stream.lists.rows import SEPARATOR, ListRowsError
from memberstream.stream.lookup import Lookup
from memberstream.stream.notebook import upload
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.settings import variable

KNOWN = [f"m{i}" for i in range(60)]  # with a document
LISTED = [f"m{i}" for i in range(40, 100)]  # 20 of them, and 40 without


@pytest.fixture
async def system(pair: Pair, install: Install) -> System:
    """A running worker with `level@1` live and everybody of KNOWN scored."""
    system = await install(pair, [level()])
    system.start()
    await system.send([Sent(m.encode(), event("replace", document={"x": i % 4})) for i, m in enumerate(KNOWN)])
    await system.applied()
    return system


def author(system: System) -> Publishing:
    return Publishing(system.settings, "author@notebook")


async def give(system: System, rows: Mapping[str, int], name: str = "buyers", **options: Any) -> Uploaded:
    """Upload rows and wait until workers have them in Redis."""
    uploading = Uploading(system.settings, "author@notebook")
    outcome = await uploading.upload(read_rows(rows), Options(name, **options))
    await complete(system, outcome.label)
    return outcome


async def complete(system: System, label: str) -> None:
    """Return when all partitions have a version."""
    publishing = author(system)
    async with asyncio.timeout(60):
        async for _ in publishing.wait(find(await publishing.registry(), label)):
            pass


async def clusters(system: System, name: str = "buyers") -> dict[str, int]:
    """Return member → cluster under the live version, as readers see it (those that have one)."""
    everybody = sorted({*KNOWN, *LISTED})
    with Lookup(system.settings.redis_url) as lookup:
        found = {a.member_id: a.cluster(name) for a in lookup.get_many(everybody)}
    return {m: cluster for m, cluster in found.items() if cluster is not None}


async def rows_left(system: System, label: str) -> dict[str, int]:
    """Return the rows of a version that no later record withdraws."""
    newest = {record.key: record.value for record in await system.read(system.settings.lists_topic)}
    found = {}
    for key, value in newest.items():
        prefix, _, member = key.partition(SEPARATOR)
        if value is not None and prefix.decode().startswith(f"{label}/"):
            found[member.decode()] = int(value)
    return found


async def no_rows_left(system: System, label: str) -> None:
    """Return when all rows of a version are withdrawn."""
    give_up_at = time.monotonic() + 20
    while await rows_left(system, label):
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.2)


async def test_a_list_goes_from_upload_to_look_ups_and_back(system: System) -> None:
    """A candidate that nobody reads; promoted it is read by everybody on it, also without a document; who isn't on it
    has no cluster and is current; a second version replaces it whole and is rolled back by one write."""
    first = {m: 1 + i % 2 for i, m in enumerate(LISTED)}
    outcome = await give(system, first, names={1: "low", 2: "high"})
    assert (outcome.label, outcome.sizes) == ("buyers@1", {1: 30, 2: 30})
    assert await clusters(system) == {}
    publishing = author(system)
    assert await publishing.sizes(find(await publishing.registry(), "buyers@1")) == {1: 30, 2: 30}
    await publishing.promote("buyers", 1)
    assert await clusters(system) == first
    with Lookup(system.settings.redis_url) as lookup:
        await asyncio.to_thread(lookup.get_patiently, "m100")
        [listed_only, both, document_only, nobody] = lookup.get_many(["m99", "m40", "m0", "m100"])
    assert [a.status for a in (listed_only, both, document_only)] == ["current"] * 3
    assert nobody.status == "unknown member"
    assert listed_only.memberships["buyers"].name == "high"
    assert (document_only.cluster("buyers"), document_only.cluster("level")) == (None, 1)
    second = dict.fromkeys(LISTED[:50], 2)
    await give(system, second)
    with pytest.raises(PublishError, match=r"35 of 60 members \(58\.3%\) would change.*Next: "):
        await publishing.promote("buyers", 2)
    await publishing.promote("buyers", 2, max_flips=0.6)
    assert await clusters(system) == second
    await publishing.rollback("buyers")
    assert await clusters(system) == first
    steps = [(s.action, s.version) for s in (await publishing.registry()).history if s.name == "buyers"]
    assert steps == [
        ("upload", 1), ("publish", 1), ("promote", 1), ("upload", 2), ("publish", 2), ("promote", 2), ("rollback", 1),
    ]  # fmt: skip


async def test_a_merge_keeps_who_isnt_named(system: System) -> None:
    """The new version is the old rows with the new ones over them."""
    await give(system, {"a": 1, "b": 2}, names={1: "low", 2: "high"})
    await author(system).promote("buyers", 1)
    outcome = await give(system, {"b": 3, "c": 1}, merge="buyers", names={3: "top"})
    assert (outcome.sizes, outcome.kept) == ({1: 2, 3: 1}, 1)
    entry = find(await author(system).registry(), "buyers@2")
    assert await rows_left(system, "buyers@2") == {"a": 1, "b": 3, "c": 1}
    assert list(entry.definition.clusters.values()) == ["low", "top"]
    dry = await Uploading(system.settings, "x").check(read_rows({"a": 2}), Options("buyers"))
    assert (dry.label, dry.moved, dry.held, dry.sizes) == ("buyers@3", 2, 2, {2: 1})
    # A dry run knows of the rows kept, also of another list or version than the live one.
    await give(system, {"a": 1, "z": 9}, "others")
    check = Uploading(system.settings, "x").check
    for merge, moved, sizes in (
        ("buyers", 0, {1: 1, 2: 2}),
        ("buyers@2", 1, {1: 2, 2: 1, 3: 1}),
        ("others@1", 1, {1: 1, 2: 1, 9: 1}),
    ):
        dry = await check(read_rows({"d": 2}), Options("buyers", merge=merge))
        assert (dry.moved, dry.held, dry.sizes) == (moved, 2, sizes)
    with pytest.raises(PublishError, match=r"level isn't a list"):
        await give(system, {"a": 1}, merge="level")


async def test_wrong_rows_publish_nothing_unless_left_out(system: System) -> None:
    """The error has line and reason; what had been written is withdrawn; left out knowingly, the rest is published."""
    rows: list[Any] = [("a", 1), ("", 2), ("b", -1), ("a", 2)]
    uploading = Uploading(system.settings, "author")
    with pytest.raises(RowsRejected, match="3 rows can't be taken"):
        await uploading.examine(read_rows(rows), Options("buyers"))
    assert "buyers@1" not in (await uploading.publishing.registry()).versions, "a version is used up"
    with pytest.raises(RowsRejected, match=r"(?s)3 rows can't be.*20002: member id.*line 20004: cluster 2, but"):
        await uploading.upload(read_rows([*[(f"n{i}", 1) for i in range(20_000)], *rows]), Options("buyers"))
    registry = await uploading.publishing.registry()
    assert registry.versions["buyers@1"].status is Status.RETIRED
    await no_rows_left(system, "buyers@1")
    outcome = await uploading.upload(read_rows(rows), Options("buyers", skip_bad=True))
    assert (outcome.label, outcome.n_rejected, outcome.sizes) == ("buyers@2", 3, {1: 1})


async def test_an_upload_that_another_one_ended_stops_and_leaves_nothing(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It notices while it still reads its file; what it wrote after its rows were withdrawn goes, too."""
    monkeypatch.setattr(lists, "LOOK_EVERY_S", 0.5)
    first, began, goes_on = Uploading(system.settings, "slow"), asyncio.Event(), asyncio.Event()
    look, n_read = first._steps.check_goes_on, 0

    async def looked(listed: ListVersion) -> None:
        began.set()
        await goes_on.wait()
        await look(listed)

    monkeypatch.setattr(first._steps, "check_goes_on", looked)

    def endless() -> Any:
        nonlocal n_read
        for chunk in read_rows((f"n{i}", 1) for i in count()):
            n_read += 1
            yield chunk

    slow = asyncio.create_task(first.upload(endless(), Options("buyers")))
    await began.wait()
    await give(system, dict.fromkeys(LISTED, 2))
    await no_rows_left(system, "buyers@1")
    goes_on.set()
    with pytest.raises(PublishError, match=r"the upload of buyers@1 was ended: .*Next: upload again") as told:
        await slow
    assert "buyers@1 is used up" in told.value.__notes__[0]
    assert n_read < 1_000
    await no_rows_left(system, "buyers@1")
    assert set(await rows_left(system, "buyers@2")) == set(LISTED)


async def test_a_list_merged_with_stays_published_meanwhile(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retired while its rows are read it has lost some of them: the upload is given up, whatever it got."""
    await give(system, {"a": 1, "b": 2})
    uploading = Uploading(system.settings, "author")
    kept = uploading._kept

    async def retired_after_reading(*of_what: Any) -> Any:
        async for part in kept(*of_what):
            yield part
        await uploading.publishing.retire("buyers", 1)

    monkeypatch.setattr(uploading, "_kept", retired_after_reading)
    with pytest.raises(PublishError, match=r"no model buyers@1 is published\. Next: "):
        await uploading.upload(read_rows({"c": 1}), Options("buyers", merge="buyers@1"))
    assert (await uploading.publishing.registry()).versions["buyers@2"].status is Status.RETIRED


@pytest.mark.parametrize(
    ("rows", "options", "problem"),
    [
        ({}, Options("buyers"), r"no rows.*Next: is it the right file"),
        ({f"m{i}": i for i in range(1_001)}, Options("buyers"), r"more than 1,000 clusters.*Next: is it the right col"),
        ({"a": 0, "b": 1}, Options("buyers", names={0: "1"}), r"clusters of one name: 1 \(0 and 1\).*Next: --names"),
        ({"a": 0}, Options("Bad name"), r"name: expected a name"),
        ({"a": 0}, Options("level", version=1), r"level@1 is taken\. Next: "),
    ],
)
async def test_what_no_worker_could_use_is_refused(system: System, rows: Any, options: Options, problem: str) -> None:
    """By a dry run as by the upload itself, and nothing is published."""
    uploading = Uploading(system.settings, "author")
    for attempt in (uploading.check, uploading.examine, uploading.upload):
        with pytest.raises((PublishError, ModelFileError), match=problem):
            await attempt(read_rows(rows), options)
    assert [entry.name for entry in (await uploading.publishing.registry()).scored()] == ["level"]


async def test_who_is_deleted_leaves_every_list(system: System) -> None:
    """A delete event takes a member out of Redis and of the rows of all lists, live and candidate, also one without a
    document; a loss of Redis afterwards, or a list that still names the member, brings nothing back."""
    await give(system, dict.fromkeys(LISTED, 1))
    await author(system).promote("buyers", 1)
    await give(system, dict.fromkeys(LISTED, 2))
    gone = ["m40", "m99"]  # with a document, without one
    await system.send([Sent(m.encode(), event("delete")) for m in gone])
    await system.applied()
    assert await clusters(system) == {m: 1 for m in LISTED if m not in gone}
    for label in ("buyers@1", "buyers@2"):
        assert set(await rows_left(system, label)) == set(LISTED) - set(gone)
    await give(system, dict.fromkeys(LISTED, 3))  # the author's table still has them
    assert set(await rows_left(system, "buyers@3")) == set(LISTED) - set(gone)
    system.redis.flushall()
    await system.applied()
    assert await clusters(system) == {m: 1 for m in LISTED if m not in gone}
    with Lookup(system.settings.redis_url) as lookup:
        await asyncio.to_thread(lookup.get_patiently, gone[0])
        assert {a.status for a in lookup.get_many(gone)} == {"unknown member"}
    entry = find(await author(system).registry(), "buyers@3")
    assert await author(system).sizes(entry) == {3: 58}


async def test_who_is_listed_long_after_its_delete_stays_so_when_redis_is_lost(system: System) -> None:
    """Its state remembers the delete for its version; that makes no tombstone anew, which would refuse its row."""
    await system.send([Sent(b"m40", event("delete", version=7))])
    await system.applied()
    system.redis.delete(KEYS.member(b"m40"))  # a day later
    await give(system, dict.fromkeys(LISTED, 1))
    await author(system).promote("buyers", 1)
    system.redis.flushall()
    await system.applied()
    give_up_at = time.monotonic() + PATIENCE_S
    while await clusters(system) != dict.fromkeys(LISTED, 1):  # the worker may not have read of the promotion yet
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.1)
    assert "m40" in await rows_left(system, "buyers@1")


async def test_a_lost_redis_gets_its_lists_back(system: System) -> None:
    """FLUSHALL, while the worker runs and while it is away: live list and candidate are there again when readers are
    told `current`; nobody is called unknown or off the list meanwhile."""
    await give(system, dict.fromkeys(LISTED, 1))
    await author(system).promote("buyers", 1)
    await give(system, dict.fromkeys(LISTED, 2))
    for restart in (False, True):
        if restart:
            system.stop()
        system.redis.flushall()
        if restart:
            system.start()
        with Lookup(system.settings.redis_url) as lookup:
            statuses = set()
            while not system.is_applied():
                statuses |= {a.status for a in lookup.get_many(LISTED) if a.cluster("buyers") is None}
                await asyncio.sleep(0.01)
        await system.applied()
        assert statuses <= {"rebuilding"}
        assert await clusters(system) == dict.fromkeys(LISTED, 1)
        assert all(system.held(m)["buyers@2"].startswith("2:") for m in LISTED)


async def test_a_deleted_topic_of_lists_holds_nothing_up(system: System) -> None:
    """Redis is made whole without the list, which is named in the log; members are scored and deleted as ever; uploaded
    again the list is there."""
    await give(system, dict.fromkeys(LISTED, 1))
    await author(system).promote("buyers", 1)
    system.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=system.pair.broker.bootstrap)
    await admin.start()
    await admin.delete_topics([system.settings.lists_topic])
    await admin.close()
    with pytest.raises(ListRowsError, match=r"lost\. Next: upload the list again"):
        await author(system).sizes(find(await author(system).registry(), "buyers"))
    system.redis.flushall()
    system.start()
    await system.send([Sent(b"m1", event("delete")), Sent(b"m2", event("replace", document={"x": 3}))])
    await system.applied()
    assert await clusters(system) == {}
    assert "made whole without its lists: buyers@1: " in system.says()
    await give(system, dict.fromkeys(LISTED, 2))
    await author(system).promote("buyers", 2, force=True)
    assert await clusters(system) == dict.fromkeys(LISTED, 2)


async def test_a_topic_of_lists_made_anew_is_told_from_the_old_one(system: System) -> None:
    """Grown longer than the old one was, it isn't read as the old list's rows; new lists are written all the same."""
    await give(system, dict.fromkeys(LISTED, 1))
    await author(system).promote("buyers", 1)
    admin = AIOKafkaAdminClient(bootstrap_servers=system.pair.broker.bootstrap)
    await admin.start()
    await admin.delete_topics([system.settings.lists_topic])
    await admin.close()
    await give(system, {f"n{i}": 2 for i in range(200)} | dict.fromkeys(LISTED, 2), "others")
    await author(system).promote("others", 1)
    with pytest.raises(ListRowsError, match=r"deleted and created again since: they are lost\. Next: upload the list"):
        await author(system).sizes(find(await author(system).registry(), "buyers"))
    system.redis.flushall()
    await system.applied()
    assert "made whole without its lists: buyers@1: " in system.says()
    assert await clusters(system) == {}
    assert await clusters(system, "others") == dict.fromkeys(LISTED, 2)


async def test_a_version_that_workers_cannot_load_holds_up_no_list(system: System) -> None:
    """It is told at once that they can't, and it isn't promoted; a list published after it is written, and who is
    deleted leaves that list."""
    publishing = author(system)
    definition = level(name="future") | {"model": {"type": "oracle"}}
    await Steps(system.settings, "author").take(Publish("future", 1, read_definition(definition), **BY))

    async def said() -> str:
        with pytest.raises(PublishError) as told:
            await complete(system, "future@1")
        return str(told.value)

    assert (
        "future@1 can't be used by the workers of 2 of 2 partitions; the log of partition 0's worker says why"
        in await said()
    )
    with pytest.raises(PublishError, match=r"can't be used.*Next: update these workers"):
        await publishing.promote("future", 1)
    await give(system, dict.fromkeys(LISTED, 1))
    await publishing.promote("buyers", 1)
    assert await clusters(system) == dict.fromkeys(LISTED, 1)
    await system.send([Sent(b"m99", event("delete"))])
    await system.applied()
    assert "m99" not in await rows_left(system, "buyers@1")
    assert "m99" not in await clusters(system)
    await publishing.retire("future", 1)
    await give(system, dict.fromkeys(LISTED, 2))


async def test_an_emptied_redis_in_the_middle_of_an_upload_ends_right(system: System) -> None:
    """FLUSHALL between rows, and between the last row and the workers' writing: the list is whole."""
    rows = {f"n{i}": 1 + i % 3 for i in range(30_000)}

    def slowly() -> Any:
        for i, chunk in enumerate(read_rows(rows)):
            if i == 1:
                system.redis.flushall()
            yield chunk

    uploading = Uploading(system.settings, "author")
    outcome = await uploading.upload(slowly(), Options("buyers"))
    system.redis.flushall()
    await system.applied()
    await complete(system, outcome.label)
    await uploading.publishing.promote("buyers", 1)
    with Lookup(system.settings.redis_url) as lookup:
        assert {a.member_id: a.cluster("buyers") for a in lookup.get_many(list(rows))} == rows


async def test_a_retired_list_leaves_nothing(system: System) -> None:
    """Its fields go from everybody on it, also from who has no document (whose key goes with the last field), and its
    rows are withdrawn; the live list stays."""
    await give(system, dict.fromkeys(LISTED, 1))
    await author(system).promote("buyers", 1)
    await give(system, dict.fromkeys([*LISTED, "only"], 2))
    await author(system).retire("buyers", 2)
    await system.until(lambda: all("buyers@2" not in system.held(m) for m in [*LISTED, "only"]), "the fields to go")
    assert not system.redis.exists("ms:member:only")
    give_up_at = time.monotonic() + 20
    while await rows_left(system, "buyers@2"):
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.1)
    assert await clusters(system) == dict.fromkeys(LISTED, 1)


async def test_a_list_is_replaced_by_the_model_that_it_was_tried_for(system: System) -> None:
    """The story: `buyers@1` is a list, `buyers@2` a streaming model of the same name. They are compared over all
    members, the guard counts who would change, one write switches readers over, one back."""
    wanted = {m: 2 if i % 4 > 0 else 1 for i, m in enumerate(KNOWN)}
    listed = {**wanted, "m0": 2, "stranger": 1}
    await give(system, listed, names={1: "low", 2: "high"})
    publishing = author(system)
    await publishing.promote("buyers", 1)
    await publishing.publish(parse(level(version=2, name="buyers")))
    await complete(system, "buyers@2")
    registry = await publishing.registry()
    entries = registry.versions["buyers@1"], registry.versions["buyers@2"]
    found = [pair async for part in pairs(system.settings, *entries) for pair in part]
    assert {m.decode(): (a, b) for m, a, b in found if a != b} == {"m0": (2, 1), "stranger": (1, None)}
    back = [pair async for part in pairs(system.settings, entries[1], entries[0]) for pair in part]
    assert {(m, b, a) for m, a, b in back} == set(found)
    held = [pair async for part in memberships(system.settings, entries[1]) for pair in part]
    assert {m.decode(): cluster for m, cluster in held} == wanted
    compared = await comparing.compare(system.settings, "buyers@2", "buyers")
    assert (compared.comparison.n_both, compared.comparison.n_agree) == (60, 59)
    [mover] = compared.movers
    assert (mover.member_id, mover.old_cluster, mover.new_cluster) == ("m0", 2, 1)
    assert [reason.predictor for reason in mover.reasons] == ["x"]  # what speaks for the model's cluster
    assert compared.comparison.matrix == [[14, 0, 1], [1, 45, 0], [0, 0, 0]]
    with pytest.raises(PublishError, match=r"2 of 61 members"):
        await publishing.promote("buyers", 2, max_flips=0.01)
    await publishing.promote("buyers", 2)
    assert await clusters(system) == wanted
    await publishing.rollback("buyers")
    assert await clusters(system) == {m: c for m, c in listed.items() if m != "stranger"}


async def test_an_uploader_killed_at_any_moment_changes_nothing_for_readers(system: System, tmp_path: Path) -> None:
    """kill -9 at random moments: readers have the old list whole all the time; the next upload clears what was left."""
    old = dict.fromkeys(LISTED, 1)
    await give(system, old)
    await author(system).promote("buyers", 1)
    file = tmp_path / "new.csv"
    file.write_text("".join(f"m{i},2\n" for i in range(400_000)))
    command = [sys.executable, "-m", "memberstream", "clusters", "upload", "buyers", str(file)]
    chance = random.Random(7)
    for _ in range(4):
        n_steps = len((await author(system).registry()).history)
        uploader = PythonProcess("the uploader", tmp_path / "uploader.log")
        uploader.spawn(command, cwd=tmp_path, env=environment(system))
        give_up_at = time.monotonic() + 60  # a busy machine takes long to read a file
        asked = time.monotonic()
        while len((await author(system).registry()).history) == n_steps and uploader.pid is not None:
            assert time.monotonic() < give_up_at
            await asyncio.sleep(pause_s(asked))
            asked = time.monotonic()
        await asyncio.sleep(chance.random() * 1.5)
        uploader.kill()
        assert await clusters(system) == old
    outcome = await give(system, dict.fromkeys(LISTED, 3))
    registry = await author(system).registry()
    killed = [v for v in registry.versions.values() if v.name == "buyers" and v.status is Status.RETIRED]
    assert killed
    give_up_at = time.monotonic() + 60
    while any([await rows_left(system, f"buyers@{v.version}") for v in killed]):
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.5)
    assert await clusters(system) == old
    assert set(await rows_left(system, outcome.label)) == set(LISTED)


def environment(system: System) -> dict[str, str]:
    return system.environment() | {"PYTHONPATH": os.pathsep.join(sys.path)}


async def test_the_command_uploads_and_promotes(system: System, tmp_path: Path) -> None:
    """`clusters upload FILE --promote` ends with a live list; a file with wrong rows ends with status 1 and all of them
    in the file that was asked for."""
    good, bad, rejected = tmp_path / "good.csv", tmp_path / "bad.csv", tmp_path / "rejected.csv"
    good.write_text("member;group\nm1;1\nm2;2\nm2;2\n")
    bad.write_text("m1,1\nm2,x\n,1\nm3\n")
    options = "--names", "1=low,2=high", "--promote"
    status, said, problem = await memberstream(system, "clusters", "upload", "buyers", str(good), *options)
    assert status == 0, problem
    assert "2 members, published as the candidate buyers@1" in said
    assert "1 row repeats an earlier one" in said
    assert "live buyers@1" in said
    assert await clusters(system) == {"m1": 1, "m2": 2}
    status, _, problem = await memberstream(
        system, "clusters", "upload", "buyers", str(bad), "--rejected", str(rejected)
    )
    assert status == 1
    assert "Next: correct them" in problem
    assert [line.split(",")[0] for line in rejected.read_text().splitlines()] == ["line", "2", "3", "4"]
    status, said, problem = await memberstream(system, "clusters", "upload", "buyers", str(bad), "--dry-run")
    assert (status, said.partition(":")[0]) == (1, "1 member, nothing would be published")
    assert "line 2: cluster: expected" in problem
    status, said, _ = await memberstream(system, "clusters", "upload", "buyers", str(good), "--dry-run")
    assert status == 0
    assert "0 of 2 members (0.0%) would change their cluster or lose it" in said
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for text, found in (("m2,1\nm3,2\n", (0, {"m1": 1, "m2": 1, "m3": 2})), ("member,group\n", (1, None))):
        writing = asyncio.create_task(asyncio.to_thread(pipe.write_text, text))
        merging = "--merge", "buyers", "--promote", "--max-flips", "100%"
        status, said, problem = await memberstream(system, "clusters", "upload", "buyers", str(pipe), *merging)
        await writing
        assert status == found[0], problem
        assert found[1] in (None, await clusters(system))
    assert "no rows, nothing was published" in problem  # rather than a copy of the list
    assert (await author(system).registry()).next_version("buyers") == 3
    await Campaigning(system.settings, "ann").set("high", Terms("buyers", (2,)))
    good.write_text("m1,1\n")
    await give(system, {"m9": 1}, "others")
    others = "--merge", "others@1", "--promote"
    status, _, problem = await memberstream(system, "clusters", "upload", "buyers", str(good), *others)
    assert (status, problem.count("high")) == (1, 1), problem
    assert (await author(system).registry()).next_version("buyers") == 3  # nothing was uploaded


async def test_one_call_from_a_notebook(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """`upload` inside a running event loop, as in a notebook, with pairs; `promote=True` ends with a live list."""
    for name, value in system.environment().items():
        if name.startswith(variable("")):
            monkeypatch.setenv(name, value)
    outcome = upload([("m1", 1), ("m2", 2)], name="tried", promote=True)
    assert outcome.label == "tried@1"
    assert await clusters(system, "tried") == {"m1": 1, "m2": 2}
