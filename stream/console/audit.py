"""What the console writes down about people: who came, who went, who was refused what, and what was done.

What was done stands in the models' log, too, with its author. What was refused can't: everybody would read it for ever.
So it stands in the console's own log, a line for each, in the form that MEMBERSTREAM_LOG_FORMAT says.

Law: a password, a token or a member's data never stands in a line; the address has no query.
"""

from __future__ import annotations

import logging

from starlette.requests import Request

from memberstream.stream.console.access import address_of, admitted
from memberstream.stream.console.roles import BY_PASSWORD, Person, Right
from memberstream.stream.terminal.safe import one_line

log = logging.getLogger(__name__)


def came(request: Request, name: str) -> None:
    """Somebody has logged in."""
    log.info("audit: %s logged in, from %s", one_line(name), address_of(request.scope))


def went(request: Request) -> None:
    """Somebody has logged out."""
    log.info("audit: %s logged out, from %s", _who(request), address_of(request.scope))


def kept_out(request: Request, name: str, why: str) -> None:
    """Somebody wasn't let in."""
    log.warning("audit: %s wasn't let in: %s, from %s", name, one_line(why), address_of(request.scope))


def refused(request: Request, right: Right) -> None:
    """Somebody wanted what none of the roles allows."""
    log.warning("audit: %s may not %s: %s", _who(request), right, _what(request))


def forged(request: Request, why: str) -> None:
    """A form came that isn't one of this console's for this person."""
    log.warning("audit: refused from %s: %s: %s", _who(request), why, _what(request))


def done(request: Request, what: str) -> None:
    """Somebody has done something."""
    log.info("audit: %s: %s, from %s", _who(request), one_line(what), address_of(request.scope))


def failed(request: Request, what: str, why: str) -> None:
    """Somebody wanted to do something, and a rule objected, or something was away."""
    told, address = one_line(what), address_of(request.scope)  # a name of a file is the browser's own text
    log.info("audit: %s: %s, from %s: not done: %s", _who(request), told, address, one_line(why))


def fault(request: Request, what: str) -> None:
    """Somebody wanted to do something, and met a fault of ours. Called where it is caught: its traceback follows."""
    log.exception("audit: %s: %s, from %s: a fault", _who(request), one_line(what), address_of(request.scope))


def _who(request: Request) -> str:
    admission = admitted(request)
    return "somebody who isn't logged in" if admission is None else one_line(_known(admission.person))


def _known(person: Person) -> str:
    """Return who it is; of one whom the file of passwords doesn't know, also who says so."""
    if person.source == BY_PASSWORD:
        return person.told
    return f"{person.told} by {' '.join(filter(None, (person.source, person.subject)))}"


def _what(request: Request) -> str:
    return f"{request.method} {one_line(request.url.path)}, from {address_of(request.scope)}"
