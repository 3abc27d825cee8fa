"""`memberstream console`."""

from __future__ import annotations

import errno
from typing import Annotated

import typer

from memberstream.stream.cli.arguments import Json
from memberstream.stream.settings import Settings
from memberstream.stream.terminal.output import (
    CommandError,
    err,
    out,
    print_json,
    reports_errors,
    set_up_logging,
    settings,
)
from memberstream.stream.terminal.safe import SafeConsole

HOST, PORT = "127.0.0.1", 9470
_EXTRA = {"argon2", "authlib", "httpx2", "jinja2", "joserfc", "markupsafe", "python_multipart", "starlette", "uvicorn"}


@reports_errors
def console(
    host: Annotated[str, typer.Option(help="an address of this machine alone, unless a log-in is set up")] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free port")] = PORT,
    json: Json = False,
) -> None:
    """Serve pages for the browser until Ctrl-C: overview, models, campaigns and reports, lists, members, history.

    Without a log-in they only read, and rights to read Redis are enough. The environment variables are those of a
    worker; docs/console.md says how people log in.
    """
    serve_console(settings(), host, port, json=json)


def serve_console(
    configuration: Settings, host: str = HOST, port: int = PORT, *, json: bool = False, to: SafeConsole = out
) -> None:
    """Serve the console of an installation until Ctrl-C, and say where. Raises CommandError: it can't."""
    check_libraries()
    from memberstream.stream.console.guard import Unreachable
    from memberstream.stream.console.server import serve

    def began(address: str) -> None:
        set_up_logging(configuration.log_format)
        if json:
            print_json({"address": address})
        else:
            to.print(address, markup=False)
        err.print("it runs until Ctrl-C. Next: open this address in a browser", markup=False)

    try:
        serve(configuration, host, port, began)
    except Unreachable as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise CommandError(f"{host}:{port} is taken. Next: --port with another one, or 0 for any") from None
    except KeyboardInterrupt:
        err.print("stopped")


def check_libraries() -> None:
    """Raise CommandError if a library of the console isn't installed."""
    try:
        import memberstream.stream.console.server  # noqa: F401
    except ImportError as error:
        if (name := (error.name or "").partition(".")[0]) not in _EXTRA:
            raise
        raise CommandError(f"the console needs {name}. Next: pip install 'memberstream[console]'") from None
