"""A jitter buffer that adds no delay: packets leave in order, as soon as order allows. Pure, no clock.

A packet in turn leaves at once. One that comes too early waits for those before it, until ``depth`` packets
wait: then what is missing is given up for lost. So only a loss or a reordering costs time (``depth`` frames),
and a listener that is a program needs no constant delay.
"""

from __future__ import annotations

from voxtra.media.codecs import fade
from voxtra.media.rtp import Packet

_HALF = 1 << 15
_MASK = 0xFFFF


class Lost:
    """Stands for a packet that never came."""

    __slots__ = ()


LOST = Lost()


class JitterBuffer:
    """Puts the packets of one stream in order.

    Args:
        depth: packets that may wait for a missing one.
        max_gap: a jump in sequence beyond this is a new beginning, not a loss.
    """

    __slots__ = ("_held", "_late_run", "_max_gap", "_next", "_ssrc", "depth", "duplicates", "late", "resets")

    def __init__(self, depth: int = 3, max_gap: int = 50) -> None:
        self.depth = depth
        self._max_gap = max_gap
        self._held: dict[int, Packet] = {}
        self._next = -1
        self._ssrc = -1
        self._late_run = 0
        self.late = 0
        """Packets that came after their place was given up."""
        self.duplicates = 0
        """Packets that came twice while the first still waited."""
        self.resets = 0
        """New beginnings: another SSRC, or a jump in sequence."""

    def __len__(self) -> int:
        return len(self._held)

    def add(self, packet: Packet) -> None:
        """A packet came in."""
        if packet.ssrc != self._ssrc or self._next < 0:
            self._begin(packet)
            return
        ahead = (packet.sequence - self._next) & _MASK
        if ahead >= _HALF:
            self._add_late(packet, _MASK + 1 - ahead)
        elif ahead > self._max_gap:
            self._begin(packet)
        elif packet.sequence in self._held:
            self.duplicates += 1
        else:
            self._late_run = 0
            self._held[packet.sequence] = packet

    def _add_late(self, packet: Packet, behind: int) -> None:
        self.late += 1
        self._late_run += 1
        # A sender that began anew with the same SSRC is not late for ever.
        if behind > self._max_gap and self._late_run > self.depth:
            self._begin(packet)

    def _begin(self, packet: Packet) -> None:
        if self._next >= 0:
            self.resets += 1
        self._held = {packet.sequence: packet}
        self._next = packet.sequence
        self._ssrc = packet.ssrc
        self._late_run = 0

    def pop(self) -> Packet | Lost | None:
        """The next in order; ``LOST`` for one given up; None when there is nothing to take now."""
        if not self._held:
            return None
        packet = self._held.pop(self._next, None)
        if packet is None and len(self._held) < self.depth:
            return None
        self._next = (self._next + 1) & _MASK
        return packet if packet is not None else LOST


class Concealment:
    """Stand-in for lost frames: the last one again, fading to silence over four frames."""

    __slots__ = ("_last", "_level")

    def __init__(self, frame_bytes: int) -> None:
        self._last = bytes(frame_bytes)
        self._level = 1.0

    def good(self, pcm: bytes) -> None:
        """A frame that did come."""
        self._last = pcm
        self._level = 1.0

    def conceal(self) -> bytes:
        """20 ms for a frame that did not."""
        self._level = max(0.0, self._level - 0.25)
        return fade(self._last, self._level)
