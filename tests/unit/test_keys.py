"""The names of keys: made of a prefix in one place, and never like another installation's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from keys import KEYS

from memberstream.stream.keyspace.keys import Keys
from memberstream.stream.settings import SettingsError, from_environment

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("prefix", ["", "a:b", "{a}", "a b", "a*", "a?", "[a]", "a\\", "ä", "a\n", "x" * 33])
def test_a_prefix_that_cannot_be_one_is_refused(prefix: str) -> None:
    """With a colon two installations might share names; braces choose a slot; the others mean something to SCAN."""
    with pytest.raises(ValueError, match="expected 1 to 32 letters of ASCII, digits") as caught:
        Keys(prefix)
    assert repr(prefix) in str(caught.value)
    with pytest.raises(SettingsError, match="MEMBERSTREAM_REDIS_PREFIX: expected 1 to 32 letters"):
        from_environment({"MEMBERSTREAM_REDIS_PREFIX": prefix})


def test_the_prefix_is_all_that_differs() -> None:
    """So docs and ACL rules are changed by replacing it, in any language."""
    other = from_environment({"MEMBERSTREAM_REDIS_PREFIX": "staging.eu-1"}).keys
    assert KEYS.live == b"ms:{meta}:live"
    assert KEYS.member("{é}".encode()) == "ms:member:{é}".encode()
    for name in ("member_prefix", *Keys.SMALL):
        assert getattr(KEYS, name).removeprefix(b"ms:") == getattr(other, name).removeprefix(b"staging.eu-1:"), name
    assert (other.cells("a"), other.counts("a")) == (b"staging.eu-1:cells:a", b"staging.eu-1:counts:a")
    with pytest.raises(AttributeError):
        other.live = KEYS.live


def test_nothing_else_spells_a_key() -> None:
    """A key that is written out somewhere would be the same in every installation."""
    sources = [path for room in ("stream", "models") for path in (ROOT / room).rglob("*.*") if path.suffix in SUFFIXES]
    assert len(sources) > 300
    assert [str(path) for path in sources if re.search(r"\bms:(member|cells|counts|\{)", path.read_text())] == []


SUFFIXES = {".py", ".lua"}
