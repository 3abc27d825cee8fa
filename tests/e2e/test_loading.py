"""The first load: from a warehouse's files into members, also if it is killed in the middle, beside live events."""

from __future__ import annotations

import sys
from collections import Counter

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from e2e.commands import memberstream
from e2e.definitions import level
from e2e.system import Install, Pair, Sent, event
from prefork import PythonProcess

from memberstream.stream.authoring.loading import Loading
from memberstream.stream.files.documents import Columns

N = 12_000
AS_OF, AS_OF_MS = "2026-03-01T00:00:00Z", 1_772_323_200_000


async def test_a_load_that_was_killed_goes_on_and_nothing_newer_is_lost(pair: Pair, install: Install) -> None:
    """Twelve thousand rows of two files, killed in the middle, and loaded again: each row is in the topic once. Members
    with newer events keep them, bad rows are named, and the workers are level with the topic afterwards."""
    system = await install(pair, [level()])
    first, second = system.directory / "a.parquet", system.directory / "b.ndjson"
    half = N // 2
    ids = [f"m{i}" for i in range(N)]
    table = pa.table({"member_id": [*ids[: half - 1], None], "x": [1] * half, "name": ["n"] * half})
    pq.write_table(table, first, row_group_size=1_000)
    rows = [{"member_id": m, "document": {"x": -1, "list": [1, {"a": None}]}} for m in ids[half:]]
    second.write_bytes(b"\n".join([*map(orjson.dumps, rows), b"{", b""]))
    newer = [Sent(m.encode(), event("replace", version=AS_OF_MS + 1, document={"live": True})) for m in ids[:50]]
    older = [Sent(m.encode(), event("replace", version=AS_OF_MS - 1, document={"old": True})) for m in ids[50:100]]
    await system.send([*newer, *older])
    system.start()
    await system.applied()

    arguments = ["events", "load", str(first), str(second), "--as-of", AS_OF]
    status, out, error = await memberstream(system, *arguments, "--dry-run", "--json")
    assert status == 1, error
    told = orjson.loads(out)
    assert (told["would_send"], told["rejected"]) == (N - 1, 2)
    assert [(one["file"], one["row"]) for one in told["problems"]] == [(str(first), half), (str(second), half + 1)]
    command = PythonProcess("load", system.directory / "load.log")
    argv = [sys.executable, "-m", "memberstream", *arguments, "--rate", "2000"]
    command.spawn(argv, cwd=system.directory, env=system.environment())
    try:
        await system.until(lambda: system.metrics("memberstream_events_total")[("applied",)] > 3_000, "some of them")
    finally:
        command.kill()

    status, out, error = await memberstream(system, *arguments, "--wait", "--json")
    assert status == 1, error
    told = orjson.loads(out)
    assert told["sent"] + told["there_before"] == N - 1
    assert 2_000 < told["there_before"] < N - 1
    status, out, _ = await memberstream(system, *arguments, "--json")
    assert (orjson.loads(out)["sent"], orjson.loads(out)["there_before"]) == (0, N - 1)

    loaded = Counter(dict(record.headers).get("load") for record in await system.read(system.settings.topic))
    assert loaded.pop(None) == 100
    assert set(loaded.values()) == {1}
    assert len(loaded) == N - 1
    one = system.directory / "one.ndjson"
    one.write_bytes(b'{"member_id": "m1"}\n')
    for is_anew, there in ((False, 0), (False, 1), (True, 0)):
        far: list[tuple[int, int]] = []
        loading = Loading(system.settings, [one], Columns(), AS_OF_MS, lambda row: None)
        outcome = await loading.load(None, looking=lambda *now: far.append(now), is_anew=is_anew)  # noqa: B023
        assert (outcome.there, outcome.sent) == (there, 1 - there)
        assert far.pop(0) == (0, 0)
        assert bool(far) is not is_anew
        assert all(0 < done <= total for done, total in far)
    states = await system.states()
    expected = {m: {"x": 1, "name": "n"} for m in ids[: half - 1]}
    expected |= {m: {"x": -1, "list": [1, {"a": None}]} for m in ids[half:]}
    expected |= {m: {"live": True} for m in ids[:50]}
    assert {m: state.document for m, state in states.items()} == expected
    assert set(system.positions(ids)) == set(expected)
