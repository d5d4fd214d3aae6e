"""RTP packets, read and written (RFC 3550, section 5.1). Sans-I/O."""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass

from voxtra.media.codecs import Data

HEADER_BYTES = 12
MAX_PACKET_BYTES = 2048
"""Longest packet taken; Asterisk's are 172 B, 652 B at most."""

PAYLOAD_TYPES: dict[str, int] = {"ulaw": 0, "alaw": 8, "g722": 9}
"""Static payload types (RFC 3551)."""
TIMESTAMP_STEP = 160
"""Ticks of 20 ms: the clock is 8 kHz for all three, for G.722 by a historic mistake (RFC 3551, 4.5.2)."""
_MASK16 = 0xFFFF
_MASK32 = 0xFFFFFFFF
_HEADER = struct.Struct("!BBHII")
_LENGTH = struct.Struct("!H")


@dataclass(slots=True)
class Packet:
    """One RTP packet.

    Attributes:
        payload_type: 0..127.
        sequence: 16 bit.
        timestamp: 32 bit, in ticks of the payload's clock.
        ssrc: 32 bit, names the sender's stream.
        payload: sound.
        marker: begin of a talk spurt.
    """

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False


def parse(data: Data) -> Packet | None:
    """Read a packet; None when it is none, or broken."""
    size = len(data)
    if size < HEADER_BYTES or size > MAX_PACKET_BYTES:
        return None
    flags, kind, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    if flags >> 6 != 2:
        return None
    start, end = HEADER_BYTES, size
    if flags != 0x80:
        start += (flags & 0x0F) * 4
        if flags & 0x10:
            if start + 4 > size:
                return None
            start += 4 + _LENGTH.unpack_from(data, start + 2)[0] * 4
        if flags & 0x20:
            padding = data[size - 1]
            if not padding:
                return None
            end -= padding
        if start > end:
            return None
    return Packet(kind & 0x7F, sequence, timestamp, ssrc, bytes(data[start:end]), bool(kind & 0x80))


def build(packet: Packet) -> bytes:
    """Write a packet, with the plain 12-byte header."""
    kind = packet.payload_type | 0x80 if packet.marker else packet.payload_type
    return (
        _HEADER.pack(0x80, kind, packet.sequence & _MASK16, packet.timestamp & _MASK32, packet.ssrc)
        + packet.payload
    )


class Sender:
    """Numbers the packets of one outgoing stream; sequence, timestamp and SSRC begin at random."""

    __slots__ = ("_marker", "_payload_type", "_sequence", "_ssrc", "_timestamp")

    def __init__(self, payload_type: int) -> None:
        self._payload_type = payload_type
        self._sequence = secrets.randbits(15)
        self._timestamp = secrets.randbits(32)
        self._ssrc = secrets.randbits(32)
        self._marker = 0x80

    def begin_spurt(self) -> None:
        """Set the marker on the next packet: what is received there may adjust its playout (RFC 3551, section 4.1).

        Timestamps go on as they did, a packet that comes before its time takes its place after the silence.
        """
        self._marker = 0x80

    def next(self, payload: bytes) -> bytes:
        """The packet that carries the next 20 ms."""
        header = _HEADER.pack(
            0x80, self._payload_type | self._marker, self._sequence, self._timestamp, self._ssrc
        )
        self._marker = 0
        self._sequence = (self._sequence + 1) & _MASK16
        self._timestamp = (self._timestamp + TIMESTAMP_STEP) & _MASK32
        return header + payload


class Jitter:
    """Interarrival jitter (RFC 3550, section 6.4.1)."""

    __slots__ = ("_previous", "_rate", "_value")

    def __init__(self, clock_rate: int = 8000) -> None:
        self._rate = clock_rate
        self._previous: tuple[float, int] | None = None
        self._value = 0.0

    @property
    def ms(self) -> float:
        """The estimate, ms."""
        return self._value * 1000

    def add(self, arrival_s: float, timestamp: int) -> None:
        """A packet came in."""
        if self._previous is not None:
            before_s, before = self._previous
            step = (timestamp - before) & _MASK32
            if step >= 1 << 31:
                step -= 1 << 32
            if abs(step) < self._rate * 10:
                transit = abs(arrival_s - before_s - step / self._rate)
                self._value += (transit - self._value) / 16
        self._previous = (arrival_s, timestamp)
