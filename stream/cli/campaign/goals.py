"""What a campaign is to show, as options: windows, the kind that judges it, guardrails, where extreme sums are cut.

What isn't given stays as it is. `none` takes away what was set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from memberstream.models.terms import WINDOW_MS
from memberstream.stream.authoring.terms_given import NotATerm, declared, window_ms
from memberstream.stream.cli.arguments import ten_thousandths
from memberstream.stream.terminal.output import CommandError

Windows = Annotated[
    list[str] | None,
    typer.Option(
        "--window",
        help="how long after a member's exposure something counts: 7d, 12h, 30m; of one kind: purchase=14d",
        show_default=False,
    ),
]
Primary = Annotated[
    str | None, typer.Option(help="the kind by which the campaign is judged; none: the default", show_default=False)
]
Guardrails = Annotated[
    list[str] | None,
    typer.Option(
        "--guardrail",
        help="a kind that must not rise, and by how many points it may at most: uninstall=0.5%",
        show_default=False,
    ),
]
Winsorise = Annotated[
    str | None,
    typer.Option(help="members' sums above this quantile count as it: 99.5%; none: whole", show_default=False),
]


Title = Annotated[str | None, typer.Option(help="how people call it, in reports; none: by its id", show_default=False)]


def goals_given(
    windows: Sequence[str] | None,
    primary: str | None,
    guardrails: Sequence[str] | None,
    winsorise: str | None,
    title: str | None,
    kinds: Sequence[str],
) -> dict[str, Any]:
    """Return what is given, as fields of `Terms`. In `windows` and `guardrails` None says that a kind has none.

    Args:
        kinds: those that are declared.

    Raises:
        CommandError, typer.BadParameter: it can't be meant.
    """
    given: dict[str, Any] = {}
    for text in windows or ():
        kind, is_of_kind, length = text.rpartition("=")
        if not is_of_kind:
            given["window_ms"] = WINDOW_MS if length == "none" else _window(length)
        else:
            window_ms = None if length == "none" else _window(length)
            given.setdefault("windows", {})[_declared(kind, kinds)] = window_ms
    for text in guardrails or ():
        kind, _, margin = text.partition("=")
        found = None if margin == "none" else ten_thousandths("--guardrail", margin)
        given.setdefault("guardrails", {})[_declared(kind, kinds)] = found
    if primary is not None:
        given["primary"] = "" if primary == "none" else _declared(primary, kinds)
    if winsorise is not None:
        given["winsorise"] = 0 if winsorise == "none" else ten_thousandths("--winsorise", winsorise)
    if title is not None:
        given["title"] = "" if title == "none" else title
    return given


def _window(text: str) -> int:
    try:
        return window_ms(text)
    except NotATerm as error:
        raise typer.BadParameter(str(error), param_hint="--window") from None


def _declared(kind: str, kinds: Sequence[str]) -> str:
    try:
        return declared(kind, kinds)
    except NotATerm as error:
        raise CommandError(str(error)) from None
