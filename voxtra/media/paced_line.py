"""A line that we pace: one frame each 20 ms, silence when there is nothing to say.

Sound that comes after silence is sent at once, up to half a period before its time, instead of waiting for the next
tick: see :mod:`voxtra.media.wheel`.
"""

from __future__ import annotations

from abc import abstractmethod

from voxtra.errors import ConfigurationError
from voxtra.media.base_line import BaseLine
from voxtra.media.clock import Clock
from voxtra.media.codecs import Codec
from voxtra.media.line import LineStats
from voxtra.media.paced import PacedPlayout
from voxtra.media.wheel import Beat


def check_advertised(what: str, bind_host: str, advertised_host: str) -> None:
    """A wildcard is no address that Asterisk could send to. Raises ConfigurationError."""
    if bind_host in ("", "0.0.0.0", "::") and not advertised_host:
        raise ConfigurationError(
            f"{what} listens on every address ({bind_host!r}), so Asterisk must be told one: "
            "set advertised_host to this machine's address as Asterisk sees it"
        )


class PacedLine(BaseLine):
    """Playing for RTP and AudioSocket; ``_send_frame`` is the subclass's.

    Args:
        codec: the wire's format; the line's own.
        clock: the 20 ms clock.
        max_queue_ms: bound of the queue, ms.
    """

    def __init__(self, codec: Codec, clock: Clock, *, max_queue_ms: int) -> None:
        stats = LineStats()
        playout = PacedPlayout(codec.rate, max_queue_ms=max_queue_ms, stats=stats, begin=self._begin)
        super().__init__(codec, playout, stats)
        self._playout = playout
        self._clock = clock
        self._silence = bytes(codec.pcm_frame_bytes)
        self._beat: Beat | None = None

    def _start_clock(self) -> None:
        """Send from now on, the first frame at once."""
        self._beat = self._clock.join(self._tick)
        self._tick()

    def _begin(self) -> bool:
        """Sound comes after silence. True: its first frame is sent before its time."""
        return self._beat is not None and self._clock.hasten(self._beat)

    def _tick(self) -> None:
        if not self._can_send():
            return
        frame = self._playout.take()
        if frame is None and self._beat is not None and self._clock.ease(self._beat):
            return
        self._send_frame(self._codec.encode(frame or self._silence))
        if frame is not None:
            self._playout.sent()

    @abstractmethod
    def _can_send(self) -> bool:
        """False while the transport takes nothing: the queue then waits."""

    @abstractmethod
    def _send_frame(self, data: bytes) -> None:
        """Send 20 ms, encoded."""

    def pause(self) -> None:
        """Stop playing within a frame and keep the queue."""
        if not self._closed.done():
            self._playout.pause()

    def resume(self) -> None:
        """Go on playing."""
        self._playout.resume()

    async def flush(self) -> int:
        """Throw away what was not heard yet; returns what was."""
        self._playout.flush()
        return self.heard

    def _finish(self, reason: str) -> bool:
        if self._beat is not None:
            self._clock.leave(self._beat)
        return super()._finish(reason)
