"""RTP packets (RFC 3550), telephone-events (RFC 4733), μ-law (G.711) and media time: no I/O.

Kept apart from ``voxtra.media`` on purpose: an instrument should not share its errors with what it measures.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

DIGITS = "0123456789*#ABCD"
"""Digit of each RFC 4733 event code."""
RATE = 8000
"""Samples a second of PCMU."""
FRAME = 160
"""Samples, and bytes of PCMU, in 20 ms."""
SILENCE = b"\xff" * FRAME

_HEADER = struct.Struct("!BBHII")


@dataclass(frozen=True, slots=True)
class RTP:
    """One RTP packet."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False

    def encode(self) -> bytes:
        """As it goes over the wire."""
        second = self.payload_type | (0x80 if self.marker else 0)
        return _HEADER.pack(0x80, second, self.sequence, self.timestamp, self.ssrc) + self.payload


def parse_rtp(data: bytes) -> RTP | None:
    """Read a datagram; None when it is no RTP (RTCP, another protocol, cut short)."""
    if len(data) < 12 or data[0] >> 6 != 2 or 192 <= data[1] <= 223:
        return None
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    start, end = 12 + 4 * (first & 0x0F), len(data)
    if first & 0x10:  # header extension: its length is counted in words of 4 bytes
        if len(data) < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    if first & 0x20:  # padding: its last byte is its length
        end -= data[-1]
    if start > end:
        return None
    return RTP(second & 0x7F, sequence, timestamp, ssrc, data[start:end], bool(second & 0x80))


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of sound, sent or received.

    Attributes:
        time: ``loop.time()`` in s when it came in or went out.
        sequence, timestamp: of RTP.
        payload: μ-law.
        position: media time of its first sample, in samples since the media began (``PhoneCall.epoch``).
    """

    time: float
    sequence: int
    timestamp: int
    payload: bytes
    position: int = 0

    @property
    def voiced(self) -> bool:
        """True when there is more than line noise in it."""
        return is_voice(self.payload)


@dataclass
class MediaTime:
    """Places received packets in time: by RTP timestamp, and by arrival where the timestamps break off.

    They break off when the source changes, and when they part from the arrival time by more than 200 ms
    (a sender that stopped for a while and did not count on).
    """

    epoch: float
    _ssrc: int = -1
    _timestamp: int = 0
    _position: int = 0

    def place(self, packet: RTP, time: float) -> int:
        """Samples from ``epoch`` to the packet's first sample."""
        arrival = max(0, round((time - self.epoch) * RATE))
        step = (packet.timestamp - self._timestamp + 2**31) % 2**32 - 2**31
        position = self._position + step
        if packet.ssrc != self._ssrc or abs(position - arrival) > RATE // 5:
            position = arrival
        self._ssrc, self._timestamp, self._position = packet.ssrc, packet.timestamp, position
        return position


@dataclass
class DigitReader:
    """Makes digits of telephone-event packets: one a press, however many packets it took or were lost."""

    digits: list[tuple[float, str]] = field(default_factory=list)
    _last: tuple[int, int] | None = None

    def read(self, packet: RTP, time: float) -> str | None:
        """The digit when this packet is the first of a press."""
        if len(packet.payload) < 4 or packet.payload[0] >= len(DIGITS):
            return None
        press = (packet.ssrc, packet.timestamp)
        if press == self._last:
            return None
        self._last = press
        digit = DIGITS[packet.payload[0]]
        self.digits.append((time, digit))
        return digit


def event_payloads(digit: str, duration_ms: int) -> list[bytes]:
    """What is sent every 20 ms while ``digit`` is pressed; the last three say that it ended."""
    code = DIGITS.index(digit)
    frames = max(1, duration_ms // 20)
    going = [struct.pack("!BBH", code, 10, FRAME * number) for number in range(1, frames + 1)]
    return [*going, *[struct.pack("!BBH", code, 0x80 | 10, FRAME * frames)] * 3]


@cache
def _tables() -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """μ-law → int16 (256 values), and int16 as unsigned index → μ-law (65536 values). ITU-T G.711."""
    codes = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (codes >> 4 & 7).astype(np.int32), (codes & 15).astype(np.int32)
    magnitude = ((mantissa << 3) + 132 << exponent) - 132
    decode = np.where(codes & 0x80, -magnitude, magnitude).astype(np.int16)
    samples = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    biased = np.minimum(np.abs(samples), 32635) + 132
    segment = np.floor(np.log2(biased)).astype(np.int32) - 7
    sign = np.where(samples < 0, 0x80, 0)
    encode = ~(sign | segment << 4 | (biased >> (segment + 3) & 15)).astype(np.uint8)
    return decode, encode


def ulaw_to_pcm(data: bytes) -> bytes:
    """μ-law → 16-bit little-endian PCM."""
    return bytes(_tables()[0][np.frombuffer(data, np.uint8)].astype("<i2").tobytes())


def pcm_to_ulaw(pcm: bytes) -> bytes:
    """16-bit little-endian PCM → μ-law."""
    return bytes(_tables()[1][np.frombuffer(pcm, "<u2")].tobytes())


@cache
def _loud(threshold: int) -> bytes:
    return bytes(int(abs(int(value)) > threshold) for value in _tables()[0])


def is_voice(payload: bytes, threshold: int = 500) -> bool:
    """True when over a twentieth of the μ-law samples are louder than ``threshold`` (of 32767)."""
    return sum(payload.translate(_loud(threshold))) * 20 > len(payload)


def lay_out(packets: list[Packet], *, end: int = 0) -> bytes:
    """PCM of packets laid at their positions, silence in the gaps, at least ``end`` samples long."""
    length = max([end, *(packet.position + len(packet.payload) for packet in packets)])
    track = bytearray(b"\xff" * length)
    for packet in packets:
        track[packet.position : packet.position + len(packet.payload)] = packet.payload
    return ulaw_to_pcm(bytes(track))
