"""The documentation site: what its check finds, and that Markdown is read as a git host reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from markdown import Markdown

from website.check import problems


def site(folder: Path, **pages: str) -> Path:
    for name, text in pages.items():
        (folder / f"{name.replace('_', '.')}").write_text(text)
    return folder


def test_a_sound_site_has_no_problems(tmp_path: Path) -> None:
    """Links to pages, folders, anchors and other sites, and what is loaded from the site itself."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.html").write_text('<h1 id="top">x</h1><a href="../index.html#here">x</a>')
    head = '<link rel="stylesheet" href="site.css"><img src="data:image/png;base64,x"><script src="a.js"></script>'
    links = '<a id="here" href="docs/#top">x</a><a href="https://example.org/x#y">x</a><a href="mailto:a@b.org">x</a>'
    site(tmp_path, index_html=head + links, site_css="a { background: url(x.svg) }", a_js="")
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('<a href="nowhere/">x</a>', "nothing is at nowhere/"),
        ('<img src="nowhere.svg">', "nothing is at nowhere.svg"),
        ('<a href="#nowhere">x</a>', "no such anchor: #nowhere"),
        ('<a href="index.html#nowhere">x</a>', "no such anchor: index.html#nowhere"),
        ('<img src="https://example.org/x.png">', "a foreign request: https://example.org/x.png"),
        ('<script src="//example.org/x.js"></script>', "a foreign request: //example.org/x.js"),
        ('<link rel="preconnect" href="https://example.org">', "a foreign request: https://example.org"),
        ("<style>@import 'https://example.org/x.css';</style>", "a foreign request: https://example.org/x.css"),
        ('<p style="background: url(http://example.org/x)">x</p>', "a foreign request: http://example.org/x"),
        ('<pre class="mermaid">x</pre>', "a foreign request: https://unpkg.com/mermaid"),
    ],
)
def test_what_the_check_finds(tmp_path: Path, text: str, found: str) -> None:
    """Broken links and anchors; whatever a browser would load from another host."""
    assert problems(site(tmp_path, index_html=text)) == [f"index.html: {found}"]


def test_stylesheets_are_checked(tmp_path: Path) -> None:
    """Fonts of others come by stylesheets."""
    site(tmp_path, site_css='@font-face { src: url("https://example.org/x.woff2") }')
    assert problems(tmp_path) == ["site.css: a foreign request: https://example.org/x.woff2"]


def html(text: str) -> str:
    extensions = ["tables", "sane_lists", "pymdownx.superfences", "website.github"]
    return "".join(line.strip() for line in Markdown(extensions=extensions).convert(text).splitlines())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Laws:\n- a\n- b", "<p>Laws:</p><ul><li>a</li><li>b</li></ul>"),
        ("- a\n  more\n  - inner\n- b", "<ul><li>amore<ul><li>inner</li></ul></li><li>b</li></ul>"),
        ("1. a\n\n   more\n2. b", "<ol><li><p>a</p><p>more</p></li><li><p>b</p></li></ol>"),
        ("| a |\n|---|\n| `x\\|y` |", "<td><code>x|y</code></td>"),
        ("    code\n    - no list", "<pre><code>code- no list</code></pre>"),
        ("text - no list\n-5 degrees", "<p>text - no list-5 degrees</p>"),
    ],
)
def test_markdown_as_a_git_host_reads_it(text: str, expected: str) -> None:
    """Lists behind paragraphs, items indented by their text, bars in a table's code; and nothing else changes."""
    assert expected in html(text)


def test_fences_are_left_alone() -> None:
    """What stands in a fence is text; a fence in a list item belongs to the item."""
    assert "<ul>" not in html("```\na\n- b\n```")
    in_a_list = html("1. a\n   ```\n   - b\n   ```\n2. c")
    assert in_a_list.startswith("<ol><li><p>a</p><div")
    assert in_a_list.count("<li>") == 2
