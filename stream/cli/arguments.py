"""Arguments that several commands have, with their shapes.

Law: a command looks at all of its arguments before it reaches for Kafka or Redis, so a wrong one is said at once, also
where neither runs. What has a callback here is looked at as it is read; the rest is called by the command first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from memberstream.models.definition import is_name
from memberstream.models.terms import Terms, is_id, problem
from memberstream.stream.authoring import terms_given as terms_given_
from memberstream.stream.authoring.terms_given import NotATerm, time_ms
from memberstream.stream.terminal.output import CommandError, reason_option, reports_errors

_VERSION = re.compile(r"[1-9]\d{0,9}")


def is_label(text: str) -> bool:
    """Return whether a version may be named so: `name`, or `name@version`."""
    name, at, version = text.partition("@")
    return is_name(name) and (not at or _VERSION.fullmatch(version) is not None)


def shaped(is_right: Callable[[str], bool], what: str, advice: str) -> Callable[[Any], Any]:
    """Return a callback that refuses what is no `what`; it takes one text, several or none."""

    @reports_errors
    def check(found: Any) -> Any:
        for text in [found] if isinstance(found, str) else found or ():
            if not is_right(text):
                raise CommandError(f"{text!r} is no {what}. Next: {advice}")
        return found

    return check


@reports_errors
def in_a_folder(path: Path | None) -> Path | None:
    """Refuse a file that can't be written, before any work for it."""
    if path is None:
        return None
    folder = path.absolute().parent
    if not folder.is_dir():
        raise CommandError(f"{path}: there is no such folder. Next: make it, or write elsewhere")
    if path.is_dir():
        raise CommandError(f"{path} is a folder. Next: name a file in it")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise CommandError(f"{path}: this user can't write there. Next: write elsewhere")
    return path


a_name = shaped(is_name, "model's name", "begin with a small letter; small letters, digits and _ may follow, 64 in all")
a_label = shaped(is_label, "version", "write NAME@VERSION, or NAME for the live one")
an_id = shaped(
    is_id, "campaign id", "begin with a small letter; small letters, digits, _ and - may follow, 64 characters in all"
)

Label = Annotated[
    str,
    typer.Argument(metavar="NAME@VERSION", help="a published version", show_default=False, callback=a_label),
]
Name = Annotated[str, typer.Argument(help="a model's name", show_default=False, callback=a_name)]
Id = Annotated[str, typer.Argument(metavar="ID", help="a campaign's id", show_default=False, callback=an_id)]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Yes = Annotated[bool, typer.Option("--yes", help="don't ask")]
Why = Annotated[str, reason_option("for the history")]


def moment(option: str, text: str) -> int:
    """Return the time that an option gives, ms. Raises CommandError."""
    try:
        return time_ms(text)
    except NotATerm as error:
        raise CommandError(f"{option} " + str(error)) from None


def share(option: str, text: str) -> float:
    """Return a share between 0 and 1, written as 20% or 0.2. Raises typer.BadParameter."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{text}: expected a share such as 20% or 0.2", param_hint=option)
    return value


def terms_given(
    campaign: str, model: str | None, from_: str | None, until: str | None, holdout: str | None
) -> dict[str, Any]:
    """Return the terms that are given, as fields of `Terms`.

    Raises:
        CommandError, typer.BadParameter: they are no terms, whatever the others are.
    """
    given: dict[str, Any] = {}
    if model is not None:
        given["model"] = model
    for option, text in {"from": from_, "until": until}.items():
        if text is not None:
            given[f"{option}_ms"] = None if text == "none" else moment(f"--{option}", text)
    if holdout is not None:
        given["holdout"] = ten_thousandths("--holdout", holdout)
    refuse_terms(campaign, given)
    return given


def refuse_terms(campaign: str, given: dict[str, Any]) -> None:
    """Raise CommandError if some terms can't be a campaign's, whatever the others are."""
    if wrong := problem(campaign, Terms(**{"model": "", "clusters": (0,), **given})):
        raise CommandError(wrong)


def ten_thousandths(option: str, text: str) -> int:
    """Return a share as whole ten-thousandths. Raises typer.BadParameter."""
    try:
        return terms_given_.ten_thousandths(text)
    except NotATerm as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
