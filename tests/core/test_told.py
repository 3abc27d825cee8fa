"""What people were told: read back as it was written, whatever else lies in the topic; only news is written."""

from __future__ import annotations

import pytest

from memberstream.models.told import Told, ToldError, decode, encode, is_news

TOLD = Told("spring", "purchase", "worked", 1_000, "ann@host", 0.012, 0.002, 0.022)


def test_read_back() -> None:
    """All of it; also with a field of a newer version."""
    assert decode(encode(TOLD)) == TOLD
    bare = Told("spring", "", "can't be told", 1_000, "ann@host")
    assert decode(encode(bare)) == bare
    assert decode(encode(TOLD)[:-1] + b',"more":[1]}') == TOLD


@pytest.mark.parametrize("data", [None, b"", b"[]", b"{}", b"\xff", b'{"family":1}', encode(TOLD)[:-3]])
def test_what_is_no_finding(data: bytes | None) -> None:
    """Says so."""
    with pytest.raises(ToldError, match="expected a finding, found something else"):
        decode(data)


def test_only_news_is_written() -> None:
    """Another status than the last one of the same family and kind; other numbers alone are none."""
    none_yet = Told("spring", "purchase", "no effect shown yet", 500, "ann@host")
    assert is_news(TOLD, [])
    assert is_news(TOLD, [none_yet])
    assert is_news(none_yet, [none_yet, TOLD])
    assert not is_news(Told("spring", "purchase", "worked", 9_000, "bob@host", 0.5), [none_yet, TOLD])
    assert is_news(TOLD, [Told("autumn", "purchase", "worked", 1, "ann@host")])
    by_another = Told("spring", "install", "worked", 1, "ann@host")
    assert is_news(TOLD, [by_another])
    assert is_news(TOLD, [TOLD, by_another])
