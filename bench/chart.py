"""The results of bench/throughput.py shown: bench/results/throughput.svg, and the table in bench/README.md.

    python -m bench.chart        (from bench/results/throughput.json; measures nothing)

Laws: sorted by events per second; whether a contender is durable is said in words and by the bar's filling, not by
colour alone; readable on light and dark.
"""

from __future__ import annotations

import json
from html import escape
from typing import Any

from bench.contenders import CONTENDERS
from bench.results_file import HERE, about, save, table

WIDTH, LEFT, BAR, STEP, TOP = 860, 235, 370, 36, 66
STYLE = """
  .ground { fill: #ffffff } text { fill: #1f2328 } .quiet { fill: #59636e; font-size: 12px } .axis { stroke: #59636e }
  .ours { fill: #0969da } .peer { fill: #818b98 }
  .hollow { fill: url(#lines); stroke: #818b98 } .line { stroke: #818b98 } .bold { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } text { fill: #f0f6fc } .quiet { fill: #9198a1 } .axis { stroke: #9198a1 }
    .ours { fill: #4493f8 } .peer { fill: #656c76 } .hollow, .line { stroke: #656c76 }
  }
"""


def ranked(results: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """Contenders that were measured, the fastest first."""
    rows: dict[str, dict[str, float]] = results["medians"]
    return sorted(rows.items(), key=lambda item: -item[1]["events_per_s"])


def svg(results: dict[str, Any]) -> str:
    """The chart."""
    rows = ranked(results)
    most = rows[0][1]["events_per_s"]
    height = TOP + STEP * len(rows) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' font-family="system-ui, sans-serif" font-size="14" role="img">',
        _title(rows),
        f"<style>{STYLE}</style>",
        '<defs><pattern id="lines" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<line class="line" x1="0" y1="0" x2="0" y2="6" stroke-width="3"/></pattern></defs>',
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
        '<text class="bold" x="16" y="28" font-size="17">Events per second, one process</text>',
        '<text class="quiet" x="16" y="48">filled: documents survive a crash · striped: they do not</text>',
    ]
    for i, (name, row) in enumerate(rows):
        contender, y = CONTENDERS[name], TOP + STEP * i
        length = max(2.0, BAR * row["events_per_s"] / most)
        look = ("ours" if contender.is_ours else "peer") if contender.is_durable else "hollow"
        bold = ' class="bold"' if contender.is_ours else ""
        parts += [
            f'<text{bold} x="{LEFT - 12}" y="{y + 17}" text-anchor="end">{escape(contender.title)}</text>',
            f'<rect class="{look}" x="{LEFT}" y="{y}" width="{length:.1f}" height="{STEP - 12}"/>',
            f'<text{bold} x="{LEFT + length + 10:.1f}" y="{y + 17}">{row["events_per_s"]:,.0f}'
            f'<tspan class="quiet" dx="8">{_beside(results, name)}</tspan></text>',
        ]
    end = TOP + STEP * len(rows)
    parts += [
        f'<line class="axis" x1="{LEFT}" y1="{TOP - 8}" x2="{LEFT}" y2="{end - 4}"/>',
        f'<text class="quiet" x="16" y="{end + 24}">{escape(about(results))}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _title(rows: list[tuple[str, dict[str, float]]]) -> str:
    said = ", ".join(f"{CONTENDERS[name].title} {row['events_per_s']:,.0f}" for name, row in rows)
    return f"<title>Events per second: {escape(said)}</title>"


def _beside(results: dict[str, Any], name: str) -> str:
    """What stands beside a bar."""
    ratio = results["ratios"].get(name)
    said = [] if ratio is None else [f"ours is {ratio:.1f} ×" if ratio >= 10 else f"ours is {ratio:.2f} ×"]
    return " · ".join(said + ([] if CONTENDERS[name].is_durable else ["not durable"]))


def section(results: dict[str, Any]) -> list[str]:
    """The table, for bench/README.md."""
    rows = []
    for name, row in ranked(results):
        contender, runs = CONTENDERS[name], [run["events_per_s"] for run in results["runs"][name]]
        ratio = results["ratios"].get(name)
        rows.append(
            (
                f"**{contender.title}**" if contender.is_ours else contender.title,
                f"{contender.state}{'' if contender.is_durable else ' (not durable)'}",
                f"{row['events_per_s']:,.0f}",
                f"{min(runs):,}–{max(runs):,} ({len(runs)})",
                "" if ratio is None else f"{ratio:.2f}",
                f"{row['cpu_s_per_100k']:.2f}",
                f"{row['broker_cpu_s_per_100k']:.2f} / {row['store_cpu_s_per_100k']:.2f}",
                f"{row['peak_mb']:,.0f}",
                f"{row['wrong']:,.0f}",
            )
        )
    head = ("", "documents in", "events/s", "range (rounds)", "ours is × as fast", "CPU s per 100k")
    lines = [about(results), "", *table([*head, "of broker / store", "peak MB", "members wrong"], rows)]
    for name, text in results["failed"].items():
        lines += ["", f"{CONTENDERS[name].title} was not measured to the end: {text}"]
    return [*lines, "", "![Events per second of each contender](results/throughput.svg)"]


def publish(results: dict[str, Any]) -> None:
    """Write the results file, the table and the chart."""
    save("throughput", results, section(results))
    (HERE / "results" / "throughput.svg").write_text(svg(results))


if __name__ == "__main__":
    publish(json.loads((HERE / "results" / "throughput.json").read_text()))
