"""Records of the topic that are gone although the state needs them: retention, or somebody, removed them unread.

Laws:
- State knows the first offset that it lacks. A log that begins above it has lost what lies in between. Nothing may pass
  over that in silence, because a missing patch makes documents wrong for good.
- A state that has nothing of the topic lacks nothing: it begins where the log begins.
- Offsets without a record to apply (control records, aborted or compacted records) are no loss: the state is told of
  them while they are there (stream/faust_batch/trailing.py).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from memberstream.models.wording import counted
from memberstream.stream.partition.holds import Hold, Kind

OnGap = Literal["stop", "continue"]


class Gap(NamedTuple):
    """Offsets that are gone: from `needed`, the first that the state lacks, to just before the log `begins`."""

    topic: str
    partition: int
    needed: int
    begins: int

    @property
    def n_offsets(self) -> int:
        return self.begins - self.needed

    def __str__(self) -> str:
        return (
            f"offsets {self.needed} to {self.begins - 1} of {self.topic}, partition {self.partition}, are gone: they "
            "were removed (by retention, or by hand) before they were applied, up to "
            f"{counted(self.n_offsets, 'record')}"
        )

    def hold(self, now_ms: int) -> Hold:
        """Return the hold that keeps the partition until the operator has decided."""
        return Hold(
            Kind.GAP,
            str(self),
            "have the producer send the documents of these members whole again, then start the workers with "
            'MEMBERSTREAM_ON_GAP=continue (docs/operations.md, "A gap in the topic")',
            now_ms,
        )


def find_gap(topic: str, partition: int, needed: int, begins: int) -> Gap | None:
    """Return what is lost if the log begins at `begins` and the state lacks everything from `needed` on."""
    return Gap(topic, partition, needed, begins) if 0 < needed < begins else None
