"""A :class:`Line`: the sound of one call, to and from Asterisk, whatever carries it.

Positions and lengths of played sound are counted in *samples at the line's rate*; ``ms()`` converts.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from voxtra.media.turnstile import Turnstile

FRAME_MS = 20
"""Length of a frame in ms."""


@dataclass(slots=True, frozen=True)
class Frame:
    """20 ms received from the far end.

    Attributes:
        pcm: 16-bit signed little-endian mono samples at ``Line.rate``.
        sequence: counts up by one a frame, lost frames included.
        time: ``loop.time()`` in s when it came in.
        lost: True when nothing arrived for this slot and ``pcm`` stands in for it.
    """

    pcm: bytes
    sequence: int
    time: float
    lost: bool = False


MarkOutcome: TypeAlias = Literal["heard", "flushed", "closed"]


class Mark:
    """A point in the sound sent to the far end.

    ``await mark`` returns how it ended: ``"heard"`` when the sound before it has been played by
    Asterisk, ``"flushed"`` when it was thrown away first, ``"closed"`` when the line went away.
    """

    __slots__ = ("_future", "position")

    def __init__(self, position: int) -> None:
        self.position = position
        self._future: asyncio.Future[MarkOutcome] = asyncio.get_running_loop().create_future()

    def resolve(self, outcome: MarkOutcome) -> None:
        """Settle the mark; later calls change nothing."""
        if not self._future.done():
            self._future.set_result(outcome)

    @property
    def outcome(self) -> MarkOutcome | None:
        """How the mark ended, None while it is pending."""
        return self._future.result() if self._future.done() and not self._future.cancelled() else None

    async def wait(self) -> MarkOutcome:
        """Wait for the outcome. Cancelling the wait leaves the mark as it is."""
        return await asyncio.shield(self._future)

    def __await__(self):  # type: ignore[no-untyped-def]
        return self.wait().__await__()


@dataclass(slots=True)
class LineStats:
    """Counters of one line since it opened. Frames are 20 ms each."""

    frames_received: int = 0
    frames_lost: int = 0
    frames_late: int = 0
    frames_played: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    frames_dropped: int = 0
    """Frames that a full buffer or a flush threw away."""
    malformed: int = 0
    """Messages or packets from the peer that made no sense."""
    jitter_ms: float = 0.0
    """RFC 3550 interarrival jitter, where it is measured (RTP)."""


Sink: TypeAlias = Callable[[Frame], None]


class PlayObserver(Protocol):
    """Follows what is played on a line, e.g. to record it. Called on the loop; must not raise or block."""

    def played(self, pcm: bytes) -> None:
        """``pcm`` was queued (padding included); never more than the line takes."""

    def paused(self) -> None:
        """Playing stops within a frame."""

    def resumed(self) -> None:
        """Playing goes on within a frame."""

    def flushed(self, heard: int) -> None:
        """What was queued beyond position ``heard`` (exact) is gone; a pause is over.

        Where Asterisk has to be asked, ``paused`` comes with the flush and this with its answer; what is
        played between the two is reported after it, as that is when it follows.
        """


class Line(ABC):
    """The sound of one call.

    All methods are called on the event loop that opened the line. ``play`` never blocks: it takes
    sound into a bounded queue. What is heard is paced in real time by Asterisk or by the 20 ms clock.
    """

    transport: str
    """``"websocket"``, ``"rtp"`` or ``"audiosocket"``."""
    codec: str
    """What goes over the wire, in Asterisk's name: ``ulaw, alaw, g722, slin, slin16`` ..."""
    rate: int
    """Samples a second of the PCM that goes in and out here, in Hz."""

    @abstractmethod
    def listen(self, sink: Sink) -> Callable[[], None]:
        """Call ``sink`` with every frame received, on the spot. Returns what ends it.

        A sink that raises is reported to the loop's exception handler and dropped; others go on.
        """

    @abstractmethod
    def play(self, pcm: bytes) -> None:
        """Queue 16-bit mono PCM at ``rate`` to be played after what is queued already.

        Any even length will do; a last partial frame waits for more sound or for ``mark()``,
        which pads it with silence.

        Raises:
            LineClosedError: the line is closed.
            MediaError: more than ``max_queue_ms`` (default 10 min) would be queued.
        """

    @abstractmethod
    def observe(self, observer: PlayObserver) -> Callable[[], None]:
        """Tell ``observer`` what is queued, paused and flushed from now on. Returns what ends it."""

    @abstractmethod
    def mark(self) -> Mark:
        """A mark after everything queued so far. On an empty queue it is heard at once."""

    @property
    @abstractmethod
    def queued(self) -> int:
        """Position of the end of the queue: samples ever queued and not flushed."""

    @property
    @abstractmethod
    def heard(self) -> int:
        """Position up to which the far end has been played our sound (a safe lower bound)."""

    @property
    @abstractmethod
    def paused(self) -> bool:
        """True between ``pause()`` and ``resume()`` or ``flush()``."""

    @abstractmethod
    def pause(self) -> None:
        """Stop playing within a frame and keep the queue. Idempotent."""

    @abstractmethod
    def resume(self) -> None:
        """Go on playing where ``pause`` stopped. Idempotent."""

    @abstractmethod
    async def flush(self) -> int:
        """Throw away what was not heard yet, end a pause, and return ``heard`` exactly.

        Afterwards ``queued == heard``; pending marks are ``"flushed"``. Silence on the wire follows
        within a frame of the call, not of its return; returns within 1 s whatever the peer does.
        """

    @abstractmethod
    async def drained(self) -> MarkOutcome:
        """Wait until all that is queued now has been heard (or flushed, or the line closed)."""

    @property
    @abstractmethod
    def stats(self) -> LineStats:
        """Counters since the line opened."""

    @property
    @abstractmethod
    def closed(self) -> asyncio.Future[str]:
        """Resolves with the reason when the line closes, whoever closes it. Never raises."""

    def end(self) -> None:
        """``closed`` resolves now, before the ``close`` that has to follow; does nothing where that is quick."""
        return

    @abstractmethod
    async def close(self) -> None:
        """Close the line and free its socket and port. Idempotent."""

    def ms(self, samples: int) -> int:
        """Samples at the line's rate, in ms."""
        return samples * 1000 // self.rate

    def samples(self, ms: float) -> int:
        """Milliseconds, in samples at the line's rate."""
        return int(ms * self.rate / 1000)


