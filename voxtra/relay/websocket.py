"""The tracks of a call over a plain WebSocket, for networks without UDP. See docs/relay.md for the wire."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import Any

from aiohttp import WSMsgType, web

from voxtra._listening import Listening
from voxtra.calls.leg import first_of
from voxtra.errors import RelayError
from voxtra.relay.outbox import Outbox
from voxtra.relay.publisher import Publisher
from voxtra.relay.reception import Admission, Reception
from voxtra.relay.request import BAD_REQUEST, GOING_AWAY, GONE, INTERNAL, Refused
from voxtra.relay.sound import Sound
from voxtra.wire import MAX_FRAME_BYTES, AudioFormat, SoundFrame, pack

log = logging.getLogger("voxtra.relay")

HEARTBEAT_S = 20.0
"""A peer that answers no ping for so long is gone."""
CLOSE_S = 2.0
WAITING_MS = 500
"""Sound that waits for a subscriber who does not read; the oldest is dropped."""
UNSENT_BYTES = 4_096
"""What the kernel may hold unsent: sound there can no longer be dropped."""


class Subscriber:
    """Writes one connection's frames as fast as it reads them."""

    def __init__(self, ws: web.WebSocketResponse, form: AudioFormat, reception: Reception) -> None:
        self._ws = ws
        self._stats = reception.stats
        self._outbox = Outbox(max(2, WAITING_MS // form.frame_ms))
        self._wake = asyncio.Event()

    def deliver(self, frame: SoundFrame) -> None:
        """One more frame."""
        self._stats.frames_unread += self._outbox.put(pack(frame))
        self._wake.set()

    async def run(self) -> None:
        """Write until the connection is gone."""
        try:
            while not self._ws.closed:
                message = self._outbox.take()
                if message is None:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                await self._ws.send_bytes(message)
                self._stats.frames_out += 1
        except (ConnectionError, RuntimeError) as error:  # aiohttp's word for a socket that is closing
            log.debug("a subscriber went away: %s", error)


class WebSocketServer:
    """Listens on TCP.

    Args:
        reception: who may attach.
        host, port: where; port 0 = any that is free.
        tls: for ``wss``; None = ``ws``.
    """

    def __init__(
        self, reception: Reception, host: str, port: int, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._reception = reception
        self._tls = tls
        self._host = host
        self.port = port
        self._open: set[web.WebSocketResponse] = set()
        self._listening: Listening | None = None

    async def start(self) -> None:
        """Listen. Raises RelayError naming the address."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._serve)
        listening = Listening(app, shutdown_s=CLOSE_S)
        try:
            await listening.start(self._host, self.port, self._tls)
        except OSError as error:
            raise RelayError(
                f"the relay can't listen on tcp {self._host}:{self.port}: {error.strerror or error}"
            ) from error
        self._listening = listening
        self.port = listening.address[1]

    async def close(self) -> None:
        """Close every connection (1001) and the port. Idempotent."""
        await asyncio.gather(*(_close(ws, GOING_AWAY, "the relay stops") for ws in tuple(self._open)))
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(
            heartbeat=HEARTBEAT_S,
            compress=False,
            max_msg_size=8 + MAX_FRAME_BYTES + 1,
            writer_limit=0,
            timeout=CLOSE_S,
        )
        if not ws.can_prepare(request).ok:
            raise web.HTTPUpgradeRequired(text="this is a WebSocket: see docs/relay.md\n")
        try:
            admission = self._reception.admit(request.path, request.query_string)
        except Refused as refused:
            await ws.prepare(request)  # a browser sees the code of a close, never that of a refused upgrade
            await _close(ws, refused.code, refused.reason)
            return ws
        await ws.prepare(request)
        _hold_little(request.transport)
        self._open.add(ws)
        try:
            async with self._reception.attach(admission) as sound:
                await self._carry(ws, admission, sound)
        except Refused as refused:
            await _close(ws, refused.code, refused.reason)
        except Exception:
            await _close(ws, INTERNAL, "an error of the relay's own")
            raise
        finally:
            self._open.discard(ws)
        return ws

    async def _carry(self, ws: web.WebSocketResponse, admission: Admission, sound: Sound) -> None:
        """Sound both ways until either side has had enough."""
        form = admission.wanted.form
        await ws.send_json(form.info())
        subscriber = Subscriber(ws, form, self._reception)
        publisher = Publisher(self._reception, sound, form)
        tasks = [
            asyncio.create_task(_read(ws, publisher), name="relay reader"),
            asyncio.create_task(subscriber.run(), name="relay writer"),
        ]
        off = sound.feed.subscribe(form, subscriber.deliver) if admission.wanted.listen else lambda: None
        try:
            await first_of(*tasks, sound.ended)
        finally:
            off()
            publisher.close()
            for task in tasks:
                task.cancel()
            results: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        if sound.ended.done():
            raise Refused(GONE, sound.ended.result())


async def _read(ws: web.WebSocketResponse, publisher: Publisher) -> None:
    while True:
        message = await ws.receive()
        if message.type is WSMsgType.BINARY:
            await publisher.take(message.data)
        elif message.type is WSMsgType.TEXT:
            raise Refused(BAD_REQUEST, "a text message: frames are binary")
        else:  # closed, closing, or an error of the protocol that aiohttp has answered
            return


async def _close(ws: web.WebSocketResponse, code: int, reason: str) -> None:
    """Close, without waiting long for a peer that does not answer."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await ws.close(code=code, message=reason.encode())
    except (TimeoutError, ConnectionError, RuntimeError) as error:
        log.debug("a connection did not close in order: %s", error)


def _hold_little(transport: asyncio.BaseTransport | None) -> None:
    """Let sound wait where it can be dropped, and not in the kernel."""
    if isinstance(transport, asyncio.Transport):
        transport.set_write_buffer_limits(high=0)
    sock = transport.get_extra_info("socket") if transport is not None else None
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if sock is not None and option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)
