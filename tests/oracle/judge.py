"""What a reader was told, and what Redis holds, judged: written from docs/redis.md, lists.md and campaigns.md alone.

Laws:
1. An answer is judged as of the position that it names: the member's document after all events up to that offset, at
   the time that scoring used and until the answer ceases to hold.
2. It may not be older than what the partition's beacon said before it was asked for: all below is applied.
3. `current` is a promise: every model that was live then has its cluster. `unknown member` is one, too.
4. Where the documents leave open which of two things a reader is told (a list that is being uploaded while its member
   is deleted), nothing is asked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from oracle.campaigns import sees
from oracle.events import Member
from oracle.journal import CAMPAIGN_COPY_MS, COPY_MS, Journal
from oracle.predictors import DAY_MS
from oracle.scorers import clusters

FAR_MS = 500 * DAY_MS  # for ever, to an answer that names no end


class Answer(NamedTuple):
    """What a client was told of a member. `floors`: partition → next offset of its beacon, read before the question."""

    asked_ms: int
    answered_ms: int
    floors: Mapping[int, int]
    member: bytes
    status: str
    partition: int | None
    offset: int | None
    as_of_ms: int | None
    valid_until_ms: int | None
    told: Mapping[str, tuple[int, int]]  # model → live version, cluster
    visible: tuple[str, ...]
    held_out: tuple[str, ...]


class Row(NamedTuple):
    """A member's row in Redis, `<pos>|<label>=<cluster>:<since_ms>…||…`, without its past."""

    pos: str
    computed: Mapping[str, tuple[int, int]]
    listed: Mapping[str, tuple[int, int]]


def parse_row(text: str) -> Row:
    head, _, tail = text.partition("||")
    pos, *fields = head.split("|")
    return Row(pos, _memberships(fields), _memberships(tail.split("|")))


def _memberships(fields: Iterable[str]) -> dict[str, tuple[int, int]]:
    found = {}
    for field in filter(None, fields):
        label, _, value = field.partition("=")
        if label.endswith("~"):  # what the cluster was before
            continue
        cluster, since_ms = value.split(":")
        found[label] = int(cluster), int(since_ms)
    return found


