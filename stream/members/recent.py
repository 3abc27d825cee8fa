"""Members with long lists, kept as they were written last: the next event needn't read their documents again.

Laws:
- A member is taken from here only if its stored state is, byte for byte, what was written of it. So nothing here can be
  wrong: neither after a batch that failed, nor after a partition that went and came back.
- A member is kept from its second look on, if it comes soon. A pass over many members, each looked at once, costs what
  it did without this. Nor is a large document without long lists looked through again, until it has doubled.
- Memory is bounded. Whoever wasn't looked at for longest goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from memberstream.models.member import Member, decode
from memberstream.models.packed_list import LONG_BYTES, packed_lists

#: Bytes of all members kept, about. One with 5,000 elements of 50 bytes, under 12 predictors, takes 0.8 MB.
MOST_BYTES = 64 << 20
# Bytes that one byte of a state takes in memory at most, about, if it isn't packed: as dictionaries of short lists.
_AS_OBJECTS = 32
#: Members remembered to have been looked at once.
MOST_SEEN = 1_000


class _Kept(NamedTuple):
    state: bytes
    member: Member
    size_bytes: int


class Recent:
    """Members of a worker whose documents hold long lists.

    Attributes:
        size_bytes: of all that is kept, about.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes, self.size_bytes = most_bytes, 0
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        # Bytes of a state from which on it is looked through for long lists. 0: it had some at the last look.
        self._seen: OrderedDict[bytes, int] = OrderedDict()
        self._fingerprint = 0

    def under(self, fingerprint: int) -> None:
        """Forget all if other models are published than before: other columns are read then."""
        if fingerprint != self._fingerprint:
            self._fingerprint, self.size_bytes = fingerprint, 0
            self._kept.clear()

    def find(self, key: bytes, state: bytes) -> Member | None:
        """Return the member of a stored state if it is kept."""
        kept = self._kept.get(key)
        if kept is None or kept.state != state:
            return None
        self._kept.move_to_end(key)
        return _copy(kept.member, len(state))

    def decode(self, key: bytes, state: bytes) -> Member:
        """Return the member of a stored state, as models.member.decode; long lists may be packed. Raises StateError."""
        if len(state) < LONG_BYTES:
            return decode(state)
        if (found := self.find(key, state)) is not None:
            return found
        look_from = 0 if key in self._kept else self._seen.get(key)
        member = decode(state, is_packed=look_from is not None and len(state) >= look_from)
        if look_from is None:
            look_from = LONG_BYTES
        elif len(state) >= look_from:
            look_from = 0 if packed_lists(member.document) else 2 * len(state)
        self._seen[key] = look_from
        self._seen.move_to_end(key)
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)
        return member

    def drop(self, key: bytes) -> None:
        """Forget a member: of whom nothing is stored, nothing stays here."""
        if (before := self._kept.pop(key, None)) is not None:
            self.size_bytes -= before.size_bytes

    def keep(self, key: bytes, state: bytes, member: Member) -> None:
        """Keep a member that is written as this state. Nobody changes it from now on."""
        is_packed = key in self._kept or self._seen.get(key) == 0
        self.drop(key)
        if len(state) < LONG_BYTES or not is_packed or not (found := packed_lists(member.document)):
            return
        unpacked_bytes = len(state) - sum(one.packed_bytes for one in found) - sum(map(len, member.rows.values()))
        size_bytes = len(state) + sum(one.size_bytes for one in found) + _AS_OBJECTS * unpacked_bytes
        kept = _Kept(state, member, size_bytes)
        self._kept[key] = kept
        self.size_bytes += kept.size_bytes
        while self.size_bytes > self._most_bytes:
            self.size_bytes -= self._kept.popitem(last=False)[1].size_bytes

    def renew(self, key: bytes, state: bytes, member: Member) -> None:
        """Do what `keep` does for a member that is kept already."""
        if key in self._kept:
            self.keep(key, state, member)


def _copy(member: Member, n_bytes: int) -> Member:
    """Return a member for a batch that changes it. Documents are never changed in place, so it shares this one's."""
    m = member
    return Member(
        *(m.position, m.version, m.as_of_ms, m.valid_until_ms, m.document, m.memberships.copy(), m.plan_id),
        *(m.rows.copy(), set(), n_bytes, m.past),
    )
