"""How far a recovery is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class RecoveryProgress:
    """The current recovery, or the last one. `remaining` is None until the first fetch has shown where it ends."""

    applied: int = 0
    remaining: int | None = None
    started_at: float = 0.0
    seconds: float = 0.0

    @property
    def records_per_s(self) -> float:
        """Changelog records applied a second."""
        return self.applied / self.seconds if self.seconds else 0.0
