"""The calls of an app as the HTTP face sees them: by sid, each organisation its own."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from voxtra.ari import ARIClient
from voxtra.config import ApiConfig
from voxtra.control.agents import Agents, name_of
from voxtra.control.call import Call
from voxtra.control.gate import Admission, Caps, Denied, Gate
from voxtra.control.running import Running, quietly
from voxtra.control.trunks import Trunks
from voxtra.errors import NotConnectedError
from voxtra.registrations import Registered
from voxtra.session import CallSession
from voxtra.shared import Shared
from voxtra.types import CallDirection
from voxtra.wire import RING_S, AgentRef, Originate

log = logging.getLogger("voxtra.control")

KEPT_FOR = timedelta(hours=24)
"""How long a call can be read after its end."""
MAX_KEPT = 10_000
"""Ended calls that are kept; the oldest go first."""
MAX_TOLD = 1_000
"""Ended calls whose turns are kept, a kilobyte each; of those before only the statuses are."""
CONNECT_AGAIN_S = 5.0


class CallingApp(Protocol):
    """What the desk asks of an app; :class:`~voxtra.app.VoxtraApp` has it."""

    agents: dict[str, Registered]
    _shared: Shared | None

    @property
    def app_name(self) -> str: ...  # noqa: D102

    @property
    def ari(self) -> ARIClient: ...  # noqa: D102

    async def originate(  # noqa: D102
        self, endpoint: str, *, caller_id: str, timeout: float, wait: bool
    ) -> CallSession: ...


class CallDesk:
    """The calls of an app.

    Args:
        app: places the calls.
        settings: trunks, caps, whose the inbound calls are.
    """

    def __init__(self, app: CallingApp, settings: ApiConfig) -> None:
        self._app = app
        self._org = settings.org
        self.trunks = Trunks(
            settings.trunks,
            file=Path(settings.trunks_file),
            endpoints=settings.endpoints,
            provision=settings.provision,
            ari=lambda: app.ari,
            app_name=app.app_name,
        )
        self.agents = Agents(app.agents, lambda: app._shared)
        self.gate = Gate(
            _caps(settings.caps),
            {org: _caps(caps) for org, caps in settings.orgs.items()},
            clock=asyncio.get_running_loop().time,
        )
        self._calls: dict[str, Call] = {}
        self._running: dict[str, Running] = {}
        self._busy: set[Running] = set()
        self._ended: deque[Call] = deque()
        self._work: set[asyncio.Task[None]] = set()

    # ---- reading

    def get(self, org: str, sid: str) -> Call:
        """A call of ``org``, over or not. Raises Denied (NOT_FOUND), whoever else may have it."""
        self._forget()
        call = self._calls.get(sid)
        if call is None or call.org != org:
            raise Denied(f"sid = {sid!r}: there is no such call", "NOT_FOUND", field="sid")
        return call

    def find(self, org: str, sid: str) -> CallSession | None:
        """The living call of this sid, None when ``org`` has none such."""
        running = self._running.get(sid)
        return running.session if running is not None and running.call.org == org else None

    def calls(self, org: str) -> list[Call]:
        """All calls of ``org`` that are known, the newest first."""
        self._forget()
        return [call for call in reversed(self._calls.values()) if call.org == org]

    # ---- doing

    async def originate(self, order: Originate) -> Call:
        """Place a call; returns while it is dialled.

        Raises:
            Denied: the trunk, the agent or the number can't be, or a limit is reached.
        """
        trunk = self.trunks.find(order.org_id, order.trunk_id)
        if order.agent is not None:
            self.agents.find(order.agent)
        admission = self.gate.admit(order.org_id, trunk, order.to, order.from_)
        call = Call(
            org=order.org_id,
            to=order.to,
            from_=order.from_,
            direction=CallDirection.OUTBOUND,
            trunk_id=trunk.id,
            agent=None if order.agent is None else name_of(order.agent),
        )
        try:
            session = await self._app.originate(
                trunk.dial(order.to),
                caller_id=order.from_,
                timeout=min(max(order.ring_timeout_sec, RING_S[0]), RING_S[1]),
                wait=False,
            )
        except NotConnectedError as error:
            admission.release()
            raise Denied(str(error), "SERVICE_UNAVAILABLE", retry_after=CONNECT_AGAIN_S) from None
        except BaseException:
            admission.release()
            raise
        running = self._take(call, session, admission)
        if order.agent is not None:
            await running.attach(order.agent)
        return call

    async def hangup(self, org: str, sid: str) -> Call:
        """End a call. Ended already is as good. Raises Denied (NOT_FOUND)."""
        call = self.get(org, sid)
        running = self._running.get(sid)
        if running is not None:
            await running.hangup()
        return call

    async def attach(self, org: str, sid: str, agent: AgentRef) -> Call:
        """Let an agent talk on a call, in the place of who does now. Raises Denied."""
        await self._alive(org, sid).attach(agent)
        return self.get(org, sid)

    async def detach(self, org: str, sid: str) -> Call:
        """Let no agent talk on a call. Raises Denied."""
        await self._alive(org, sid).detach()
        return self.get(org, sid)

    async def transfer(self, org: str, sid: str, to: str | None, agent: AgentRef | None) -> Call:
        """Connect the caller with a number, or another agent. Raises Denied."""
        running = self._alive(org, sid)
        if agent is not None:
            await running.attach(agent)
        elif to is not None:
            await self._transfer(running, to)
        return running.call

    async def _transfer(self, running: Running, to: str) -> None:
        call = running.call
        if call.trunk_id is None:
            raise Denied("the call has no trunk to be transferred by", "UNPROCESSABLE", field="to")
        trunk = self.trunks.find(call.org, call.trunk_id)
        # what the target sees has to be a number of ours: it costs the trunk's owner, who answers for it
        own = call.from_ if call.direction is CallDirection.OUTBOUND else call.to
        shown = own if own in trunk.caller_ids else next(iter(trunk.caller_ids), "")
        admission = self.gate.admit(call.org, trunk, to, shown)
        try:
            await running.transfer(to, trunk, admission, shown)
        except BaseException:
            admission.release()
            raise

    def _alive(self, org: str, sid: str) -> Running:
        call = self.get(org, sid)
        running = self._running.get(sid)
        if running is None:
            raise Denied(f"sid = {sid!r}: the call has ended: {call.status}", "GONE", field="sid")
        return running

    # ---- calls that come in

    async def around(self, session: CallSession, run: Callable[[CallSession], Awaitable[None]]) -> None:
        """Middleware: an inbound call is a call of ours too, and may be taken over."""
        leg = session._leg
        came = self.trunks.by_number(
            session.called_number, leg.channel.name, leg.entered.result().args if leg.entered.done() else ()
        )
        owner, trunk = came or (None, None)
        data: Mapping[str, Any] = session.metadata
        org = data.get("org") or owner or self._org
        if org is None:
            await run(session)
            return
        call = Call(
            org=str(org),
            to=session.called_number,
            from_=session.caller_id,
            direction=CallDirection.INBOUND,
            trunk_id=trunk.id if trunk is not None else None,
        )
        running = self._take(call, session, None)
        call.became("in_progress" if session.duration else "ringing")
        agent = data.get("agent") or (trunk.agent if trunk is not None else None)
        if agent in self._app.agents:
            await running.host_agent(str(agent))
        else:
            await running.host(lambda: run(session))

    # ---- keeping

    def _take(self, call: Call, session: CallSession, admission: Admission | None) -> Running:
        self._forget()
        session.metadata.update(sid=call.sid, org=call.org)  # for the handler, and the call's record
        running = Running(call, session, self.agents, self._spawn)
        if admission is not None:
            running.bound(admission)
        self._calls[call.sid] = call
        self._running[call.sid] = running
        self._busy.add(running)
        running.when(over=lambda: self._running.pop(call.sid, None), gone=lambda: self._gone(running))
        return running

    def _gone(self, running: Running) -> None:
        """Nobody is busy any more with a call that has ended."""
        self._busy.discard(running)
        running.call.log.shorten()
        self._ended.append(running.call)
        if len(self._ended) > MAX_TOLD:
            self._ended[-1 - MAX_TOLD].log.outline()

    def _forget(self) -> None:
        """Drop what has ended long ago, or beyond what is kept."""
        oldest = datetime.now(UTC) - KEPT_FOR
        while self._ended:
            ended_at = self._ended[0].ended_at
            if len(self._ended) <= MAX_KEPT and ended_at is not None and ended_at > oldest:
                return
            del self._calls[self._ended.popleft().sid]

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.ensure_future(quietly(work, name))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def close(self) -> None:
        """End what is still under way; the calls themselves are the app's."""
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await asyncio.gather(*(running.close() for running in self._busy))


def _caps(caps: Any) -> Caps:
    return Caps(**caps.model_dump())