class Offer(ABC):
    """One side of a line that is being set up: what to ask of Asterisk, and the wait for it.

    ``params`` are the arguments of ``POST /channels/externalMedia`` in ARI's own names (``external_host,
    encapsulation, transport, connection_type, format, direction, transport_data, data``); the caller adds
    ``app`` and ``channelId``. Some transports want more than one thing from the response's ``channelvars``.
    """

    params: Mapping[str, str]

    @abstractmethod
    async def connect(self, channelvars: Mapping[str, str], *, deadline_s: float = 5.0) -> Line:
        """Wait for, or make, the connection and return the line.

        Args:
            channelvars: those of the externalMedia response.

        Raises:
            MediaError: the peer did not come, or was refused, within ``deadline_s``.
        """

    @abstractmethod
    async def cancel(self) -> None:
        """Give the offer up and free what it holds. Idempotent; harmless after ``connect``."""


class Transport(ABC):
    """Makes lines of one kind; shared by all calls of an app.

    Attributes:
        turnstile: what keeps its connections apart from channels that come and go, None where nothing has to.
    """

    name: str
    turnstile: Turnstile | None = None

    @abstractmethod
    async def start(self) -> None:
        """Open the listeners this transport needs. Raises MediaError naming address and port."""

    @abstractmethod
    def offer(self) -> Offer:
        """Begin a line for one call."""

    @abstractmethod
    async def close(self) -> None:
        """Close listeners and every line still open."""
