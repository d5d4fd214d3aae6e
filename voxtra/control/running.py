"""A call that lives: its record, its session, and who talks on it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from voxtra.agent.agent import Agent
from voxtra.ari import ChannelStateChange, Event
from voxtra.calls.transfer import TransferResult
from voxtra.config import ApiTrunk
from voxtra.control.agents import Agents, name_of, work_of
from voxtra.control.call import Call
from voxtra.control.gate import Admission, Denied
from voxtra.control.seat import Seat
from voxtra.errors import CallEndedError, SessionError, VoxtraError
from voxtra.events import CallEndedEvent, EventType, VoxtraEvent
from voxtra.live import HANDLER_GRACE_S
from voxtra.registrations import Registered
from voxtra.session import CallSession
from voxtra.wire import RING_S, AgentRef

log = logging.getLogger("voxtra.control")

TRANSFER_RING_S = 25.0
"""How long a transfer's target may ring: the request that wants it waits for the answer, and clients give up
after 30 s."""

TOLD_S = 2.0
"""How long a hang-up waits for the call's end to be known: Asterisk tells the cause a moment later."""

NO_TIME_S = 0.05
WATCH_S = 30.0
"""How often it is looked at how long a call may go on."""
LIMIT_AGAIN_S = 90.0
"""When a call that is too long and could not be hung up is hung up again."""

Spawn = Callable[[Coroutine[Any, Any, None], str], None]


