"""What browsers send: read as far as it may go, and only from those who may send it.

Laws:
- The right is looked at before anything of the form is read, the token before any of its values is.
- A form with a file is at most as large as the largest model file that can be published, or as the largest list, which
  goes to the disk as it comes. Any other one is small: to take fields apart keeps the event loop busy for half a second
  per megabyte.
- A form is in UTF-8, as all pages are. Else who sends it would choose who decodes it: some of Python's codecs take
  minutes for a megabyte, or make texts that nothing can encode.
"""

from __future__ import annotations

import hmac

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from memberstream.models.model_file import MAX_CLUSTERS
from memberstream.stream.console import audit
from memberstream.stream.console.access import admitted
from memberstream.stream.console.following import Problem
from memberstream.stream.console.roles import Right, who_may
from memberstream.stream.registry.log import MAX_STEP_BYTES

#: Of a form's bytes: a file that is laid out for people is longer than the step that is made of it.
LARGEST = 2 * MAX_STEP_BYTES
#: Of a form that has no file: a campaign of all clusters that a model may have is shorter.
LARGEST_OF_FIELDS = 100_000
#: Of the form that anybody may send: two fields.
LARGEST_OF_STRANGERS = 10_000
_FIELDS = MAX_CLUSTERS + 200  # a campaign may have each cluster of its model
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


async def read_form(request: Request, largest: int = LARGEST) -> FormData:
    """Return a form. Raises HTTPException: it is too large, or it is none. `largest`: bytes of one with a file."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise HTTPException(415, "a form is expected in UTF-8. Next: reload the page, and send its form")
    read, most = 0, largest if kind == b"multipart/form-data" else LARGEST_OF_FIELDS
    if admitted(request) is None:
        most = LARGEST_OF_STRANGERS

    async def receive() -> Message:
        nonlocal read
        message = await request.receive()
        read += len(message.get("body", b""))
        if read > most:
            raise HTTPException(413, f"more than {most:,} bytes were sent. Next: send less")
        return message

    return await Request(request.scope, receive).form(max_files=1, max_fields=_FIELDS)


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
