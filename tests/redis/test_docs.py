"""docs/redis.md and docs/campaigns.md hold the declared list, the example programs, an ACL user with which they really
work, and vectors of holdouts."""

import asyncio
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from announcing import announcing
from believing import beat
from keys import KEYS

from memberstream.models.token import read_token
from memberstream.stream.keyspace.formats import Beacon, PublishedCampaign, PublishedModel, membership_field
from memberstream.stream.keyspace.table import markdown_table
from memberstream.stream.lookup import AsyncLookup, Lookup, LookupUnavailable
from memberstream.stream.lookup.holdout import draw, is_held_out
from memberstream.stream.lookup.token import make_token
from memberstream.stream.projection.members import Deletion, Update
from memberstream.stream.projection.projection import Projection

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "redis.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "docs" / "examples" / "redis"
FETCHED = ROOT / ".cache" / "examples"
CAMPAIGNS_DOC = (ROOT / "docs" / "campaigns.md").read_text(encoding="utf-8")
LANGUAGES = {"lookup.sh": "sh", "lookup.py": "python", "Lookup.java": "java", "lookup.go": "go", "lookup.mjs": "js"}
VISIBLE = {"visible.sh": "sh", "visible.py": "python", "Visible.java": "java", "visible.go": "go", "visible.mjs": "js"}

MODELS = ["buying_style", "repeat_buyer"]
# What every example prints, member by member.
EXPECTED = {
    "m-1": "status: current\nposition: 0:3\nbuying_style@4: 0 since 1600000000000\nrepeat_buyer@10: 2 since 7\n"
    "tried@1: 3 since 9\n",
    "naïve:{x}": "status: current\nposition: 0:4\nbuying_style@4: 3 since 7\nrepeat_buyer@10: 1 since 7\n",
    "unscored": "status: rebuilding\nposition: 0:4\nrepeat_buyer@10: 1 since 7\n",
    "old": "status: stale\nposition: 0:5\nbuying_style@4: 1 since 5\nrepeat_buyer@10: 1 since 5\n",
    "elsewhere": "status: stale\nposition: 9:5\nbuying_style@4: 1 since 5\nrepeat_buyer@10: 1 since 5\n",
    "listed": "status: current\ntried@1: 2 since 9\n",
    "gone": "status: unknown member\n",
    "nobody": "status: unknown member\n",
}
# And while no worker has spoken since the connection was made: the members may only be missing.
UNPROVEN = {"gone": "status: rebuilding\n", "nobody": "status: rebuilding\n"}
# Around now, in ms; half of the members don't see the last two.
HOUR_MS = 3_600_000
CAMPAIGNS = [
    PublishedCampaign("all-styles", "buying_style", (0, 1, 3)),
    PublishedCampaign("buyers", "repeat_buyer", (2, 10), -HOUR_MS, HOUR_MS),
    PublishedCampaign("no-longer", "repeat_buyer", (1, 2), None, -1),
    PublishedCampaign("not-yet", "repeat_buyer", (1, 2), HOUR_MS, None),
    PublishedCampaign("of-no-model", "shoes", (1, 2)),
    PublishedCampaign("other-cluster", "buying_style", (30,)),
    PublishedCampaign("paused", "repeat_buyer", (1, 2), is_paused=True),
    PublishedCampaign("some", "repeat_buyer", (1, 2), -1, None, 5_000),
    PublishedCampaign("some-others", "repeat_buyer", (1, 2), holdout=5_000),
    PublishedCampaign("to-nobody", "repeat_buyer", (1,), holdout=10_000),
]
# What the other examples print: also of a member of whom something is missing, or that is stale.
EXPECTED_VISIBLE = {
    member: "".join(
        f"{'held out: ' * (campaign in held_out)}{campaign} {make_token(campaign, member, *told, 0, where)}\n"
        for campaign, told in (
            (name, ((4, style) if name == "all-styles" else (10, buyer)) + (name in held_out,)) for name in seen
        )
    )
    for member, style, buyer, where, seen, held_out in (
        ("m-1", 0, 2, "0-3", ["all-styles", "buyers", "some", "some-others"], ["some"]),
        ("naïve:{x}", 3, 1, "0-4", ["all-styles", "some", "some-others", "to-nobody"], ["some-others", "to-nobody"]),
        ("unscored", 0, 1, "0-4", ["some", "some-others", "to-nobody"], ["to-nobody"]),
        ("old", 1, 1, "0-5", ["all-styles", "some", "some-others", "to-nobody"], ["some", "to-nobody"]),
        ("gone", 0, 0, "", [], []),
        ("nobody", 0, 0, "", [], []),
    )
}


