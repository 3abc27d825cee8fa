"""The command tree: how it ends when `--json` was asked for.

Laws:
- Standard output has results only, so what stands there can always be read as what was asked for.
- An error is text on standard error: what is wrong, where, and "Next: …". With `--json` it is one JSON object, the last
  line there: `error`, and `next`, which is null if there is nothing to do. A fault of ours has its traceback above it.
- The exit status is the same: 1; 2 of wrong arguments; 130 of Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from memberstream.stream.terminal.output import errors_told, tell


class CommandTree(TyperGroup):
    """All commands. Its own errors, of wrong arguments, are told as those of the commands are."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        words = sys.argv[1:] if args is None else list(args)
        with errors_told(words) as is_json:
            if not is_json:
                return super().main(words, prog_name, complete_var, standalone_mode, windows_expand_args, **extra)
            self._main_as_json(words, prog_name, complete_var, **extra)

    def _main_as_json(
        self, words: list[str], prog_name: str | None, complete_var: str | None, **extra: Any
    ) -> NoReturn:
        try:
            status = super().main(words, prog_name, complete_var, standalone_mode=False, **extra)
        except TyperException as error:
            context = getattr(error, "ctx", None)
            path = context.command_path if context else "memberstream"
            said = error.format_message().rstrip(".")
            tell(said if "Next: " in said else f"{said}. Next: {path} --help")
            sys.exit(error.exit_code)
        except typer.Abort:
            tell("nobody answered. Next: run it on a terminal")
            sys.exit(1)
        sys.exit(status or 0)
