"""The token that an impression carries: what this look-up told (docs/campaigns.md has the format, with vectors)."""

from .holdout import half


def make_token(
    campaign: str, member_id: str, version: int, cluster: int, is_held_out: bool, known: int, position: str
) -> str:
    """Return the token. `position`: `<partition>-<offset>` of the member's last event, or `-`."""
    body = f"{version}.{cluster}.{int(is_held_out)}.{known}.{position}"
    return f"{body}.{half(f'{campaign} {member_id} {body}'):08x}"
