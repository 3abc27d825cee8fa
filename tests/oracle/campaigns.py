"""Which campaigns a member sees: written from docs/campaigns.md alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Campaign:
    """As an author has set it. `holdout`: of 10,000. Times in ms."""

    model: str
    clusters: tuple[int, ...]
    holdout: int = 0
    from_ms: int | None = None
    until_ms: int | None = None
    is_paused: bool = False


def draw(campaign: str, member: str) -> int:
    """A number of 32 bits, the same for ever."""
    x = _half(campaign) ^ _half(member)
    x = (x ^ x >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    x = (x ^ x >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return x ^ x >> 16


def _half(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def sees(name: str, campaign: Campaign | None, member: str, clusters: Mapping[str, int], now_ms: int) -> str:
    """Return `sees`, `held out` or `no`. `clusters`: of the member, model → cluster under its live version."""
    if campaign is None or campaign.is_paused or clusters.get(campaign.model) not in campaign.clusters:
        return "no"
    if campaign.from_ms is not None and now_ms < campaign.from_ms:
        return "no"
    if campaign.until_ms is not None and now_ms >= campaign.until_ms:
        return "no"
    return "held out" if draw(name, member) * 10_000 < campaign.holdout << 32 else "sees"
