"""Dead letters: the record untouched, then why and from where."""

from __future__ import annotations

from unit.shell import Record

from memberstream.models.event import BadEvent, Reason
from memberstream.stream.partition.dead_letters import DeadLetter, to_records


def test_the_record_stays_whole_and_the_reason_follows() -> None:
    """Key, value and own headers first, also where own headers have our names; null key and value stay null."""
    error = BadEvent(Reason.BAD_TIME, "at: expected ISO 8601")
    own = (("reason", b"mine"), ("trace", b"\xff"))
    letters = [DeadLetter(Record(7, b"k", b"v", 123, own), error), DeadLetter(Record(8, None, None, 124), error)]
    (key, value, headers, added, _), (no_key, no_value, few, *_) = to_records(letters, "docs", 3, 999)
    assert (key, value, no_key, no_value) == (b"k", b"v", None, None)
    assert (headers, few) == (own, ())
    assert added == [
        ("reason", b"bad_time"),
        ("detail", b"at: expected ISO 8601"),
        ("origin_topic", b"docs"),
        ("origin_partition", b"3"),
        ("origin_offset", b"7"),
        ("origin_timestamp_ms", b"123"),
        ("failed_at_ms", b"999"),
    ]
