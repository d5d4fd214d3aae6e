"""What every player keeps: positions, and the marks that wait for them. No I/O and no clock.

Positions are samples; a mark is whatever has ``position`` and ``resolve``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Protocol

from voxtra.errors import MediaError
from voxtra.media.line import LineStats, MarkOutcome, PlayObserver


class Point(Protocol):
    """A mark, as far as a player needs to know it."""

    position: int

    def resolve(self, outcome: MarkOutcome) -> None:
        """Settle the mark."""


class Playout(ABC):
    """A queue of PCM that is played by someone else, and what is known of how far that got.

    Args:
        frame_samples: samples of 20 ms.
        max_samples: bound of the queue; ``play`` raises MediaError rather than go beyond it.
        stats: counters to keep.
    """

    def __init__(self, frame_samples: int, max_samples: int, stats: LineStats) -> None:
        self.frame_samples = frame_samples
        self.frame_bytes = frame_samples * 2
        self.stats = stats
        self.queued = 0
        """Position of the end of the queue."""
        self.heard = 0
        """Position up to which the far end has been played our sound: a lower bound."""
        self.paused = False
        self.flushing = False
        """True while a flush waits for the far side's answer."""
        self.observers: tuple[PlayObserver, ...] = ()
        self._max_samples = max_samples
        self._pcm = bytearray()
        self._points: deque[Point] = deque()

    def observe(self, observer: PlayObserver) -> Callable[[], None]:
        """Tell ``observer`` what happens here; returns what ends it."""
        self.observers += (observer,)

        def leave() -> None:
            self.observers = tuple(each for each in self.observers if each is not observer)

        return leave

    def _tell_played(self, pcm: bytes) -> None:
        """Sound that is taken in during a flush follows it, so it is told of after it."""
        if not self.flushing:
            for observer in self.observers:
                observer.played(pcm)

    def _tell_paused(self) -> None:
        for observer in self.observers:
            observer.paused()

    def _tell_resumed(self) -> None:
        for observer in self.observers:
            observer.resumed()

    def _tell_flushed(self) -> None:
        """The flush is settled: ``heard`` is exact, and what waits in ``_pcm`` comes after it."""
        for observer in self.observers:
            observer.flushed(self.heard)
            if self._pcm:
                observer.played(bytes(self._pcm))
            if self.paused:
                observer.paused()

    def take_in(self, pcm: bytes) -> None:
        """Append PCM to the queue. Raises MediaError when that is too much, or half a sample."""
        if len(pcm) & 1:
            raise MediaError(f"{len(pcm)} bytes is not a whole number of 16-bit samples")
        samples = len(pcm) >> 1
        if self.queued - self.heard + samples > self._max_samples:
            raise MediaError(
                f"{samples} samples more than the {self.queued - self.heard} that wait would pass the line's "
                f"limit of {self._max_samples}: wait for drained() before playing more"
            )
        self._pcm += pcm
        self.queued += samples
        if self.observers:
            self._tell_played(pcm)

    def add_mark(self, point: Point) -> None:
        """Set ``point`` at the end of the queue, padding the last frame with silence."""
        rest = len(self._pcm) % self.frame_bytes
        if rest:
            missing = self.frame_bytes - rest
            self._pcm += bytes(missing)
            self.queued += missing >> 1
            if self.observers:
                self._tell_played(bytes(missing))
        point.position = self.queued
        if self.queued <= self.heard:
            point.resolve("heard")
        else:
            self._points.append(point)

    def advance(self, position: int) -> None:
        """The far end has been played everything before ``position``."""
        if position <= self.heard:
            return
        self.heard = position
        points = self._points
        while points and points[0].position <= position:
            points.popleft().resolve("heard")

    def close(self) -> None:
        """The line is gone: nothing will be heard any more."""
        self._pcm.clear()
        while self._points:
            self._points.popleft().resolve("closed")

    @abstractmethod
    def play(self, pcm: bytes) -> None:
        """Queue PCM."""

    @abstractmethod
    def mark(self, point: Point) -> None:
        """Set a mark at the end of the queue."""
