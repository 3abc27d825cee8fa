"""The topic of the changelog: how it is made, and what it takes."""

from __future__ import annotations

from memberstream.models.member import MAX_STATE_BYTES

#: Bytes that a changelog's batch of one record takes beyond the largest value: its framing and the key.
FRAME_BYTES = 65_536
#: max.message.bytes of the changelog. It is created to take the largest state; one made by hand may take less.
MESSAGE_BYTES = MAX_STATE_BYTES + FRAME_BYTES
#: Compact: retention by time would forget quiet members.
CONFIGS = {"cleanup.policy": "compact", "max.message.bytes": str(MESSAGE_BYTES)}
