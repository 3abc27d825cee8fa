"""How pages are made of values: one environment of templates, in which every text of others is harmless.

Laws:
- Every text is escaped, and its control characters are shown (terminal/safe.py): a name can't be markup, nor turn a
  line around.
- A value that a template asks for and that isn't there is an error, not an empty place.
- A number stands with its unit; a time is in UTC and says so.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from memberstream.models.timestamps import format_ms
from memberstream.models.wording import counted, percent_of
from memberstream.stream.authoring.coverage import awaited, waiting_text
from memberstream.stream.authoring.terms_told import as_text, clusters_text, goals, percent
from memberstream.stream.console.roles import Person, Right
from memberstream.stream.terminal.advice import ADVICE
from memberstream.stream.terminal.safe import one_line

FOLDER = Path(__file__).parent
#: Page → its name in the navigation.
NAVIGATION = {
    "/": "Overview",
    "/models": "Models",
    "/campaigns": "Campaigns",
    "/lists": "Lists",
    "/members": "Members",
    "/dead-letters": "Dead letters",
    "/history": "History",
}
NONE = "–"


def environment() -> Environment:
    """Return the environment of all templates."""
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"when": when, "ago": ago, "number": number, "percent": percent, "sentence": sentence}
    made.filters["rights"] = rights
    made.globals |= {
        "navigation": NAVIGATION, "NONE": NONE, "counted": counted, "clusters_text": clusters_text, "goals": goals,
        "as_text": as_text, "advice": ADVICE, "waiting_text": waiting_text, "awaited": awaited,
        "percent_of": percent_of,
    }  # fmt: skip
    return made


def _harmless(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def rights(person: Person) -> str:
    """What somebody may do → look, set campaigns."""
    return ", ".join(right for right in Right if person.may(right)) or "do nothing"


def sentence(text: str) -> str:
    """a sentence → A sentence."""
    return text[:1].upper() + text[1:]


def when(at_ms: int | None) -> Markup:
    """1_796_000_000_000 → 2026-11-30 08:53 UTC; seconds stand in the title."""
    if at_ms is None:
        return Markup(NONE)
    full = format_ms(at_ms)
    try:
        shown = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        shown = full
    return Markup('<time datetime="{}" title="{}">{}</time>').format(full, full, shown)


def ago(age_ms: int | None) -> str:
    """12_345 → 12 s ago; 200_000 → 3 min ago."""
    if age_ms is None:
        return NONE
    for unit, ms in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if age_ms >= 2 * ms:
            return f"{age_ms // ms:,} {unit} ago"
    return f"{age_ms // 1000} s ago"


def number(value: float | None) -> str:
    """12345 → 12,345; None → –."""
    return NONE if value is None else f"{value:,.0f}"
