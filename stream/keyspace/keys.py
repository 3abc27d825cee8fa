"""The names of all keys of one installation, made once of its prefix. Nothing else spells a key.

Laws:
- A key begins with the prefix and a colon. The prefix holds no colon, so no installation's keys begin like another's.
- The small keys of all installations share the hash tag `{meta}`: a Redis Cluster keeps them in one slot. So readers in
  any language, ACL rules and this table differ between installations in the prefix alone (docs/decisions/0044).
- A key is `bytes`, ready to be sent.
"""

from typing import Any

DEFAULT_PREFIX = "ms"
PREFIX_RULE = "1 to 32 letters of ASCII, digits, `_`, `-` or `.`"


class Keys:
    """The keys of an installation. A value: it can't be changed.

    (Not a dataclass, as clients are to be loaded fast.)

    Attributes:
        member_prefix: what a member's key begins with; the id follows.
        live, models, …: the small keys (table.py says what they hold).
    """

    prefix: str
    member_prefix: bytes
    live: bytes
    models: bytes
    campaigns: bytes
    known: bytes
    scored: bytes
    behind: bytes
    sizes: bytes
    doors: bytes
    epoch: bytes
    built: bytes
    witness: bytes
    beacons: bytes
    counted: bytes
    installation: bytes

    SMALL = (
        *("live", "models", "campaigns", "known", "scored", "behind", "epoch", "built", "witness", "beacons"),
        *("sizes", "doors", "counted", "installation"),
    )

    def __init__(self, prefix: str = DEFAULT_PREFIX) -> None:
        """Raises ValueError: the prefix has other characters than PREFIX_RULE says."""
        # Braces would choose the slot in a cluster; * ? [ ] and \ mean something to SCAN and in ACL rules.
        plain = isinstance(prefix, str) and prefix.isascii() and prefix.translate(_TO_LETTERS).isalnum()
        if not plain or len(prefix) > 32:
            raise ValueError(f"prefix: expected {PREFIX_RULE}, found {prefix!r}")
        small = {name: f"{prefix}:{{meta}}:{name}".encode() for name in self.SMALL}
        self.__dict__.update(small, prefix=prefix, member_prefix=f"{prefix}:member:".encode())

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("keys don't change")

    def member(self, member_id: bytes) -> bytes:
        """The key of a member's row. Any bytes are allowed in an id; those that memberstream writes are UTF-8."""
        return self.member_prefix + member_id

    def cells(self, campaign: str) -> bytes:
        """The key of a campaign's counts."""
        return f"{self.prefix}:cells:{campaign}".encode()

    def counts(self, campaign: str) -> bytes:
        """The key of a campaign's counts by the rules before."""
        return f"{self.prefix}:counts:{campaign}".encode()


_TO_LETTERS = str.maketrans("_-.", "aaa")