class Judge:
    """Judges by what the topic holds (member id → its history) and by what people did.

    Attributes:
        on_border: clusters that two programs may decide differently, accepted either way.
    """

    def __init__(self, members: Mapping[bytes, Member], journal: Journal) -> None:
        self._members, self._journal = members, journal
        self._known: dict[tuple[bytes, int, str, int], frozenset[int]] = {}
        self.on_border = 0

    # -- an answer, while events arrive -----------------------------------------------------------------------------

    def wrong_answer(self, answer: Answer) -> str:
        """Return what is wrong with what a reader was told, "" if nothing is."""
        member = self._members.get(answer.member, Member(-1))
        floor = answer.floors.get(member.partition, 0)
        reached = bisect_left(member.at, floor)  # so many of its events were applied before the question
        if answer.status == "unknown member":
            return self._wrong_unknown(answer, member, reached)
        if answer.offset is None:
            if answer.status == "current" and not any(self._is_list(m, v) for m, (v, _) in answer.told.items()):
                return "current without a position and without a list"
        elif why := self._wrong_position(answer, member, reached):
            return why
        return self._wrong_told(answer, member) or self._wrong_live(answer) or self._wrong_visible(answer)

    def _wrong_unknown(self, answer: Answer, member: Member, reached: int) -> str:
        documents = [None, *member.documents][reached:]
        if all(document is not None for document in documents):
            return "unknown, but it has a document since before the question"
        return ""

    def _wrong_position(self, answer: Answer, member: Member, reached: int) -> str:
        if answer.partition != member.partition or answer.offset not in member.at:
            return "no event of this member took effect at the position"
        index = member.at.index(answer.offset)
        if index + 1 < reached:
            return f"older than the beacon: {member.at[reached - 1]} had been applied"
        if member.documents[index] is None:
            return "the member was deleted at the position"
        if answer.as_of_ms is None or answer.as_of_ms < member.times_ms[index]:
            return "scored as of a time before the event"
        return ""

    def _wrong_told(self, answer: Answer, member: Member) -> str:
        for model, (version, cluster) in answer.told.items():
            label = f"{model}@{version}"
            if label in self._journal.lists:
                if self._journal.lists[label].rows.get(answer.member) != cluster:
                    return f"{label}: on the list it is in {self._journal.lists[label].rows.get(answer.member)}"
                continue
            if answer.offset is None or answer.as_of_ms is None:
                return f"{label} without a position"
            end_ms = answer.as_of_ms + FAR_MS if answer.valid_until_ms is None else answer.valid_until_ms
            for at_ms in (answer.as_of_ms, (answer.as_of_ms + end_ms) // 2, max(answer.as_of_ms, end_ms - 1)):
                if cluster not in (right := self.clusters_of(answer.member, member, answer.offset, label, at_ms)):
                    return f"{label}: cluster {cluster}, at {at_ms} it is {sorted(right)}"
        return ""

    def clusters_of(self, key: bytes, member: Member, offset: int, label: str, at_ms: int) -> frozenset[int]:
        """The clusters that are right for the member's document after an offset."""
        question = key, offset, label, at_ms
        if question not in self._known:
            found = clusters(self._journal.files[label], member.as_of(offset), at_ms)
            self.on_border += len(found) > 1
            self._known[question] = found
        return self._known[question]

    def _wrong_live(self, answer: Answer) -> str:
        for model, steps in self._journal.live.items():
            possible = steps.possible(answer.asked_ms, answer.answered_ms, COPY_MS)
            told = answer.told.get(model)
            if told is not None and told[0] not in possible:
                return f"{model}@{told[0]} wasn't live then, but {possible}"
            is_computed = not any(version is None or self._is_list(model, version) for version in possible)
            if told is None and is_computed and answer.status == "current" and answer.offset is not None:
                return f"current without a cluster under {model}"
        return ""

    def _is_list(self, model: str, version: int | None) -> bool:
        return f"{model}@{version}" in self._journal.lists

    def _wrong_visible(self, answer: Answer) -> str:
        held = {model: cluster for model, (_, cluster) in answer.told.items()}
        for name, steps in self._journal.campaigns.items():
            told = "sees" if name in answer.visible else "held out" if name in answer.held_out else "no"
            possible = steps.possible(answer.asked_ms, answer.answered_ms, CAMPAIGN_COPY_MS)
            right = {
                sees(name, campaign, answer.member.decode(), held, now_ms)
                for campaign in possible
                for now_ms in (answer.asked_ms, answer.answered_ms)
            }
            if told not in right:
                return f"campaign {name}: {told}, right is {sorted(right)}"
        return ""

    # -- Redis, when all is applied ---------------------------------------------------------------------------------

    def wrong_row(self, key: bytes, text: str | None, clocks: Mapping[int, int]) -> str:
        """Return what is wrong with a member's row once everything is applied. `clocks`: partition → ms, of beacons."""
        member = self._members.get(key, Member(-1))
        row = parse_row(text or "")
        if why := self._wrong_lists(key, member, row):
            return why
        if member.document is None:
            if not member.at:
                return "a position, but no event of it took effect" if row.pos else ""
            return "" if row.pos.endswith(":gone") and not row.computed and not row.listed else "no tombstone"
        if not row.pos or row.pos.endswith(":gone"):
            return "absent"
        _, partition, offset, as_of, until = row.pos.split(":")
        if (int(partition), int(offset)) != (member.partition, member.at[-1]):
            return f"position: {member.partition}:{member.at[-1]} is right"
        standing = self._journal.standing()
        if row.computed.keys() != standing.keys():
            return f"versions: {sorted(standing)} are right"
        clock_ms = clocks[member.partition]
        end_ms = int(until) if until else int(as_of) + FAR_MS
        if not member.times_ms[-1] <= int(as_of) <= clock_ms < end_ms:
            return f"scored as of {as_of}, holds until {until}, the clock is {clock_ms}"
        for label, (cluster, since_ms) in row.computed.items():
            for at_ms in (int(as_of), clock_ms, (int(as_of) + end_ms) // 2, end_ms - 1):
                if cluster not in (right := self.clusters_of(key, member, member.at[-1], label, at_ms)):
                    return f"{label}: cluster {cluster}, at {at_ms} it is {sorted(right)}"
            if since_ms > int(as_of):
                return f"{label}: since a time after the scoring"
        return ""

    def lacks_versions(self, key: bytes, text: str | None) -> bool:
        """Whether a member with a document has no cluster under a version that is a candidate or live."""
        member = self._members.get(key)
        if member is None or member.document is None:
            return False
        return bool(self._journal.standing().keys() - parse_row(text or "").computed.keys())

    def _wrong_lists(self, key: bytes, member: Member, row: Row) -> str:
        for label, listed in self._journal.lists.items():
            if label in self._journal.retired:
                if label in row.listed:
                    return f"{label} is retired"
                continue
            given, told = listed.rows.get(key), row.listed.get(label)
            if told is not None and told[0] != given:
                return f"{label}: on the list it is in {given}"
            was_deleted_since = any(at_ms > listed.upload.ended_ms for _, at_ms in member.deletes)
            if told is not None and was_deleted_since:
                return f"{label}: it was deleted since and is still on it"
            if told is None and given is not None and not member.deletes:
                return f"{label}: it was never deleted and isn't on it"
        return ""
