"""May a partition go on with the topic that is there? Never by guessing."""

from __future__ import annotations

import pytest

from memberstream.models.position import NOWHERE, position_of
from memberstream.stream.partition.bookkeeping import Progress, decode_progress
from memberstream.stream.partition.source_topic import TopicChanged, admit, check_end

ONE, OTHER = b"1" * 16, b"2" * 16


@pytest.mark.parametrize("topic_id", [b"", ONE])
@pytest.mark.parametrize("position", [NOWHERE, 0, 41, position_of(3, -1), position_of(3, 0)])
def test_progress_is_stored_whole(position: int, topic_id: bytes) -> None:
    """What was written is read, and says which offset is next."""
    progress = Progress(position, 7, topic_id)
    assert decode_progress(progress.encode(99)) == progress
    assert position_of(progress.epoch, progress.next_offset) == position + 1


def test_progress_of_the_first_release_is_read() -> None:
    """Seventeen bytes: position and clock, nothing of the topic."""
    assert decode_progress(b"\x01" + (5).to_bytes(8, "little") + (6).to_bytes(8, "little")) == Progress(5, 6)


def test_a_new_partition_begins_in_the_epoch_that_is_set() -> None:
    """Nothing applied yet: at offset 0 of any epoch."""
    assert admit(Progress(), 0, ONE, 0) == Progress(NOWHERE, 0, ONE)
    assert admit(Progress(), 2, ONE, 0).next_offset == 0
    assert admit(Progress(), 2, ONE, 0).epoch == 2


def test_the_same_topic_goes_on() -> None:
    """Also where the broker, or an earlier version, told no id; an id once known is kept."""
    for stored, now, kept in [(ONE, ONE, ONE), (b"", ONE, ONE), (ONE, b"", ONE), (b"", b"", b"")]:
        assert admit(Progress(41, 7, stored), 0, now, 0) == Progress(41, 7, kept)


def test_another_topic_needs_a_higher_epoch() -> None:
    """Then its first event is the next one, and the clock doesn't go back."""
    with pytest.raises(TopicChanged, match="deleted and created again"):
        admit(Progress(41, 7, ONE), 0, OTHER, 0)
    progress = admit(Progress(41, 7, ONE), 1, OTHER, 0)
    assert (progress.epoch, progress.next_offset, progress.clock_ms, progress.topic_id) == (1, 0, 7, OTHER)
    assert admit(progress, 1, OTHER, 0) == progress


def test_an_epoch_that_does_not_fit_is_refused() -> None:
    """Raised for nothing it would replay the topic onto newer documents; lowered it would stand still."""
    with pytest.raises(TopicChanged, match="back to 0"):
        admit(Progress(41, 7, ONE), 1, ONE, 0)
    with pytest.raises(TopicChanged, match="to 2 on all workers"):
        admit(Progress(position_of(2, 5), 7, ONE), 1, ONE, 0)


def test_a_partition_that_ends_below_what_was_applied_is_another() -> None:
    """Without any id; ending just there is the normal case."""
    check_end(Progress(41), 42, 0)
    check_end(Progress(41), None, 0)
    check_end(Progress(), 0, 0)
    with pytest.raises(TopicChanged, match="up to offset 41, but the topic ends at 40"):
        check_end(Progress(41), 41, 0)
