"""The media clock of a call's sound: one timeline for all lines it has had since somebody attached. No I/O."""

from __future__ import annotations

from voxtra.media.line import FRAME_MS

FRAME_US = FRAME_MS * 1000


class MediaClock:
    """Frame numbers of a line to µs since its first sound.

    On the first line that is ``sequence`` · 20 ms. A line that takes its place counts from 0 again; its
    frames go on where time has got to meanwhile, and never back.
    """

    def __init__(self) -> None:
        self._origin: float | None = None
        self._base_us = 0
        self._last_us = -FRAME_US
        self._fresh = False

    def new_line(self) -> None:
        """The next frame is of another line."""
        self._fresh = self._origin is not None

    def at(self, sequence: int, time: float) -> int:
        """Media time of a frame, µs.

        Args:
            sequence: its number on its line.
            time: when it came in, s on any clock that runs on.
        """
        if self._origin is None:
            self._origin = time - sequence * FRAME_US / 1e6
        if self._fresh:
            self._fresh = False
            elapsed = int((time - self._origin) * 1e6) // FRAME_US * FRAME_US
            self._base_us = max(elapsed, self._last_us + FRAME_US) - sequence * FRAME_US
        self._last_us = self._base_us + sequence * FRAME_US
        return self._last_us
