"""Uploading a list in the console: a file is checked, shown, and uploaded; by whom, how much, and only what is its
author's. What the steps do is tried with real brokers: tests/e2e/test_console.py, tests/e2e/test_lists.py."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import pytest
from starlette.requests import Request
from starlette.types import ASGIApp
from unit.consoles import HOST, Reply, a_shop, a_site, fetch
from unit.test_console import at, text_of
from unit.test_console_acts import SETTINGS, fields_of, person
from unit.test_doctor import WELL

from memberstream.stream.authoring.uploading import Options, Uploaded, cluster_names
from memberstream.stream.console import uploads
from memberstream.stream.console.app import application
from memberstream.stream.console.live import Live
from memberstream.stream.console.roles import Person
from memberstream.stream.files.lists import Columns, RawChunk, Rejected, read_file
from memberstream.stream.lists.check import ListCheck
from memberstream.stream.registry.refused import PublishError

FILE = b"member,cluster\nm1,1\nm2,2\n,2\nm3,high\nm4,2\n"


class Steps:
    """The steps of an installation in memory: rows are judged by the real rules, and remembered instead of sent."""

    sent: ClassVar[list[tuple[str, bool, int]]]
    may_go: ClassVar[threading.Event]
    known: int | None = 2

    def __init__(self, _: Any, actor: str, on_rejected: Any = lambda row: None, on_progress: Any = None) -> None:
        self.actor, self._on_rejected, self._on_progress = actor, on_rejected, on_progress

    async def check(self, source: Iterable[RawChunk], options: Options, on_known: Any) -> Uploaded:
        checked, found = ListCheck(), Uploaded(f"{options.name}@3")
        for chunk in source:
            for row in checked.take(chunk).rejected:
                self._on_rejected(row)
                found.n_rejected += 1
        found.sizes, found.known = dict(checked.sizes), self.known
        on_known(1, 2)
        if options.merge:
            raise PublishError(f"{options.merge} isn't a list. Next: leave it out")
        return found

    async def examine(self, source: Iterable[RawChunk], options: Options) -> Uploaded:
        if options.description == "refused":
            raise PublishError(f"clusters of one name, {options.skip_bad}. Next: another")
        return Uploaded(f"{options.name}@3")

    async def upload(self, source: Iterable[RawChunk], options: Options) -> Uploaded:
        self._on_progress(1, 4)
        while not self.may_go.is_set():
            await asyncio.sleep(0.005)
            self._on_progress(1, 4)
        rows = [row for chunk in source for row in chunk.ids]
        self.sent.append((self.actor, options.skip_bad, len(rows)))
        return Uploaded(f"{options.name}@3", {1: 1, 2: 2})


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Steps]:
    """Files lie in the test's folder."""
    monkeypatch.setattr(uploads.tempfile, "tempdir", str(tmp_path))

    class Made(Steps):
        sent: ClassVar[list[tuple[str, bool, int]]] = []
        may_go = threading.Event()

    Made.may_go.set()
    monkeypatch.setattr(uploads, "Uploading", Made)
    return Made


@pytest.fixture
def app(steps: type[Steps]) -> ASGIApp:
    site = a_site(a_shop(), now=at(WELL), settings=SETTINGS)
    return application(site, Live(site))


async def get(app: ASGIApp, path: str, name: str = "ann", role: str = "author") -> Reply:
    return await fetch(app, path, headers=person(role, name), peer="10.0.0.1")


