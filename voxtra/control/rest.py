"""REST: the operations on calls and agents."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import cast

from aiohttp import web

from voxtra.agent.agent import Agent
from voxtra.control.call import Call
from voxtra.control.desk import CallDesk
from voxtra.control.gate import Denied
from voxtra.control.idempotency import Idempotency
from voxtra.control.models import (
    AgentList,
    AgentPut,
    AgentRow,
    CallDetail,
    CallFilter,
    CallPage,
    NewCall,
    TokenFor,
    TransferTo,
)
from voxtra.control.operations import Asked, Header, Operation, answered
from voxtra.control.placing import Grant, grant_for, place
from voxtra.control.stream import Streams
from voxtra.wire import BridgeGrant, CallEvent, ErrorCode, Originate

CHANGE: tuple[ErrorCode, ...] = ("NOT_FOUND", "CONFLICT", "GONE", "UNPROCESSABLE", "SERVICE_UNAVAILABLE")
"""How changing a living call may fail."""
IDEMPOTENCY = Header(
    "Idempotency-Key",
    "Any text of yours. A request that is sent again with it, within 24 hours, places no second call.",
    r"^[\x21-\x7e]{1,255}$",
)
LAST_EVENT = Header(
    "Last-Event-ID", "The number of the last event you have: the stream goes on after it.", "^[0-9]{1,15}$"
)


class CallRoutes:
    """The operations on calls.

    Args:
        desk: the calls.
        grant: makes audio tokens; None where there is no relay.
        once: remembers requests with an ``Idempotency-Key``.
    """

    def __init__(self, desk: CallDesk, grant: Grant | None, once: Idempotency) -> None:
        self._desk = desk
        self._grant = grant
        self._once = once
        self._streams = Streams()

    def table(self) -> Sequence[Operation]:
        """All of them."""
        call = "/v1/calls/{sid}"
        return (
            Operation("placeCall", "POST", "/v1/calls", "Place a call. Returns while it is dialled.",
                      "voice:calls:write", self._place, body=NewCall, result=CallDetail, status=201,
                      fails=("NOT_FOUND", "CONFLICT", "UNPROCESSABLE", "SERVICE_UNAVAILABLE"), headers=(IDEMPOTENCY,)),
            Operation("listCalls", "GET", "/v1/calls", "Calls, the newest first: those that live, and those that "
                      "ended within 24 hours.", "voice:calls:read", self._list, query=CallFilter, result=CallPage,
                      fails=("NOT_FOUND",)),
            Operation("getCall", "GET", call, "One call.", "voice:calls:read", self._get, result=CallDetail,
                      fails=("NOT_FOUND",)),
            Operation("hangUpCall", "DELETE", call, "Hang up. A call that has ended already is as good.",
                      "voice:calls:write", self._hangup, result=CallDetail, fails=("NOT_FOUND", "SERVICE_UNAVAILABLE")),
            Operation("transferCall", "POST", call + "/transfer", "Connect the caller with a number, or another agent. "
                      "Returns when they are connected.", "voice:calls:write", self._transfer, body=TransferTo,
                      result=CallDetail, fails=CHANGE),
            Operation("attachAgent", "PUT", call + "/agent", "Let an agent talk on a call, in the place of who does.",
                      "voice:agents:write", self._attach, tag="agents", body=AgentPut, result=CallDetail,
                      fails=CHANGE),
            Operation("detachAgent", "DELETE", call + "/agent", "Let no agent talk on a call; it goes on.",
                      "voice:agents:write", self._detach, tag="agents", result=CallDetail,
                      fails=("NOT_FOUND", "GONE", "SERVICE_UNAVAILABLE")),
            Operation("audioToken", "POST", call + "/token", "A token for a call's sound, and where to take it.",
                      "voice:audio", self._token, tag="audio", body=TokenFor, result=BridgeGrant, status=201,
                      fails=("NOT_FOUND", "GONE", "SERVICE_UNAVAILABLE")),
            Operation("callEvents", "GET", call + "/events", "What happens on a call, as server-sent events.",
                      "voice:calls:read", self._events, result=CallEvent, fails=("NOT_FOUND",),
                      headers=(LAST_EVENT,), streams=True),
            Operation("listAgents", "GET", "/v1/agents", "The agents that may be put on a call by id.",
                      "voice:calls:read", self._agents, tag="agents", result=AgentList),
        )  # fmt: skip

    async def _place(self, asked: Asked) -> web.Response:
        body = cast("NewCall", asked.body)
        order = Originate.model_validate({**body.model_dump(by_alias=True), "orgId": asked.org})
        call, made = await place(self._desk, self._once, asked.request, order)
        headers = {"Location": f"/v1/calls/{call.sid}"}
        if not made:
            headers["Idempotency-Replayed"] = "true"
        return answered(detail(call), 201, **headers)

    async def _list(self, asked: Asked) -> web.Response:
        return answered(page(self._desk.calls(asked.org), cast("CallFilter", asked.query)))

    async def _get(self, asked: Asked) -> web.Response:
        return answered(detail(self._desk.get(asked.org, asked.path("sid"))))

    async def _hangup(self, asked: Asked) -> web.Response:
        return answered(detail(await self._desk.hangup(asked.org, asked.path("sid"))))

    async def _transfer(self, asked: Asked) -> web.Response:
        body = cast("TransferTo", asked.body)
        return answered(detail(await self._desk.transfer(asked.org, asked.path("sid"), body.to, body.agent)))

    async def _attach(self, asked: Asked) -> web.Response:
        body = cast("AgentPut", asked.body)
        return answered(detail(await self._desk.attach(asked.org, asked.path("sid"), body.agent)))

    async def _detach(self, asked: Asked) -> web.Response:
        return answered(detail(await self._desk.detach(asked.org, asked.path("sid"))))

    async def _token(self, asked: Asked) -> web.Response:
        role = cast("TokenFor", asked.body).role
        return answered(
            grant_for(self._desk, self._grant, asked.request, asked.org, asked.path("sid"), role), 201
        )

    async def _events(self, asked: Asked) -> web.StreamResponse:
        log = self._desk.get(asked.org, asked.path("sid")).log
        return await self._streams.send(asked.request, asked.org, log)

    async def _agents(self, asked: Asked) -> web.Response:
        rows = [
            AgentRow(id=name, kind="agent" if isinstance(agent, Agent) else "handler")
            for name, agent in self._desk.agents.ids()
        ]
        return answered(AgentList(agents=rows))


def detail(call: Call) -> CallDetail:
    """All that is known of a call."""
    return CallDetail.model_validate(
        {
            **call.row().model_dump(),
            "direction": str(call.direction),
            "answered_at": call.answered_at,
            "ended_at": call.ended_at,
            "outcome": call.outcome,
            "cause": call.cause or None,
            "duration_sec": call.duration_s if call.is_over else None,
            "transferred_to": call.transferred_to,
            "media": call.media or None,
        }
    )


def page(calls: Sequence[Call], wanted: CallFilter) -> CallPage:
    """One page of ``calls``, the newest first.

    Raises:
        Denied: the cursor is not known (any more).
    """
    begin = 0
    if wanted.cursor is not None:
        known = next((number for number, call in enumerate(calls) if call.sid == wanted.cursor), None)
        if known is None:
            raise Denied(
                f"cursor = {wanted.cursor!r}: not known any more, begin anew", "NOT_FOUND", field="cursor"
            )
        begin = known + 1
    fitting = (call for call in islice(calls, begin, None) if _fits(call, wanted))
    shown = list(islice(fitting, wanted.limit))
    more = next(fitting, None) is not None
    return CallPage(calls=[detail(call) for call in shown], next_cursor=shown[-1].sid if more else None)


def _fits(call: Call, wanted: CallFilter) -> bool:
    return all(
        asked is None or asked == there
        for asked, there in (
            (wanted.status, call.status),
            (wanted.direction, str(call.direction)),
            (wanted.trunk_id, call.trunk_id),
            (wanted.agent, call.agent),
            (wanted.to, call.to),
            (wanted.from_, call.from_),
        )
    )
