"""Where an app's calls arrive and are placed: each gets its session, its handler, and an orderly end."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Literal, TypeAlias

from voxtra.ari import Event, StasisStart
from voxtra.ari.events import CallBroadcast
from voxtra.calls.dial import dial
from voxtra.calls.leg import TRANSFER_HANDLING, Leg, first_of
from voxtra.calls.switchboard import RETURNED, new_id
from voxtra.errors import (
    ARIConflictError,
    ARINotFoundError,
    NotConnectedError,
    RouteNotFoundError,
    TelephonyError,
)
from voxtra.events import EventType, VoxtraEvent
from voxtra.logs import call_id
from voxtra.router import Router
from voxtra.session import CallSession
from voxtra.shared import Shared
from voxtra.types import CallDirection

log = logging.getLogger("voxtra.app")

MAX_WAITING = 200
"""Calls that may arrive while the start-up hooks still run; more are sent back to the dialplan."""
FORCE_S = 5.0
"""How long calls may take to end once they are told to."""

MAX_BESIDE = 1000
"""Async listeners and callbacks of one call that may be at work at once; events beyond are left out for them."""

CLAIM_S = 0.002
"""How long an app waits per call it has, or is claiming, before it claims one more; at most ``CLAIM_MAX_S``."""
CLAIM_MAX_S = 0.1
_FRAMES = (EventType.AUDIO_FRAME_RECEIVED, EventType.AUDIO_FRAME_SENT)

Next: TypeAlias = Callable[[CallSession], Awaitable[None]]
Middleware: TypeAlias = Callable[[CallSession, Next], Awaitable[None]]
Listeners: TypeAlias = list[tuple[EventType | None, Callable[..., Any]]]


class Exchange:
    """The calls of one app.

    Args:
        router, middlewares, listeners: the app's own lists; what is added to them counts from then on.

    Attributes:
        shared: set by the app before it connects.
        sessions: the calls that live, by id.
    """

    def __init__(self, router: Router, middlewares: list[Middleware], listeners: Listeners) -> None:
        self._router = router
        self._middlewares = middlewares
        self._listeners = listeners
        self._doors: Literal["not yet", "open", "shut"] = "not yet"
        self._waiting: deque[Leg] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._hurry = asyncio.Event()
        self._claims: set[asyncio.Task[object]] = set()
        self._late: set[str] = set()  # calls of which it was said that their listeners are slow
        self.shared: Shared | None = None
        self.sessions: dict[str, CallSession] = {}

    # ---- doors

    def open(self) -> None:
        """Take calls from now on, those first that have been waiting."""
        self._doors = "open"
        while self._waiting:
            self._begin(self._waiting.popleft())

    def shut(self) -> None:
        """Take no more calls: they go back to the dialplan."""
        self._doors = "shut"

    async def drain(self, patience_s: float) -> None:
        """Wait until all calls have ended; what is left after ``patience_s`` goes back to the dialplan.

        Or is hung up: where the settings say so, and calls that we placed, which came from no dialplan.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        if self._running:
            log.info("stopping: %d calls may go on for %g s", len(self._running), patience_s)
        hurry = asyncio.ensure_future(self._hurry.wait())
        while self._running and not hurry.done() and (left := deadline - loop.time()) > 0:
            over = asyncio.ensure_future(asyncio.wait(set(self._running)))
            await first_of(over, hurry, timeout=left)
            over.cancel()
        hurry.cancel()
        if self._running:
            running = set(self._running)
            await asyncio.gather(*(self._part(session) for session in self.sessions.values()))
            await asyncio.wait(running, timeout=FORCE_S)

    def hurry(self) -> None:
        """Cut the patience of a drain under way (or of the next) short."""
        self._hurry.set()

    async def _part(self, session: CallSession) -> None:
        """Part with a call that would not end."""
        shared = self.shared
        placed = session.direction is CallDirection.OUTBOUND
        if shared is None or placed or shared.drain.leftover == "hangup":
            log.warning("stopping: call %s is hung up", session.id, extra={"call_id": session.id})
            await session._live.stop()
            return
        log.warning("stopping: call %s goes back to the dialplan", session.id, extra={"call_id": session.id})

        async def departure() -> None:
            await session._prompts.stop()
            await self._continue(shared, session.id, "leftover")

        await session._live.give_back(departure)

    @staticmethod
    async def _continue(shared: Shared, channel_id: str, why: str) -> None:
        """Send a channel on in the dialplan, which finds in ``VOXTRA_RETURNED`` why."""
        channels = shared.ari.channels
        await channels.set_channel_var(channel_id=channel_id, variable=RETURNED, value=why)
        await channels.continue_in_dialplan(channel_id=channel_id, **_goto(shared.drain.goto))

    async def close(self) -> None:
        """End whatever is left. The exchange can be opened again afterwards."""
        while self._waiting:
            self._give_back(self._waiting.popleft())
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=FORCE_S)
        self._doors = "not yet"
        self._hurry = asyncio.Event()
        self.shared = None

    # ---- calls that come

    def take(self, event: StasisStart) -> None:
        """A call has come in."""
        shared = self.shared
        if shared is None:
            return
        channel = event.channel
        leg = Leg(shared.ari, shared.switchboard, channel.id, channel)  # from now on it is known
        leg.entered.set_result(event)
        if channel.state == "Up":
            leg.up.set()
        if self._doors == "open":
            self._begin(leg)
        elif self._doors == "not yet" and len(self._waiting) < MAX_WAITING:
            self._waiting.append(leg)
        else:
            self._give_back(leg)

    def offered(self, event: Event) -> None:
        """A call that ``StasisBroadcast()`` offers to several apps: whoever claims it first has it.

        One with few calls is quick to claim, one with many waits a little, one whose loop hangs never does.
        """
        shared = self.shared
        if isinstance(event, CallBroadcast) and self._doors == "open" and shared is not None:
            # also those under way: of calls that come all at once, the others are to have some, too
            wait_s = min(CLAIM_S * (len(self._running) + len(self._claims)), CLAIM_MAX_S)
            claim = shared.switchboard.chore(self._claim(shared, event.channel.id, wait_s))
            self._claims.add(claim)
            claim.add_done_callback(self._claims.discard)

    async def _claim(self, shared: Shared, channel_id: str, wait_s: float) -> None:
        try:
            await asyncio.sleep(wait_s)
            if self._doors == "open":
                await shared.ari.events.claim_channel(channel_id=channel_id, application=shared.app_name)
        except (ARIConflictError, ARINotFoundError):
            pass  # another was faster, or the caller has gone
        except TelephonyError as error:
            log.warning("call %s could not be claimed: %s", channel_id, error)

    def _give_back(self, leg: Leg) -> None:
        leg.close()
        shared = self.shared
        if shared is not None and not leg.is_over:
            why = "starting" if self._doors == "not yet" else "draining"
            log.info("call %s goes back to the dialplan: %s", leg.id, why)
            shared.switchboard.chore(shared.switchboard.gone(self._continue(shared, leg.id, why)))

    def _begin(self, leg: Leg) -> None:
        shared = self.shared
        if leg.is_over or shared is None:
            leg.close()
            return
        caller, called = leg.channel.caller.number, leg.channel.dialplan.exten
        session = CallSession(shared, leg, CallDirection.INBOUND, caller_id=caller, called_number=called)
        self._run(session, self._handle)

    def _run(self, session: CallSession, handler: Callable[[CallSession], Awaitable[None]] | None) -> None:
        self.sessions[session.id] = session
        if self._listeners:
            session.observe(partial(self._tell, session))
            if any(wanted in _FRAMES for wanted, _ in self._listeners):
                session._tell_frames(partial(self._tell, session))
        task = asyncio.ensure_future(self._live(session, handler))
        self._running.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            self._late.discard(session.id)
            if self.sessions.get(session.id) is session:  # else the channel is here again
                del self.sessions[session.id]
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("call %s ended badly", session.id, exc_info=error)

        task.add_done_callback(done)

    async def _live(
        self, session: CallSession, handler: Callable[[CallSession], Awaitable[None]] | None
    ) -> None:
        """The call, and after it its record."""
        call_id.set(session.id)  # for the log: of this task, and of all that it begins
        records = self.shared.call_records if self.shared is not None else None
        if records is None:
            await session._run(handler)
            return
        record = records.begin(
            {
                "id": session.id,
                "app": session.app_name,
                "caller_id": session.caller_id,
                "called_number": session.called_number,
                "direction": str(session.direction),
            }
        )
        session.observe(record)
        session._watch_recording = record.watch
        try:
            await session._run(handler)
        finally:
            await record.finish(session.metadata)

    async def _handle(self, session: CallSession) -> None:
        info = {"channel": session._leg.channel.name, "args": list(session._leg.entered.result().args)}
        try:
            found = await self._router.resolve(
                extension=session.called_number, number=session.caller_id, call_info=info
            )
        except RouteNotFoundError as error:
            log.warning("call %s: %s", session.id, error)
            await session.hangup("unallocated")
            return
        session.metadata.update({name: _own(value) for name, value in found.metadata.items()})
        log.info(
            "call from %s to %s: %s", session.caller_id or "?", session.called_number, found.name,
            extra={"call_id": session.id},
        )  # fmt: skip
        run: Next = found.handler
        for middleware in reversed(self._middlewares):
            run = partial(_around, middleware, run)
        await run(session)

    def _tell(self, session: CallSession, event: VoxtraEvent) -> None:
        for wanted, listener in self._listeners:
            if wanted is event.type or (wanted is None and event.type not in _FRAMES):
                try:
                    result = listener(event)
                except Exception:
                    log.exception("a listener failed on %s; the others go on", event.type)
                    continue
                if inspect.iscoroutine(result):
                    self._beside(session, result, event)

    def _beside(self, session: CallSession, work: Coroutine[Any, Any, None], event: VoxtraEvent) -> None:
        """Run an async listener; one that is too slow for its events misses some."""
        live = session._live
        if live.busy < MAX_BESIDE:
            live.spawn(work, f"on({event.type})")
            return
        work.close()
        if session.id not in self._late:
            self._late.add(session.id)
            log.warning(
                "call %s: %d listeners are still at work: %s is left out for them, and what comes until some are done",
                session.id, MAX_BESIDE, event.type, extra={"call_id": session.id},
            )  # fmt: skip

    # ---- calls that are placed

    async def place(
        self,
        target: str,
        *,
        called_number: str,
        caller_id: str,
        timeout: float,
        variables: Mapping[str, str] | None = None,
        give_up: asyncio.Future[Any] | None = None,
        wait: bool = True,
        early_media: bool = False,
    ) -> CallSession:
        """Place a call; see ``VoxtraApp.originate``."""
        shared = self.shared
        if shared is None:
            raise NotConnectedError("the app is not started")
        leg = Leg(shared.ari, shared.switchboard, new_id("call"))
        session = CallSession(
            shared, leg, CallDirection.OUTBOUND, caller_id=caller_id, called_number=called_number
        )
        leg.early = early_media
        if target.startswith("PJSIP/"):
            variables = {**TRANSFER_HANDLING, **(variables or {})}
        dialling: Coroutine[Any, Any, Leg] = dial(
            shared.ari,
            shared.switchboard,
            target,
            caller_id=caller_id,
            timeout=timeout,
            variables=variables,
            leg=leg,
            give_up=give_up,
            early=early_media,
        )
        self._run(session, None)
        session._dialling = asyncio.ensure_future(dialling)
        session._dialling.add_done_callback(partial(_dialled, session))
        if wait or early_media:
            try:
                await session.answered(early=early_media)
            except asyncio.CancelledError:
                if not session._dialling.cancel():  # answered just now, and nobody is there to talk
                    shared.switchboard.chore(shared.switchboard.gone(leg.hangup()))
                raise
        return session


def _own(value: Any) -> Any:
    """A route's metadata for one call: what the handler adds to its lists and dicts is no other call's."""
    if type(value) is dict:
        return {name: _own(each) for name, each in value.items()}
    if type(value) in (list, set):
        return type(value)(map(_own, value))
    return value


def _goto(place: str) -> dict[str, Any]:
    """``context,exten,priority`` as arguments of ARI's ``continue``; "" is the next priority."""
    *before, last = place.split(",")
    names = ("context", "extension")[2 - len(before) :]
    where: dict[str, Any] = dict(zip(names, before, strict=True))
    if last:
        where |= {"priority": int(last)} if last.isdigit() else {"label": last}
    return where


def _dialled(session: CallSession, dialling: asyncio.Future[Leg]) -> None:
    """Whoever does not wait for the answer sees in the session how it went."""
    if not dialling.cancelled() and dialling.exception() is None:
        session._mark_answered()


async def _around(middleware: Middleware, run: Next, call: CallSession) -> None:
    await middleware(call, run)
