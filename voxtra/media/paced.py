"""Playing where we pace: a frame is taken each 20 ms and has been heard once it is sent. Pure."""

from __future__ import annotations

from collections.abc import Callable

from voxtra.media.line import LineStats
from voxtra.media.playout import Playout, Point


class PacedPlayout(Playout):
    """A queue of PCM from which the 20 ms clock takes frames.

    Args:
        rate: Hz.
        max_queue_ms: bound of the queue, ms.
        stats: counters to keep.
        begin: called when there is a frame to send again after ``take`` has given none.
    """

    def __init__(
        self,
        rate: int,
        *,
        max_queue_ms: int = 600_000,
        stats: LineStats | None = None,
        begin: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(rate // 50, rate * max_queue_ms // 1000, stats or LineStats())
        self._begin = begin
        self._silent = False

    def play(self, pcm: bytes) -> None:
        """Queue PCM."""
        self.take_in(pcm)
        if self._silent:
            self._rouse()

    def mark(self, point: Point) -> None:
        """Set a mark at the end of the queue."""
        self.add_mark(point)
        if self._silent:
            self._rouse()

    def _rouse(self) -> None:
        if not self.paused and len(self._pcm) >= self.frame_bytes:
            self._silent = False
            self._begin()

    def take(self) -> bytes | None:
        """The next frame to send, None for silence. It counts as heard: call ``sent`` when it went out."""
        size = self.frame_bytes
        pcm = self._pcm
        if self.paused or len(pcm) < size:
            self._silent = True
            return None
        frame = bytes(pcm[:size])
        del pcm[:size]
        return frame

    def sent(self) -> None:
        """The frame that was taken is on its way."""
        self.stats.frames_played += 1
        self.advance(self.heard + self.frame_samples)

    def pause(self) -> None:
        """Give silence until ``resume``."""
        if not self.paused:
            self.paused = True
            self._tell_paused()

    def resume(self) -> None:
        """Go on."""
        if self.paused:
            self.paused = False
            self._tell_resumed()
            if self._silent:
                self._rouse()

    def flush(self) -> None:
        """Throw away what was not taken."""
        self.paused = False
        self.stats.frames_dropped += len(self._pcm) // self.frame_bytes
        self._pcm.clear()
        self.queued = self.heard
        while self._points:
            self._points.popleft().resolve("flushed")
        self._tell_flushed()
