"""The overview as server-sent events: a second's state of its parts, sent if one of them has changed.

Laws:
- However many overviews are open, the parts are made once a second.
- A browser that has gone is noticed by the next event; whoever is one too many is told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from memberstream.stream.console.fresh import Fresh
from memberstream.stream.console.site import PATIENCE_S, Site
from memberstream.stream.console.views import overview_parts

EVERY_S = 1.0
STREAMS = 100


class Live:
    """The streams of one installation."""

    def __init__(self, site: Site) -> None:
        async def parts() -> Mapping[str, str]:
            return await overview_parts(site)

        self._parts = Fresh(parts, EVERY_S)
        self._n_streams = 0

    async def stream(self, _: Site, request: Request) -> Response:
        """Answer with a stream that ends when the browser goes."""
        if self._n_streams >= STREAMS:
            return PlainTextResponse(f"{STREAMS} overviews are open. Next: close some of them\n", 503)
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncGenerator[bytes]:
        self._n_streams += 1
        try:
            sent: Mapping[str, str] | None = None
            while True:
                await asyncio.sleep(EVERY_S)  # the page was made just now; and a rate needs a second look
                parts = await self._parts.get(PATIENCE_S)
                if parts is not None and parts != sent:
                    sent = parts
                    yield b"data: " + orjson.dumps(parts) + b"\n\n"
                else:
                    yield b": nothing new\n\n"
        finally:
            self._n_streams -= 1

    async def close(self) -> None:
        """End a question under way."""
        await self._parts.close()
