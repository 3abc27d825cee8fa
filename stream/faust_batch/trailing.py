"""Offsets that a quiet partition has passed without its state knowing: control records and aborted ones at its end.

They can't be applied, but they take offsets. A state that doesn't know them still asks for their offsets. When the
broker has removed them, that looks like lost records. So if nothing came from a partition for a while, its state is
told.

Laws:
- A partition is due at most once in QUIET_S, and only if it is further than its state knows.
- A partition taken over from a worker that had applied more than it had committed is due as well, once it has been read
  up to what its state knows. Otherwise, if only such offsets lie in between, its owner wouldn't learn of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from faust.types import TP

#: Seconds of silence. If a producer's transactions all abort, it costs one small write to the changelog in this time.
QUIET_S = 1.0


class Trailing:
    """How far each partition's state knows that it is, and since when."""

    def __init__(self) -> None:
        self._known: dict[TP, tuple[int, float]] = {}
        self._untold: set[TP] = set()

    def know(self, tp: TP, next_offset: int, now_s: float, *, is_told: bool = True) -> None:
        """Note that the partition's state knows: everything below is applied, or never comes.

        `is_told`: whether the owner has been told that reading is that far.
        """
        known = self.known(tp)
        self._known[tp] = max(next_offset, known), now_s  # what it has may be read once more
        if not is_told:
            self._untold.add(tp)
        elif next_offset >= known:
            self._untold.discard(tp)

    def known(self, tp: TP) -> int:
        """Return the offset up to which the partition's state knows all; 0 if it isn't owned."""
        return self._known.get(tp, (0, 0.0))[0]

    def forget(self, partitions: Iterable[TP]) -> None:
        """Forget partitions that are no longer owned."""
        for tp in partitions:
            self._known.pop(tp, None)
            self._untold.discard(tp)

    def due(self, positions: Mapping[TP, int], now_s: float) -> list[TP]:
        """Return the quiet partitions whose state must be told."""
        return [
            tp
            for tp, position in positions.items()
            if tp in self._known
            and position >= self._known[tp][0] + (tp not in self._untold)
            and now_s - self._known[tp][1] >= QUIET_S
        ]
