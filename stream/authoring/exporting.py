"""A campaign's members as rows: who was exposed when and where, and what each did since. For a library of one's own.

Laws:
- A row holds what the member contributes to the counts: the sums of the rows are the counts (of those who weren't
  forgotten since, and were counted by event time).
- It is read from the changelog of interactions, so it is of the moment, and needs neither Redis nor the workers.
"""

from __future__ import annotations

import csv
from contextlib import aclosing
from pathlib import Path
from typing import Any

from memberstream.models.count_state import CELL_PREFIXES, decode
from memberstream.models.counts import UNIT
from memberstream.models.engagement import Met
from memberstream.models.interaction import IMPRESSION
from memberstream.stream.authoring.state_reader import partitions_of
from memberstream.stream.files.parquet import arrow
from memberstream.stream.settings import Settings
from memberstream.stream.tasks.meter import Meter, unwatched

#: Of every row; then four for each kind.
FIXED = ("member_id", "exposed_at", "held_out", "version", "cluster", "period", "impressions", "switched")
FORMATS = ("csv", "parquet")
_TIMES = ("exposed_at", "period")

Row = dict[str, Any]


async def exposed_members(settings: Settings, campaign: str, progress: Meter = unwatched) -> list[Row]:
    """Return a row for each member that was exposed to a campaign. Times are ms since 1970.

    Of each kind besides impressions: `<kind>_n`, how often within the window; `<kind>_first` and `<kind>_last`, None if
    never; `<kind>_sum`, of its values.

    Raises:
        TopicUnreadable: no broker there, or nothing was ever counted.
        StateError: the state was written by another version of memberstream.
    """
    found: list[tuple[str, Met]] = []
    changelog = f"{settings.interaction_group}-state-changelog"
    async with aclosing(partitions_of(settings.kafka, changelog, progress)) as partitions:
        async for states, _ in partitions:
            for key, value in states:
                if not key.startswith(CELL_PREFIXES) and (met := decode(value).met.get(campaign)) is not None:
                    found.append((key.decode(), met))
    declared = [kind for kind in settings.interaction_kinds if kind != IMPRESSION]
    kinds = [*declared, *sorted({kind for _, met in found for kind in met.done} - set(declared))]
    return [row_of(member_id, met, kinds) for member_id, met in sorted(found, key=lambda pair: pair[0])]


def row_of(member_id: str, met: Met, kinds: list[str]) -> Row:
    """Return the row of a member that met a campaign."""
    told = (member_id, met.at_ms, met.is_held_out, met.version, met.cluster, met.period_ms, met.impressions)
    row: Row = dict(zip(FIXED, (*told, met.has_switched), strict=True))
    for kind in kinds:
        done = met.done.get(kind)
        row[f"{kind}_n"] = 0 if done is None else done.n
        row[f"{kind}_first"] = None if done is None else done.first_ms
        row[f"{kind}_last"] = None if done is None else done.last_ms
        row[f"{kind}_sum"] = 0.0 if done is None else int(done.value_sum) / UNIT
    return row


def write_rows(rows: list[Row], path: Path, form: str) -> None:
    """Write rows, at least one. In CSV times are ms, and True and False are 1 and 0; in Parquet they have their types.

    Raises:
        ParquetError: pyarrow is missing.
        OSError: the file can't be written.
    """
    if form == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(rows[0])
            for row in rows:
                lines.writerow([int(value) if isinstance(value, bool) else value for value in row.values()])
        return
    pyarrow = arrow()
    times = {name for name in rows[0] if name in _TIMES or name.endswith(("_first", "_last"))}
    columns = {
        name: pyarrow.array([row[name] for row in rows], pyarrow.timestamp("ms", "UTC") if name in times else None)
        for name in rows[0]
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