async def post(app: ASGIApp, path: str, fields: Sequence[tuple[str, str]], name: str = "ann", **file: Any) -> Reply:
    """Send a form; `file`: name and content of the file that goes with it."""
    parts = [f'--x\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields]
    body = "".join(parts).encode()
    if file:
        head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{file["called"]}"\r\n\r\n'
        body += head.encode() + file["content"] + b"\r\n"
    headers = person("author", name) | {"origin": f"http://{HOST}", "content-type": "multipart/form-data; boundary=x"}
    return await fetch(app, path, method="POST", headers=headers, peer="10.0.0.1", body=body + b"--x--\r\n")


async def upload(app: ASGIApp, content: bytes = FILE, called: str = "a.csv", **values: str) -> Reply:
    fields = [one for one in fields_of((await get(app, "/lists-upload")).text) if one[0] not in {"name", *values}]
    given = {"name": "buyers"} | values
    return await post(app, "/lists-upload", [*fields, *given.items()], called=called, content=content)


async def ended(app: ASGIApp, path: str) -> str:
    """Return the page of an upload that isn't under way any more."""
    async with asyncio.timeout(30):
        while "data-renew" in (page := (await get(app, path)).text):  # noqa: ASYNC110  (as a browser does)
            await asyncio.sleep(0.01)
    return page


async def test_a_file_is_checked_shown_and_uploaded(
    app: ASGIApp, steps: type[Steps], caplog: pytest.LogCaptureFixture
) -> None:
    """Bad rows with line, member and reason; who is known; sizes. Then what can be taken is uploaded, once."""
    caplog.set_level("INFO")
    reply = await upload(app, names="1=low,2=high", reason="from March")
    where = reply.headers["location"]
    assert (reply.status, where.startswith("/lists-upload/")) == (303, True)
    page = await ended(app, where)
    text = text_of(page)
    assert "3 members" not in text.partition("What is in the file")[0]
    for said in (
        "2 of the 3 members in the file have a document (66.7%)", "1 low 1 33.3%", "2 high 2 66.7%",
        "2 rows can't be taken", "4 nothing member id: expected a text, found nothing",
        "5 m3 cluster: expected a whole number from 0", "Leave out 2 rows", "buyers@3, a candidate",
    ):  # fmt: skip
        assert said in text, said
    assert "waits for you to decide" in text_of((await get(app, "/lists")).text)
    fields = [one for one in fields_of(page) if one[0] == "token"]
    assert (await post(app, f"{where}/go", fields)).status == 400  # the box isn't ticked
    steps.may_go.clear()
    assert (await post(app, f"{where}/go", [*fields, ("skip_bad", "1")])).status == 303
    assert "Writing the rows: 25% of it" in text_of((await get(app, where)).text) or steps.sent == []
    await post(app, f"{where}/go", [*fields, ("skip_bad", "1")])  # pressed twice
    assert (await post(app, f"{where}/drop", fields)).status == 303  # it isn't forgotten while it is under way
    steps.may_go.set()
    text = text_of(await ended(app, where))
    assert "buyers@3 is uploaded as a candidate: 3 members." in text
    assert steps.sent == [("ann via console", True, 5)]
    assert "audit: ann (author) by proxy: check the list buyers of a.csv, from 10.0.0.1" in caplog.text
    assert "audit: ann (author) by proxy: upload the list buyers of a.csv, from 10.0.0.1" in caplog.text
    assert (await post(app, f"{where}/drop", fields)).status == 303
    assert (await get(app, where)).status == 404


async def test_what_is_refused_is_never_begun(app: ASGIApp, steps: type[Steps]) -> None:
    """Without the bad rows it is judged again, before a version is used up. Without a good row there is no button."""
    where = (await upload(app, description="refused")).headers["location"]
    fields = [one for one in fields_of(await ended(app, where)) if one[0] == "token"]
    await post(app, f"{where}/go", [*fields, ("skip_bad", "1")])
    assert "clusters of one name, True Next: another" in text_of(await ended(app, where))
    where = (await upload(app, b"member,cluster\n,1\n" + b"y" * 5_000 + b",x\n")).headers["location"]
    page = await ended(app, where)
    assert "2 rows can't be taken" in text_of(page)
    assert f"{'y' * uploads.LONGEST_SHOWN}… " in text_of(page)
    assert "/go" not in page
    assert (await post(app, f"{where}/go", [*fields, ("skip_bad", "1")])).status == 400
    assert steps.sent == []


async def test_an_upload_is_its_authors(app: ASGIApp, steps: type[Steps]) -> None:
    """Nobody else sees it, decides on it or drops it."""
    where = (await upload(app)).headers["location"]
    page = await ended(app, where)
    assert (await get(app, where, "bob")).status == 404
    fields = fields_of((await get(app, "/lists-upload", "bob")).text)
    for what in ("go", "drop"):
        assert (await post(app, f"{where}/{what}", fields, "bob")).status == 404
        assert (await post(app, f"{where}/{what}", fields_of(page), "bob")).status == 403  # another's token
    assert "Your uploads" not in (await get(app, "/lists", "bob")).text
    assert (await get(app, where, "ann", "manager")).status == 403
    assert steps.sent == []


@pytest.mark.parametrize(
    ("how", "said"),
    [({"content": b""}, "no file was chosen"), ({"called": "a.csv.gz"}, "gzipped files aren't taken here"),
     ({"name": "Buyers!"}, "that is no name of a list"), ({"names": "low"}, "expected the clusters' names"),
     ({"reason": "x" * 2_001}, "the reason: ")],
)  # fmt: skip
async def test_what_is_refused_at_once(how: dict[str, Any], said: str, app: ASGIApp) -> None:
    """The form says why, with what was filled in; no file is kept."""
    reply = await upload(app, **({"description": "as it was"} | how))
    assert reply.status == 400
    assert said in text_of(reply.text)
    assert 'value="as it was"' in reply.text
    assert "Your uploads" not in (await get(app, "/lists")).text


async def test_what_the_rules_refuse_is_said_on_the_page(
    app: ASGIApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the errors of the command; a file with too many rows, too; a fault is a sentence."""
    text = text_of(await ended(app, (await upload(app, merge="level")).headers["location"]))
    assert "level isn't a list Next: leave it out" in text
    text = text_of(await ended(app, (await upload(app, b"a,b,c\n1,2,3\n")).headers["location"]))
    assert "3 columns: a, b, c Next: the ids' column and the clusters' column" in text
    monkeypatch.setattr(uploads, "MOST_ROWS", 2)
    text = text_of(await ended(app, (await upload(app)).headers["location"]))
    assert "more rows than 2 Next: memberstream clusters upload takes files of any length" in text
    monkeypatch.setattr(uploads, "read_file", lambda *_: 1 / 0)
    text = text_of(await ended(app, (await upload(app)).headers["location"]))
    assert "this is a fault of memberstream" in text
    assert "audit: ann (author) by proxy: check the list buyers of a.csv, from 10.0.0.1: a fault" in caplog.text


async def test_one_name_of_two_sources_shares_no_upload(steps: type[Steps], tmp_path: Path) -> None:
    made, request = uploads.Uploads(SETTINGS), Request({"type": "http", "memberstream.admission": None})
    people = [Person("ann", frozenset(), *who) for who in ((), ("proxy",), ("https://p", "7"), ("https://p", "8"))]
    for one in people:
        await made.begin(request, one, "a.csv", BytesIO(FILE), Options("buyers"), Columns())
    found = [own.person for one in people for own in made.of(one)]
    await made.close()
    assert found == people


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_files_are_few_and_go(
    app: ASGIApp, steps: type[Steps], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One more than a person may have is refused before it is read; a file that nobody decides on goes by itself."""
    fields = fields_of((await get(app, "/lists-upload")).text)
    for _ in range(uploads.MOST):
        last = (await upload(app)).headers["location"]
        await ended(app, last)
    for reply in (
        await get(app, "/lists-upload"),
        await post(app, "/lists-upload", fields, called="a.csv", content=FILE),
    ):
        assert (reply.status, "no more files are taken now" in text_of(reply.text)) == (503, True)
    assert (await get(app, "/lists-upload", "bob")).status == 200
    with monkeypatch.context() as patch:
        patch.setattr("memberstream.stream.console.forms.read_form", lambda *_: 1 / 0)
        assert (await post(app, "/lists-upload", fields)).status == 503
    assert len(files_in(tmp_path)) == uploads.MOST
    monkeypatch.setattr(uploads, "KEPT_S", 0.05)
    fields = [one for one in fields_of((await get(app, "/lists-upload", "bob")).text) if one[0] != "name"]
    await post(app, "/lists-upload", [*fields, ("name", "buyers")], "bob", called="a.csv", content=FILE)
    async with asyncio.timeout(30):
        while files_in(tmp_path):  # noqa: ASYNC110  (nobody looks at a page)
            await asyncio.sleep(0.05)
    assert (await get(app, last)).status == 404


async def test_all_files_are_few(app: ASGIApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_OF_ALL", 1)
    await ended(app, (await upload(app)).headers["location"])
    assert (await get(app, "/lists-upload", "bob")).status == 503


async def test_without_pyarrow_parquet_isnt_offered(app: ASGIApp, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ".csv or .parquet" in (await get(app, "/lists-upload")).text
    monkeypatch.setattr("memberstream.stream.files.parquet.find_spec", lambda _: None)
    assert ".parquet" not in (await get(app, "/lists-upload")).text
    reply = await upload(app, called="a.parquet")
    assert (reply.status, "this console reads no Parquet" in text_of(reply.text)) == (400, True)


async def test_what_waits_for_its_turn_isnt_begun_by_a_console_that_stops(steps: type[Steps], tmp_path: Path) -> None:
    """Neither a check: with brokers that don't answer each would take as long as the one before."""
    made, begun, ann = uploads.Uploads(SETTINGS), list[str](), Person("ann", frozenset())
    path, request = tmp_path / "a.csv", Request({"type": "http"})
    one = uploads.Upload("n", ann, "a.csv", path, Options("buyers"), Columns(), request)

    async def check(one: uploads.Upload) -> None:
        begun.append(one.id)

    await made.close()
    with pytest.raises(OSError, match="the console was stopped"):
        made._work(check, one)
    assert begun == []


async def test_a_console_that_is_stopped_ends_an_upload(steps: type[Steps], tmp_path: Path) -> None:
    """What is under way fails at its next look, and all files go."""
    steps.may_go.clear()
    made = uploads.Uploads(SETTINGS)
    one = uploads.Upload("n", Any, "a.csv", tmp_path / "a.csv", Options("buyers"), uploads.Columns(), Any)  # type: ignore[arg-type]
    one.person, one.state = uploads.Person("ann", frozenset()), "checked"
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads.audit, "failed", lambda _, what, why: told.append(f"{what}: {why}"))
        made.go(one, False)
        await made.close()
    assert one.state == "failed"
    assert told == ["upload the list buyers of a.csv: the console was stopped. Next: upload it again"]


def test_rows_that_cant_be_taken_name_their_member(tmp_path: Path) -> None:
    """Where that is known: not in a row of another shape."""
    file = tmp_path / "a.csv"
    file.write_bytes(b"m1,1\nm2,x\nm3,1,2\n,3\n")
    rejected = [Rejected(2, "a"), Rejected(3, "b"), Rejected(4, "c")]
    assert uploads.bad_rows(read_file(file), rejected) == [(2, "m2", "a"), (3, None, "b"), (4, "", "c")]
    assert uploads.bad_rows(iter(()), []) == []


def test_names_of_clusters() -> None:
    assert cluster_names("1=low, 2=very high") == {1: "low", 2: "very high"}
    assert cluster_names("") == {}
    for wrong in ("low", "1=", "x=low", "1=a,1=b", "1=a,2=a", "²=a"):
        with pytest.raises(PublishError, match=r"expected the clusters' names\. Next: write"):
            cluster_names(wrong)