class Running:
    """A call that lives.

    Args:
        call: its record.
        session: the call itself.
        agents: who may talk on it.
        spawn: runs work that outlives a request, but not the desk.
    """

    def __init__(self, call: Call, session: CallSession, agents: Agents, spawn: Spawn) -> None:
        self.call = call
        self.session = session
        self._agents = agents
        self._spawn = spawn
        self._admissions: list[Admission] = []
        self._transferred: Admission | None = None
        self._seat = Seat(call.sid, self._finished)
        self._is_own = False
        """Whether the app's own handler has the seat."""
        self._pending: Registered | None = None
        self._changing = asyncio.Lock()
        self._hosted: asyncio.Future[None] | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()
        self._tell_over: Callable[[], object] = lambda: None
        self._tell_gone: Callable[[], object] = lambda: None
        session.observe(self._take)
        session._leg.on_event(self._ring)

    # ---- its course

    def bound(self, admission: Admission) -> None:
        """It goes on at the cost of ``admission``, and no longer than that allows."""
        if (
            self._ended.is_set()
        ):  # it went by REFER, or was hung up this moment: nothing would give the place back
            admission.release()
            return
        self._admissions.append(admission)
        self._watch_time()

    def when(self, *, over: Callable[[], object], gone: Callable[[], object]) -> None:
        """Call ``over`` when the call has ended, ``gone`` when nobody is busy with it any more."""
        self._tell_over, self._tell_gone = over, gone

    async def host(self, handler: Callable[[], Awaitable[None]]) -> None:
        """An inbound call: its own handler talks first. Returns when the call is to be hung up.

        Raises:
            what the handler raises.
        """
        self._hosted = asyncio.get_running_loop().create_future()
        self._is_own = True
        await self._seat.give(handler)
        try:
            await self._hosted
        except asyncio.CancelledError:
            await self._seat.clear()
            raise

    async def host_agent(self, name: str) -> None:
        """The same, with a registered agent in the place of the handler."""
        await self.session.answer()
        self._hosted = asyncio.get_running_loop().create_future()
        await self.attach(name)
        try:
            await self._hosted
        except asyncio.CancelledError:
            await self._seat.clear()
            raise

    def _take(self, event: VoxtraEvent) -> None:
        self.call.take(event)
        if event.type is EventType.CALL_ANSWERED and self._pending is not None:
            self._spawn(self._attach_pending(), "attach")
        elif not self._ended.is_set() and isinstance(event, CallEndedEvent):
            self._ended.set()
            self._tell_over()
            self._spawn(self._over(), "over")

    def _ring(self, event: Event) -> None:
        if isinstance(event, ChannelStateChange) and event.channel.state == "Ringing":
            self.call.became("ringing")

    def _watch_time(self) -> None:
        """Hang up when its time is over. Calls that begin meanwhile take of it, too."""
        if self._limit is not None:
            self._limit.cancel()
        if not self._admissions:  # an inbound one that was taken back from a number
            return
        left_s = min(each.left_s for each in self._admissions)
        over = left_s < NO_TIME_S
        wait_s = LIMIT_AGAIN_S if over else min(left_s, WATCH_S)
        self._limit = asyncio.get_running_loop().call_later(wait_s, self._watch_time)
        if over:
            log.warning("%s: as long as it may be: hung up", self.call.sid)
            self._spawn(self.session.hangup(), "limit")

    async def close(self) -> None:
        """Who talks on it leaves now."""
        if self._limit is not None:
            self._limit.cancel()
        await self._seat.close(0)

    async def _over(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
        for admission in self._admissions:
            admission.release()
        await self._seat.close(HANDLER_GRACE_S)
        self._give_back(None)
        self._tell_gone()

    def _finished(self, error: BaseException | None) -> None:
        """Who talked on the call is done."""
        own, self._is_own = self._is_own, False
        if error is not None and not own and not isinstance(error, CallEndedError):
            log.error("%s: %s failed; the call is hung up", self.call.sid, self.call.agent, exc_info=error)
        if error is not None and own and self._hosted is not None and not self._changing.locked():
            self._give_back(error)  # the app apologises, and hangs up
        else:
            self._spawn(self._let_go(error if own else None), "let go")

    async def _let_go(self, error: BaseException | None) -> None:
        """Nobody talks on it any more. One that is with others, or just being handed to them, goes on until they part.

        Args:
            error: by which the app's own handler failed.
        """
        changing = True
        while changing:
            async with self._changing:
                pass
            await self.session.bridged()
            changing = self._changing.locked()
        if self._seat.taken:
            if error is not None:
                log.error("%s: the handler failed as it was replaced", self.call.sid, exc_info=error)
        elif self._hosted is None:
            await self.session.hangup()
        else:
            self._give_back(error)

    def _give_back(self, error: BaseException | None) -> None:
        """An inbound call is its app's again, which hangs up."""
        if self._hosted is None or self._hosted.done():
            return
        if error is None:
            self._hosted.set_result(None)
        else:
            self._hosted.set_exception(error)

    # ---- what may be asked of it

    async def attach(self, ref: AgentRef) -> None:
        """Let an agent talk on it from now on, or from its answer on; who talked before stops.

        Raises:
            Denied: there is no such agent, or the call has ended.
            PipelineNotConfiguredError: the app lacks the speech that the agent needs.
        """
        agent = self._agents.find(ref)
        async with self._changing:
            self._living()
            if self.call.status == "in_progress":
                await self._seat_agent(agent)
            else:
                self._pending = agent
            self.call.agent = name_of(ref)

    async def detach(self) -> None:
        """Let nobody talk on it; the call goes on. Raises Denied when it has ended."""
        async with self._changing:
            self._living()
            self._pending = self.call.agent = None
            await self._seat.clear()

    async def transfer(self, to: str, trunk: ApiTrunk, admission: Admission, caller_id: str) -> None:
        """Connect the caller with a number. An agent stops, and goes on where that comes to nothing.

        Raises:
            Denied: CONFLICT, with why the caller was not connected.
        """
        async with self._changing:
            self._transferable()
            conversation = self.session.conversation
            agent = conversation.agent if conversation is not None else None
            if agent is not None:
                await self._seat.clear()
            result: TransferResult | None = None
            try:
                await self._take_back()
                result = await self._hand_over(to, trunk, caller_id)
            except CallEndedError:
                raise Denied("the call has ended", "GONE") from None
            finally:  # also where it could not even be tried
                if not result and agent is not None and self.session.is_active:
                    await self._seat_agent(dataclasses.replace(agent, greeting=""))
            if result:
                self.bound(admission)
                self._transferred = admission
                self.call.transferred_to = to
                self.call.agent = None
                await self._seat.clear()
                return
        raise Denied(f"not connected: {result.reason.replace('_', ' ')}", "CONFLICT")

    def _transferable(self) -> None:
        self._living()
        if self.call.status != "in_progress":
            raise Denied("the call is not answered yet: it can't be transferred", "CONFLICT")
        if self.session._leg.away is not None:
            raise Denied("the call is in a queue of the dialplan: it can't be transferred", "CONFLICT")

    async def hangup(self) -> None:
        """End it: who asks next reads how it ended. Ended already is as good."""
        self.call.hanging_up = True
        self._pending = None
        await self.session.hangup()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TOLD_S):
                await self._ended.wait()

    async def _hand_over(self, to: str, trunk: ApiTrunk, caller_id: str) -> TransferResult:
        session, loop = self.session, asyncio.get_running_loop()
        until = loop.time() + TRANSFER_RING_S
        if trunk.transfer == "refer":
            # not transfer_to("sip:..."): what is refused goes over the trunk, not where the call came by
            result = await session._refer(trunk.refer(to), TRANSFER_RING_S, unsaid=True)
            if result is not None:
                return result
        left_s = max(RING_S[0], until - loop.time())  # it may have rung already, at the far end's cost
        return await session.transfer_to(trunk.dial(to), timeout=left_s, caller_id=caller_id)

    async def _attach_pending(self) -> None:
        async with self._changing:
            agent, self._pending = self._pending, None
            if agent is not None and not self.call.is_over:
                await self._seat_agent(agent)

    async def _seat_agent(self, agent: Registered) -> None:
        """Let ``agent`` talk: in the conversation under way where there is one, else in its place."""
        await self._take_back()
        conversation = self.session.conversation
        if isinstance(agent, Agent) and conversation is not None:
            with contextlib.suppress(SessionError):  # it ended just now
                await conversation.swap(agent)
                return
        await self._seat.give(work_of(agent, self.session))
        self._is_own = False

    async def _take_back(self) -> None:
        """Bring the call back from the number it was transferred to, which is hung up."""
        transferred = self._transferred
        if await self.session.take_back() and transferred is not None:
            transferred.release()
            self._admissions.remove(transferred)
            self._transferred = None

    def _living(self) -> None:
        if self.call.is_over:
            raise Denied(f"the call has ended: {self.call.status}", "GONE")


async def quietly(work: Coroutine[Any, Any, None], what: str) -> None:
    """Await ``work``; what fails in it is logged."""
    try:
        await work
    except CallEndedError as error:
        log.debug("%s: %s", what, error)
    except VoxtraError as error:
        log.error("%s: %s", what, error)
