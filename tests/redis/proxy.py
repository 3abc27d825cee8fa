"""A TCP proxy that counts: bytes from the client that arrive after bytes from the server begin a new round trip.

Answers may be made to take their time, as if the server were far away.
"""

import asyncio
from types import TracebackType
from typing import Self


class CountingProxy:
    """Listens on a free loopback port; `round_trips` counts over all its connections. `delay_s`: of each answer."""

    def __init__(self, port: int, delay_s: float = 0.0) -> None:
        self._target, self.delay_s = port, delay_s
        self._clients_turn = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.round_trips = 0
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
        for pump in (self._pump(reader, up_writer, True), self._pump(up_reader, writer, False)):
            task = asyncio.get_running_loop().create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, from_client: bool) -> None:
        try:
            while data := await reader.read(1 << 20):
                if from_client and not self._clients_turn:
                    self.round_trips += 1
                self._clients_turn = from_client
                if self.delay_s and not from_client:  # on its way: what comes behind it is, too
                    asyncio.get_running_loop().call_later(self.delay_s, writer.write, data)
                    continue
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
