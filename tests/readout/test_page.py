"""The page: needs nothing from outside, says what the finding says, and takes names as text."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from authored import BY, defined
from readout.worlds import BEGIN_MS, World, counted, reported, setup

from memberstream.models.counts import LATE, Tally
from memberstream.models.log_steps import Authorship, Promote, Publish, SetCampaign
from memberstream.models.registry import Registry
from memberstream.models.terms import Terms
from memberstream.models.told import Told
from memberstream.stream.authoring.telling import Findings, FindingsError
from memberstream.stream.console import reporting
from memberstream.stream.readout import asked, before, plots
from memberstream.stream.readout.page import body, to_html
from memberstream.stream.readout.report import Report
from memberstream.stream.readout.summary import sentences
from memberstream.stream.readout.tables import CAUSAL, OBSERVED, tables
from memberstream.stream.settings import Settings

BROKEN = {(1, False): (8_000, 800), (1, True): (2_000, 20), (2, False): (8_000, 800), (2, True): (2_000, 20)}
TOLD = (Told("spring", "purchase", "worked", 1_728_000_000_000, "ann", 0.0123, 0.0045, 0.0201),)


@pytest.fixture(scope="module")
def found() -> Report:
    world = World()
    counts = world.counts(np.random.default_rng(1))
    first = next(iter(counts))
    return reported(counts | {first._replace(kind=LATE, size=0): Tally(events=9)}, world.setup(title="Spring sale"))


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


def test_a_broken_guardrail_is_told_with_the_headline() -> None:
    """Whoever reads no further than "Worked" has read it, and it isn't green; no guardrail, no such line."""
    rows = {(1, False): (40_000, 4_000), (1, True): (10_000, 500)}
    hurt = {(1, False): (40_000, 1_600), (1, True): (10_000, 100)}
    counts = counted("spring", rows) | counted("spring", hurt, "install")
    guarded, free = (
        to_html(reported(counts, setup(clusters={1: "low"}, guardrails=its))) for its in ({"install": 10}, {})
    )
    assert '<div class="verdict "><b>Worked</b><p class="alarm">But a guardrail is broken: install</p>' in guarded
    assert '<div class="verdict good"><b>Worked</b><p class="effect">' in free


def test_long_names_beside_a_plot_differ() -> None:
    """What two clusters of a campaign with a long id differ in is the end of their names."""
    short = [plots._short(f"summer-sale-with-a-long-identifier: {name}") for name in ("1 low", "2 medium")]
    assert short == ["summer-sal…fier: 1 low", "summer-sal…r: 2 medium"]


def test_the_headline_comes_first_and_every_number_is_there(found: Report) -> None:
    """Worked, the effect with its interval, days, share and numbers held out; then sentences and tables, whole."""
    page = to_html(found, TOLD)
    text = unescape(Elements(page).text)
    assert "<h1>Spring sale (spring)</h1>" in page
    verdict = page[page.index('<div class="verdict good">') : page.index('<div class="summary">')]
    effect = found.parts[0].finding.effect
    assert effect is not None
    for words in ("Worked", f"{100 * effect.difference:+.2f} points", "2024-10-04 to 2024-10-17", "20.00% held out", f"{effect.n_held_out:,} held out"):  # fmt: skip  # noqa: E501
        assert words in verdict
    for sentence in sentences(found, TOLD):
        assert sentence in text
    shown = tables(found, TOLD, by_day=True)
    for table in shown:
        assert table.title in text
        for row in table.rows:
            for cell in row:
                assert cell in text
    folded = [table.title for table in shown if table.is_aside]
    assert folded == ["What was told before", "Effect over time", "Differences between clusters"]
    assert re.findall(r"<summary>([^<]+)</summary>", page) == folded
    assert CAUSAL in text
    assert OBSERVED in text
    assert page.count("<svg") == 3
    assert "percentage points, shown − held out" in text
    assert '<span class="day">2024-10-17</span>' in to_html(found)  # no line ends inside a date
    assert page.index("Effect over time") < page.index("Effect by cluster") < page.index("<h2>Rate of purchase")


def test_a_phone_shows_each_row_as_a_card(found: Report) -> None:
    """Every cell names its column, for there is no line of heads then, and nothing is cut at the edge."""
    shown = sorted(tables(found, by_day=True), key=lambda table: table.is_aside)
    heads = [head for table in shown for _ in table.rows for head in table.heads]
    elements = Elements(to_html(found)).elements
    assert [attributes["data-label"] for tag, attributes in elements if tag == "td"] == heads
    assert [attributes for tag, attributes in elements if tag == "table"] == [{"class": "cards"}] * len(shown)


def test_the_page_can_be_read_in_the_dark(found: Report) -> None:
    """Plots have the page's ink; no colour of theirs is black or white, no background is drawn."""
    svgs = re.findall(r"<svg.*?</svg>", to_html(found), re.DOTALL)
    assert len(svgs) == 3
    for svg in svgs:
        assert not re.search(r"#(000000|ffffff|010203|040506|070809)", svg)
        assert "currentColor" in svg
    assert "prefers-color-scheme: dark" in to_html(found)


def test_names_are_text() -> None:
    """A cluster called `<b>$&` breaks nothing."""
    its = setup(clusters={1: "<b>$&$", 2: "low"}, holdout=0.1, title="<i>Sale</i>")
    counts = counted(
        "spring", {(1, False): (9_000, 900), (1, True): (1_000, 50), (2, False): (900, 9), (2, True): (100, 1)}
    )
    page = to_html(reported(counts, its))
    assert "<b>$" not in page
    assert "<i>" not in page
    assert Elements(page).text.count("1 <b>$&$") >= 5  # a sentence, tables, plots


