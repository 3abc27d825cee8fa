"""A campaign's terms as a form: what stands in its fields, and what is meant by what was filled in.

Law: a field that can't be meant is named with its own problem, and all of them at once. An empty field is the default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.datastructures import FormData

from memberstream.models.registry import Registry
from memberstream.models.targeting import clusters_of
from memberstream.models.terms import SHOWN_ONLY, WINDOW_MS, Terms
from memberstream.models.timestamps import format_ms
from memberstream.stream.authoring.campaigning import cluster_ids
from memberstream.stream.authoring.terms_given import NotATerm, changed, ten_thousandths, time_ms, window_ms
from memberstream.stream.authoring.terms_told import length, percent
from memberstream.stream.registry.refused import PublishError
from memberstream.stream.terminal.output import REASON_BYTES

Read = Callable[[str], int]


def fields(terms: Terms | None, kinds: Sequence[str]) -> dict[str, str]:
    """Return what stands in the fields, by their names: of a new campaign little."""
    if terms is None:
        return {"window": length(WINDOW_MS)}
    found = {
        "from": "" if terms.from_ms is None else format_ms(terms.from_ms),
        "until": "" if terms.until_ms is None else format_ms(terms.until_ms),
        "holdout": percent(terms.holdout) if terms.holdout else "",
        "title": terms.title,
        "window": length(terms.window_ms),
        "primary": terms.primary,
        "winsorise": percent(terms.winsorise) if terms.winsorise else "",
    }
    for kind in kinds:
        if kind in terms.windows:
            found[f"window {kind}"] = length(terms.windows[kind])
        if kind in terms.guardrails:
            found[f"guardrail {kind}"] = percent(terms.guardrails[kind])
    return found


def able(kinds: Sequence[str]) -> list[str]:
    """Return the kinds by which a campaign can be judged: those that members held out can do, too."""
    return [kind for kind in kinds if kind not in SHOWN_ONLY]


def choices(registry: Registry, model: str, terms: Terms | None) -> dict[int, str]:
    """Return the clusters to choose from: the live version's, and those that the campaign has."""
    names = clusters_of(registry, model, registry.live.get(model))
    own = terms.clusters if terms is not None and terms.model == model else ()
    return {cluster: names.get(cluster, "(not in the live version)") for cluster in sorted({*names, *own})}


def read(
    registry: Registry, model: str, terms: Terms | None, form: FormData, kinds: Sequence[str], *, is_split: bool = False
) -> tuple[Terms | None, dict[str, str]]:
    """Return the terms that a form means, or None with the problems of its fields, by their names.

    Args:
        terms: those that hold; what the form has no field for stays as it is there.
        is_split: each cluster gets a campaign, so none is chosen, and the terms have none.
    """
    problems: dict[str, str] = {}

    def text(name: str) -> str:
        value = form.get(name, "")
        return value.strip() if isinstance(value, str) else ""

    def number(name: str, meant: Read, default: int | None) -> Any:
        try:
            return meant(text(name)) if text(name) else default
        except NotATerm as error:
            problems[name] = str(error)
            return default

    given: dict[str, Any] = {
        "model": model,
        "from_ms": number("from", time_ms, None),
        "until_ms": number("until", time_ms, None),
        "holdout": number("holdout", ten_thousandths, 0),
        "window_ms": number("window", window_ms, WINDOW_MS),
        "windows": {kind: number(f"window {kind}", window_ms, None) for kind in kinds},
        "guardrails": {kind: number(f"guardrail {kind}", ten_thousandths, None) for kind in able(kinds)},
        "winsorise": number("winsorise", ten_thousandths, 0),
        "title": text("title"),
        "primary": text("primary"),
        "clusters": (),
    }
    chosen = [part.strip() for value in form.getlist("cluster") for part in str(value).split(",") if part.strip()]
    try:
        given["clusters"] = cluster_ids(registry, model, chosen)
    except PublishError as error:
        problems["cluster"] = str(error)
    if not chosen and not is_split:
        problems["cluster"] = "none is chosen. Next: choose at least one"
    if given["primary"] and given["primary"] not in able(kinds):
        problems["primary"] = f"{given['primary']} can't judge a campaign. Next: choose one of the list"
    if why := reason_problem(form):
        problems["reason"] = why
    if problems:
        return None, problems
    return Terms(**changed({} if terms is None else msgspec.structs.asdict(terms), given)), {}


def reason_problem(form: FormData) -> str:
    """Return what is wrong with a reason, "" if nothing is."""
    n = len(str(form.get("reason", "")).encode())
    return "" if n <= REASON_BYTES else f"{n:,} bytes, the limit is {REASON_BYTES:,}. Next: say it shorter"
