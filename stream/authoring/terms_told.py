"""A campaign's terms as people read them, and as JSON: the same in commands, in the console and in exports."""

from __future__ import annotations

from typing import Any

from memberstream.models.campaigns import Campaign
from memberstream.models.registry import Registry
from memberstream.models.targeting import clusters_of, misfit
from memberstream.models.terms import WHOLE, WINDOW_MS, Terms
from memberstream.models.timestamps import DAY_MS, format_ms

_UNITS_MS = {"d": DAY_MS, "h": 3_600_000, "m": 60_000}


def percent(ten_thousandths: int) -> str:
    """1,250 → 12.5%."""
    return f"{ten_thousandths / 100:g}%"


def clusters_text(registry: Registry, terms: Terms) -> str:
    """Return the clusters by id and name, as the model's live version names them."""
    names = clusters_of(registry, terms.model, registry.live.get(terms.model))
    return " + ".join(f"{cluster} {names[cluster]}" if cluster in names else str(cluster) for cluster in terms.clusters)


def as_text(registry: Registry, terms: Terms) -> str:
    """Return all terms as one text."""
    parts = [f"{terms.model} {clusters_text(registry, terms)}"]
    if terms.from_ms is not None:
        parts.append(f"from {format_ms(terms.from_ms)}")
    if terms.until_ms is not None:
        parts.append(f"until {format_ms(terms.until_ms)}")
    if terms.holdout:
        parts.append(f"{percent(terms.holdout)} held out")
    return ", ".join([*parts, *goals(terms)])


def goals(terms: Terms) -> list[str]:
    """Return what it is to show, as far as that was set; what is as usual is left out."""
    windows = [f"window {length(terms.window_ms)}"] if terms.window_ms != WINDOW_MS else []
    windows += [f"of {kind} {length(window_ms)}" for kind, window_ms in terms.windows.items()]
    rails = [f"{kind} up by at most {margin / 100:g} points" for kind, margin in terms.guardrails.items()]
    judged = [f"judged by {terms.primary}"] if terms.primary else []
    titled = [f'called "{terms.title}"'] if terms.title else []
    cut = [f"sums cut at {terms.winsorise / 100:g}%"] if terms.winsorise else []
    return [*titled, *windows, *judged, *rails, *cut]


def as_json(terms: Terms) -> dict[str, Any]:
    """Return all terms. Times in ISO 8601, windows in ms, shares from 0 to 1."""
    return {
        "model": terms.model,
        "clusters": terms.clusters,
        "from": None if terms.from_ms is None else format_ms(terms.from_ms),
        "until": None if terms.until_ms is None else format_ms(terms.until_ms),
        "holdout": terms.holdout / WHOLE,
        "title": terms.title or None,
        "window_ms": terms.window_ms,
        "windows_ms": terms.windows,
        "primary": terms.primary or None,
        "guardrails": {kind: margin / 10_000 for kind, margin in terms.guardrails.items()},
        "winsorise": terms.winsorise / 10_000 or None,
    }


def campaign_as_json(registry: Registry, campaign: Campaign, now_ms: int) -> dict[str, Any]:
    """Return a campaign as it stands."""
    return {
        "id": campaign.id,
        **as_json(campaign.terms),
        "state": campaign.state_at(now_ms),
        "misfit": misfit(registry, campaign.id, campaign.terms) or None,
    }


def length(window_ms: int) -> str:
    """604,800,000 → 7d."""
    unit = next(unit for unit in _UNITS_MS if not window_ms % _UNITS_MS[unit] or unit == "m")
    return f"{window_ms // _UNITS_MS[unit]}{unit}"
