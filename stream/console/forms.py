"""What browsers send: read as far as it may go, and only from those who may send it.

Laws:
- The right is looked at before anything of the form is read, the token before any of its values is.
- A form is at most as large as the largest model file that can be published; that of the log-in is small.
"""

from __future__ import annotations

import hmac

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from memberstream.stream.console import audit
from memberstream.stream.console.access import admitted
from memberstream.stream.console.following import Problem
from memberstream.stream.console.roles import Right, who_may
from memberstream.stream.registry.log import MAX_STEP_BYTES

#: Of a form's bytes: a file that is laid out for people is longer than the step that is made of it.
LARGEST = 2 * MAX_STEP_BYTES
#: Of the form that anybody may send: two fields.
LARGEST_OF_STRANGERS = 10_000
TOKEN = "token"
_NOBODY_ACTS = Problem(
    "nobody can act here: no log-in is set up, so the console doesn't know who you are",
    'set one up (docs/console.md, "Log-in"), or use the commands',
)


def missing_right(request: Request, right: Right) -> Problem | None:
    """Return why whoever asks may not do that, and write it down; None: they may."""
    admission = admitted(request)
    if admission is not None and admission.person.may(right):
        return None
    audit.refused(request, right)
    if admission is not None and not admission.person.name:
        return _NOBODY_ACTS
    told = "somebody who isn't logged in" if admission is None else admission.person.told
    return Problem(f"{told} may not {right}", f"ask whoever runs the console for the role {who_may(right)}")


async def read_form(request: Request) -> FormData:
    """Return a form. Raises HTTPException: it is too large, or it is none."""
    read, most = 0, LARGEST_OF_STRANGERS if admitted(request) is None else LARGEST

    async def receive() -> Message:
        nonlocal read
        message = await request.receive()
        read += len(message.get("body", b""))
        if read > most:
            raise HTTPException(413, f"more than {most:,} bytes were sent. Next: send less")
        return message

    return await Request(request.scope, receive).form(max_files=1, max_fields=200)


def is_ours(request: Request, form: FormData) -> bool:
    """Return whether a form is one that the console made for whoever sends it; if not, that is written down."""
    admission, token = admitted(request), form.get(TOKEN)
    if (
        admission is not None
        and isinstance(token, str)
        and hmac.compare_digest(token.encode(), admission.token.encode())
    ):
        return True
    audit.forged(request, "the form is none of this console for this person")
    return False
