"""Who is held out from a campaign: a number drawn for campaign and member, the same in every language and for ever.

    a = the first 4 bytes of SHA-256(campaign id), big-endian; b = those of SHA-256(member id)
    x = fmix32(a xor b); held out if x · 10,000 < holdout · 2³²

fmix32 is the finaliser of MurmurHash3 (public domain, Austin Appleby), a bijection on 32 bits.

Laws:
- The numbers of one campaign are spread evenly over the members. Those of two campaigns are independent.
- A larger holdout keeps the members who were held out before.
- One hash of the member serves all campaigns. A hash of campaign and member together took nine times as long with 167
  campaigns (docs/decisions/0013). `Holdouts` draws for all campaigns at once, in lanes of one large integer. A test
  compares it with `draw`.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import compress
from typing import Any

#: Holdouts are counted in ten-thousandths: percentages with two decimals are whole numbers, in every language.
WHOLE = 10_000
_LANE = 8  # bytes: a product of two numbers of 32 bits fits
_32 = 0xFFFF_FFFF
#: Campaigns that a member sees, and those from which it is held out.
Seen = tuple[tuple[str, ...], tuple[str, ...]]


def draw(campaign_id: str, member_id: str) -> int:
    """Return the number of 32 bits."""
    x = _half_of_campaign(campaign_id) ^ half(member_id)
    x = (x ^ x >> 16) * 0x85EB_CA6B & _32
    x = (x ^ x >> 13) * 0xC2B2_AE35 & _32
    return x ^ x >> 16


def is_held_out(campaign_id: str, member_id: str, holdout: int) -> bool:
    """Return whether a member is among the `holdout` of 10,000 who don't see a campaign."""
    return holdout > 0 and draw(campaign_id, member_id) * WHOLE < holdout << 32


def half(text: str) -> int:
    """Return the first four bytes of a text's SHA-256, as a number."""
    return int.from_bytes(_sha256()(text.encode()).digest()[:4])


_half_of_campaign = lru_cache(maxsize=1_024)(half)  # there are few campaigns, and many members


@cache
def _sha256() -> Any:
    from hashlib import sha256  # loads OpenSSL, which is only needed where somebody is held out

    return sha256


class Holdouts:
    """Campaigns and their holdouts, asked about one member after another."""

    __slots__ = ("_bit", "_ids", "_mask", "_ones", "_places", "_salts", "_thresholds")

    def __init__(self, ids: Sequence[str], holdouts: Sequence[int]) -> None:
        self._ids = tuple(ids)
        self._places = [place for place, holdout in enumerate(holdouts) if holdout]
        self._ones = _lanes([1] * len(self._places))
        self._mask, self._bit = self._ones * _32, self._ones << 32
        self._salts = _lanes([half(ids[place]) for place in self._places])
        # x is below the least whole number that isn't below holdout · 2³² / 10,000 if bit 32 of this minus x is set.
        self._thresholds = _lanes([-(-(holdouts[place] << 32) // WHOLE) + _32 for place in self._places])

    def of(self, member_id: str) -> Seen:
        """Return the campaigns that the member sees and those from which it is held out, each in their order."""
        if not self._places:
            return self._ids, ()
        mask = self._mask
        x = self._ones * half(member_id) ^ self._salts
        x = (x ^ x >> 16 & mask) * 0x85EB_CA6B & mask
        x = (x ^ x >> 13 & mask) * 0xC2B2_AE35 & mask
        x ^= x >> 16 & mask
        held = self._thresholds - x & self._bit
        if not held:
            return self._ids, ()
        flags = held.to_bytes(_LANE * len(self._places), "little")[4::_LANE]
        places = list(compress(self._places, flags))
        visible = list(self._ids)
        for place in reversed(places):
            del visible[place]
        return tuple(visible), tuple([self._ids[place] for place in places])


def _lanes(values: Sequence[int]) -> int:
    return int.from_bytes(b"".join([value.to_bytes(_LANE, "little") for value in values]), "little")
