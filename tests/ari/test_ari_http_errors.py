"""Whatever a server does that is not HTTP, or stops to be: it comes as one of our errors, without the password."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from voxtra.ari.http import HttpCarrier, open_session
from voxtra.ari.protocol import Request
from voxtra.ari.websocket import open_events
from voxtra.errors import ARIConnectionLostError, TelephonyConnectionError

PASSWORD = "s3cret-password"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

ODD = {
    "gone at once": b"",
    "no HTTP": b"220 mail.example ESMTP\r\n\r\n",
    "half a head": b"HTTP/1.1 200",
    "half a body": HEAD + b"Content-Length: 10\r\n\r\n[1,",
    "broken chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    "not gzip": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
}


@contextlib.asynccontextmanager
async def server(answer: bytes) -> AsyncIterator[str]:
    """Its address. It gives ``answer`` to whoever asks, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                await writer.drain()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    served: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.ensure_future(serve(reader, writer)))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}/ari"
    finally:
        listening.close()
        await listening.wait_closed()
        if served:
            await asyncio.wait(served, timeout=5)  # one still open would be a later test's failure


def is_ours_alone(error: BaseException) -> bool:
    """Nothing of the library's travels with it, whose errors hold the request and its login."""
    return error.__cause__ is None and error.__context__ is None and PASSWORD not in repr(error)


@pytest.mark.proves("failure 25")
@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
async def test_a_request_and_the_events_of_a_server_that_is_none(answer: bytes) -> None:
    session = open_session("joe", PASSWORD)
    async with server(answer) as url:
        with pytest.raises(ARIConnectionLostError, match="GET /channels") as request:
            await HttpCarrier(session, url).request(Request("GET", "/channels"), 5.0)
        with pytest.raises(TelephonyConnectionError, match="/ari/events") as events:
            await open_events(session, f"{url}/events", {"app": "a"}, timeout_s=5.0)
    await session.close()
    assert is_ours_alone(request.value)
    assert is_ours_alone(events.value)
