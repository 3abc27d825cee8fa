r"""Markdown as a git host reads it, where Python-Markdown, which the site's generator uses, reads it differently.

- A list may follow a paragraph without an empty line between them.
- What belongs to a list item is indented as far as the item's text, not by four spaces.
- In the `code` of a table's cell, `\|` is a bar.

So pages and docstrings are written for the git host alone.
"""

from __future__ import annotations

import re

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

_ITEM = re.compile(r" *([-*+]|\d{1,9}[.)]) +(?=\S)")
_FENCE = re.compile(r"(`{3,}|~{3,})")


class _AsGitHost(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        """Return the lines as Python-Markdown wants them."""
        out: list[str] = []
        items: list[int] = []  # of each open list item: where its text begins
        fence, is_after_blank, is_loose = "", True, False
        for line in lines:
            indent, text = len(line) - len(line.lstrip(" ")), line.strip()
            if not fence and text:
                item = _ITEM.match(line)
                is_lazy = not is_after_blank and not item  # goes on with the paragraph, however it is indented
                is_in_list = bool(items)
                while items and indent < items[-1] and not is_lazy:
                    items.pop()
                if item and indent - (items[-1] if items else 0) < 4:
                    if not is_after_blank and (is_loose if is_in_list else True):
                        out.append("")
                    is_loose = is_loose and is_in_list
                    out.append(" " * 4 * len(items) + line[indent:])
                    items.append(item.end())
                    is_after_blank = False
                    continue
            if not fence and text.startswith("|"):
                line = re.sub(r"`[^`]*`", lambda code: code[0].replace(r"\|", "|"), line)
            was, fence = fence, self._fence(fence, text)
            if fence and not was and items and not is_after_blank:
                out.append("")
                is_loose = True
            begin = min(indent, items[-1]) if items else 0
            out.append(" " * 4 * len(items) + line[begin:] if text else "")
            is_after_blank = not text
            is_loose = is_loose or not text
        return out

    @staticmethod
    def _fence(fence: str, text: str) -> str:
        """Return the fence that is open behind a line."""
        if not fence:
            found = _FENCE.match(text)
            return found[1] if found else ""
        return "" if text.startswith(fence) and not text.strip(fence[0]) else fence


class GitHost(Extension):
    """The reading as an extension of Python-Markdown, before fenced code is taken out of the text."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Called by Python-Markdown."""
        md.preprocessors.register(_AsGitHost(md), "git_host", 28)


def makeExtension() -> GitHost:
    """Called by Python-Markdown, which finds an extension by its module's name."""
    return GitHost()
