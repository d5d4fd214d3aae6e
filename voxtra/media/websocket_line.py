"""A line over chan_websocket: the asyncio shell of :mod:`voxtra.media.chan_websocket`.

picows calls back for each message; nothing is queued between the socket and the sinks. The payload it
shows is only good within the callback, so what is kept is copied (decoding does that anyway).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from voxtra.media.base_line import BaseLine
from voxtra.media.chan_websocket import MAX_EVENT_BYTES, WebSocketPlayout
from voxtra.media.codecs import Codec
from voxtra.media.line import LineStats, Mark

log = logging.getLogger("voxtra.media")

FLUSH_DEADLINE_S = 0.9
"""How long ``flush`` waits for Asterisk's answer."""
CLOSE_DEADLINE_S = 1.0

_BINARY = WSMsgType.BINARY
_TEXT = WSMsgType.TEXT


class WebSocketLine(BaseLine):
    """The sound of one call over chan_websocket. Asterisk paces what is played.

    Asterisk plays from the moment the channel is in Stasis. What is played before the channel is in a
    bridge goes nowhere and yet counts as heard: ``pause()`` first and ``resume()`` once it is in, and a
    greeting sent ahead begins with the first frame of the bridge.
    """

    transport = "websocket"

    def __init__(self, codec: Codec, **limits: int) -> None:
        stats = LineStats()
        playout = WebSocketPlayout(codec, stats=stats, **limits)
        super().__init__(codec, playout, stats)
        self._playout = playout
        self._socket: WSTransport | None = None
        self._flushed: asyncio.Future[None] | None = None
        self._flush_timer: asyncio.TimerHandle | None = None

    @property
    def start(self) -> dict[str, Any]:
        """Asterisk's MEDIA_START event, empty until it has come."""
        return self._playout.start

    def play(self, pcm: bytes) -> None:
        """Queue PCM to be played."""
        super().play(pcm)
        self._send()

    def mark(self) -> Mark:
        """A mark after everything queued so far."""
        mark = super().mark()
        self._send()
        return mark

    def pause(self) -> None:
        """Stop playing within a frame and keep the queue."""
        if not self._closed.done():
            self._playout.pause()
            self._send()

    def resume(self) -> None:
        """Go on playing."""
        if not self._closed.done():
            self._playout.resume()
            self._send()

    async def flush(self) -> int:
        """Throw away what was not heard yet; returns what was."""
        if self._closed.done():
            return self.heard
        if not self._playout.flush() and self._flushed is None:
            self._flushed = self._loop.create_future()
            self._flush_timer = self._loop.call_later(FLUSH_DEADLINE_S, self._give_up_flush)
        self._send()
        if self._flushed is not None:
            await asyncio.shield(self._flushed)
        return self.heard

    def _give_up_flush(self) -> None:
        log.warning("Asterisk did not confirm FLUSH_MEDIA within %.1f s", FLUSH_DEADLINE_S)
        self._playout.give_up_flush()
        self._flush_done()
        self._send()

    def _flush_done(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if self._flushed is not None:
            if not self._flushed.done():
                self._flushed.set_result(None)
            self._flushed = None

    def _send(self) -> None:
        outbox = self._playout.outbox
        if not outbox:
            return
        socket = self._socket
        if socket is not None:
            for message in outbox:
                if isinstance(message, bytes):
                    socket.send(_BINARY, message)
                else:
                    socket.send(_TEXT, message.encode())
            outbox.clear()

    def end(self) -> None:
        """Hear and play nothing any more; the socket is closed by ``close``."""
        self._end("closed here")

    async def close(self) -> None:
        """Close the socket; Asterisk hangs the media channel up."""
        self.end()
        socket = self._socket
        if socket is None or socket.is_disconnected:
            return
        socket.send_close(WSCloseCode.OK)
        socket.disconnect()
        try:
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                await socket.wait_disconnected()
        except TimeoutError:
            socket.disconnect(graceful=False)

    # -- called by the listener

    def _attach(self, socket: WSTransport) -> None:
        self._socket = socket
        if self._closed.done():
            socket.disconnect()  # given up while the connection was being made
        else:
            self._send()

    def _on_audio(self, data: memoryview | bytes) -> None:
        self._receive(data)
        self._playout.tick()
        if self._playout.outbox:
            self._send()

    def _on_event(self, text: str | bytes) -> None:
        signal = self._playout.event(text)
        if signal == "flushed":
            self._flush_done()
        elif signal == "error":
            log.warning("chan_websocket: %s", self._playout.error)
        elif signal == "start":
            self._check_start()
        self._send()

    def _check_start(self) -> None:
        said = self.start.get("format")
        size = self.start.get("optimal_frame_size")
        if said != self.codec or size != self._codec.frame_bytes:
            self._end(f"Asterisk opened {said} with frames of {size} B, not {self.codec}")
            if self._socket is not None:
                self._socket.disconnect()

    def _set_held(self, held: bool) -> None:
        self._playout.held = held
        if not held:
            self._playout.pump()
            self._send()

    def _end(self, reason: str) -> None:
        if self._finish(reason):
            self._flush_done()


class LineListener(WSListener):
    """picows' view of a :class:`WebSocketLine`."""

    def __init__(self, line: WebSocketLine) -> None:
        super().__init__()
        self.line = line
        self._parts: list[bytes] = []
        self._parts_type = _BINARY

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The upgrade is done."""
        self.line._attach(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """One WebSocket frame."""
        kind = frame.msg_type
        if kind is _BINARY and frame.fin:
            self.line._on_audio(frame.get_payload_as_memoryview())
        elif kind is _TEXT and frame.fin:
            self.line._on_event(frame.get_payload_as_bytes())
        elif kind is WSMsgType.CLOSE:
            self.line._end(f"Asterisk closed the socket ({frame.get_close_code()})")
            transport.disconnect()
        elif kind in (_BINARY, _TEXT, WSMsgType.CONTINUATION):
            self._fragment(frame)

    def _fragment(self, frame: WSFrame) -> None:
        """A part of a message; the whole is bounded."""
        if frame.msg_type is not WSMsgType.CONTINUATION:
            self._parts = []
            self._parts_type = frame.msg_type
        self._parts.append(frame.get_payload_as_bytes())
        if sum(map(len, self._parts)) > MAX_EVENT_BYTES or len(self._parts) > 64:
            self._parts = []
            self.line.stats.malformed += 1
        elif frame.fin:
            whole = b"".join(self._parts)
            self._parts = []
            if self._parts_type is _TEXT:
                self.line._on_event(whole)
            else:
                self.line._on_audio(whole)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The socket is gone."""
        self.line._end("the socket to Asterisk was lost")

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self.line._set_held(True)

    def resume_writing(self) -> None:
        """There is room again."""
        self.line._set_held(False)
