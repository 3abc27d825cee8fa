"""Build the documentation site into `site/`: `make docs`. Any broken link or anchor, or a foreign request, fails it.

1. Pages are what README.md reaches by relative links, over Markdown files; what they show or point at comes along.
   They are copied as they lie in the repository, so their links hold unchanged.
2. A page is written for each part of the Python reference, which mkdocstrings fills from docstrings.
3. Zensical builds, strictly. Its warnings about docstrings are errors as well.
4. The result is checked as a browser sees it (website/check.py).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from website.check import problems
from website.config import API, NAVIGATION, as_toml, config

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "site"
_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")


def main() -> None:
    """Build and check the site; exit status 1 and a line for each problem."""
    stage = ROOT / ".cache/website"
    shutil.rmtree(stage, ignore_errors=True)
    shutil.rmtree(SITE, ignore_errors=True)
    pages = _copy_pages(stage / "pages")
    navigation, found = _navigation(pages)
    if found:
        sys.exit("\n".join(found))
    _write_reference(stage / "pages")
    shutil.copy(ROOT / "website/site.css", stage / "pages")
    settings = config(navigation, "pages", "site", str(ROOT))
    lines = [f"{as_toml(key)} = {as_toml(value)}\n" for key, value in settings.items()]
    (stage / "zensical.toml").write_text("[project]\n" + "".join(lines))
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # for website/github.py
    built = subprocess.run(command, cwd=stage, env=environment, capture_output=True, text=True, check=False)
    said = re.sub(r"\x1b\[[\d;]*m", "", built.stdout + built.stderr)
    found = [line for line in said.splitlines() if line.startswith("griffe: ")]
    if built.returncode:
        sys.exit(said)
    shutil.move(stage / "site", SITE)
    found += problems(SITE)
    if found:
        sys.exit("\n".join(found))
    print(f"{len(pages)} pages and {len(API)} of the reference: {SITE.relative_to(ROOT)}/index.html")


def _copy_pages(to: Path) -> set[str]:
    """Copy README.md and what it reaches; return the Markdown files."""
    pages, waiting = set[str](), ["README.md"]
    while waiting:
        page = waiting.pop()
        if page in pages:
            continue
        pages.add(page)
        folder = (ROOT / page).parent
        text = (ROOT / page).read_text()

        def follow(link: re.Match[str], folder: Path = folder) -> str:
            target = (folder / link[2]).resolve()
            if not target.is_relative_to(ROOT) or not target.exists():
                return link[0]  # the generator, or the check, says so
            if target.is_dir():  # a git host lists it; here, the page above it does
                above = next(at for at in (target, *target.parents) if (at / "README.md").exists())
                target = above / "README.md"
            name = target.relative_to(ROOT).as_posix()
            if target.suffix == ".md":
                waiting.append(name)
            else:
                _copy(name, to)
            return f"{link[1]}{_relative(target, folder)}{link[3]}"

        (to / page).parent.mkdir(parents=True, exist_ok=True)
        (to / page).write_text(_LINK.sub(follow, text))
    return pages


def _copy(name: str, to: Path) -> None:
    (to / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / name, to / name)


def _relative(target: Path, folder: Path) -> str:
    up = next(n for n, at in enumerate((folder, *folder.parents)) if target.is_relative_to(at))
    return "../" * up + target.relative_to((folder, *folder.parents)[up]).as_posix()


def _write_reference(to: Path) -> None:
    (to / "api").mkdir()
    for title, module in API.items():
        (to / _reference(title)).write_text(f"# {title}\n\n::: {module}\n")


def _reference(title: str) -> str:
    return f"api/{title.lower().replace(' ', '-')}.md"


def _navigation(pages: set[str]) -> tuple[list[Any], list[str]]:
    """Return the navigation with the reference and the decisions, and what is wrong with it."""
    decisions = sorted(page for page in pages if page.startswith("docs/decisions/"))
    found = [
        {title: {"API": list(map(_reference, API)), "DECISIONS": decisions}.get(str(part), part)}
        for section in NAVIGATION
        for title, part in section.items()
    ]
    listed = {page for section in found for part in section.values() for page in part}
    missing = [f"website/config.py: {page} is in no section" for page in sorted(pages - listed)]
    missing += [f"website/config.py: no page links to {page}" for page in sorted(listed - pages) if page[:4] != "api/"]
    documents = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    return found, missing + [f"{page}: no page links to it" for page in sorted(documents - pages)]


if __name__ == "__main__":
    main()
