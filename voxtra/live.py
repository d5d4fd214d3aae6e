"""The life of one call: its tasks, and the order in which all of it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from voxtra.agent.client import AgentClient
from voxtra.calls.leg import HangupReason, Leg, first_of
from voxtra.errors import (
    ARIConnectionLostError,
    ARIError,
    ARITimeoutError,
    CallEndedError,
    NotConnectedError,
    TelephonyConnectionError,
    TelephonyError,
)
from voxtra.events import VoxtraEvent
from voxtra.presence import Presence
from voxtra.shared import Shared

if TYPE_CHECKING:
    pass

log = logging.getLogger("voxtra.call")

HANDLER_GRACE_S = 5.0
"""How long a handler may go on after the far end hung up, before it is cancelled."""
STOP_GRACE_S = 0.5
"""The same when the app is being stopped."""
DEPARTURE_S = 4.0
"""How long a call may take to get back to the dialplan."""
CALLBACK_S = 30.0
"""How long one callback may take."""
HANGUP_S = 60.0
"""How long hanging up is tried while Asterisk can't be reached."""
AGAIN_S = 0.1
"""Wait between two tries, should the connection be there and yet fail at once."""

T = TypeVar("T")


class LiveCall(Presence):
    """What belongs to one call, and dies with it.

    Args:
        emit: takes the call's events.
        on_end: awaited once the call has ended and its sound is closed, before its handler's grace.
    """

    def __init__(
        self,
        shared: Shared,
        leg: Leg,
        *,
        agent: AgentClient,
        emit: Callable[[VoxtraEvent], None],
        on_end: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        super().__init__(shared, leg, agent=agent, emit=emit)
        self._on_end = on_end
        self._tasks: set[asyncio.Task[None]] = set()
        self._grace_s = HANDLER_GRACE_S
        self._telling: asyncio.Task[object] | None = None
        self._group: asyncio.TaskGroup | None = None
        self._context: Context | None = None
        """In which the call's tasks run, whoever begins them: the log knows by it which call it is."""
        self._handler: asyncio.Task[None] | None = None
        self._departing = False

    @property
    def has_tasks(self) -> bool:
        """Whether what is begun now runs beside the call's handler."""
        return self._group is not None

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run ``work`` beside the handler; its failure is logged and is its own.

        It ends with the call; what is begun before the call's tasks or after them has ``CALLBACK_S``.
        """
        guarded = self.guard(work, name)
        if self._group is None:
            self.shared.switchboard.chore(guarded)
            return
        try:
            own = self._context.copy() if self._context is not None else None
            task = self._group.create_task(guarded, name=f"{name} {self.leg.id}", context=own)
        except RuntimeError:  # the group is being cut short
            guarded.close()
            work.close()
            return
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def busy(self) -> int:
        """How much runs beside the handler now."""
        return len(self._tasks)

    async def guard(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Await ``work`` with a bound; what fails in it is logged and stays there."""
        try:
            async with asyncio.timeout(CALLBACK_S if name != "prepare" else None):
                await work
        except CallEndedError as error:
            log.debug("%s: %s", name, error)
        except TimeoutError:
            log.error("%s took longer than %g s and was cut short", name, CALLBACK_S)
        except Exception:
            log.exception("%s failed", name)

    async def run(self, handler: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
        """Live until the call is over, and leave nothing behind.

        Args:
            handler: the app's code for the call; when it returns, the call is hung up. None: the call
                lives until somebody ends it.
        """
        self._context = copy_context()
        try:
            async with asyncio.TaskGroup() as self._group:
                if self.leg.channel.name:  # one that we place is told to us anyway
                    self.spawn(self.leg.watch(), "watch")
                if self.has_speech or self.shared.realtime is not None:
                    self.spawn(self.prepare(), "prepare")
                task = self._group.create_task(handler(), name=f"handler {self.leg.id}") if handler else None
                self._handler = task
                await first_of(self.leg.ended, *([task] if task else []))
                await self.alone()  # a handler that bridged or transferred its call leaves it be
                if self._departing:
                    await first_of(self.leg.ended, timeout=DEPARTURE_S)
                if not self.leg.is_over:
                    await self.hangup("normal")
                await self._wind_up(task)
        finally:
            self._group = None
            await self._clear_up()

    async def _wind_up(self, handler: asyncio.Task[None] | None) -> None:
        await self._close_media()
        await self._tell_end()
        busy = {*self._tasks, *([handler] if handler is not None else [])}
        if busy:
            await asyncio.wait(busy, timeout=self._grace_s)
        if handler is not None and handler.cancel():
            log.debug("the handler of %s was still busy after the call's end: cancelled", self.leg.id)
        for task in list(self._tasks):
            task.cancel()

    async def _clear_up(self) -> None:
        """What must not remain, however the call ended: also after an error or a forced stop."""
        if not self.leg.is_over:
            await self.shared.switchboard.gone(self.leg.hangup())
        await self._close_media()
        self.leg.lose()  # no more than a word where it has ended; else it could not be hung up
        await self._tell_end()
        self.leg.close()

    async def _tell_end(self) -> None:
        if self._telling is None:
            await self.leg.cause_known()
            self._telling = self.shared.switchboard.chore(self._on_end())
        await asyncio.shield(self._telling)  # whoever is cut short while it is told: it is told to the end

    async def stop(self) -> None:
        """End the call now: hang up, and give its handler ``STOP_GRACE_S`` to notice."""
        self._grace_s = STOP_GRACE_S
        await self.shared.switchboard.gone(self.leg.hangup())

    async def give_back(self, departure: Callable[[], Awaitable[object]]) -> None:
        """The call is ours no longer: ``departure`` sends it on in the dialplan. Hung up where that fails.

        Its handler is cancelled. One that is in the dialplan already (a queue) stays there.
        """
        self._grace_s = STOP_GRACE_S
        if self.leg.away is not None:
            self.leg.let_go()
            return
        self._departing = True
        # First the handler, so that no prompt plays or begins: a channel obeys nothing before its prompt's
        # end, and setting a variable would meanwhile hold up every other request (seen with Asterisk 22.10).
        if self._handler is not None and self._handler.cancel():
            await asyncio.wait({self._handler}, timeout=STOP_GRACE_S)
        try:
            await self.leg.leave(departure)
        except CallEndedError:
            pass  # its own end was faster
        except TelephonyError as error:
            log.warning("%s does not go back to the dialplan, it is hung up: %s", self.leg.id, error)
            await self.stop()

    async def hangup(self, reason: HangupReason) -> None:
        """Hang up, and be sure of it: while Asterisk can't be reached it is tried again."""
        give_up = asyncio.get_running_loop().time() + HANGUP_S
        while not self.leg.is_over:
            try:
                return await self.leg.hangup(reason)
            except (ARIConnectionLostError, ARITimeoutError, NotConnectedError) as error:
                left = give_up - asyncio.get_running_loop().time()
                if left <= 0:
                    raise
                log.warning("%s: not hung up yet, trying on: %s", self.leg.id, error)
                await asyncio.sleep(AGAIN_S)
                try:
                    await self.shared.ari.wait_ready(left)
                except TelephonyConnectionError as gone:
                    log.error("%s: could not be hung up: %s", self.leg.id, gone)
                    raise
            except ARIError:
                if not self.leg.is_over:
                    raise
        return None
