"""`memberstream state restore`: which epoch follows, and whose snapshot it takes, before Kafka is reached for."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from e2e.test_every_command import documented
from typer.testing import CliRunner

from memberstream.stream.authoring.snapshots import Restored, Snapshots, is_another
from memberstream.stream.cli.main import app
from memberstream.stream.files import snapshot
from memberstream.stream.files.snapshot import Manifest, Part, SnapshotError
from memberstream.stream.kafka.topics import Found


def part(topic_id: str, epoch: int = 0) -> Part:
    return Part("f", "", 1, 1, epoch, 7, topic_id)


def test_ids_tell_whether_the_topic_is_another_one() -> None:
    """Parts of an earlier epoch name the topic of then, and parts without events none: neither says anything."""
    parts = [part("aa"), part("bb", 1), part("", 0), part("bb", 1)]
    assert not is_another(Found(4, b"\xbb"), parts, None)
    assert is_another(Found(4, b"\xaa"), parts, None)
    assert is_another(Found(4, b"\xcc"), parts, True)
    with pytest.raises(SnapshotError, match=r"is another one than the snapshot's\. Next: restore with --new-topic"):
        is_another(Found(4, b"\xcc"), parts, False)
    with pytest.raises(SnapshotError, match=r"is the snapshot's\. Next: restore with --same-topic"):
        is_another(Found(4, b"\xbb"), parts, True)


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        (b"", [part(""), part("")]),
        (b"", [part("aa")]),
        (b"\xaa", [part("")]),
        (b"\xaa", [part("aa"), part("", 1)]),
        (b"\xaa", [part("aa"), part("bb")]),
    ],
)
def test_without_ids_nothing_is_guessed(source: bytes, parts: list[Part]) -> None:
    """A broker without ids, now or then; the operator says which it is."""
    with pytest.raises(SnapshotError, match=r"no id tells.* --same-topic, or with --new-topic"):
        is_another(Found(len(parts), source), parts, None)
    assert is_another(Found(len(parts), source), parts, True)
    assert not is_another(Found(len(parts), source), parts, False)


def test_another_installations_snapshot_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless that is meant; then the question names both."""
    snapshot.write_manifest(
        tmp_path, Manifest(snapshot.FORMAT, "2026-11-29T20:00:00Z", "docs", "theirs", (part("aa"),))
    )
    monkeypatch.setenv("MEMBERSTREAM_GROUP", "ours")
    monkeypatch.setenv("MEMBERSTREAM_TOPIC", "our-docs")
    monkeypatch.setenv("COLUMNS", "400")
    command = ["state", "restore", str(tmp_path)]
    refused = CliRunner().invoke(app, [*command, "--yes"])
    assert refused.exit_code == 1
    assert "the snapshot is of group theirs, topic docs; this is group ours" in refused.output
    asked = CliRunner().invoke(app, [*command, "--other-group"], input="n\n")
    assert "of group theirs, topic docs, of 2026-11-29T20:00:00Z become those of group ours, topic our-docs" in (
        asked.output
    )
    assert "nothing was changed" in asked.output

    async def restore(*_: object) -> Restored:
        return Restored(5, 2, is_topic_new=True)

    monkeypatch.setattr(Snapshots, "restore", restore)
    done = CliRunner().invoke(app, [*command, "--other-group", "--yes", "--json"])
    told = orjson.loads(done.stdout)
    assert (done.exit_code, told["members"], told["topic_epoch"]) == (0, 5, 2)
    assert told.keys() == documented()["state restore"]