def test_names_that_look_like_a_plots_own_words() -> None:
    """A style or a colour in a name stays what it is; a character that turns a line around is shown, also in plots."""
    its = setup(clusters={1: 'warm style="x"', 2: "#010203", 3: "a\u202eb"}, holdout=0.1, title="\u202eSale")
    counts = counted("spring", {(n, is_out): (900, 90) for n in (1, 2, 3) for is_out in (False, True)})
    page = to_html(reported(counts, its, although_broken=True))
    assert "\u202e" not in page
    plotted = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    for name in ('1 warm style="x"', "2 #010203", "3 a\\u202eb"):
        assert name in Elements(plotted).text
        assert name in Elements(page.replace(plotted, "")).text


def test_a_broken_holdout_is_red_and_empty() -> None:
    """No effect in numbers or pictures, and no rate of those held out; who asks for it gets it in red and marked."""
    its = setup(clusters={1: "low", 2: "high"}, holdout=0.1)
    page = to_html(reported(counted("spring", BROKEN), its))
    assert '<div class="verdict bad"><b>Can&#x27;t be trusted</b>' in page
    assert '<p class="alarm">Warning: spring can&#x27;t be trusted' in page
    assert '<h2 class="alarm">Is the holdout what was meant?</h2>' in page
    assert page.count("<svg") == 1
    assert "1.00%" not in page  # 20 of 2,000 held out
    assert "Effect" not in Elements(page).text
    assert "+9.00" not in page
    page = to_html(reported(counted("spring", BROKEN), its, although_broken=True))
    assert '<h2 class="alarm">Effect by cluster (broken)</h2>' in page
    assert "+9.00 points (+8.10 to +9.90 at every look) (broken)" in page
    assert '<div class="verdict bad"' in page


def test_a_single_day_has_no_time_axis() -> None:
    """Below two days no effect over time; without a holdout no effect at all; without members shown no rate."""
    counts = counted("spring", {(1, False): (8_000, 800), (1, True): (2_000, 100)})
    page = to_html(reported(counts, setup(clusters={1: "low"})))
    assert page.count("<svg") == 2
    assert "<h2>Effect over time" not in page
    page = to_html(reported(counted("spring", {(1, False): (8_000, 90)}), setup(clusters={1: "low"}, holdout=0.0)))
    assert page.count("<svg") == 1
    assert "Nobody was to be held out" in page
    assert "alarm" not in page.split("</style>")[1]
    page = to_html(reported(counted("spring", {(1, True): (8, 0)}), setup(clusters={1: "low"}, holdout=0.5)))
    assert page.count("<svg") == 0


def test_several_families_and_long_names() -> None:
    """Each has its headline; nobody did it, everybody did; names of 200 characters leave the plots their room."""
    names = {cluster: letter * 200 for cluster, letter in zip((1, 2), "ab", strict=True)}
    rows = {(1, False): (40, 0), (1, True): (7, 0), (2, False): (30, 30), (2, True): (5, 1)}
    counts = counted("spring", rows) | counted("autumn", rows, day=1)
    page = to_html(reported(counts, setup(clusters=names), setup("autumn", names)))
    assert re.findall(r'<div class="verdict "><b>([^<]+)</b>', page) == ["spring: No effect shown yet", "autumn: No effect shown yet"]  # fmt: skip  # noqa: E501
    svgs = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(svgs) == 3
    assert all("a" * 23 not in svg for svg in svgs)
    assert f"1 {'a' * 200}" in page  # in the tables whole


def test_it_needs_no_styles_of_its_own(found: Report) -> None:
    """So it stands in a page that forbids inline styles and scripts: the console's."""
    elements = Elements(body(found, TOLD)).elements
    assert {tag for tag, _ in elements}.isdisjoint({"style", "script", "html", "body"})
    assert not [attributes for _, attributes in elements if "style" in attributes]
    assert [attributes for tag, attributes in elements if tag == "text" and "font-size" in attributes]
    assert body(found, TOLD) in to_html(found, TOLD)


async def test_the_consoles_page_of_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what `campaign report` says, of the same counts, and writes nothing down; or why there is no report."""
    world = World()
    registry, counts = Registry(), world.counts(np.random.default_rng(1))
    definition = defined("activity", 1, {1: "low", 2: "medium", 3: "high"})
    terms = Terms("activity", (1, 2, 3), holdout=2_000, primary="purchase")
    done: Authorship = BY | {"at_ms": BEGIN_MS}
    registry.add(0, Publish("activity", 1, definition, **done))
    registry.add(1, Promote("activity", 1, None, **done))
    registry.add(2, SetCampaign("spring", None, terms, **done))
    monkeypatch.setattr(asked, "read", lambda *_: counts)
    monkeypatch.setattr(before, "read_old", lambda *_: {})
    told = list(TOLD)

    async def read(_: Findings) -> list[Told]:
        if not told:
            raise FindingsError("no broker. Next: start one")
        return told

    monkeypatch.setattr(Findings, "read", read)
    made = await reporting.report(Settings(), registry, "spring")
    assert made.problem is None
    assert made.body == body(reported(counts, world.setup()), TOLD)
    told.clear()
    assert (await reporting.report(Settings(), registry, "spring")).notes == [
        "what was told before isn't known: no broker. Next: start one"
    ]
    counts.clear()
    nothing = await reporting.report(Settings(), registry, "spring")
    assert nothing.body is None
    assert nothing.problem is not None
    assert nothing.problem.next
