"""The procedures of the wire over HTTP: ``/api/trpc/<name>`` and ``/trpc/<name>``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from voxtra.control.desk import CallDesk
from voxtra.control.doorman import Doorman
from voxtra.control.gate import Denied
from voxtra.control.idempotency import Idempotency
from voxtra.control.placing import Grant, grant_for, place
from voxtra.control.requests import checked, parse_json, read_json
from voxtra.wire import (
    PROCEDURES,
    Attach,
    BridgeToken,
    Detach,
    Get,
    Hangup,
    Originate,
    Transfer,
    Wire,
)

SCOPES = {
    "voice.calls.originate": "voice:calls:write",
    "voice.calls.get": "voice:calls:read",
    "voice.calls.transfer": "voice:calls:write",
    "voice.calls.hangup": "voice:calls:write",
    "voice.agents.attach": "voice:agents:write",
    "voice.agents.detach": "voice:agents:write",
    "voice.audioBridge.token": "voice:audio",
}
"""What a key must be for, by procedure."""


class Procedures:
    """Answers the procedures.

    Args:
        desk: the calls.
        doorman: who may ask.
        grant: makes audio tokens; None where there is no relay.
        once: remembers requests with an ``Idempotency-Key``.
    """

    def __init__(self, desk: CallDesk, doorman: Doorman, grant: Grant | None, once: Idempotency) -> None:
        self._desk = desk
        self._once = once
        self._doorman = doorman
        self._grant = grant
        self._do: dict[str, Callable[[Any], Awaitable[Wire | None]]] = {
            "voice.calls.get": self._get,
            "voice.calls.transfer": self._transfer,
            "voice.calls.hangup": self._hangup,
            "voice.agents.attach": self._attach,
            "voice.agents.detach": self._detach,
        }

    def add(self, router: web.UrlDispatcher) -> None:
        """Answer on both prefixes."""
        for prefix in ("/api/trpc", "/trpc"):
            router.add_route("*", prefix + "/{procedure}", self.answer)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One procedure."""
        name = request.match_info["procedure"]
        procedure = PROCEDURES.get(name)
        if procedure is None:
            raise Denied(f"there is no procedure {name[:80]!r}", "NOT_FOUND")
        wanted = "GET" if procedure.kind == "query" else "POST"
        if request.method != wanted:
            raise Denied(f"{name} is a {procedure.kind}: {wanted} it", "METHOD_NOT_SUPPORTED")
        principal = self._doorman.admit(request, SCOPES[name])
        given = parse_json(request.query.get("input", "{}")) if wanted == "GET" else await read_json(request)
        asked = checked(procedure.input, given)
        if asked.org_id != principal.org:
            if isinstance(asked, Originate):
                raise Denied(f"orgId = {asked.org_id!r}: the key is another's", "FORBIDDEN", field="orgId")
            raise Denied(f"sid = {asked.sid!r}: there is no such call", "NOT_FOUND", field="sid")
        if isinstance(asked, Originate):
            call, _ = await place(self._desk, self._once, request, asked)
            answer: Wire | None = call.row()
        elif isinstance(asked, BridgeToken):
            answer = grant_for(self._desk, self._grant, request, asked.org_id, asked.sid, asked.role)
        else:
            answer = await self._do[name](asked)
        return web.json_response({"result": {"data": None if answer is None else answer.to_wire()}})

    async def _get(self, asked: Get) -> Wire:
        return self._desk.get(asked.org_id, asked.sid).row()

    async def _transfer(self, asked: Transfer) -> None:
        await self._desk.transfer(asked.org_id, asked.sid, asked.to, asked.agent)

    async def _hangup(self, asked: Hangup) -> None:
        await self._desk.hangup(asked.org_id, asked.sid)

    async def _attach(self, asked: Attach) -> None:
        await self._desk.attach(asked.org_id, asked.sid, asked.agent)

    async def _detach(self, asked: Detach) -> None:
        await self._desk.detach(asked.org_id, asked.sid)
