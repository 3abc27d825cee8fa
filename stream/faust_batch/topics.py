"""The topics that a worker needs, and which of their policies lose records. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Problem(NamedTuple):
    """What is wrong with a topic. `what` is a clause that names it."""

    what: str
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """What a worker reads and writes.

    Attributes:
        source: whose records are handled.
        changelog: of the state.
        created: name → settings, for topics that are created with as many partitions as the source topic.
        skips: the log of records that are set aside; None: there is none.
        is_compaction_admitted: whether the source topic may be compacted. `compaction_advice`: what else can be done
            then.
    """

    source: str
    changelog: str
    created: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    skips: str | None = None
    is_compaction_admitted: bool = False
    compaction_advice: str = ""

    @property
    def guarded(self) -> list[str]:
        """Topics whose policy matters."""
        return [self.source, self.changelog]

    def lossy(self, policies: Mapping[str, str], server: str) -> dict[str, Problem]:
        """Return the problems of policies that lose records, by topic. `server`: for the command that corrects them."""
        alter = f"kafka-configs.sh --bootstrap-server {server} --alter --topic"
        problems = {}
        changelog, source = policies.get(self.changelog, "compact"), policies.get(self.source, "delete")
        if changelog != "compact":
            problems[self.changelog] = Problem(
                f"the changelog {self.changelog} has cleanup.policy={changelog}: state of quiet members would be "
                "deleted",
                f"{alter} {self.changelog} --add-config cleanup.policy=compact",
            )
        if "compact" in source and not self.is_compaction_admitted:
            problems[self.source] = Problem(
                f"the topic {self.source} has cleanup.policy={source}: of each key only the last record would stay, "
                "and what those before it say would be lost unread",
                f"{alter} {self.source} --add-config cleanup.policy=delete; {self.compaction_advice}",
            )
        return problems
