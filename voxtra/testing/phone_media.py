"""The phone's sound: one UDP socket, a 20 ms schedule out, times of arrival in."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from typing import cast

from voxtra.errors import MediaError
from voxtra.testing import rtp
from voxtra.testing.rtp import FRAME, RTP, SILENCE, DigitReader, MediaTime, Packet

MAX_QUEUE = 10 * 60 * rtp.RATE
"""Bytes of μ-law that may wait to be sent: ten minutes."""
MAX_PACKETS = 200_000
"""Packets kept of each direction, over an hour; later ones are counted and not kept."""


class PhoneMedia(asyncio.DatagramProtocol):
    """Sends PCMU every 20 ms on an absolute schedule, and keeps all that comes in."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._queue = bytearray()
        self._events: deque[tuple[bytes, bool]] = deque(maxlen=5000)
        self._event_timestamp = 0
        self._drained: list[asyncio.Future[None]] = []
        self._ssrc = secrets.randbits(32)
        self._sequence = secrets.randbits(15)
        self._timestamp = secrets.randbits(32)
        self._next = 0.0
        self._talked = False
        self.epoch = self._loop.time()
        self._clock = MediaTime(self.epoch)
        self._digits = DigitReader()
        self.remote: tuple[str, int] | None = None
        self.telephone_event: int | None = None
        self.sending = True
        self.received: list[Packet] = []
        self.sent: list[Packet] = []
        self.packets_received = 0
        self.malformed = 0
        self.on_packet: Callable[[Packet], None] | None = None
        self.on_digit: Callable[[str], None] | None = None
        self.microphone: Callable[[bytes], bytes] | None = None

    @classmethod
    async def open(cls, host: str) -> PhoneMedia:
        """Bind a port on ``host``. Raises MediaError."""
        try:
            _, media = await asyncio.get_running_loop().create_datagram_endpoint(cls, local_addr=(host, 0))
        except OSError as error:
            raise MediaError(f"no UDP port for sound on {host}: {error}") from error
        return media

    @property
    def port(self) -> int:
        """Our port."""
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    @property
    def digits(self) -> list[tuple[float, str]]:
        """(time, digit) of every key the far end pressed."""
        return self._digits.digits

    def send_to(self, remote: tuple[str, int] | None, telephone_event: int | None) -> None:
        """Where to send from now on; None stops. The schedule begins with the first address."""
        self.remote, self.telephone_event = remote, telephone_event
        if remote is not None and self._timer is None and self._transport is not None:
            self._next = self._loop.time()
            self._tick()

    def play(self, ulaw: bytes) -> None:
        """Queue sound. Raises MediaError when more than ten minutes would wait."""
        if len(self._queue) + len(ulaw) > MAX_QUEUE:
            raise MediaError("more than ten minutes of sound are waiting to be sent")
        self._queue += ulaw

    def stop_playing(self) -> None:
        """Throw away what was not sent yet."""
        self._queue.clear()
        self._settle()

    @property
    def playing(self) -> bool:
        """True while sound or digits wait to be sent."""
        return bool(self._queue or self._events)

    @property
    def waiting_s(self) -> float:
        """Seconds it takes to send what waits."""
        return len(self._queue) / rtp.RATE + len(self._events) * FRAME / rtp.RATE

    async def played(self) -> None:
        """Wait until sound and digits queued so far and later are sent, or the socket is closed."""
        if self.playing and self._transport is not None:
            waiter = self._loop.create_future()
            self._drained.append(waiter)
            await waiter

    def press(self, digit: str, duration_ms: int, gap_ms: int) -> None:
        """Queue a key press. Sound waits for it."""
        payloads = rtp.event_payloads(digit, duration_ms)
        for number, payload in enumerate(payloads):
            self._events.append((payload, number == 0))
        self._events.extend([(b"", False)] * max(1, gap_ms // 20))

    def close(self) -> None:
        """Close the socket. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        self._queue.clear()
        self._events.clear()
        self._settle()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def error_received(self, exc: Exception) -> None:
        """The far end's port is closed (ICMP): it may open later, so nothing is done."""

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        """A packet came in."""
        now = self._loop.time()
        packet = rtp.parse_rtp(data)
        if packet is None:
            self.malformed += not (len(data) > 1 and 192 <= data[1] <= 223)  # RTCP is no fault
            return
        if packet.payload_type == self.telephone_event:
            digit = self._digits.read(packet, now)
            if digit and self.on_digit:
                self.on_digit(digit)
        elif packet.payload_type == 0:
            self._keep(packet, now)

    def _keep(self, packet: RTP, now: float) -> None:
        position = self._clock.place(packet, now)
        kept = Packet(now, packet.sequence, packet.timestamp, packet.payload, position)
        self.packets_received += 1
        if len(self.received) < MAX_PACKETS:
            self.received.append(kept)
        if self.on_packet:
            self.on_packet(kept)

    def _tick(self) -> None:
        while self._next <= self._loop.time():  # more than one only when the loop was late
            self._send_frame()
            self._next += FRAME / rtp.RATE
        if self._transport is not None:
            self._timer = self._loop.call_at(self._next, self._tick)

    def _send_frame(self) -> None:
        self._timestamp = (self._timestamp + FRAME) % 2**32
        if self._events:
            payload, first = self._events.popleft()
            if first:
                self._event_timestamp = self._timestamp
            if payload and self.telephone_event is not None:
                self._send(self.telephone_event, self._event_timestamp, payload, marker=first)
            elif not payload:
                self._send_sound(SILENCE)
        else:
            frame = bytes(self._queue[:FRAME])
            del self._queue[:FRAME]
            frame = frame.ljust(FRAME, b"\xff")
            if self.microphone is not None:
                frame = rtp.pcm_to_ulaw(self.microphone(rtp.ulaw_to_pcm(frame)))
            self._send_sound(frame)
        if not self.playing:
            self._settle()

    def _send_sound(self, payload: bytes) -> None:
        if self.remote is None or not self.sending:
            return
        position = max(0, round((self._next - self.epoch) * rtp.RATE))
        if len(self.sent) < MAX_PACKETS:
            self.sent.append(Packet(self._loop.time(), self._sequence, self._timestamp, payload, position))
        self._send(0, self._timestamp, payload, marker=not self._talked)
        self._talked = True

    def _send(self, payload_type: int, timestamp: int, payload: bytes, *, marker: bool) -> None:
        packet = RTP(payload_type, self._sequence, timestamp, self._ssrc, payload, marker)
        self._sequence = (self._sequence + 1) % 2**16
        if self._transport is not None and self.remote is not None:
            self._transport.sendto(packet.encode(), self.remote)

    def _settle(self) -> None:
        waiting, self._drained = self._drained, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
