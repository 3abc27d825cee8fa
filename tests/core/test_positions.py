"""Positions: epoch and offset as one number that orders all events of a partition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from memberstream.models.position import MAX_EPOCH, NOWHERE, position_of, split_position

_epochs, _offsets = st.integers(0, MAX_EPOCH), st.integers(0, 2**48 - 1)


@given(_epochs, _offsets, _epochs, _offsets)
def test_positions_are_ordered_by_epoch_then_offset(epoch: int, offset: int, epoch_2: int, offset_2: int) -> None:
    """As numbers, and within a signed 64-bit integer; and they come apart again."""
    position = position_of(epoch, offset)
    assert NOWHERE < position < 2**63
    assert (position < position_of(epoch_2, offset_2)) == ((epoch, offset) < (epoch_2, offset_2))
    assert split_position(position) == (epoch, offset)
    assert position_of(0, -1) == NOWHERE
