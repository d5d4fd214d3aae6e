"""The sound of a call, or of a seat in it, as long as somebody is attached: its line kept open, its feed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from voxtra.calls.leg import first_of
from voxtra.calls.seat import Seat
from voxtra.errors import CallEndedError, MediaError, TelephonyError
from voxtra.events import EventType, VoxtraEvent
from voxtra.media.line import Line
from voxtra.relay.allowance import CALL_BURST, CALL_RATE, Allowance
from voxtra.relay.feed import Feed
from voxtra.relay.speaker import MAX_WAITING_S, Speaker
from voxtra.session import CallSession
from voxtra.wire import AudioFormat

log = logging.getLogger("voxtra.relay")

AGAIN_S = (0.2, 0.5, 1.0, 2.0)
"""Pauses between tries to open a line; the last goes on."""
FIRST_LINE_S = 5.0
"""How long somebody who attaches waits for the line before they are told to begin all the same."""


class Sound:
    """A line that is opened again when it closes, until the call ends.

    Args:
        call: whose sound.
        open_line: gives the line: the same while it is open, another once it has closed.

    Attributes:
        feed: what is received.
        line: the line of the moment.
        ended: resolves with why there will be no more.
        allowance: frames that all who speak on it may send together.
    """

    def __init__(self, call: CallSession, open_line: Callable[[], Awaitable[Line]]) -> None:
        self.call = call
        self.feed = Feed(self._silent)
        self.line: Line | None = None
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._open_line = open_line
        self.allowance = Allowance(self.ended.get_loop().time(), rate=CALL_RATE, burst=CALL_BURST)
        self._opened = asyncio.Event()
        self._answered = asyncio.Event()
        self._off = call.observe(self._event)
        self._task = asyncio.create_task(self._keep(), name=f"relay sound {call.id}")

    def speaker(self, form: AudioFormat, *, max_waiting_s: float = MAX_WAITING_S) -> Speaker:
        """Somebody who speaks on the line."""
        return Speaker(form, lambda: self.line, max_waiting_s=max_waiting_s)

    async def opened(self) -> None:
        """Wait for the first line, ``FIRST_LINE_S`` at most, or the end."""
        waiting = asyncio.ensure_future(self._opened.wait())
        try:
            await first_of(waiting, self.ended, timeout=FIRST_LINE_S)
        finally:
            waiting.cancel()

    def _silent(self) -> bool:
        """Programs hear nothing of what nobody may keep."""
        return self.call.record_paused

    def _event(self, event: VoxtraEvent) -> None:
        if event.type is EventType.CALL_ENDED:
            self._end("the call ended")
        elif event.type is EventType.CALL_ANSWERED:
            self._answered.set()

    async def _keep(self) -> None:
        tries = 0
        while not self.ended.done():
            try:
                line = await self._open_line()
            except CallEndedError as error:
                if not self.call.is_active:
                    self._end("the call ended")
                    return
                log.debug("%s: no line now: %s", self.call.id, error)  # it is away in the dialplan
            except (MediaError, TelephonyError) as error:
                log.warning("%s: no line for the audio bridge yet: %s", self.call.id, error)
            else:
                tries = 0
                await self._use(line)
                continue
            await first_of(self.ended, timeout=AGAIN_S[min(tries, len(AGAIN_S) - 1)])
            tries += 1

    async def _use(self, line: Line) -> None:
        """Until the line has closed or, so that it is joined to the call, the call is answered."""
        if line is not self.line:
            self.line = line
            self.feed.follow(line)
            self._opened.set()
        answer = asyncio.ensure_future(self._answered.wait())
        try:
            await first_of(line.closed, self.ended, answer)
        finally:
            answer.cancel()
        self._answered.clear()

    def _end(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_result(why)

    async def close(self) -> None:
        """Let go of the line; it and the call stay as they are. Idempotent."""
        self._end("nobody is attached")
        self._off()
        self.feed.close()
        self._task.cancel()
        await asyncio.wait({self._task})


class SeatSound(Sound):
    """The sound of a seat that is taken for it."""

    def __init__(self, call: CallSession) -> None:
        self._seat: Seat | None = None
        super().__init__(call, self._seat_line)

    def _silent(self) -> bool:
        return False  # a person at the far end, as one at a telephone would be

    async def _seat_line(self) -> Line:
        if self._seat is not None and self._seat.line.closed.done():
            await self._leave()
        if self._seat is None:
            self._seat = await self.call.take_seat()
        return self._seat.line

    async def _leave(self) -> None:
        seat, self._seat = self._seat, None
        if seat is not None:
            await seat.close()

    async def close(self) -> None:
        """Leave the seat. Idempotent."""
        await super().close()
        await self._leave()
