"""What is known before a report is made: whether its libraries are there, and who was counted by the rules before.

Needs no extra itself. Members who were counted by the rules before are in no report and no export, and told beside
both.
"""

from __future__ import annotations

from collections.abc import Sequence

from memberstream.models.counts import EXPOSED
from memberstream.models.wording import counted
from memberstream.stream.projection.count_reader import read_old
from memberstream.stream.settings import Settings

NEXT_AFTER_UPGRADE = "Next: wait for members who meet it for the first time, or begin a campaign with a new id"

_EXTRA = {"scipy", "statsmodels", "matplotlib", "pandas"}


def lacks(error: ImportError) -> str:
    """Return what to do if a library of reports couldn't be imported; "": it is another error."""
    if (error.name or "").partition(".")[0] not in _EXTRA:
        return ""
    return f"a report needs {error.name}. Next: pip install 'memberstream[readout]'"


def counted_before(settings: Settings, campaigns: Sequence[str]) -> list[str]:
    """Return a sentence for each campaign of which members were counted by the rules before. Raises
    CountsUnavailable."""
    found: dict[str, int] = {}
    for cell, tally in read_old(settings.redis_url, settings.keys, campaigns).items():
        if cell.kind == EXPOSED:
            found[cell.campaign] = found.get(cell.campaign, 0) + tally.members
    return [
        f"{campaign}: {counted(n, 'member was', 'members were')} exposed before the upgrade and counted by other "
        "rules; they are in no report or export (docs/interactions.md)."
        for campaign, n in found.items()
    ]
