"""What the procedures and REST do alike: place a call once, and give out tokens for sound."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from aiohttp import web

from voxtra.control.call import Call
from voxtra.control.desk import CallDesk
from voxtra.control.gate import Denied
from voxtra.control.idempotency import Idempotency
from voxtra.wire import BridgeGrant, Originate, Role

Grant: TypeAlias = Callable[[str, str, Role, str], BridgeGrant]
"""Makes what lets somebody at the sound of an organisation's call, in one role; last, the host where they asked."""


async def place(
    desk: CallDesk, once: Idempotency, request: web.Request, order: Originate
) -> tuple[Call, bool]:
    """Place a call, or find the one that the same request has placed; whether it was placed now.

    Raises:
        Denied: it can't be placed, or the ``Idempotency-Key`` came with another order.
    """

    async def make() -> str:
        return (await desk.originate(order)).sid

    key = request.headers.get("Idempotency-Key", "")
    sid, made = await once.once(order.org_id, key, order.model_dump_json(), make)
    return desk.get(order.org_id, sid), made


def grant_for(
    desk: CallDesk, grant: Grant | None, request: web.Request, org: str, sid: str, role: Role
) -> BridgeGrant:
    """An audio token for a call that lives. ``grant``: None where there is no relay. Raises Denied."""
    if desk.get(org, sid).is_over:
        raise Denied(f"sid = {sid!r}: the call has ended", "GONE", field="sid")
    if grant is None:
        raise Denied("this server has no audio relay", "SERVICE_UNAVAILABLE")
    return grant(org, sid, role, asked_at(request))


def asked_at(request: web.Request) -> str:
    """The host that a request was sent to, as its sender names it; "" where that is no name and no address."""
    named = re.fullmatch(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?", request.host)
    return named[1].strip("[]") if named else ""
