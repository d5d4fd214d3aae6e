"""Each request of a verb that hands a call over fails once, or is cut off: nothing of it stays, nobody is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fake_app import World, running
from fake_calls import breathe
from office import Office, waits

from voxtra import CallSession, CallState
from voxtra.ari.models import Variable
from voxtra.errors import (
    ARIConflictError,
    ARIConnectionLostError,
    ARINotFoundError,
    ARINotInStasisError,
    ARIServerError,
    VoxtraError,
)

Patch = pytest.MonkeyPatch
Verb = Callable[[CallSession, CallSession], Awaitable[Any]]

VERBS: dict[str, Verb] = {
    "transfer_to": lambda call, other: call.transfer_to("PJSIP/bob"),
    "transfer_warm": lambda call, other: call.transfer_warm("PJSIP/bob", accept=None),
    "refer": lambda call, other: call.transfer_to("sip:bob@example.com"),
    "queue": lambda call, other: call.transfer_to_queue("support"),
    "bridge_with": lambda call, other: call.bridge_with(other),
    "hold": lambda call, other: call.hold(),
    "listen_in": lambda call, other: call.listen_in(other),
}
FLAWS: dict[str, Exception | None] = {
    "lost": ARIConnectionLostError("POST", "/x"),
    "404": ARINotFoundError("POST", "/x", 404, "Channel not found"),
    "409": ARIConflictError("POST", "/x", 409, "busy"),
    "422": ARINotInStasisError("POST", "/x", 422, "Channel not in Stasis application"),
    "500": ARIServerError("POST", "/x", 500, "Allocation failed"),
    "cancelled": None,
    "done, and lost": None,
    "done, and cancelled": None,
    "the caller hangs up": None,
    "who is called hangs up": None,
}
ASIDE = {"applications.subscribe", "channels.get_channel_var", "wait_ready", "connect", "bridges.destroy"}
"""Not the verb's own; what should have been destroyed and was not is there."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: Patch) -> None:
    monkeypatch.setattr("voxtra.live.AGAIN_S", 0.001)
    monkeypatch.setattr("voxtra.live.HANDLER_GRACE_S", 0.02)
    monkeypatch.setattr("voxtra.live.STOP_GRACE_S", 0.01)
    monkeypatch.setattr("voxtra.company.SNOOP_S", 0.02)
    monkeypatch.setattr("voxtra.refer.REFER_BYE_S", 0.01)
    monkeypatch.setattr("voxtra.session.ASKED_AGAIN_S", 0.001)
    monkeypatch.setattr("voxtra.calls.leg.CAUSE_WAIT_S", 0.01)
    monkeypatch.setattr("voxtra.exchange.FORCE_S", 0.3)


class Flawed:
    """Asterisk, of which the ``number``-th request of the verb fails (from 1)."""

    def __init__(self, world: World, number: int, flaw: str) -> None:
        self.count = 0
        self.name = ""
        self.number = number
        self.flaw = flaw
        self.happen: dict[str, Callable[[], Any]] = {}
        self._carry_out = world.ari.carry_out

    async def __call__(self, name: str, arguments: dict[str, Any]) -> Any:
        if name not in ASIDE:
            self.count += 1
            if self.count == self.number:
                self.name = name
                if (error := FLAWS[self.flaw]) is not None:
                    raise error
                if self.flaw == "done, and lost":
                    await self._carry_out(name, arguments)
                    raise FLAWS["lost"]  # type: ignore[misc]
                if self.flaw == "done, and cancelled":
                    await self._carry_out(name, arguments)
                    self.happen["cancelled"]()
                    await asyncio.sleep(0)
                    return None
                self.happen[self.flaw]()
        return await self._carry_out(name, arguments)


async def one(monkeypatch: Patch, verb: str, number: int, flaw: str, *, bridged: bool) -> bool:
    """Whether there was such a request. ``bridged``: the call shares a bridge with another one to begin with."""
    async with running(monkeypatch, waits) as world:
        office = Office(world)
        ring = office._ring

        def picked_up(channel_id: str, **options: Any) -> Any:
            channel = ring(channel_id, **options)
            asyncio.get_running_loop().call_later(0.002, office.pick_up, channel_id)
            return channel

        def away(channel_id: str, **_: Any) -> bool:
            world.ari.arrive(channel_id, state="Up", args="queue TIMEOUT")
            return True

        def snoop(snoop_id: str, **_: Any) -> Any:
            return world.ari.arrive(snoop_id, name="Snoop/1", state="Up")

        world.ari.answers |= {
            "channels.originate_with_id": picked_up,
            "channels.continue_in_dialplan": away,
            "channels.snoop_channel_with_id": snoop,
            "channels.get_channel_var": Variable(value="REFER"),
        }
        call, other = world.call(), world.call("other")
        await call.open_line()
        for each in (call, other):
            await each.answer()
        third = world.call("third")
        if bridged:
            await third.bridge_with(call)
        await breathe()
        flawed = Flawed(world, number, flaw)
        monkeypatch.setattr(world.ari, "carry_out", flawed)
        work = asyncio.ensure_future(VERBS[verb](call, other))
        flawed.happen = {
            "cancelled": work.cancel,
            "the caller hangs up": lambda: world.ari.hang_up("caller"),
            "who is called hangs up": lambda: [world.ari.hang_up(bob) for bob in office.rung[-1:]],
        }
        result: Any = None
        where = f"{verb}: {flaw} of request {number}, {flawed.name}"
        try:
            async with asyncio.timeout(3):
                with contextlib.suppress(VoxtraError, asyncio.CancelledError):
                    result = await work
        except TimeoutError:
            raise AssertionError(f"{where}: it hangs") from None
        where = f"{verb}: {flaw} of request {number}, {flawed.name}"
        monkeypatch.setattr(world.ari, "carry_out", flawed._carry_out)
        world.ari.answers.pop("channels.continue_in_dialplan")
        await asyncio.sleep(0.01)
        assert call.state is not CallState.TRANSFERRING, where
        if call.is_active and not result:
            assert call.bridge_id == third.bridge_id, where
            assert other.bridge_id is None, where
            assert not [
                each for each in world.ari.channels_there if each.startswith(("vx-call", "vx-snoop"))
            ], where
            await call.unhold()
            await call.unbridge()
            line = await call.open_line()
            assert not line.paused, where
        world.app._exchange.hurry()
        assert third.is_active, where
        await asyncio.sleep(0.005)
        assert third.bridge_id is None or call.bridge_id == third.bridge_id, where
        for name in ("caller", "other", "third"):
            if name in world.ari.channels_there:
                world.ari.hang_up(name)
        for left in [each for each in world.ari.channels_there if each.startswith("vx-snoop")]:
            if result:
                world.ari.gone(left)
        await world.over()
        return flawed.count >= number


@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.parametrize(
    ("verb", "bridged"),
    [(verb, False) for verb in VERBS]
    + [(verb, True) for verb in ("transfer_to", "transfer_warm", "queue", "listen_in")],
)
async def test_whatever_fails(monkeypatch: Patch, verb: str, bridged: bool, flaw: str) -> None:
    number = 1
    while await one(monkeypatch, verb, number, flaw, bridged=bridged):
        number += 1
    assert number > 2
