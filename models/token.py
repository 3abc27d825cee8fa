"""Tokens: what a look-up told about a campaign and a member, carried by the impression to where it is counted.

    <version>.<cluster>.<held out>.<known>.<position>.<check>        3.2.0.417.5-81234.8c1f0a2b

The model version and the member's cluster by which it was shown; 1 if the member was held out; up to which step of the
models' log the look-up knew (`known` in Redis), so the terms are known to the step; the partition and offset of the
member's last event, `-` for a member without a document. `check`: the first four bytes of the SHA-256 of
`<campaign> <member> <the rest>`, in hexadecimal digits. It isn't a secret. It notices a token that was sent with
another campaign or for another member, or was cut.

stream/lookup/token.py makes them; docs/campaigns.md has the format for any language, and vectors.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple

_TOKEN = re.compile(r"((\d{1,10})\.(\d{1,10})\.([01])\.(\d{1,19})\.(?:\d{1,10}-\d{1,19}|-))\.([0-9a-f]{8})", re.ASCII)


class Token(NamedTuple):
    """What a look-up told."""

    version: int
    cluster: int
    is_held_out: bool
    known: int


def read_token(text: str, campaign: str, member_id: str) -> Token | None:
    """Return the token of a campaign and a member; None: it isn't one, or it is one of others."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        return None
    body, version, cluster, held_out, known, check = match.groups()
    if sha256(f"{campaign} {member_id} {body}".encode()).hexdigest()[:8] != check:
        return None
    return Token(int(version), int(cluster), held_out == "1", int(known))
