"""What the demo found: figures and explained members, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memberstream.models.explain import Explanation, explain_one
from memberstream.models.model import Model
from memberstream.models.wording import counted
from memberstream.stream.authoring.state_reader import read_members
from memberstream.stream.demo.measure import percentile
from memberstream.stream.demo.oracle import BOOSTED
from memberstream.stream.demo.verify import Verification
from memberstream.stream.settings import Settings
from memberstream.stream.terminal.explanation import print_explanation
from memberstream.stream.terminal.safe import SafeConsole
from memberstream.stream.terminal.table import print_table

NEXT = (
    ("memberstream local", "a broker and a Valkey to play with, until Ctrl-C"),
    ("memberstream model check FILE", "is my model file right? every problem at once"),
    ("memberstream model score FILE DOCS.ndjson", "the worker's numbers, offline, in a notebook's pipe"),
    ("memberstream worker", "a worker on your own Kafka and Redis: docs/operations.md"),
)


@dataclass(frozen=True, slots=True)
class Result:
    """The demo's figures. Seconds, unless a name says otherwise."""

    events: int
    dead_letters: int
    events_per_s: float
    freshness_s: list[float]
    lookup_s: list[float]
    verification: Verification
    explained: list[tuple[str, int, Explanation]]  # member id, as of (ms)
    names: dict[str, dict[int, str]]  # model → cluster id → name

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {
            "events": self.events,
            "members": self.verification.members,
            "events_per_s": round(self.events_per_s),
            "freshness_p50_ms": round(1e3 * percentile(self.freshness_s, 50), 2),
            "freshness_p99_ms": round(1e3 * percentile(self.freshness_s, 99), 2),
            "lookup_p50_us": round(1e6 * percentile(self.lookup_s, 50), 1),
            "lookup_p99_us": round(1e6 * percentile(self.lookup_s, 99), 1),
            "clusters": self.verification.clusters,
            "dead_letters": self.dead_letters,
            "wrong": self.verification.wrong,
        }


async def explain_some(
    settings: Settings, models: Sequence[Model], verification: Verification, at_ms: int
) -> list[tuple[str, int, Explanation]]:
    """Return the first member of each of repeat_buyer's clusters, with its state from the changelog, explained as of a
    time; by the boosted trees instead, if these are there."""
    by_name = {model.name: model for model in models}
    model = by_name.get(BOOSTED, by_name["repeat_buyer"])
    first: dict[int, str] = {}
    for member_id, memberships in verification.held.items():
        first.setdefault(memberships[model.name], member_id)
    chosen = [member_id for _, member_id in sorted(first.items())]
    states = await read_members(settings.kafka, settings.changelog_topic, chosen, settings.partitioner)
    return [(m_id, at_ms, explain_one(model, states[m_id].document or {}, at_ms)) for m_id in chosen]


def show_result(result: Result, to: SafeConsole) -> None:
    """Print everything, for people."""
    summary = result.summary()
    to.print()
    to.print("[bold]Members per cluster, in Redis now[/] [dim](as of the history's last day)[/]")
    rows = []
    most = max(n for clusters in result.verification.clusters.values() for n in clusters.values())
    for model, clusters in result.verification.clusters.items():
        for cluster, n in clusters.items():
            bar = "█" * max(1, round(30 * n / most))
            rows.append((model, f"{cluster} {result.names[model][cluster]}", f"{n:>7,}", f"[cyan]{bar}[/]"))
    print_table((), rows, to=to)
    to.print()
    for member_id, at_ms, explanation in result.explained:
        print_explanation(member_id, at_ms, explanation, to)
        to.print()
    wrong = result.verification.wrong
    differ = counted(wrong, "member differs", "members differ")
    freshness = f"p50 {summary['freshness_p50_ms']} ms, p99 {summary['freshness_p99_ms']} ms"
    lookup = f"p50 {summary['lookup_p50_us']} µs, p99 {summary['lookup_p99_us']} µs"
    figures = (
        ("events", f"{result.events:,} purchases of {summary['members']:,} members"),
        ("catching up", f"{summary['events_per_s']:,} events/s in one worker process"),
        ("freshness", f"{freshness}: sent → readable in Redis"),
        ("look-up", f"{lookup}, one member, Python"),
        ("dead letters", str(result.dead_letters)),
        ("wrong", f"[{'red' if wrong else 'green'}]{differ}[/] from a from-scratch recomputation"),
    )
    print_table((), figures, sentences=(1,), to=to)
    to.print()
    to.print("[bold]Next[/]")
    for command, what in NEXT:
        to.print(f"  {command:<44}[dim]{what}[/]")
