"""The page: needs nothing from outside, has every number of the tables, and takes names as text."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from readout.worlds import World, counted

from stream.readout.page import to_html
from stream.readout.report import Report, report
from stream.readout.setup import Setup
from stream.readout.summary import sentences
from stream.readout.tables import CAUSAL, OBSERVED, tables


@pytest.fixture(scope="module")
def found() -> Report:
    world = World()
    return report(world.counts(np.random.default_rng(1)), [world.setup()])


class Elements(HTMLParser):
    """Elements with their attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_nothing_from_outside(found: Report) -> None:
    """No script, no sheet, no image, no font; the only addresses are names of XML, and every link stays on the page."""
    page = to_html(found)
    elements = Elements(page).elements
    assert {tag for tag, _ in elements}.isdisjoint({"script", "link", "img", "iframe", "image", "object", "base"})
    for _, attributes in elements:
        for name, value in attributes.items():
            if name in ("href", "xlink:href", "src", "action", "data", "poster", "srcset"):
                assert (value or "").startswith("#"), (name, value)
    names = set(re.findall(r'xmlns(?::xlink)?="([^"]+)"', page))
    assert set(re.findall(r"""https?://[^"'\s)<]+""", page)) <= names
    assert not re.search(r"@import|@font-face|url\((?!#)", page)
    assert to_html(found) == page


def test_every_number_is_there(found: Report) -> None:
    """Sentences and tables, day by day, what is causal and what isn't; three plots whose text is text."""
    page = to_html(found)
    text = unescape(Elements(page).text)
    for sentence in sentences(found):
        assert sentence in text
    for table in tables(found, by_day=True):
        assert table.title in text
        for row in table.rows:
            for cell in row:
                assert cell in text
    assert CAUSAL in text
    assert OBSERVED in text
    assert page.count("<svg") == 3
    assert "percentage points, shown − held out" in text


def test_names_are_text_and_a_broken_holdout_is_red() -> None:
    """A cluster called `<b>$&` breaks nothing; a broken ratio is marked; without a holdout no effects are drawn."""
    setup = Setup("spring", "activity", {1: "<b>$&$"}, 0.1)
    counts = counted("spring", {(1, False): (8_000, 90), (1, True): (2_000, 20)})
    page = to_html(report(counts, [setup]))
    assert "<b>" not in page
    assert Elements(page).text.count("1 <b>$&$") == 6  # two tables, the days, three plots
    assert '<p class="alarm">Warning: of spring 20.00% were held out' in page
    assert '<h2 class="alarm">Is the holdout what was meant?</h2>' in page
    page = to_html(report(counted("spring", {(1, False): (8_000, 90)}), [Setup("spring", "activity", {1: "low"})]))
    assert page.count("<svg") == 2
    assert "alarm" not in page.split("</style>")[1]


def test_odd_counts_and_long_names() -> None:
    """Nobody clicked, everybody did, one member only; names of 200 characters leave the plots their room."""
    names = {cluster: letter * 200 for cluster, letter in zip((1, 2, 3), "abc", strict=True)}
    rows = {(1, False): (40, 0), (1, True): (7, 0), (2, False): (30, 30), (3, False): (1, 0), (3, True): (1, 1)}
    page = to_html(report(counted("spring", rows), [Setup("spring", "activity", names, 0.1)], "click"))
    svgs = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(svgs) == 3
    assert all("aaa…" in svg and "a" * 33 not in svg for svg in svgs)
    assert f"1 {'a' * 200}" in page  # in the tables whole