def test_the_key_table_is_the_declared_list() -> None:
    """Change stream/keyspace/table.py, print `markdown_table()`, paste it."""
    assert markdown_table() in DOC


@pytest.mark.parametrize("name", [*LANGUAGES, *VISIBLE])
def test_examples_stand_in_the_document_as_they_are(name: str) -> None:
    """What a reader copies is what the tests ran."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    if name in LANGUAGES:
        assert f"```{LANGUAGES[name]}\n{text}```" in DOC
    else:
        assert f"```{VISIBLE[name]}\n{text}```" in CAMPAIGNS_DOC


def test_the_vectors_of_holdouts() -> None:
    """Each row of docs/campaigns.md: campaign, member, the number drawn, the smallest holdout that holds it out."""
    rows = re.findall(r"^\| `(\S+)` \| `(.+)` \| (\d+) \| (\S+)% \|$", CAMPAIGNS_DOC, re.MULTILINE)
    assert len(rows) >= 6
    for campaign, member, number, percent in rows:
        assert draw(campaign, member) == int(number)
        from_holdout = round(float(percent) * 100)
        assert is_held_out(campaign, member, from_holdout)
        assert not is_held_out(campaign, member, from_holdout - 1)


def test_the_vectors_of_tokens() -> None:
    """Each row of docs/campaigns.md: made as the document says it, and read back by whoever counts."""
    rows = re.findall(r"^\| `(\S+)` \| `(.+)` \| `(\S+)` \|$", CAMPAIGNS_DOC, re.MULTILINE)
    assert len(rows) >= 4
    for campaign, member, token in rows:
        version, cluster, held_out, known, position, _ = token.split(".")
        told = int(version), int(cluster), held_out == "1", int(known)
        assert make_token(campaign, member, *told, position) == token
        assert read_token(token, campaign, member) == told


async def fill(url: str) -> None:
    now = time.time_ns() // 1_000_000
    style, buyer = membership_field("buying_style", 4), membership_field("repeat_buyer", 10)
    async with Projection(url, KEYS) as projection:
        await projection.readers.announce(
            announcing(
                [
                    PublishedModel("repeat_buyer", 10, "logistic", {}),
                    PublishedModel("repeat_buyer", 9, "logistic", {}),
                    PublishedModel("buying_style", 4, "kmeans", {}),
                    PublishedModel("tried", 1, "list", {}),
                ],
                campaigns=[
                    campaign._replace(
                        from_ms=None if campaign.from_ms is None else now + campaign.from_ms,
                        until_ms=None if campaign.until_ms is None else now + campaign.until_ms,
                    )
                    for campaign in CAMPAIGNS
                ],
            )
        )
        token = await projection.build.begin(0)
        fields = (style, buyer, membership_field("repeat_buyer", 9))
        await projection.members.write(
            0, [Update(b"m-1", 3, now, now + 60_000, fields, [(0, 1_600_000_000_000), (2, 7), (3, 7)])]
        )
        await projection.members.write(
            0, [Update("naïve:{x}".encode(), 4, now, None, (style, buyer), [(3, 7), (1, 7)])]
        )
        await projection.members.write(0, [Update(b"unscored", 4, now, None, (buyer,), [(1, 7)])])
        await projection.members.write(0, [Update(b"old", 5, now, now - 1, (style, buyer), [(1, 5), (1, 5)])])
        await projection.members.write(9, [Update(b"elsewhere", 5, now, None, (style, buyer), [(1, 5), (1, 5)])])
        await projection.members.write(0, [Deletion(b"gone", 6, now)])
        rows = [(b"m-1", b"3:9"), (b"listed", b"2:9"), (b"gone", b"1:9")]
        assert await projection.rows.enlist(b"tried@1", rows) == [b"gone"]
        await projection.build.beacon({0: Beacon(7, now, now)})
        await projection.build.finish(0, token, 1, now)


@pytest.fixture
def quiet_url(redis_url: str) -> Iterator[str]:
    """URL of the ACL user as docs/redis.md tells an operator to make it. No beacon moves."""
    [command] = re.findall(r"^ACL SETUSER (.*)$", DOC, re.MULTILINE)
    with redis.Redis.from_url(redis_url) as admin:
        words = command.replace("PASSWORD", "s3:cr@t").split()
        admin.execute_command("ACL", "SETUSER", *words)
        asyncio.run(fill(redis_url))
        yield f"redis://{words[0]}:s3%3Acr%40t@127.0.0.1:{urlsplit(redis_url).port}/0"
        admin.execute_command("ACL", "DELUSER", words[0])


@pytest.fixture
def reader_url(quiet_url: str, redis_url: str) -> Iterator[str]:
    """The same while a worker lives."""
    with redis.Redis.from_url(redis_url) as admin:
        is_over = threading.Event()
        worker = threading.Thread(target=lambda: [beat(admin) for _ in iter(lambda: is_over.wait(0.2), True)])  # type: ignore[func-returns-value]
        worker.start()
        yield quiet_url
        is_over.set()
        worker.join()


def test_the_readers_user_can_look_up_and_nothing_else(reader_url: str) -> None:
    """Both clients work with it; writing, listing names and disturbing the server are refused."""

    async def asynchronous() -> int | None:
        async with AsyncLookup(reader_url) as lookup:
            return (await lookup.get("m-1")).cluster("repeat_buyer")

    with Lookup(reader_url) as lookup:
        assert [answer.cluster("repeat_buyer") for answer in lookup.get_many(["m-1", "nobody"])] == [2, None]
    assert asyncio.run(asynchronous()) == 2
    with redis.Redis.from_url(reader_url) as client:
        assert b"|repeat_buyer@10=2:7" in client.get("ms:member:m-1")
        for refused in (
            "SET ms:member:x 1", "APPEND ms:member:m-1 x", "DEL ms:member:m-1",
            "EXPIRE ms:member:m-1 1", "HSET ms:{meta}:live m 1",
            "FLUSHALL", "SCAN 0", "KEYS *", "RANDOMKEY", "CLIENT PAUSE 1000", "CLIENT LIST", "CONFIG GET *", "INFO",
            "EVAL return(1) 0", "SUBSCRIBE x", "MONITOR", "GET other", "HGETALL other", "DBSIZE", "ACL LIST",
        ):  # fmt: skip
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*refused.split())


def test_a_wrong_password_names_the_action(reader_url: str) -> None:
    """And does not repeat the password."""
    with Lookup(reader_url.replace("s3%3A", "no")) as lookup, pytest.raises(LookupUnavailable) as caught:
        lookup.get("m-1")
    assert "Next: it refuses user or password" in str(caught.value)
    assert "cr@t" not in str(caught.value)


def run_one(command: list[str | Path], url: str, member: str) -> str:
    """What the program prints about a member."""
    done = subprocess.run([*command, member, url], capture_output=True, timeout=60, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def _run(command: list[str | Path], url: str, members: Iterable[str] = EXPECTED) -> dict[str, str]:
    """Member → what the program prints."""
    return {member: run_one(command, url, member) for member in members}


def test_the_redis_cli_example(reader_url: str) -> None:
    """By hand."""
    if shutil.which("redis-cli") is None:
        pytest.skip("redis-cli is missing (Debian: redis-tools)")
    assert _run(["sh", EXAMPLES / "lookup.sh"], reader_url) == EXPECTED
    if shutil.which("jq") is None:
        pytest.skip("jq is missing (Debian: jq)")
    assert _run(["sh", EXAMPLES / "visible.sh"], reader_url, EXPECTED_VISIBLE) == EXPECTED_VISIBLE


def test_the_python_example(reader_url: str) -> None:
    """Through stream.lookup."""
    assert _run([sys.executable, "-c", _AS_SCRIPT, EXAMPLES / "lookup.py"], reader_url) == EXPECTED
    command: list[str | Path] = [sys.executable, "-c", _AS_SCRIPT, EXAMPLES / "visible.py"]
    assert _run(command, reader_url, EXPECTED_VISIBLE) == EXPECTED_VISIBLE


def test_who_isnt_there_isnt_unknown_until_a_worker_has_spoken(quiet_url: str) -> None:
    """Both wait for it, and then say that they don't know."""
    assert _run([sys.executable, "-c", _AS_SCRIPT, EXAMPLES / "lookup.py"], quiet_url, UNPROVEN) == UNPROVEN
    if shutil.which("redis-cli") is None:
        pytest.skip("redis-cli is missing (Debian: redis-tools)")
    assert _run(["sh", EXAMPLES / "lookup.sh"], quiet_url, UNPROVEN) == UNPROVEN


