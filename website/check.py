"""What a browser would miss, or would ask of others, in a folder of HTML: links, anchors, foreign sub-resources."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

# A link that a reader may follow leaves the site; anything else with an address is loaded without being asked for.
_FOLLOWED = {("a", "href"), ("area", "href")}
_ADDRESSES = {"href", "src", "srcset", "data", "poster", "action"}
_FOREIGN = re.compile(r"(?:https?:)?//", re.IGNORECASE)
_IN_CSS = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", re.IGNORECASE)


class _Page(HTMLParser):
    """Anchors of a page, and its addresses: (is it loaded by itself, address)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.addresses: list[tuple[bool, str]] = []
        self.styles: list[str] = []
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value or "")
            elif name == "style":
                self.styles.append(value or "")
            elif name == "class" and "mermaid" in (value or "").split():
                self.addresses.append((True, "https://unpkg.com/mermaid"))  # the theme loads it from there
            elif name in _ADDRESSES and value is not None:
                self.addresses.append(((tag, name) not in _FOLLOWED, value))

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.styles.append(data)


def problems(site: Path) -> list[str]:
    """Return a line for each broken link or anchor, and for each request to another host."""
    pages = {path: _Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    found = [f"{path.relative_to(site)}: {text}" for path, page in pages.items() for text in _wrong(path, pages, site)]
    for path in sorted(site.rglob("*.css")):
        found += [f"{path.relative_to(site)}: a foreign request: {url}" for url in _IN_CSS.findall(path.read_text())]
    return found


def _wrong(path: Path, pages: dict[Path, _Page], site: Path) -> Iterator[str]:
    page = pages[path]
    for is_loaded, address in page.addresses:
        if _FOREIGN.match(address):
            if is_loaded:
                yield f"a foreign request: {address}"
            continue
        where, anchor = urldefrag(address)
        if ":" in where.split("/")[0]:  # mailto:, data:
            continue
        target = path
        if where:
            at = site if where.startswith("/") else path.parent
            target = (at / unquote(where).lstrip("/")).resolve()
            target = target / "index.html" if target.is_dir() else target
        if not target.exists():
            yield f"nothing is at {address}"
        elif anchor and target in pages and unquote(anchor) not in pages[target].anchors:
            yield f"no such anchor: {address}"
    for style in page.styles:
        yield from (f"a foreign request: {url}" for url in _IN_CSS.findall(style))
