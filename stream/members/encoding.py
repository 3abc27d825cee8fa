"""Members of a batch to what must be written of them: states, and what Redis must hold.

Laws:
- What is written says all of a member, so writing it again changes nothing. It says so of each member that was changed,
  so it holds whatever a stale worker, with a part of the same events, wrote just before.
- A deleted member whose events carried versions keeps the last one, so that an older event can't bring it back.
"""

from __future__ import annotations

from collections.abc import Mapping

from memberstream.models.member import Member, Move, encode
from memberstream.models.steps import Steps
from memberstream.models.timestamps import FOREVER
from memberstream.stream.members.applying import Touched
from memberstream.stream.members.batch import STEP_BYTES, Batch
from memberstream.stream.members.recent import Recent
from memberstream.stream.partition.bookkeeping import APPLIED
from memberstream.stream.projection.members import Deletion, Release, Update
from memberstream.stream.registry.publication import Publication


def encoding(batch: Batch, members: Mapping[bytes, Touched], publication: Publication, recent: Recent) -> Steps[None]:
    """Add what must be written for these members. After that they aren't needed any more."""
    n_bytes = 0
    for key, touched in members.items():
        member, is_there = touched.member, touched.member.document is not None
        n_bytes += member.document_bytes
        if n_bytes > STEP_BYTES:
            n_bytes = 0
            yield
        if touched.changed:
            if is_there or member.version >= 0:
                state = encode(member, batch.written_at, batch.state_bytes)
                batch.items.append((key, state))
                recent.keep(key, state, member)
            else:  # also of one that came in this very batch: a stale worker may have written it in between
                batch.gone.append((key, None))
                recent.drop(key)
            if member.valid_until_ms != touched.was_due_ms:  # of a deleted one it is for ever
                batch.timers.append((key, touched.was_due_ms, member.valid_until_ms))
            if (now := member.memberships if is_there else None) != touched.was:
                batch.moves.append(Move(key, touched.was, now))
        elif touched.replayed_position < 0:
            continue
        if is_there:
            batch.updates.append(to_update(key, member, publication))
            continue
        is_released = touched.is_released or bool(batch.placement.misplaced([key], batch.partition))
        if touched.is_deleted or not is_released:
            batch.updates.append(to_deletion(key, member, touched.replayed_position))
        if is_released:  # another partition's row of it must not meet a tombstone of ours
            batch.updates.append(Release(key))


def to_items(batch: Batch) -> list[tuple[bytes, bytes | None]]:
    """Return all changes of the state. Deletions come last, next to the progress: that tells a replay about them."""
    return [*batch.items, *batch.gone, (APPLIED, batch.progress.encode(batch.written_at))]


def to_update(key: bytes, member: Member, publication: Publication) -> Update:
    """Return what Redis must hold about a member with a document."""
    held, fields, keys = member.memberships, publication.fields, publication.keys
    valid_until_ms = None if member.valid_until_ms == FOREVER else member.valid_until_ms
    update = Update(key, member.position, member.as_of_ms, valid_until_ms, fields, [held[k] for k in keys])
    if not member.past:
        return update
    past = [(field, member.past[k]) for field, k in zip(fields, keys, strict=True) if k in member.past]
    return update._replace(past=past)


def to_deletion(key: bytes, member: Member, position: int) -> Deletion:
    """Return what Redis must hold about a deleted member."""
    return Deletion(key, max(member.position, position), member.as_of_ms)
