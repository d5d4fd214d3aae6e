"""One 20 ms clock for all calls that Asterisk does not pace (RTP and AudioSocket).

The schedule is absolute (tick *n* is due at ``start + n · 20 ms``), so lateness never adds up. When the loop
was held up, the missed ticks are made up for at once, at most ``MAX_CATCH_UP`` of them: the far end's jitter
buffer rides over that. What is beyond is skipped and counted: a burst of a second of sound helps nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import TypeAlias
from weakref import WeakKeyDictionary

from voxtra.media.line import FRAME_MS

Tick: TypeAlias = Callable[[], None]

PERIOD_S = FRAME_MS / 1000
MAX_CATCH_UP = 5
"""Ticks made up for after a stall (100 ms)."""


class Schedule:
    """Which ticks are due. Pure: times in seconds go in, numbers of ticks come out."""

    __slots__ = ("_count", "_start", "skipped")

    def __init__(self, now: float) -> None:
        self._start = now
        self._count = 0
        self.skipped = 0
        """Ticks that were never made."""

    @property
    def next(self) -> float:
        """When the next tick is due."""
        return self._start + (self._count + 1) * PERIOD_S

    def due(self, now: float) -> int:
        """Ticks to make at ``now``: 0 when early, more than one to catch up."""
        # A microsecond of tolerance: a timer may fire a rounding error early.
        behind = int((now - self._start + 1e-6) / PERIOD_S) - self._count
        if behind <= 0:
            return 0
        self._count += behind
        if behind > MAX_CATCH_UP:
            self.skipped += behind - MAX_CATCH_UP
            return MAX_CATCH_UP
        return behind


class Clock:
    """Calls every tick function each 20 ms, in the order they joined; asleep while there is none."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ticks: dict[int, Tick] = {}
        self._next_id = 0
        self._schedule: Schedule | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.late_s = 0.0
        """How late the latest tick was, s."""

    def __len__(self) -> int:
        return len(self._ticks)

    @property
    def skipped(self) -> int:
        """Ticks skipped since the clock last woke up."""
        return self._schedule.skipped if self._schedule is not None else 0

    def join(self, tick: Tick) -> Callable[[], None]:
        """Call ``tick`` each 20 ms from now on. Returns what ends it (idempotent).

        A tick that raises is reported to the loop's exception handler and not called again.
        """
        number = self._next_id
        self._next_id += 1
        self._ticks[number] = tick
        if self._timer is None:
            self._schedule = Schedule(self._loop.time())
            self._timer = self._loop.call_at(self._schedule.next, self._run, context=Context())  # of no call
        return lambda: self._leave(number)

    def _leave(self, number: int) -> None:
        self._ticks.pop(number, None)
        if not self._ticks and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        schedule = self._schedule
        assert schedule is not None
        now = self._loop.time()
        self.late_s = max(0.0, now - schedule.next)
        for _ in range(schedule.due(now)):
            for number, tick in tuple(self._ticks.items()):
                if number not in self._ticks:
                    continue  # it left during this tick
                try:
                    tick()
                except Exception as error:  # noqa: BLE001 - reported; one call must not stop the others' clock
                    self._ticks.pop(number, None)
                    self._loop.call_exception_handler(
                        {"message": "a 20 ms tick failed and was dropped", "exception": error}
                    )
        later = self._loop.call_at
        self._timer = later(schedule.next, self._run, context=Context()) if self._ticks else None


_clocks: WeakKeyDictionary[asyncio.AbstractEventLoop, Clock] = WeakKeyDictionary()


def shared_clock() -> Clock:
    """The running loop's clock."""
    loop = asyncio.get_running_loop()
    clock = _clocks.get(loop)
    if clock is None:
        clock = _clocks[loop] = Clock()
    return clock
