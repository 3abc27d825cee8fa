"""The console as a process: it listens, says where, and answers until it is stopped."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from memberstream.stream.console.app import console
from memberstream.stream.console.guard import check_address
from memberstream.stream.console.live import Live
from memberstream.stream.settings import Settings


def serve(settings: Settings, host: str, port: int, began: Callable[[str], None]) -> None:
    """Answer until SIGINT or SIGTERM. `port` 0: any free one. `began` is told the address as soon as it listens.

    Raises:
        Unreachable: it may not listen there, or nobody could ask for it.
        OSError: it can't listen there.
    """
    check_address(settings, host, port)
    family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.create_server((host, port), family=family) as listening:
        shown = f"[{host}]" if ":" in host else host
        app, live = console(settings)
        config = uvicorn.Config(
            app,
            access_log=False,  # addresses hold member ids
            log_config=None,
            log_level="warning",
            proxy_headers=False,  # whom a request comes from is never what it says itself
            server_header=False,
            timeout_graceful_shutdown=1,  # a browser that takes nothing would hold it up for ever
            ws="none",
        )
        began(f"http://{shown}:{listening.getsockname()[1]}")
        Server(config, live).run(sockets=[listening])


class Server(uvicorn.Server):
    """Ends the streams before it waits for the requests under way: else they would be cut off, and logged as faults."""

    def __init__(self, config: uvicorn.Config, live: Live) -> None:
        super().__init__(config)
        self._live = live

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop. The second Ctrl-C ends the process at once: a step under way may take long."""
        if self.should_exit and sig == signal.SIGINT:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop answering."""
        await self._live.close()
        await super().shutdown(sockets)
