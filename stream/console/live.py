"""The overview as server-sent events: each second its parts, or none if they are as before.

Laws:
- However many overviews are open, the parts are made once a second.
- Each second has its event, so that the script notices when nobody answers. Scripts don't see comments.
- A browser that has gone is noticed by the next event. Whoever is one too many is told so, as an event, too: scripts
  don't see a status, and give up.
- A stream ends with the log-in of whoever looks.
- Whoever stops the console ends the streams first: they would never end by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from memberstream.stream.console.access import Admission, admitted
from memberstream.stream.console.asking import RECENT_S
from memberstream.stream.console.fresh import Fresh
from memberstream.stream.console.roles import Right
from memberstream.stream.console.site import Site
from memberstream.stream.console.views import overview_parts

EVERY_S = 1.0
STREAMS = 100
_KIND = "text/event-stream"
_OVER = "Your log-in is over, so this isn't renewed. Next: reload, and log in"


class Live:
    """The streams of one installation."""

    def __init__(self, site: Site) -> None:
        async def parts() -> Mapping[str, str]:
            return await overview_parts(site)

        self._parts = Fresh(parts, EVERY_S, RECENT_S)
        self._n_streams = 0
        self._is_over = asyncio.Event()

    async def stream(self, _: Site, request: Request) -> Response:
        """Answer with a stream that ends when the browser goes."""
        admission = admitted(request)
        if admission is None or not admission.person.may(Right.LOOK):
            return Response(_refused(_OVER), media_type=_KIND)
        return StreamingResponse(self._events(admission), media_type=_KIND)

    async def _events(self, admission: Admission) -> AsyncGenerator[bytes]:
        if self._n_streams >= STREAMS:  # looked at and counted at once, for many may come at one moment
            yield _refused(f"{STREAMS} overviews are open, so this one isn't renewed. Next: close some of them")
            return
        self._n_streams += 1
        try:
            sent: Mapping[str, str] = {}
            while not await self._ends_within(EVERY_S):  # the page was made just now; and a rate needs a second look
                if not admission.holds():
                    yield _refused(_OVER)
                    return
                parts = await self._parts.get(EVERY_S)  # later ones come with the next event
                changed = {} if parts is None or parts == sent else parts
                sent = changed or sent
                yield b"data: " + orjson.dumps(changed) + b"\n\n"
        finally:
            self._n_streams -= 1

    async def _ends_within(self, s: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_over.wait(), s)
        return self._is_over.is_set()

    async def close(self) -> None:
        """End the streams, and a question under way."""
        self._is_over.set()
        await self._parts.close()


def _refused(why: str) -> bytes:
    return b"event: refused\ndata: " + orjson.dumps(why) + b"\n\n"
