"""A bridge over a plain WebSocket: one message of JSON, then one frame a message both ways."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Self

import aiohttp

from voxtra.voice.errors import VoiceError
from voxtra.voice.link import LinkEnded, address
from voxtra.wire import MAX_FRAME_BYTES, AudioFormat, Role, SoundFrame, pack, unpack

CONNECT_S = 10.0
_FINAL = {4400: "it refused what we sent", 4404: "there is no such call", 4410: "the call has ended"}


class WebSocketLink:
    """One WebSocket to the relay. Made by :meth:`connect`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    @classmethod
    async def connect(
        cls,
        session: aiohttp.ClientSession,
        url: str,
        sid: str,
        token: str,
        role: Role,
        fmt: AudioFormat,
    ) -> Self:
        """Connect to the relay's ``url``, ``wss://…`` or ``ws://…``.

        Raises:
            LinkEnded: the relay refused, final when it always would.
            VoiceError: NETWORK: it can't be reached, or is no relay.
        """
        try:
            async with asyncio.timeout(CONNECT_S):
                socket = await session.ws_connect(
                    address(url, sid, token, role, fmt),
                    heartbeat=10,
                    max_msg_size=MAX_FRAME_BYTES + 1024,
                    compress=0,
                )
                try:
                    await _greeted(socket, url)
                except BaseException:
                    await socket.close()
                    raise
        except aiohttp.WSServerHandshakeError as error:
            raise LinkEnded(f"the relay answered {error.status}", final=400 <= error.status < 500) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise VoiceError(
                f"no connection to the relay {url}: {error or 'timed out'}", code="NETWORK"
            ) from None
        return cls(socket)

    async def send(self, frame: SoundFrame) -> None:
        """Send one frame as one message."""
        try:
            await self._socket.send_bytes(pack(frame))
        except (aiohttp.ClientError, ConnectionError) as error:
            raise (
                _ended(self._socket) if self._socket.closed else LinkEnded(str(error), final=False)
            ) from None

    async def receive(self) -> SoundFrame:
        """The next message's frame."""
        while True:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                try:
                    return unpack(message.data)
                except ValueError as error:
                    raise LinkEnded(f"the relay sent {error}", final=False) from None
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise _ended(self._socket)

    async def close(self) -> None:
        """Say goodbye; a relay that doesn't answer is left after 1 s."""
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, ConnectionError):
            async with asyncio.timeout(1):
                await self._socket.close()


async def _greeted(socket: aiohttp.ClientWebSocketResponse, url: str) -> None:
    """The first message is the format: we are let in."""
    first = await socket.receive()
    if first.type is not aiohttp.WSMsgType.TEXT:
        raise _ended(socket)
    with contextlib.suppress(ValueError, AttributeError, RecursionError):
        if str(json.loads(first.data).get("capability", "")).startswith("voice/"):
            return
    raise VoiceError(f"{url} is not a relay: it said {first.data[:80]!r}", code="BAD_REPLY")


def _ended(socket: aiohttp.ClientWebSocketResponse) -> LinkEnded:
    code = socket.close_code or 1006
    return LinkEnded(_FINAL.get(code, f"the relay closed with {code}"), final=code in _FINAL)
