"""The folder of published models: versions are immutable, files whole, errors complete."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from e2e.definitions import level

from models.model_file import parse
from stream.published import PublishError, load_published, publish, read_model


def test_published_models_come_back_in_order(tmp_path: Path) -> None:
    """By name, then version as a number; other files in the folder are left alone."""
    folder = tmp_path / "not" / "there" / "yet"
    for definition in (level(10), level(9), level(name="a_first")):
        assert publish(parse(definition), folder)
    (folder / "README").write_text("no model")
    (folder / "x.json.part").write_text("{")
    assert [model.label for model in load_published(folder)] == ["a_first@1", "level@9", "level@10"]
    assert {path.stat().st_mode & 0o777 for path in folder.glob("*.json")} == {0o644}


def test_a_version_is_immutable(tmp_path: Path) -> None:
    """The same content again changes nothing; other content under the same version is refused, what is there stays."""
    publish(parse(level()), tmp_path)
    before = (tmp_path / "level@1.json").read_bytes()
    assert not publish(parse(level()), tmp_path)
    with pytest.raises(PublishError, match="Next: publish this one as a new version"):
        publish(parse(level(threshold=0.7)), tmp_path)
    assert (tmp_path / "level@1.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["level@1.json"]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash before the rename leaves nothing that a worker would load."""

    def crash(source: str, target: Path) -> None:
        assert orjson.loads(Path(source).read_bytes()) == level()
        raise KeyboardInterrupt

    monkeypatch.setattr("stream.published.os.replace", crash)
    with pytest.raises(KeyboardInterrupt):
        publish(parse(level()), tmp_path)
    with pytest.raises(PublishError, match="no model file"):
        load_published(tmp_path)


def test_toml_is_read_and_published_as_json(tmp_path: Path) -> None:
    """The ending tells the format; what is published is the same definition."""
    toml = tmp_path / "level.toml"
    toml.write_text(
        'format = 1\nname = "level"\nversion = 1\n'
        'predictors = [{name = "x", path = "x", missing = 0}]\n'
        'clusters = [{id = 1, name = "low"}, {id = 2, name = "high"}]\n'
        '[model]\ntype = "logistic"\ncoef = [1.0]\nintercept = 0.0\nthresholds = [0.5]\n'
    )
    folder = tmp_path / "published"
    assert publish(read_model(toml), folder)
    assert orjson.loads((folder / "level@1.json").read_bytes()) == level()


def test_all_problems_of_all_files_are_listed(tmp_path: Path) -> None:
    """Each line begins with its file; the last one says what to do."""
    (tmp_path / "a.json").write_bytes(orjson.dumps(level() | {"clusters": [], "format": 2}))
    (tmp_path / "b.toml").write_text("= 1")
    for name in ("c.json", "d.json"):
        (tmp_path / name).write_bytes(orjson.dumps(level()))
    with pytest.raises(PublishError) as raised:
        load_published(tmp_path)
    *problems, last = str(raised.value).splitlines()
    assert len([p for p in problems if p.startswith(f"{tmp_path / 'a.json'}: ")]) >= 2
    assert len([p for p in problems if p.startswith(f"{tmp_path / 'b.toml'}: ")]) == 1
    assert f"{tmp_path}: two files hold level@1" in problems
    assert last.startswith("Next: ")


def test_an_empty_folder_is_an_error_with_the_next_action(tmp_path: Path) -> None:
    """A worker without models has nothing to do, and says how to give it some."""
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(PublishError, match="Next: memberstream model publish FILE"):
            load_published(folder)
