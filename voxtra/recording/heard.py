"""What the far end heard of us, placed on the recording's axis. Pure, no clock.

Follows a line's queue as :class:`~voxtra.media.line.PlayObserver` tells of it: a whole frame is taken each
20 ms slot, none while paused; a flush says exactly how far the far end got, and the record is mended to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

_RUNS = 512
"""Stretches of sound remembered for a flush to mend."""


class HeardTrack:
    """The agent's lane; a :class:`~voxtra.media.line.PlayObserver`.

    Args:
        now: gives the first slot that is still to come.
        frame_samples: samples of 20 ms.
        put: takes (position on the axis in samples, PCM).
        erase: takes (position on the axis, samples).
        heard: the line's position when the recording begins.
        queued: end of the line's queue then; what lies between is unknown sound, kept as silence.
        paused: the line is paused then.
        first: the slot it begins in.
    """

    def __init__(
        self,
        now: Callable[[], int],
        frame_samples: int,
        put: Callable[[int, bytes], None],
        erase: Callable[[int, int], None],
        *,
        heard: int = 0,
        queued: int = 0,
        paused: bool = False,
        first: int = 0,
    ) -> None:
        self._now = now
        self._frame = frame_samples
        self._put = put
        self._erase = erase
        self._slot = first
        self._position = heard
        """Samples of the line's queue that are on the axis."""
        self._queue: deque[bytes] = deque()
        self._waiting = 0
        """Samples in ``_queue``."""
        self._runs: deque[tuple[int, int]] = deque(maxlen=_RUNS)
        """(position on the axis, samples) of what was put last."""
        self._held = paused
        self._queue_up(bytes(max(0, queued - heard) * 2))

    def played(self, pcm: bytes) -> None:
        """Sound was queued."""
        self.advance(self._now())
        self._queue_up(pcm)

    def paused(self) -> None:
        """Playing stopped."""
        self.advance(self._now())
        self._held = True

    def resumed(self) -> None:
        """Playing goes on."""
        self.advance(self._now())
        self._held = False

    def _queue_up(self, pcm: bytes) -> None:
        if pcm:
            self._queue.append(bytes(pcm))
            self._waiting += len(pcm) >> 1

    def advance(self, slot: int) -> None:
        """Time has come to ``slot``: what was heard before it is put on the axis."""
        due = slot - self._slot
        if due <= 0:
            return
        frames = 0 if self._held else min(due, self._waiting // self._frame)
        if frames:
            samples = frames * self._frame
            at = self._slot * self._frame
            self._put(at, self._take(samples))
            if self._runs and sum(self._runs[-1]) == at:
                last, length = self._runs.pop()
                self._runs.append((last, length + samples))
            else:
                self._runs.append((at, samples))
            self._position += samples
        self._slot = slot

    def flushed(self, heard: int) -> None:
        """Nothing beyond ``heard`` reached the far end; a pause is over."""
        self.advance(self._now())
        self._held = False
        missing = heard - self._position
        if missing < 0:
            self._take(self._waiting)
            self._mend(-missing)
            self._position = heard
            return
        # Heard, and not on the axis yet: it goes there in the next slots.
        kept = self._take(min(missing, self._waiting))
        self._queue.clear()
        self._waiting = 0
        self._queue_up(kept)
        self._position = heard - self._waiting

    def _take(self, samples: int) -> bytes:
        size = samples * 2
        parts = []
        while size > 0:
            part = self._queue.popleft()
            if len(part) > size:
                self._queue.appendleft(part[size:])
                part = part[:size]
            parts.append(part)
            size -= len(part)
        self._waiting -= samples
        return b"".join(parts)

    def _mend(self, unheard: int) -> None:
        """Erase the last ``unheard`` samples that were put."""
        while unheard > 0 and self._runs:
            at, length = self._runs.pop()
            cut = min(length, unheard)
            self._erase(at + length - cut, cut)
            if cut < length:
                self._runs.append((at, length - cut))
            unheard -= cut
