"""Who gets into the console and what the roles let them do: by password, by a proxy, or without any log-in."""

from __future__ import annotations

import asyncio
import logging
import stat
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.types import ASGIApp
from typer.testing import CliRunner
from unit.consoles import HOST, SETTINGS, Reply, a_shop, a_site, fetch, pages
from unit.test_console import PAGES, at, text_of
from unit.test_doctor import WELL

from memberstream.stream.cli.main import app as command_line
from memberstream.stream.console import guard, users
from memberstream.stream.console.access import Access
from memberstream.stream.console.app import application
from memberstream.stream.console.attempts import MOST, WITHIN_S, Attempts
from memberstream.stream.console.live import Live
from memberstream.stream.console.roles import RIGHTS, Person, Right, Role, may_be_called, who_may
from memberstream.stream.console.sessions import LASTS_S, Sessions
from memberstream.stream.console.users import Users, UsersError
from memberstream.stream.settings import Settings, from_environment

PASSWORD = "four words and more"
OURS = {"origin": f"http://{HOST}"}
NAME = "console.shop.example"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that are cheap to look at: how dear they are is argon2's."""
    made = users.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(users, "_HASHER", made)
    monkeypatch.setattr(users, "_NOBODYS", made.hash("nobody's"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of users: one of each role."""
    found = tmp_path / "users.json"
    for role in Role:
        Users(found).add(role.value, PASSWORD, frozenset({role}))
    return found


class Clock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def console(settings: Settings) -> tuple[ASGIApp, Access]:
    """Return a console on the data of a shop, and how it knows people."""
    site = a_site(a_shop(), now=at(WELL), settings=settings)
    return application(site, Live(site)), site.access


def with_users(file: Path, **more: Any) -> Settings:
    return Settings(topic="docs", group="g", console_users=file, **more)


async def log_in(app: ASGIApp, name: str, password: str = PASSWORD, *, to: str = "", **how: Any) -> Reply:
    body = b"&".join(f"{key}={value}".encode() for key, value in {"name": name, "password": password}.items())
    return await post(app, f"/log-in{to}", body, **how)


async def post(app: ASGIApp, path: str, body: bytes = b"", **how: Any) -> Reply:
    headers = {"content-type": "application/x-www-form-urlencoded"} | OURS | how.pop("headers", {})
    return await fetch(app, path, method="POST", headers=headers, body=body, **how)


def cookie_of(reply: Reply) -> dict[str, str]:
    return {"cookie": reply.headers["set-cookie"].partition(";")[0]}


def test_the_table_of_roles() -> None:
    """Whoever has a role may look; an operator may everything; several roles may what each may."""
    assert {role: sorted(rights) for role, rights in RIGHTS.items()} == {
        "viewer": ["look"],
        "manager": ["look", "set campaigns"],
        "author": ["look", "publish and promote models", "see members' documents unmasked"],
        "operator": sorted(Right),
    }
    both = Person("ann", frozenset({Role.MANAGER, Role.AUTHOR}))
    assert [right for right in Right if not both.may(right)] == ["send dead letters again"]
    assert not any(Person("ann", frozenset()).may(right) for right in Right)
    assert (both.told, both.actor) == ("ann (author, manager)", "ann via console")
    assert who_may(Right.CAMPAIGNS) == "manager or operator"
    assert [may_be_called(name) for name in ("ann", "Ann Lee", "", " ann", "a\nb", "x" * 101)] == [True] * 2 + [
        False
    ] * 4


def test_the_file_of_users(file: Path) -> None:
    """Only its owner reads it; a password doesn't stand in it; somebody unknown is nobody."""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert PASSWORD not in file.read_text()
    found = Users(file)
    assert found.check("manager", PASSWORD) is not None
    assert found.check("manager", PASSWORD + " ") is None
    assert found.check("nobody", PASSWORD) is None
    assert found.check("nobody", "nobody's") is None
    found.remove("manager")
    assert "manager" not in Users(file).all
    for name, password in (("ann", "short"), ("ann", "x" * 1_001), ("a\x1bnn", PASSWORD)):
        with pytest.raises(UsersError, match="Next: "):
            found.add(name, password, frozenset({Role.VIEWER}))
    with pytest.raises(UsersError, match="Next: memberstream console-users list"):
        found.remove("nobody")
    assert Users(file.with_name("none")).all == {}


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"format":2,"users":{}}', '{"format":1,"users":{"ann":{"roles":["boss"],"password":"x"}}}',
     '{"format":1,"users":{"ann":{"roles":[],"password":"x"}}}', '{"format":1,"users":{},"more":1}',
     '{"format":1,"users":{"\xe4":{}}}', '{"format":1,"users":{"ann":' + '{"x":' * 100_000],
)  # fmt: skip
async def test_a_file_that_cant_be_read_lets_nobody_in(text: str, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Those who were in, too; why stands in the log, not on the page."""
    app, _ = console(with_users(file))
    cookie = cookie_of(await log_in(app, "viewer"))
    assert (await fetch(app, "/models", headers=cookie)).status == 200
    await asyncio.to_thread(file.write_text, text, "latin-1")
    with pytest.raises(UsersError, match="Next: "):
        _ = Users(file).all
    assert (await fetch(app, "/models", headers=cookie)).status == 303
    reply = await log_in(app, "viewer")
    assert reply.status == 503
    assert str(file) in caplog.text
    assert str(file) not in reply.text


async def test_an_unknown_name_is_the_same_work(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the same answer: else a stranger learns who there is."""
    verified = []

    class Counted:
        def verify(self, hashed: str, password: str) -> bool:
            verified.append(hashed)
            raise users.VerificationError

    monkeypatch.setattr(users, "_HASHER", Counted())
    app, _ = console(with_users(file))
    replies = [await log_in(app, name, "a wrong password") for name in ("viewer", "nobody")]
    assert len(verified) == 2
    assert replies[0][::2] == replies[1][::2]
    assert replies[0].status == 403
    assert "name or password is wrong" in text_of(replies[0].text)


async def test_a_stranger_sees_nothing(file: Path) -> None:
    """Each page leads to the log-in and from there back; what isn't a page says 401; nothing of the installation is
    told."""
    app, _ = console(with_users(file))
    for path in (*PAGES, "/history.csv", "/campaigns/open/report"):
        reply = await fetch(app, path)
        assert reply.status == 303, path
        assert reply.headers["location"].startswith("/log-in"), path
        assert reply.text == ""
    back = (await fetch(app, "/members?id=m%26n")).headers["location"]
    assert back == "/log-in?next=%2Fmembers%3Fid%3Dm%2526n"
    for path in ("/log-in", "/nothing", "/live"):
        text = (await fetch(app, path)).text
        for told in ("incident", "group g", "Campaigns", "level"):
            assert told not in text, (path, told)
    assert (await post(app, "/log-out")).status == 401
    assert (await fetch(app, back)).status == 200


@pytest.mark.parametrize(
    ("wanted", "is_inside"),
    [("/members?id=m%26n", True), ("/", True), ("//evil.example", False), ("/\\evil.example", False),
     ("https://evil.example", False), ("evil", False), ("", False), ("/log-in", False), ("/a\nb", False),
     ("//[", False)],
)  # fmt: skip
async def test_a_log_in_leads_nowhere_else(wanted: str, is_inside: bool, file: Path) -> None:
    """To a page of the console, or to the overview."""
    app, _ = console(with_users(file))
    escaped = "".join(f"%{byte:02x}" for byte in wanted.encode())
    reply = await log_in(app, "viewer", to=f"?next={escaped}")
    assert (reply.status, reply.headers["location"]) == (303, wanted if is_inside else "/")


async def test_a_session_from_log_in_to_log_out(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The cookie is out of scripts' reach and stays on this site; a log-out ends the session for each copy of it."""
    caplog.set_level(logging.INFO)
    app, _ = console(with_users(file))
    reply = await log_in(app, "manager")
    kept = reply.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=lax", "Path=/", f"Max-Age={LASTS_S}"} <= set(kept.split("; "))
    assert "Secure" not in kept
    cookie = cookie_of(reply)
    page = (await fetch(app, "/models", headers=cookie)).text
    assert "You may look, set campaigns." in page
    token = page.partition('name="token" value="')[2].partition('"')[0]
    assert (await post(app, "/log-out", b"", headers=cookie)).status == 403
    assert (await post(app, "/log-out", b"token=x", headers=cookie)).status == 403
    assert (await fetch(app, "/models", headers=cookie)).status == 200
    assert (await post(app, "/log-out", f"token={token}".encode(), headers=cookie)).status == 303
    assert (await fetch(app, "/models", headers=cookie)).status == 303
    for said in ("audit: manager logged in, from 127.0.0.1", "audit: manager (manager) logged out",
                 "audit: refused from manager (manager): the form is none"):  # fmt: skip
        assert said in caplog.text
    assert token not in caplog.text


async def test_a_session_ends_with_what_it_rests_on(file: Path) -> None:
    """A new password, other roles and a removal hold at the next request, without a new start."""
    app, access = console(with_users(file))
    cookies = {name: cookie_of(await log_in(app, name)) for name in ("viewer", "manager", "author")}
    changed = Users(file)
    changed.add("viewer", "another password", frozenset({Role.VIEWER}))
    changed.remove("author")
    assert {name: (await fetch(app, "/models", headers=cookie)).status for name, cookie in cookies.items()} == {
        "viewer": 303, "manager": 200, "author": 303,
    }  # fmt: skip
    assert access.has_log_in


def test_sessions_end_by_time_and_number() -> None:
    """After a working day, however busy; of too many the oldest."""
    clock = Clock()
    sessions = Sessions(clock)
    first = sessions.begin("ann", "p")
    clock.now_s += LASTS_S - 1
    assert sessions.get(first) is not None
    clock.now_s += 1
    assert sessions.get(first) is None
    numbers = [sessions.begin(f"ann {i}", "p") for i in range(1_001)]
    assert [sessions.get(number) is None for number in (*numbers[:2], numbers[-1])] == [True, False, False]
    assert len({sessions.token(number) for number in numbers}) == len(numbers)
    assert Sessions(clock).token("x") != sessions.token("x")
    sessions.end("none")


def test_failures_are_counted_by_name_and_by_address() -> None:
    """Ten in five minutes; then nobody is looked at there for the rest of them."""
    clock = Clock()
    attempts = Attempts(clock)
    for _ in range(MOST):
        assert attempts.wait_s("ann", "a") == 0
        attempts.failed("ann", "a")
        clock.now_s += 10
    for name, address, waits in (("ann", "b", True), ("bob", "a", True), ("bob", "b", False)):
        assert (attempts.wait_s(name, address) > 0) is waits
    clock.now_s += WITHIN_S - 10 * MOST
    assert attempts.wait_s("ann", "a") == 0
    for i in range(5_001):
        attempts.failed(f"n{i}", f"a{i}")
    assert len(attempts._failed) == 10_000


async def test_whoever_guesses_waits(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also with the right password; guesses sent at once are counted, too. What isn't a name isn't logged."""
    app, _ = console(with_users(file))
    for i in range(MOST):
        assert (await log_in(app, "viewer" if i else PASSWORD, "a wrong password")).status == 403
    reply = await log_in(app, "viewer")
    assert reply.status == 429
    assert 0 < int(reply.headers["retry-after"]) <= WITHIN_S
    assert "set-cookie" not in reply.headers
    assert "audit: viewer wasn't let in: too many attempts failed, from 127.0.0.1" in caplog.text
    assert "audit: an unknown name wasn't let in: the password is wrong" in caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    ("origin", "host", "is_ours"),
    [(f"http://{HOST}", HOST, True), (None, HOST, False), ("null", HOST, False), ("http://127.0.0.1:8000", HOST, False),
     ("http://evil.example", HOST, False), (f"https://{NAME}", NAME, True), (f"http://{NAME}", NAME, False),
     (f"https://{NAME}:8443", f"{NAME}:8443", True), (f"https://{NAME}", HOST, True), ("http://[", HOST, False),
     (f"https://{NAME}.evil.example", NAME, False)],
)  # fmt: skip
async def test_a_form_comes_from_a_page_of_the_console(
    origin: str | None, host: str, is_ours: bool, file: Path
) -> None:
    """By a declared name over HTTPS only; then the browser gives the cookie to HTTPS alone."""
    app, _ = console(with_users(file, console_hosts=(NAME,)))
    headers = {"content-type": "application/x-www-form-urlencoded"} | ({} if origin is None else {"origin": origin})
    body = f"name=viewer&password={PASSWORD}".encode()
    reply = await fetch(app, "/log-in", host, "POST", headers=headers, body=body)
    assert reply.status == (303 if is_ours else 403)
    if is_ours:
        kept = reply.headers["set-cookie"]
        assert ("Secure" in kept) is kept.startswith("__Host-") is str(origin).startswith("https")
        assert (await fetch(app, "/models", host, headers=cookie_of(reply))).status == 200


async def test_a_cookie_of_another_site_of_the_domain_is_none(file: Path) -> None:
    """Such a site can set one for the console, but none with the prefix: else it could log others in as somebody."""
    app, _ = console(with_users(file, console_hosts=(NAME,)))
    cookie = cookie_of(await log_in(app, "viewer"))
    assert (await fetch(app, "/models", headers=cookie)).status == 200
    assert (await fetch(app, "/models", NAME, headers=cookie)).status == 303


def proxied(*names: str, groups: tuple[str, ...] = ("memberstream-manager, staff",)) -> list[tuple[str, str]]:
    return [*(("X-Forwarded-User", name) for name in names), *(("X-Forwarded-Groups", one) for one in groups)]


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [("10.1.2.3", proxied("ann"), 200), ("::ffff:10.1.2.3", proxied("ann"), 200), ("10.1.3.3", proxied("ann"), 303),
     ("127.0.0.1", proxied("ann"), 303), ("testclient", proxied("ann"), 303), ("10.1.2.3", [], 303),
     ("10.1.2.3", proxied("ann", "operator"), 303), ("10.1.2.3", proxied("ann", groups=("a", "b")), 303),
     ("10.1.2.3", proxied("a\tb"), 303), ("10.1.2.3", proxied("ann", groups=()), 403),
     ("10.1.2.3", proxied("ann", groups=("manager,memberstream-boss",)), 403)],
)  # fmt: skip
async def test_a_proxy_is_believed_from_its_address_alone(
    peer: str, headers: list[tuple[str, str]], status: int
) -> None:
    """And only if it names one person; groups of others give no role, and whoever has no role sees nothing."""
    app, _ = console(Settings(topic="docs", group="g", console_proxies=("10.1.2.0/24",)))
    reply = await fetch(app, "/models", peer=peer, headers=headers)
    assert reply.status == status
    assert ("level" in reply.text) is (status == 200)
    if status == 403:
        assert "ann (no role) may not look" in text_of(reply.text)
    if status == 200:
        assert "You may look, set campaigns" in reply.text
        assert "Log out" not in reply.text


async def test_with_a_proxy_alone_there_is_no_password_to_give() -> None:
    """Whoever comes past it is told to come by it."""
    app, _ = console(Settings(topic="docs", group="g", console_proxies=("10.1.2.0/24",)))
    reply = await fetch(app, "/log-in")
    assert reply.status == 401
    assert "nobody is known who asks" in text_of(reply.text)
    assert 'type="password"' not in reply.text
    assert (await log_in(app, "viewer")).status == 403


async def test_a_form_that_is_too_large_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is read whole; a stranger's has little room."""
    monkeypatch.setattr("memberstream.stream.console.forms.LARGEST_OF_FIELDS", 20_000)
    app, _ = console(with_users(file))
    cookie = cookie_of(await log_in(app, "viewer"))
    for n, stranger, known in ((9_000, 403, 403), (10_001, 413, 403), (20_001, 413, 413)):
        assert (await post(app, "/log-in", b"x=" + b"y" * (n - 2))).status == stranger
        assert (await post(app, "/log-out", b"x=" + b"y" * (n - 2), headers=cookie)).status == known


async def test_an_open_overview_ends_with_the_log_in(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so as an event: a script sees no status."""
    monkeypatch.setattr("memberstream.stream.console.live.EVERY_S", 0.01)
    site = a_site(a_shop(), now=at(WELL), settings=with_users(file))
    live = Live(site)
    admitted = site.access.admit({"type": "http", "headers": []}, is_here=True)
    assert admitted is None
    number = site.access.sessions.begin("viewer", Users(file).all["viewer"].password)
    scope = {"type": "http", "headers": [(b"cookie", f"memberstream={number}".encode())]}
    admitted = site.access.admit(scope, is_here=True)
    assert admitted is not None
    stream = live._events(admitted)
    assert (await anext(stream)).startswith(b"data: ")
    site.access.sessions.end(number)
    assert b"Your log-in is over" in await anext(stream)
    assert [event async for event in stream] == []
    await live.close()


@pytest.mark.parametrize(
    ("settings", "host", "said"),
    [(Settings(), "10.0.0.1", "the console has no log-in"),
     (Settings(console_hosts=(NAME,)), "127.0.0.1", "everybody who reaches the console would see everything"),
     (Settings(console_users=Path("u")), "0.0.0.0", "by which name browsers ask for the console isn't known"),
     (Settings(console_users=Path("u"), console_hosts=(NAME,)), "0.0.0.0", None),
     (Settings(console_proxies=("10.1.2.3",), console_hosts=(NAME,)), "10.0.0.1", None),
     (Settings(console_users=Path("u")), "127.0.0.1", None)],
)  # fmt: skip
def test_where_it_listens(settings: Settings, host: str, said: str | None) -> None:
    """Off loopback only with a log-in, and with the names by which it is asked for."""
    if said is None:
        guard.check_address(settings, host, 9470)
    else:
        with pytest.raises(guard.Unreachable, match=said):
            guard.check_address(settings, host, 9470)


async def test_declared_names_are_answered(file: Path) -> None:
    """And no others."""
    app, _ = console(with_users(file, console_hosts=(NAME,)))
    for host in (NAME, NAME.upper(), HOST, "evil.example"):
        assert (await fetch(app, "/log-in", host)).status == (421 if host == "evil.example" else 200)


async def test_without_a_log_in_everybody_looks_and_nobody_acts() -> None:
    """Nobody is known, so there is nothing to log out of, and nowhere to log in."""
    app = pages(a_shop(), now=at(WELL))
    page = await fetch(app, "/models")
    assert page.status == 200
    assert "Log out" not in page.text
    assert "This console only reads" in page.text
    assert (await fetch(app, "/log-in")).headers["location"] == "/"
    assert SETTINGS.console_users is None


def test_settings_of_hosts_and_proxies() -> None:
    """Names without a port, addresses and networks; others are refused with what is expected."""
    found = from_environment(
        {"MEMBERSTREAM_CONSOLE_HOSTS": f"{NAME.upper()}, b", "MEMBERSTREAM_CONSOLE_PROXIES": "::1"}
    )
    assert (found.console_hosts, found.console_proxies) == ((NAME, "b"), ("::1",))
    for name, text in (
        ("HOSTS", "https://x"),
        ("HOSTS", "x:1"),
        ("HOSTS", "*"),
        ("PROXIES", "proxy"),
        ("PROXIES", "1/9"),
    ):
        with pytest.raises(ValueError, match=f"MEMBERSTREAM_CONSOLE_{name}: expected"):
            from_environment({f"MEMBERSTREAM_CONSOLE_{name}": text})


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """A command line with a file of users that isn't there yet."""
    monkeypatch.setenv("MEMBERSTREAM_CONSOLE_USERS", str(tmp_path / "made.json"))
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    monkeypatch.chdir(tmp_path)
    return CliRunner()


def test_commands_make_the_file(runner: CliRunner) -> None:
    """Add, change, list, remove; as JSON, too, with the fields that docs/commands.md names."""

    def run(*words: str, status: int = 0) -> Any:
        result = runner.invoke(command_line, ["console-users", *words])
        assert result.exit_code == status, result.output
        return result.stdout if status == 0 else result.stderr

    given = ("ann", "--password-file", "password", "--role", "author", "--role", "manager")
    assert "nobody yet. Next: " in run("list")
    assert orjson.loads(run("add", *given, "--json")) == {"name": "ann", "roles": ["author", "manager"], "is_new": True}
    assert run("add", *given[:-2]) == "changed ann: author\n"
    assert "ann" in run("list")
    assert orjson.loads(run("list", "--json")) == [{"name": "ann", "roles": ["author"]}]
    assert Users(Path("made.json")).check("ann", PASSWORD) is not None
    assert orjson.loads(run("remove", "ann", "--json")) == {"name": "ann"}
    assert "isn't in" in run("remove", "ann", status=1)
    assert "there is no terminal to ask" in run("add", *given[:1], *given[3:], status=1)
    Path("password").write_text("short")
    assert "expected a password of 12 to 1,000 characters, found 5" in run("add", *given, status=1)


def test_without_a_file_the_commands_say_what_to_set(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than to make one somewhere."""
    monkeypatch.delenv("MEMBERSTREAM_CONSOLE_USERS")
    result = runner.invoke(command_line, ["console-users", "list"])
    assert result.exit_code == 1
    assert "Next: export MEMBERSTREAM_CONSOLE_USERS=FILE" in result.stderr


async def test_a_form_is_in_utf_8(file: Path) -> None:
    """Who sends it doesn't choose who decodes it: punycode takes minutes for a megabyte, others make what can't be
    encoded. Without any word about it, it is UTF-8."""
    app, _ = console(with_users(file))
    parts = {"name": b"viewer", "password": b"\\ud800"}
    body = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
        for name, value in parts.items()
    )
    for said, status in (
        ("; charset=punycode", 415), ('; CHARSET="unicode_escape"', 415), ("; charset=UTF-8", 403), ("", 403),
    ):  # fmt: skip
        kind = {"content-type": f"multipart/form-data; boundary=x{said}"}
        assert (await post(app, "/log-in", body + b"--x--\r\n", headers=kind)).status == status, said


async def test_fields_are_few_and_files_are_large(file: Path) -> None:
    """A megabyte of empty fields would keep the event loop busy for half a second."""
    app, _ = console(with_users(file))
    viewer = cookie_of(await log_in(app, "viewer"))
    assert (await post(app, "/log-out", b"&" * 100_001, headers=viewer)).status == 413
    assert (await post(app, "/log-out", b"&" * 100_000, headers=viewer)).status == 403
    manager = cookie_of(await log_in(app, "manager"))
    all_clusters = b"&".join(b"cluster=%d" % i for i in range(1_000))
    reply = await post(app, "/campaigns/open/set", all_clusters, headers=manager)
    assert "this form isn't of your log-in" in text_of(reply.text)


async def test_a_browser_that_goes_while_it_sends_is_no_fault(file: Path) -> None:
    """Anybody could fill the console's log with tracebacks."""
    app, _ = console(with_users(file))
    sent = list[Any]()

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = OURS | {"host": HOST, "content-type": "application/x-www-form-urlencoded"}
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/log-in", "root_path": "",
        "raw_path": b"/log-in", "query_string": b"", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 9470),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    await app(scope, receive, send)
    assert sent[0]["status"] == 400


async def test_a_new_log_in_ends_the_one_before(file: Path) -> None:
    """Of the same browser: nobody could log out of it any more."""
    app, access = console(with_users(file))
    viewer = cookie_of(await log_in(app, "viewer"))
    await log_in(app, "author", headers=viewer)
    assert access.sessions.get(viewer["cookie"].partition("=")[2]) is None
    assert (await fetch(app, "/", headers=viewer)).status == 303


def test_nobody_logs_others_out_by_logging_in() -> None:
    """A person has so many sessions; one more ends the person's own oldest."""
    sessions = Sessions()
    anns = sessions.begin("ann", "p")
    bobs = [sessions.begin("bob", "p") for _ in range(1_100)]
    assert sessions.get(anns) is not None
    assert [sessions.get(one) is not None for one in bobs] == [False] * 1_080 + [True] * 20
