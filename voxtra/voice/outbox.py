"""Frames on their way out: cut to size, stamped, and bounded. Filled from any thread, emptied on the loop."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from voxtra.voice.errors import bad_argument
from voxtra.wire import MAX_FRAME_BYTES, AudioFormat, SoundFrame

BOUND_S = 60.0
"""Sound that may wait while the relay is full (it takes 30 s of one publisher); then the newest is dropped."""
LATE_S = 2.0
"""Sound that waited so long for a connection to be made again is dropped."""


class Outbox:
    """What is published and not yet sent.

    Sound of ``pcm16`` and the laws of G.711 may come in pieces of any length, and is cut into frames; of ``opus``
    each piece is one packet.

    Args:
        fmt: how it is coded.
        clock: monotonic ns.
    """

    def __init__(self, fmt: AudioFormat, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.dropped = 0
        self._clock = clock
        self._frame_us = fmt.frame_ms * 1000
        self._opus = fmt.codec == "opus"
        self._width = 2 if fmt.codec == "pcm16" else 1
        self._size = MAX_FRAME_BYTES if self._opus else fmt.samples * self._width
        self._bound = int(BOUND_S * 1000 / fmt.frame_ms)
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, SoundFrame]] = deque()
        self._next_us = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, sound: bytes, timestamp_us: int | None) -> None:
        """Publish a piece; without a time it follows on what went before, or is now on the monotonic clock, µs.

        Raises:
            VoiceError: BAD_ARGUMENT: no bytes, or not of this codec.
        """
        if not isinstance(sound, bytes | bytearray | memoryview):
            raise bad_argument(f"frame: should be bytes, not {type(sound).__name__}", "frame")
        sound = bytes(sound)
        if not sound or (self._opus and len(sound) > MAX_FRAME_BYTES) or len(sound) % self._width:
            right = (
                f"one Opus packet of 1 to {MAX_FRAME_BYTES} B"
                if self._opus
                else f"a multiple of {self._width} B"
            )
            raise bad_argument(f"frame of {len(sound)} B: should be {right}", "frame")
        if timestamp_us is not None and not (type(timestamp_us) is int and 0 <= timestamp_us < 1 << 63):
            raise bad_argument(f"timestamp_us = {timestamp_us!r}: should be µs as an int", "timestamp_us")
        now = self._clock()
        with self._lock:
            stamp = max(now // 1000, self._next_us) if timestamp_us is None else timestamp_us
            for start in range(0, len(sound), self._size):
                if len(self._waiting) >= self._bound:
                    self.dropped += 1
                else:
                    self._waiting.append((now, SoundFrame(stamp, sound[start : start + self._size])))
                stamp += self._frame_us
            self._next_us = stamp

    def take(self) -> SoundFrame | None:
        """The next frame; None when none waits."""
        with self._lock:
            return self._waiting.popleft()[1] if self._waiting else None

    def drop_late(self) -> None:
        """A connection is there again: what waited for it for too long is not sent any more."""
        oldest = self._clock() - int(LATE_S * 1e9)
        with self._lock:
            while self._waiting and self._waiting[0][0] < oldest:
                self._waiting.popleft()
                self.dropped += 1
