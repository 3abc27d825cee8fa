"""What each reason of a dead letter means, and what to do. docs/events.md, interactions.md and dead-letters.md say the
same, and a test holds them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from memberstream.models.event import Reason
from memberstream.models.interaction import Refusal


class Advice(NamedTuple):
    """`wrong`: what was wrong. `next`: what to do, so that the event or interaction counts after all."""

    wrong: str
    next: str


EVENTS: Mapping[str, Advice] = {
    Reason.BAD_KEY: Advice(
        "no key, over 512 bytes, not UTF-8, unprintable characters, or JSON",
        "set MEMBERSTREAM_JSON_KEYS=allow if such keys are your ids; then resend",
    ),
    Reason.NOT_JSON: Advice(
        "not one JSON text in UTF-8",
        "its producer: serialise with a JSON library; no NaN, no BOM",
    ),
    Reason.NOT_AN_OBJECT: Advice(
        "JSON, but no object",
        "its producer: wrap the change in an envelope",
    ),
    Reason.TOO_LARGE: Advice(
        "the record or the resulting document is over 900,000 bytes, or the changelog is too small for the document",
        "give the changelog more room if that was too small, then resend; otherwise shorten histories",
    ),
    Reason.TOO_DEEP: Advice(
        "more than 64 levels",
        "its producer: flatten",
    ),
    Reason.UNKNOWN_OP: Advice(
        "op is none of the four",
        "its producer: correct it",
    ),
    Reason.MISSING_FIELD: Advice(
        "a field that this op needs isn't there",
        "its producer: add it",
    ),
    Reason.UNKNOWN_FIELD: Advice(
        "a field that this op doesn't have",
        "its producer: remove it, or put it into meta",
    ),
    Reason.WRONG_TYPE: Advice(
        "document or patch no object, path no text, create no boolean",
        "its producer: correct it",
    ),
    Reason.BAD_TIME: Advice(
        "at is no point in time, or neither at nor a record timestamp is there, or the time looks like "
        "seconds, µs or ns",
        "its producer: send ISO 8601 or ms since 1970",
    ),
    Reason.FUTURE_TIME: Advice(
        "more than 5 minutes ahead of the worker's clock and of Redis'",
        "wait until the time has come, or the clock is right; then resend",
    ),
    Reason.BAD_VERSION: Advice(
        "no integer from 0 to 2^53 − 1",
        "its producer: correct it",
    ),
    Reason.BAD_PATH: Advice(
        "empty keys, a lone backslash, more than 32 keys",
        "its producer: correct it",
    ),
    Reason.MEMBER_ID_MISMATCH: Advice(
        "member_id isn't the key",
        "its producer: find out which is right",
    ),
    Reason.UNKNOWN_MEMBER: Advice(
        "a patch or append for a member not known (or deleted), without create",
        "send a replace of the whole document. A letter is worth sending only if it has a version, or if the "
        "event that failed before it comes back, too",
    ),
    Reason.NOT_A_LIST: Advice(
        "an append to something that is no list, or through something that is no object",
        "send a patch that corrects the document, then resend: it fails again while the document is the same",
    ),
    Reason.NOT_WHOLE: Advice(
        "neither replace nor delete, although the topic may be compacted "
        "(MEMBERSTREAM_COMPACTED_SOURCE=whole_documents)",
        "set MEMBERSTREAM_COMPACTED_SOURCE=refuse on all workers if the topic isn't compacted any more; then resend",
    ),
    Reason.SKIPPED: Advice(
        "an operator set it aside, because no worker could handle it",
        "once the workers can handle it: resend --reason skipped. Otherwise it stops them again",
    ),
    Reason.WRONG_PARTITION: Advice(
        "the member isn't known, and the partition isn't its own",
        "with versions: set the partitioner right, then resend; it goes to the member's own partition. "
        "Without versions: the producer sends it again",
    ),
    Reason.SUPERSEDED: Advice(
        "a dead letter that was sent again, but its member has had a later event",
        "with a version: resend, if the later event came just while the letter was sent; the command judges "
        "by versions again. Without one: nothing, or send a replace",
    ),
}


INTERACTIONS: Mapping[str, Advice] = {
    Refusal.BAD_KEY: Advice(
        "no key, over 512 bytes, not UTF-8, unprintable characters, or JSON",
        "set MEMBERSTREAM_JSON_KEYS=allow if such keys are your ids; then resend",
    ),
    Refusal.NOT_JSON: Advice(
        "not one JSON object in UTF-8",
        "its producer: serialise with a JSON library",
    ),
    Refusal.NOT_AN_OBJECT: Advice(
        "not one JSON object in UTF-8",
        "its producer: serialise with a JSON library",
    ),
    Refusal.TOO_LARGE: Advice(
        "over 10,000 bytes",
        "its producer: leave meta out",
    ),
    Refusal.MISSING_FIELD: Advice(
        "kind or id isn't there, or the campaign of an impression",
        "its producer: add it",
    ),
    Refusal.UNKNOWN_FIELD: Advice(
        "a field that isn't in the table above",
        "its producer: remove it, or put it into meta",
    ),
    Refusal.WRONG_TYPE: Advice(
        "a text where a number is expected, or the reverse",
        "its producer: correct it",
    ),
    Refusal.BAD_ID: Advice(
        "the id is empty or longer than 64 characters; the value is above 10^12",
        "its producer: correct it",
    ),
    Refusal.BAD_VALUE: Advice(
        "the id is empty or longer than 64 characters; the value is above 10^12",
        "its producer: correct it",
    ),
    Refusal.BAD_TOKEN: Advice(
        "the token is of another campaign or member, was cut, or can't have been told: the group isn't the "
        "member's, the version was never live, the campaign isn't for the cluster",
        "the producer sends a corrected one with a new id: the old id is remembered",
    ),
    Refusal.BAD_TIME: Advice(
        "at is no point in time, or looks like seconds, µs or ns; it is more than 5 minutes ahead",
        "its producer: send ISO 8601 or ms since 1970; set the clock",
    ),
    Refusal.FUTURE_TIME: Advice(
        "at is no point in time, or looks like seconds, µs or ns; it is more than 5 minutes ahead",
        "wait until the time has come, or the clock is right; then resend",
    ),
    Refusal.MEMBER_ID_MISMATCH: Advice(
        "member_id isn't the key",
        "its producer: find out which is right",
    ),
    Refusal.UNKNOWN_KIND: Advice(
        "the kind isn't declared",
        "declare the kind on all workers, then resend",
    ),
    Refusal.UNKNOWN_CAMPAIGN: Advice(
        "there never was a campaign of this id",
        "set the campaign, then resend. It is judged by the terms of its own time",
    ),
    Refusal.NOT_RUNNING: Advice(
        "an impression while the campaign hadn't begun, was over, or was deleted",
        "the producer sends a corrected one with a new id: the old id is remembered",
    ),
    Refusal.NOT_TARGETED: Advice(
        "an impression of a member that was in none of the campaign's clusters",
        "the producer sends a corrected one with a new id: the old id is remembered",
    ),
    Refusal.UNKNOWN_CLUSTER: Advice(
        "an impression of a member that doesn't exist, or whose cluster at that time nobody knows",
        "the producer sends a corrected one with a new id: the old id is remembered",
    ),
    Refusal.TOO_LATE: Advice(
        "older than the horizon",
        "only if the horizon was raised since: resend --reason too_late",
    ),
    Refusal.TOO_MANY: Advice(
        "more than 10,000 interactions of one member within the horizon",
        "find the source first",
    ),
    Refusal.SKIPPED: Advice(
        "an operator set it aside, because no worker could handle it",
        "once the workers can handle it: resend --reason skipped. Otherwise it stops them again",
    ),
}
