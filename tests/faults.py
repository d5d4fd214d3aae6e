"""A TCP proxy that breaks connections on purpose, for tests of whatever talks over TCP."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class _Link:
    """One proxied connection."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near = near
        self.far = far
        self.sent = 0


class FaultProxy:
    """Forwards TCP from a port of its own to ``host:port``, as well or as badly as told.

    ::

        async with FaultProxy("127.0.0.1", 8088) as proxy:
            ...  # talk to 127.0.0.1:proxy.port
            proxy.stall()

    Attributes:
        latency_s: added to every chunk, each way.
        swallow: True forwards what the client sends and throws the answers away (a lost acknowledgement).
        refuse: True resets new connections at once.
        cuts: so many connections are reset, each once it has sent ``cut_after`` bytes.
        answer: an HTTP status that new connections get instead of the server; 0 = none.
        forwarded: bytes sent on to the server so far.
        hits: how often what was wrong met somebody: connections refused, answered or reset, data held up or
            thrown away.
        connections: how many were accepted so far.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._links: list[_Link] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.latency_s = 0.0
        self.swallow = False
        self.refuse = False
        self.cuts = 0
        self.cut_after = 1
        self.answer = 0
        self.forwarded = 0
        self.hits = 0
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        """``http://`` and the address to talk to."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        self.resume()
        self.reset()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close on the next turn of the loop

    def stall(self) -> None:
        """Forward nothing any more, on old and new connections, and close nothing: half-open."""
        self._flowing.clear()

    def resume(self) -> None:
        """Forward again, beginning with what came during the stall."""
        self._flowing.set()

    def reset(self) -> None:
        """Break all connections there are (RST)."""
        for link in self._links:
            self.hits += not link.near.is_closing()
            for writer in (link.near, link.far):
                writer.transport.abort()
        self._links.clear()

    def inject(self, data: bytes) -> None:
        """Send bytes to all clients as if the server had sent them."""
        for link in self._links:
            link.near.write(data)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.hits += self.refuse or bool(self.answer)
        if self.refuse:
            writer.transport.abort()
            return
        if self.answer:
            await self._answer(reader, writer)
            return
        try:
            far_reader, far = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, far)
        self._links.append(link)
        try:
            await asyncio.gather(self._pump(reader, far, link), self._pump(far_reader, writer, None))
        except asyncio.CancelledError:
            pass
        finally:
            for end in (writer, far):
                end.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say the status to whatever comes, once it has come: a server that closes before that resets."""
        head = f"HTTP/1.1 {self.answer} Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        try:
            while True:
                async with asyncio.timeout(0.1):
                    if not await reader.read(65536):
                        break
        except TimeoutError:
            pass
        except OSError:
            writer.transport.abort()
            return
        writer.write(head)
        if writer.can_write_eof():
            writer.write_eof()
        try:
            async with asyncio.timeout(0.5):
                while await reader.read(65536):
                    pass
        except (TimeoutError, OSError):
            pass
        writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link | None
    ) -> None:
        """One way of a connection: what a client sends on ``link``; answers when that is None."""
        answers = link is None
        try:
            while data := await reader.read(65536):
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                self.hits += not self._flowing.is_set() or (answers and self.swallow)
                await self._flowing.wait()
                if link is not None:
                    self.forwarded += len(data)
                    link.sent += len(data)
                    if self.cuts and link.sent >= self.cut_after:
                        self.cuts -= 1
                        self.hits += 1
                        link.near.transport.abort()
                        link.far.transport.abort()
                        return
                if not (answers and self.swallow):
                    writer.write(data)
                    await writer.drain()
            await self._flowing.wait()
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            writer.transport.abort()
