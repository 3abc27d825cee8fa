"""`memberstream console-users`: who may log in to the console with a password."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memberstream.stream.cli.arguments import Json
from memberstream.stream.cli.console import check_libraries
from memberstream.stream.console.roles import Role
from memberstream.stream.settings import variable
from memberstream.stream.terminal.output import CommandError, err, out, print_json, reports_errors, settings
from memberstream.stream.terminal.safe import escape
from memberstream.stream.terminal.table import print_table

if TYPE_CHECKING:  # needs the console's libraries
    from memberstream.stream.console.users import Users

app = typer.Typer(no_args_is_help=True, help="The file of those who may log in to the console with a password.")

UserName = Annotated[str, typer.Argument(metavar="NAME", help="of the person, as in the history", show_default=False)]


@app.command()
@reports_errors
def add(
    name: UserName,
    role: Annotated[list[Role], typer.Option(help="several times for several", show_default=False)],
    password_file: Annotated[
        Path | None,
        typer.Option(help="read the password from its first line; default: ask on the terminal", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Add somebody, or give somebody another password and other roles. Sessions with the old password end."""
    users, roles = _users(), sorted(set(role))
    is_new = users.add(name, _password(password_file), frozenset(roles))
    if json:
        print_json({"name": name, "roles": roles, "is_new": is_new})
    else:
        out.print(f"{'added' if is_new else 'changed'} {name}: {', '.join(roles)}", markup=False)


@app.command()
@reports_errors
def remove(name: UserName, json: Json = False) -> None:
    """Remove somebody. Running consoles let nobody on with that name from the next request on."""
    _users().remove(name)
    if json:
        print_json({"name": name})
    else:
        out.print(f"removed {name}", markup=False)


@app.command("list")
@reports_errors
def list_(json: Json = False) -> None:
    """List who may log in, with their roles."""
    found = [(name, sorted(user.roles)) for name, user in _users().all.items()]
    if json:
        print_json([{"name": name, "roles": roles} for name, roles in found])
        return
    if not found:
        out.print("nobody yet. Next: memberstream console-users add NAME --role viewer")
        return
    print_table(("name", "roles"), [(escape(name), ", ".join(roles)) for name, roles in found])


def _users() -> Users:
    path = settings().console_users
    if path is None:
        raise CommandError(
            f"no file of users is named. Next: export {variable('console_users')}=FILE, here and for the console"
        )
    check_libraries()
    from memberstream.stream.console.users import Users

    return Users(path)


def _password(file: Path | None) -> str:
    if file is not None:
        return file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    if not sys.stdin.isatty():
        raise CommandError("there is no terminal to ask for the password. Next: --password-file FILE")
    try:
        return str(typer.prompt("password", hide_input=True, confirmation_prompt=True, err=True))
    except typer.Abort:
        err.print()
        raise CommandError("nothing was changed: nobody answered. Next: run it again") from None