# The tests run from the source tree, where `stream` is not installed.
_AS_SCRIPT = "import runpy, sys; sys.path.insert(0, '.'); del sys.argv[0]; runpy.run_path(sys.argv[0])"


_JAVA: list[str | Path] = ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{FETCHED}/java:{FETCHED}/java/lib/*"]


OTHERS = pytest.mark.parametrize(
    ("tool", "needs", "lookup", "visible"),
    [
        ("java", FETCHED / "java" / "Visible.class", [*_JAVA, "Lookup"], [*_JAVA, "Visible"]),
        ("go", FETCHED / "go" / "visible", [FETCHED / "go" / "lookup"], [FETCHED / "go" / "visible"]),
        ("node", FETCHED / "node" / "node_modules" / "redis",
         ["node", FETCHED / "node" / "lookup.mjs"], ["node", FETCHED / "node" / "visible.mjs"]),
    ],
    ids=["java", "go", "node"],
)  # fmt: skip


def prepare(tool: str, needs: Path) -> None:
    """Skip where a language's tools aren't there."""
    if shutil.which(tool) is None or not needs.exists():
        pytest.skip(f"{tool} or its library is missing: install it and run docs/examples/redis/fetch.sh")
    if tool == "node":  # a module is resolved from where the program lies
        for program in ("lookup.mjs", "visible.mjs"):
            shutil.copy(EXAMPLES / program, FETCHED / "node")


@pytest.mark.examples
@OTHERS
def test_the_examples_of_other_languages(
    reader_url: str, tool: str, needs: Path, lookup: list[str | Path], visible: list[str | Path]
) -> None:
    """Their libraries come by docs/examples/redis/fetch.sh."""
    prepare(tool, needs)
    assert _run(lookup, reader_url) == EXPECTED
    assert _run(visible, reader_url, EXPECTED_VISIBLE) == EXPECTED_VISIBLE


@pytest.mark.examples
@OTHERS
def test_other_languages_know_what_isnt_proven(
    quiet_url: str, tool: str, needs: Path, lookup: list[str | Path], visible: list[str | Path]
) -> None:
    """As `test_who_isnt_there_isnt_unknown_until_a_worker_has_spoken`. Campaigns aren't shown to who isn't there."""
    prepare(tool, needs)
    assert _run(lookup, quiet_url, UNPROVEN) == UNPROVEN
    assert _run(visible, quiet_url, ["gone"]) == {"gone": ""}
