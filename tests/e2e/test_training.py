"""Training data from the topic of change events, and what the worker made of the same events."""

from __future__ import annotations

from pathlib import Path

import orjson
import polars as pl
from e2e.definitions import level, recent
from e2e.system import Install, Pair, Sent, event
from e2e.test_reading_commands import memberstream

from memberstream.models.training import from_history
from memberstream.stream.files.history import topic_history

T0 = 1_700_000_000_000


async def test_the_topic_gives_what_the_worker_holds(pair: Pair, install: Install, tmp_path: Path) -> None:
    """Replaced, patched, deleted and bad events over all partitions: at each member's last event the row's bits are
    those of its state; the command writes the same; what couldn't be applied is told of as in the dead letters."""
    system = await install(pair, [level()])
    system.start()
    sent = []
    for i in range(60):
        key = f"m{i}".encode()
        sent.append(Sent(key, event("replace", at=T0 + 1_000 + i, document={"x": i / 7})))
        if i % 2:
            sent.append(Sent(key, event("patch", at=T0 + 2_000 + i, patch={"x": i / 3})))
        if i % 5 == 0:
            sent.append(Sent(key, event("patch", at=T0 + 3_000 + i, patch=[])))
        if i % 10 == 3:
            sent.append(Sent(key, None))
    places = await system.send([*sent, Sent(b"m0", b"{"), Sent(b"\xff", b"{}")])
    await system.applied()
    states = await system.states()
    letters = await system.dead_letters()
    keys = {s.key for s in sent if s.key}
    history = await topic_history(system.settings.kafka, system.settings.topic, keys, "murmur2", may_be_json=False)
    last_ms = max(place.timestamp_ms for place in places)
    rows = [(f"m{i}", states[f"m{i}"].as_of_ms if f"m{i}" in states else last_ms) for i in range(60)]
    predictors = level()["predictors"]
    matrix = from_history(predictors, history.records, rows)
    known = {f"m{i}" for i in range(60) if i % 10 != 3}
    assert (
        {i for i, is_known in zip(matrix.member_ids, matrix.is_known, strict=True) if is_known} == known == set(states)
    )
    for row, member_id in enumerate(matrix.member_ids):
        if member_id in states:
            [stored] = states[member_id].rows.values()
            assert matrix.x[row].tobytes() == stored  # nothing moves: it is all x
    told = [history.place_of(one.number) for one in matrix.refused] + [p.partition(":")[0] for p in history.problems]
    origins = [dict(letter.headers) for letter in letters]
    expected = [
        f"{system.settings.topic}, partition {int(o['origin_partition'])}, offset {int(o['origin_offset'])}"
        for o in origins
    ]
    assert sorted(told) == sorted(expected)
    assert len(told) == 14
    (tmp_path / "predictors.json").write_bytes(orjson.dumps(predictors))
    (tmp_path / "rows.csv").write_text("member_id,at\n" + "".join(f"{i},{at}\n" for i, at in rows))
    out = tmp_path / "x.parquet"
    status, _, err = await memberstream(
        system, "model", "training-data", str(tmp_path / "predictors.json"), "--rows", str(tmp_path / "rows.csv"),
        "--out", str(out),
    )  # fmt: skip
    assert status == 0, err
    assert pl.read_parquet(out)["x"].to_numpy().tobytes() == matrix.x[:, 0].tobytes()


async def test_keys_that_a_worker_refuses_train_nobody(embedded_pair: Pair, install: Install) -> None:
    """A converter's `"m"` in quotes isn't a member, unless the installation says so."""
    system = await install(embedded_pair, [recent()])
    await system.send([Sent(key, event("replace", document={"seen": 1})) for key in (b"m", b'"m"')])
    kafka, topic, keys = system.settings.kafka, system.settings.topic, {b"m", b'"m"'}
    refused = await topic_history(kafka, topic, keys, "murmur2", may_be_json=False)
    assert [record.key for record in refused.records] == [b"m"]
    assert "bad_key: key: expected the bare member id, found JSON" in refused.problems[0]
    taken = await topic_history(kafka, topic, keys, "murmur2", may_be_json=True)
    assert {record.key for record in taken.records} == keys


async def test_by_arrival_it_is_what_the_stream_had(embedded_pair: Pair, install: Install) -> None:
    """A late event isn't in the row of a time before it arrived; a topic that isn't there is an error."""
    system = await install(embedded_pair, [recent()])
    [first] = await system.send([Sent(b"m", event("replace", at=5_000, document={"seen": 1_000}))])
    [late] = await system.send([Sent(b"m", event("patch", at=1_000, patch={"seen": 2_000}))])
    history = await topic_history(system.settings.kafka, system.settings.topic, {b"m"}, "murmur2", may_be_json=False)
    predictors = [{"name": "age", "path": "seen"}]
    records = list(history.records)
    rows = [("m", first.timestamp_ms), ("m", late.timestamp_ms), ("m", first.timestamp_ms - 1)]
    assert from_history(predictors, records, rows).x[:, 0].tolist() == [2_000.0] * 3
    by_arrival = from_history(predictors, records, rows, by="arrival")
    assert by_arrival.x[1, 0] == 2_000
    if first.timestamp_ms < late.timestamp_ms:
        assert by_arrival.x[0, 0] == 1_000
    assert by_arrival.is_known.tolist() == [True, True, False]
