"""One 20 ms clock for all calls that Asterisk does not pace (RTP and AudioSocket): the asyncio shell of
:mod:`voxtra.media.wheel`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from weakref import WeakKeyDictionary

from voxtra.media.wheel import Beat, Wheel


class Clock:
    """Calls every tick function each 20 ms with one timer for all; asleep while there is none."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wheel = Wheel(self._loop.time())
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def __len__(self) -> int:
        return len(self._wheel)

    @property
    def skipped(self) -> int:
        """Periods of 20 ms skipped since the clock last woke up."""
        return self._wheel.skipped

    def join(self, tick: Callable[[], None]) -> Beat:
        """Call ``tick`` each 20 ms from now on.

        A tick that raises is reported to the loop's exception handler and not called again.
        """
        beat = Beat(tick)
        now = self._loop.time()
        if self._timer is None and not self._wheel:
            self._wheel = Wheel(now)
        self._wheel.join(beat, now)
        self._set_timer()
        return beat

    def leave(self, beat: Beat) -> None:
        """Call its tick no more. Idempotent."""
        if not beat.live:
            return
        self._wheel.leave(beat)
        if not self._wheel and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def hasten(self, beat: Beat) -> bool:
        """Call its tick as soon as may be, up to 10 ms before its time. False: that is no sooner."""
        if not beat.live or not self._wheel.hasten(beat, self._loop.time()):
            return False
        self._set_timer()
        return True

    def ease(self, beat: Beat) -> bool:
        """From within its tick: call it again when it has given its lead back. False: it has none."""
        return beat.live and self._wheel.ease(beat)

    def _set_timer(self) -> None:
        at = self._wheel.next
        if at is None or (self._timer is not None and self._timer_at <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._run, context=Context())  # of no call

    def _run(self) -> None:
        wheel = self._wheel
        self._timer = None
        now = self._loop.time()
        while due := wheel.take(now):
            for beat in due:
                if not beat.live:
                    continue  # it left during this tick
                try:
                    beat.tick()
                except Exception as error:  # noqa: BLE001 - reported; one call must not stop the others' clock
                    wheel.leave(beat)
                    self._loop.call_exception_handler(
                        {"message": "a 20 ms tick failed and was dropped", "exception": error}
                    )
        self._set_timer()


_clocks: WeakKeyDictionary[asyncio.AbstractEventLoop, Clock] = WeakKeyDictionary()


def shared_clock() -> Clock:
    """The running loop's clock."""
    loop = asyncio.get_running_loop()
    clock = _clocks.get(loop)
    if clock is None:
        clock = _clocks[loop] = Clock()
    return clock
