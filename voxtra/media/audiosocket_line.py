"""A line over AudioSocket: the asyncio shell of :mod:`voxtra.media.audiosocket`.

The UUID is the only key, so it is a fresh UUID4, registered before Asterisk is asked, good for one
connection. Silence is sent from the moment of accept: an Asterisk that reads a channel on which nothing
comes can stop answering altogether.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import cast

from voxtra.errors import AudioSocketError
from voxtra.media.audiosocket import AUDIO_KINDS, Handshake, Kind, Parser, build
from voxtra.media.clock import Clock
from voxtra.media.codecs import Codec
from voxtra.media.paced_line import PacedLine
from voxtra.media.wheel import Beat

STALL_TICKS = 250
"""Ticks (5 s) a peer may take nothing before the line is given up."""
WRITE_BUFFER_BYTES = 16_384
CLOSE_DEADLINE_S = 1.0


class AudioSocketLine(PacedLine):
    """The sound of one call over AudioSocket. We pace what is played."""

    transport = "audiosocket"

    def __init__(self, codec: Codec, clock: Clock, *, max_queue_ms: int) -> None:
        super().__init__(codec, clock, max_queue_ms=max_queue_ms)
        self._kind = AUDIO_KINDS[codec.name]
        self._header = build(self._kind, bytes(codec.frame_bytes))[:3]
        self._parser = Parser()
        self._peer: Peer | None = None
        self._stalled = 0
        self.on_dtmf: Callable[[str], None] = lambda digit: None
        """Called with each key; where there is ARI, keys come by that."""

    def attach(self, peer: Peer, rest: bytes) -> None:
        """The peer has shown its UUID; ``rest`` is what came after it."""
        self._peer = peer
        self._beat = self._clock.join(self._tick)
        if rest:
            self.data(rest)

    def data(self, data: bytes) -> None:
        """Bytes from the peer."""
        try:
            messages = self._parser.feed(data)
        except AudioSocketError as error:
            self._stats.malformed += 1
            self._end(str(error))
            return
        for kind, payload in messages:
            if self._closed.done():
                return
            if kind == self._kind:
                if len(payload) & 1:
                    self._stats.malformed += 1
                else:
                    self._receive(payload)
            elif kind == Kind.HANGUP:
                self._end("Asterisk hung up")
            elif kind == Kind.ERROR:
                self._end(f"Asterisk reports AudioSocket error {payload[:8].hex() or 'unknown'}")
            elif kind == Kind.DTMF and len(payload) == 1 and payload in b"0123456789*#ABCD":
                asyncio.get_running_loop().call_soon(self.on_dtmf, payload.decode())
            else:
                self._stats.malformed += 1

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._end(f"the socket to Asterisk was lost{f': {error}' if error else ''}")

    def _can_send(self) -> bool:
        peer = self._peer
        if peer is None or self._closed.done():
            return False
        if not peer.writable:
            self._stalled += 1
            if self._stalled > STALL_TICKS:
                self._end(f"Asterisk took no sound for {STALL_TICKS // 50} s")
            return False
        self._stalled = 0
        return True

    def _send_frame(self, data: bytes) -> None:
        peer = self._peer
        assert peer is not None
        self._stats.bytes_sent += len(data) + 3
        peer.send(self._header + data)

    def _end(self, reason: str) -> None:
        if self._finish(reason) and self._peer is not None:
            self._peer.drop()

    async def close(self) -> None:
        """Say goodbye and close the socket; Asterisk hangs the media channel up."""
        peer = self._peer
        if peer is not None and not self._closed.done():
            peer.send(build(Kind.HANGUP))
        self._end("closed here")
        if peer is not None:
            await peer.gone(CLOSE_DEADLINE_S)


class Peer(asyncio.Protocol):
    """One connection to our listener: unknown until it has shown a UUID that is registered.

    Args:
        clock: the 20 ms clock.
        admit: asked for every new connection, False refuses it.
        identify: gives the line for a UUID, or None for one that is unknown or used.
        leave: told when the connection has been identified, refused or lost.
        deadline_s: time it has to show its UUID.
    """

    def __init__(
        self,
        clock: Clock,
        admit: Callable[[Peer], bool],
        identify: Callable[[uuid.UUID], AudioSocketLine | None],
        leave: Callable[[Peer, str], None],
        *,
        deadline_s: float,
    ) -> None:
        self.writable = True
        self.address = ""
        self._clock = clock
        self._admit = admit
        self._identify = identify
        self._leave = leave
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._handshake = Handshake()
        self._line: AudioSocketLine | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._beat: Beat | None = None
        self._gone: asyncio.Future[None] = self._loop.create_future()
        # Until the UUID is here the format is unknown; 8 kHz silence is taken in any of them.
        self._silence = build(Kind.SLIN, bytes(320))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection was accepted."""
        # No isinstance here: uvloop's transports are none of asyncio's classes.
        self._transport = transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        if not self._admit(self):
            transport.abort()
            return
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._timer = self._loop.call_later(
            self._deadline_s, self._refuse, f"showed no UUID in {self._deadline_s:g} s"
        )
        self._beat = self._clock.join(self._send_silence)
        self._send_silence()

    def _send_silence(self) -> None:
        if self.writable:
            self.send(self._silence)

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        if self._line is not None:
            self._line.data(data)
            return
        if self._transport is None or self._transport.is_closing():
            return
        try:
            number = self._handshake.feed(data)
        except AudioSocketError as error:
            self._refuse(str(error))
            return
        if number is None:
            return
        line = self._identify(number)
        if line is None:
            self._refuse("its UUID is unknown, or was used before")
            return
        self._settle("")
        self._line = line
        line.attach(self, self._handshake.rest)

    def _refuse(self, why: str) -> None:
        self._settle(why)
        self.abort()

    def _settle(self, why: str) -> None:
        """The time of not knowing who this is has ended."""
        if self._beat is not None:
            self._clock.leave(self._beat)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._leave(self, why)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._settle("left before it showed its UUID")
        if self._line is not None:
            self._line.lost(exc)
        if not self._gone.done():
            self._gone.set_result(None)

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self.writable = False

    def resume_writing(self) -> None:
        """There is room again."""
        self.writable = True

    def send(self, data: bytes) -> None:
        """Write to the socket."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def drop(self) -> None:
        """Close once what was written is out."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    async def gone(self, deadline_s: float) -> None:
        """Wait until the connection is gone; by force when the time is over."""
        if self._transport is None:
            return
        await asyncio.wait((self._gone,), timeout=deadline_s)
        if not self._gone.done():
            self.abort()
            await asyncio.wait((self._gone,), timeout=deadline_s)
