"""A campaign's terms: which clusters of a model see something, when, who is held out, and what is to be learned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from memberstream.models.timestamps import DAY_MS

#: Of 10,000; so a share has two decimals as a percentage, and every language has it as a whole number.
WHOLE = 10_000
#: Kinds that only those shown can do: they can't be compared with members held out.
SHOWN_ONLY = ("impression", "click")
#: Judges a campaign unless its terms say otherwise, if it is declared; else the first kind that can does.
PURCHASE = "purchase"
#: How long after the exposure something counts, unless the terms say otherwise. A week holds each weekday once.
WINDOW_MS = 7 * DAY_MS
_WINDOWS_MS = range(60_000, 365 * DAY_MS + 1)
_LONGEST_TITLE = 100  # characters; it stands in headings
_ID = re.compile(r"[a-z][a-z0-9_-]{0,63}")


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who sees a campaign, and when.

    Attributes:
        clusters: ids of the model's clusters, ascending.
        from_ms, until_ms: it is visible from the first until before the second; None: no bound.
        holdout: of 10,000 members of these clusters so many don't see it, for comparison.
        window_ms: how long after a member's exposure something counts; windows: the same for single kinds.
        primary: the kind by which the campaign is judged; "": see `primary_of`.
        guardrails: kinds that must not rise, and by how many of 10,000 members they may at most.
        winsorise: members' sums above this quantile, of 10,000, count as that quantile; 0: none are cut.
        split: the campaigns of one split say the same here, the id of the split; "": it is none of a split.
        title: how people call it; "": by its id.
    """

    model: str
    clusters: tuple[int, ...]
    from_ms: int | None = None
    until_ms: int | None = None
    holdout: int = 0
    window_ms: int = WINDOW_MS
    windows: dict[str, int] = {}
    primary: str = ""
    guardrails: dict[str, int] = {}
    winsorise: int = 0
    split: str = ""
    title: str = ""

    def window_of(self, kind: str) -> int:
        """Return how long after a member's exposure a kind counts, ms."""
        return self.windows.get(kind, self.window_ms)

    def counts_alike(self, other: Terms) -> bool:
        """Return whether members exposed under either may be counted together."""
        return (self.model, self.clusters, self.holdout, self.window_ms, self.windows) == (
            *(other.model, other.clusters, other.holdout, other.window_ms, other.windows),
        )


def primary_of(terms: Terms, kinds: Sequence[str]) -> str | None:
    """Return the kind by which a campaign is judged; None: there is none that members held out could do as well.

    It never follows from what is counted: else one event of another kind would take back what was told.

    Args:
        kinds: those that are declared, in their order.
    """
    able = [kind for kind in kinds if kind not in SHOWN_ONLY and kind not in terms.guardrails]
    return terms.primary or (PURCHASE if PURCHASE in able else next(iter(able), None))


@lru_cache(maxsize=1_024)  # interactions name the same ones
def is_id(text: str) -> bool:
    """Return whether a campaign may be called so."""
    return _ID.fullmatch(text) is not None


def problem(campaign_id: str, terms: Terms) -> str:
    """Return what is wrong with a campaign in itself, "" if nothing is."""
    if not is_id(campaign_id):
        return (
            f"{campaign_id!r} is no campaign id. "
            "Next: begin with a small letter; small letters, digits, _ and - may follow, 64 characters in all"
        )
    if not terms.clusters or list(terms.clusters) != sorted(set(terms.clusters)):
        return f"{campaign_id}: expected clusters, each once, found {list(terms.clusters)}. Next: name at least one"
    if terms.from_ms is not None and terms.until_ms is not None and terms.from_ms >= terms.until_ms:
        return f"{campaign_id}: it would end before it begins. Next: a time for until that is later than that for from"
    if not 0 <= terms.holdout <= WHOLE:
        return f"{campaign_id}: expected a holdout from 0% to 100%, found {terms.holdout / 100:g}%. Next: correct it"
    return _unclear(campaign_id, terms)


def _unclear(campaign_id: str, terms: Terms) -> str:
    """Return what is wrong with what a campaign is to show, "" if nothing is."""
    for window_ms in (terms.window_ms, *terms.windows.values()):
        if window_ms not in _WINDOWS_MS:
            return f"{campaign_id}: expected windows from a minute to a year. Next: one like 7d or 12h"
    if terms.primary in SHOWN_ONLY:
        return (
            f"{campaign_id}: members held out can't have {terms.primary!r}, so it can't tell what the campaign caused. "
            "Next: a primary kind that they can do, too"
        )
    for kind, margin in terms.guardrails.items():
        if kind in SHOWN_ONLY:
            return f"{campaign_id}: members held out can't have {kind!r}. Next: a guardrail that they can do, too"
        if kind == terms.primary or not 0 <= margin <= WHOLE:
            return f"{campaign_id}: {kind} can't be a guardrail. Next: a kind that isn't primary, and 0% to 100%"
    if len(terms.title) > _LONGEST_TITLE or not terms.title.isprintable():
        return f"{campaign_id}: expected a title of at most {_LONGEST_TITLE} printable characters. Next: a shorter one"
    if not (terms.winsorise == 0 or WHOLE // 2 <= terms.winsorise < WHOLE):
        return f"{campaign_id}: expected a quantile from 50% to 99.99%. Next: one like 99.5%, or none"
    return ""
