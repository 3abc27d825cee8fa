"""Lines of the core that only laws would reach, each reached by an example: laws are no measure (tests/laws.py)."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from core.exporting import agrees, exported
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from memberstream.models.event import _parse, _typed
from memberstream.models.member import Member, StateError, decode, encode, head_of
from memberstream.models.model_file import parse
from memberstream.models.placement import Placement
from memberstream.models.position import position_of, split_position
from memberstream.models.training import Record, from_history
from memberstream.models.training import history as training_history
from memberstream.models.wording import named, percent_of

MODEL = {
    "format": 1,
    "name": "m",
    "version": 1,
    "predictors": [{"name": "x", "path": "x", "missing": 0}],
    "model": {"type": "logistic", "coef": [1.0], "intercept": 0.0, "thresholds": [0.5]},
    "clusters": [{"id": 1, "name": "low"}, {"id": 2, "name": "high"}],
}


def test_a_delete_read_by_types_and_field_by_field() -> None:
    """Both readings give the same event."""
    envelope = {"op": "delete", "version": 3}
    assert _parse(envelope, "m", 5, 9) == _typed(orjson.dumps(envelope), "m", 5, 9)


def test_a_scaler_that_clips_before_a_model() -> None:
    """New rows outside of the fitted range are cut to it, as scikit-learn does."""
    x = np.arange(20.0).reshape(10, 2)
    fitted = make_pipeline(MinMaxScaler(clip=True), LogisticRegression()).fit(x, x[:, 0] > 9)
    agrees(exported(fitted, x), fitted, x * 2 - 10)


def test_the_head_of_a_state() -> None:
    """Who has no document has no memberships; a state of a schema that nobody knows is named."""
    held = {7: (1, 5)}
    assert head_of(encode(Member(document={"x": 1}, memberships=held), 0)).held == held
    assert head_of(encode(Member(document=None), 0)).held is None
    with pytest.raises(StateError, match="expected a schema up to"):
        decode(b"\xc8" + encode(Member(), 0)[1:])


@pytest.mark.parametrize("partitioner", ["murmur2", "crc32"])
@pytest.mark.parametrize("n_keys", [3, 200])
def test_whose_records_lie_elsewhere(partitioner: str, n_keys: int) -> None:
    """Few keys one by one, many together: the same answer as each key's own partition."""
    placement = Placement(partitioner, 4)  # type: ignore[arg-type]
    keys = [b"m%d" % i for i in range(n_keys)]
    assert placement.misplaced(keys, 1) == [key for key in keys if placement.partition_of(key) != 1]


def test_a_position_comes_apart_again() -> None:
    assert split_position(position_of(3, 70)) == (3, 70)


def test_a_history_in_several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a model: the rows don't depend on where the members are parted."""
    records = [Record(b"m%d" % i, orjson.dumps({"op": "replace", "document": {"x": i}}), 5) for i in range(5)]
    asked = [(f"m{i}", 9) for i in range(5)]
    whole = from_history(parse(MODEL), records, asked)
    monkeypatch.setattr(training_history, "_TASK_ROWS", 2)
    assert from_history(parse(MODEL), records, asked).x.tolist() == whole.x.tolist() == [[0], [1], [2], [3], [4]]


def test_which_of_many() -> None:
    """One, some, and the first of many."""
    assert named("partition", [3]) == "partition 3"
    assert named("partition", [3, 4]) == "partitions 3, 4"
    assert named("partition", range(22)).endswith("18, 19 and 2 more")


@pytest.mark.parametrize(
    ("n", "of", "expected"),
    [
        (0, 23_570, "0.0%"),
        (1, 23_570, "0.004%"),
        (12, 23_570, "0.1%"),
        (23_569, 23_570, "99.996%"),
        (23_570, 23_570, "100.0%"),
        (1, 3, "33.3%"),
        (1, 10**9, "0.0000001%"),
        (0, 0, "0.0%"),
    ],
)
def test_a_share_says_whether_it_is_none_or_all(n: int, of: int, expected: str) -> None:
    """One of many isn't 0.0%, and all but one isn't 100.0%."""
    assert percent_of(n, of) == expected
