"""What the documentation site looks like, and which modules its reference describes. Built by `make docs`.

Laws:
- Pages are files of the repository, readable on a git host as they are: nothing here needs a syntax of the site's.
- The reader's browser asks nobody but the site: no fonts, scripts or counters of others (website/check.py looks).
"""

from __future__ import annotations

from typing import Any

#: Page of the reference → the module whose public names it describes, from their docstrings.
API = {
    "The package memberstream": "memberstream",
    "The package memberstream_lookup": "memberstream_lookup",
    "Export of fitted models": "memberstream.models.export",
    "Training data": "memberstream.models.training",
    "What would move a member": "memberstream.models.what_if",
    "Notebook": "memberstream.stream.notebook",
    "Look-ups": "memberstream.stream.lookup",
}

#: Where a reader finds each page; one that is left out is an error. "API" and "DECISIONS" stand for all of these.
NAVIGATION: list[dict[str, Any]] = [
    {
        "memberstream": [
            *("README.md", "docs/README.md", "docs/tutorial.md", "docs/commands.md", "docs/glossary.md"),
            "CHANGELOG.md",
        ]
    },
    {
        "Models": [
            *("docs/training.md", "docs/export.md", "docs/publishing.md", "docs/model-file.md", "docs/lists.md"),
            "docs/cdnow-models.md",
        ]
    },
    {
        "Campaigns": [
            *("docs/campaigns.md", "docs/interactions.md", "docs/readout.md", "docs/member-rows.md"),
            "docs/console.md",
        ]
    },
    {"Services and producers": ["docs/redis.md", "docs/events.md", "docs/loading.md", "docs/dead-letters.md"]},
    {
        "Workers": [
            *("docs/operations.md", "docs/sizing.md", "docs/kafka-security.md", "docs/kubernetes.md"),
            *("docs/metrics.md", "docs/upgrades.md", "docs/disaster.md", "SECURITY.md"),
        ]
    },
    {"Python": "API"},
    {
        "The code": [
            *("docs/architecture.md", "CONTRIBUTING.md", "docs/releasing.md", "bench/README.md"),
            "bench/peers/README.md",
        ]
    },
    {"Decisions": "DECISIONS"},
]

_PYTHON = {
    "docstring_style": "google",
    "docstring_section_style": "list",
    "heading_level": 2,
    "inherited_members": True,
    "members_order": "source",
    "merge_init_into_class": True,
    "separate_signature": True,
    "show_root_heading": False,
    "show_root_toc_entry": False,
    "show_signature_annotations": True,
    "show_source": False,
    "show_symbol_type_heading": True,
    "show_symbol_type_toc": True,
    "signature_crossrefs": True,
}


def config(navigation: list[Any], source: str, out: str, root: str) -> dict[str, Any]:
    """Return the site generator's configuration; navigation is complete, the rest are folders."""
    return {
        "site_name": "memberstream",
        "site_description": "Real-time member scoring for campaign targeting",
        "docs_dir": source,
        "site_dir": out,
        "nav": navigation,
        "extra_css": ["site.css"],
        "extra": {"generator": False},
        "theme": {
            "language": "en",
            "font": False,
            "features": [
                *("content.code.copy", "content.code.select", "navigation.footer", "navigation.indexes"),
                *("navigation.path", "navigation.top", "search.highlight", "toc.follow"),
            ],
            "palette": [
                {
                    "media": "(prefers-color-scheme: light)",
                    "scheme": "default",
                    "toggle": {"icon": "lucide/sun", "name": "Switch to dark mode"},
                },
                {
                    "media": "(prefers-color-scheme: dark)",
                    "scheme": "slate",
                    "toggle": {"icon": "lucide/moon", "name": "Switch to light mode"},
                },
            ],
        },
        # What a git host reads, as it reads it; the generator's own defaults would make signs of "(c)" and "~".
        "markdown_extensions": {
            "tables": {},
            "md_in_html": {},
            # Anchors as a git host makes them, so that a link to one works at both places.
            "toc": {"permalink": True, "slugify": {"object": "pymdownx.slugs.slugify", "kwds": {"case": "lower"}}},
            "pymdownx.highlight": {"pygments_lang_class": True},
            "pymdownx.superfences": {},
            "pymdownx.tasklist": {},
            "sane_lists": {},
            "website.github": {},
        },
        "plugins": {
            "search": {},
            "mkdocstrings": {"handlers": {"python": {"paths": [root, f"{root}/clients/python"], "options": _PYTHON}}},
        },
    }


def as_toml(value: Any) -> str:
    """Return a value of a TOML file, inline: the standard library reads TOML and writes none."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{ " + ", ".join(f"{as_toml(key)} = {as_toml(item)}" for key, item in value.items()) + " }"
        case list():
            return "[" + ", ".join(map(as_toml, value)) + "]"
        case int():
            return str(value)
        case _:
            return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
