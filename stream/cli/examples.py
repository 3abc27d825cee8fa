"""Examples of each command, at the end of its `--help`.

Law: the command's own parser takes each of them, and no command is without one (tests/unit/test_examples.py).
"""

from __future__ import annotations

import typer
from rich import markup

EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("", "--json"),
    "local": ("", "--kafka-port 0 --redis-port 0"),
    "worker": ("", "-v"),
    "console": ("", "--port 0"),
    "console-users add": ("ann --role manager", "ann --role author --role operator --password-file password.txt"),
    "console-users remove": ("ann",),
    "console-users list": ("",),
    "doctor": ("", "--json"),
    "rebuild": ("", "--take-over"),
    "lookup": ("m1", "m1 --json"),
    "explain": ("m1 repeat_buyer", "m1 repeat_buyer@2"),
    "plan": (
        "--members 2000000 --events-per-s 4000",
        "--members 2000000 --events-per-s 4000 --document-bytes 3000 --model model.toml",
    ),
    "load": ("--members 10000 --rate 500 --seconds 30", "--members 10000 --rate 500 --delete"),
    "model check": ("model.toml", "model.toml --documents documents.ndjson"),
    "model score": ("model.toml documents.ndjson", "model.toml documents.ndjson --at 2026-03-01"),
    "model training-data": (
        "predictors.json --rows rows.csv --out x.parquet",
        "model.toml --rows rows.csv --history events.ndjson --out x.csv",
    ),
    "model publish": ('model.toml --wait --reason "trained on March"', "model.toml --promote"),
    "model wait": ("repeat_buyer@2",),
    "model compare": ("repeat_buyer@2 repeat_buyer", "repeat_buyer@2 repeat_buyer@1 --picture flips.svg"),
    "model promote": ('repeat_buyer@2 --reason "agreed with marketing"', "repeat_buyer@2 --max-flips 35%"),
    "model rollback": ('repeat_buyer --reason "campaigns went quiet"',),
    "model retire": ("repeat_buyer@1",),
    "model list": ("",),
    "model history": ("repeat_buyer",),
    "model live-at": ("repeat_buyer 2026-03-01T09:30:00Z",),
    "model restart-log": ("--known 41",),
    "model complete-log": ("",),
    "campaign set": (
        "summer --model repeat_buyer --clusters medium,high --until 2027-01-01 --holdout 10%",
        'summer --window 7d --window purchase=14d --primary purchase --title "Summer sale"',
    ),
    "campaign split": ("summer --model repeat_buyer --holdout 10%",),
    "campaign list": ("",),
    "campaign show": ("summer",),
    "campaign pause": ('summer --reason "out of stock"',),
    "campaign resume": ("summer",),
    "campaign delete": ("summer",),
    "campaign reach": ("summer",),
    "campaign visible": ("m1",),
    "campaign plan": ("summer --effect 1pt", "summer --effect 10% --kind purchase --rate 3% --per-day 500"),
    "campaign report": ("summer", "summer --by day --html summer.html"),
    "campaign export": ("summer", "summer --format parquet --out summer.parquet"),
    "clusters upload": (
        "loyalty list.csv --names 1=low,2=high --dry-run",
        "loyalty list.csv --names 1=low,2=high --promote",
    ),
    "members misplaced": ("",),
    "members forget": ('m1 --partition 3 --why "it belongs in partition 0"', "--misplaced"),
    "events check": ("events.ndjson", "events.ndjson --model model.toml"),
    "events send": ("events.ndjson",),
    "events load": ("members.parquet --as-of 2026-03-01", "members.parquet --as-of 2026-03-01 --dry-run"),
    "events skip": ('3 1741 --reason "its state is damaged"',),
    "events skipped": ("", "--interactions"),
    "interactions worker": ("",),
    "interactions check": ("shown.ndjson",),
    "interactions send": ("shown.ndjson",),
    "dead-letters list": ("", "--reason future_time --since 2026-03-01"),
    "dead-letters show": ("", "3/1741 --data"),
    "dead-letters resend": ("--dry-run", "--reason future_time"),
    "state snapshot": ("snapshot-1",),
    "state restore": ("snapshot-1",),
}


def show_examples(app: typer.Typer, *groups: str) -> None:
    """Put each command's examples at the end of its help. `groups`: names of those that the app is in."""
    for command in app.registered_commands:
        name = " ".join((*groups, command.name or getattr(command.callback, "__name__", "").replace("_", "-")))
        lines = [f"memberstream {name} {words}".rstrip() for words in EXAMPLES.get(name, ())]
        command.epilog = "\n\n".join(["Examples:" if len(lines) > 1 else "Example:", *map(markup.escape, lines)])
    for group in app.registered_groups:
        if group.typer_instance is not None:
            show_examples(group.typer_instance, *groups, str(group.name))
