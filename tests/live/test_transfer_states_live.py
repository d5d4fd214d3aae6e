"""Hung up by either side in each state of a transfer: the other side is told, and nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from app_rig import Rig, running

from voxtra import CallSession
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone, PhoneCall

pytestmark = pytest.mark.live


@pytest.fixture
async def agent(asterisk: PrivateAsterisk) -> AsyncIterator[Phone]:
    """A registered phone that may be called, a member of the queue."""
    async with Phone(
        (asterisk.sip_host, asterisk.sip_port), user="phone2", password=asterisk.phones["phone2"]
    ) as phone:
        await phone.register()
        await asterisk.rx("queue add member PJSIP/phone2 to support")
        try:
            yield phone
        finally:
            await asterisk.rx("queue remove member PJSIP/phone2 from support")


async def until(rig: Rig, count: int = 1) -> None:
    async with asyncio.timeout(20):
        while len(rig.results) < count:
            await asyncio.sleep(0.02)


async def over(*calls: PhoneCall) -> None:
    await asyncio.gather(*(call.ended(10) for call in calls))


def ended(rig: Rig) -> list[str]:
    """Why the app's calls have ended, the caller's first."""
    caller = rig.calls[0].id
    found = [event for event in rig.events if str(event.type) == "call.ended"]
    return [event.reason for event in sorted(found, key=lambda event: event.session_id != caller)]  # type: ignore[attr-defined]


@pytest.mark.proves("field 10")
@pytest.mark.parametrize(
    ("state", "who", "reason"),
    [
        ("ringing", "caller", "hangup"),
        ("ringing", "agent", "busy"),
        ("asked", "caller", "hangup"),
        ("asked", "agent", "no_answer"),
        ("connected", "caller", "completed"),
        ("connected", "agent", "completed"),
    ],
)
async def test_a_warm_transfer(
    asterisk: PrivateAsterisk, agent: Phone, state: str, who: str, reason: str
) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        rig.results.append(await call.transfer_warm("PJSIP/phone2", timeout=10, accept_timeout=10))
        if rig.results[0].reason in ("busy", "no_answer"):  # the caller is back
            rig.results.append((await call.play_file("beep")).reason)

    async with running(asterisk, handler) as rig, rig.dialled() as caller:
        colleague = await agent.incoming()
        colleague.ringing()
        if state != "ringing":
            colleague.answer()
            await asyncio.sleep(0.5)
        if state == "connected":
            await colleague.send_dtmf("1")
            await until(rig)
            await asyncio.sleep(0.2)
        if who == "caller":
            await caller.hangup()
        elif state == "ringing":
            colleague.reject(486)
        else:
            await colleague.hangup()
        await over(caller, colleague)
        await until(rig, 2 if reason in ("busy", "no_answer") else 1)
        await rig.nothing_left()
    assert rig.results[0].reason == reason
    assert rig.results[1:] == (["finished"] if reason in ("busy", "no_answer") else [])
    assert ended(rig)[0] == ("hangup" if who == "caller" else "local")


@pytest.mark.proves("field 10")
@pytest.mark.parametrize(
    ("state", "who", "reason"),
    [
        ("waiting", "caller", "hangup"),
        ("waiting", "agent", "timeout"),
        ("connected", "caller", "completed"),
        ("connected", "agent", "completed"),
    ],
)
async def test_a_queue(asterisk: PrivateAsterisk, agent: Phone, state: str, who: str, reason: str) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        rig.results.append(await call.transfer_to_queue("support", timeout=2 if who == "agent" else 20))

    async with running(asterisk, handler) as rig, rig.dialled() as caller:
        colleague = await agent.incoming()
        colleague.ringing()
        if state == "connected":
            colleague.answer()
            await until(rig)
            await asyncio.sleep(0.2)
        if who == "caller":
            await caller.hangup()
        elif state == "connected":
            await colleague.hangup()
        await over(caller, colleague)  # nobody takes it: the queue gives it back, and the handler is done
        await until(rig)
        await rig.nothing_left()
    assert rig.results[0].reason == reason
    # the dialplan hangs up when the agent has; what comes back to the handler ends with it
    assert ended(rig) == ["local" if reason == "timeout" else "hangup"]


async def test_hung_up_while_the_phone_is_told_to_call_elsewhere() -> None:
    """On an Asterisk of its own: 22.10 keeps a snapshot of such a channel for ever, which is in the way of others."""

    async def follow(call: PhoneCall, target: str) -> int:
        await asyncio.sleep(0.3)
        await call.hangup()  # before it says how its new call went
        return 200

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        rig.results.append(await call.transfer_to("sip:bob@127.0.0.1:5999", timeout=5))

    async with PrivateAsterisk() as asterisk, running(asterisk, handler, alone=False) as rig:
        address = (asterisk.sip_host, asterisk.sip_port)
        async with Phone(address, user="phone", password=asterisk.phones["phone"], on_refer=follow) as phone:
            caller = await phone.dial("100")
            await until(rig)
            await over(caller)
            async with asyncio.timeout(5):
                while rig.app.active_sessions:
                    await asyncio.sleep(0.02)
        assert "0 active channels" in await asterisk.rx("core show channels count")
    assert (rig.results[0].reason, rig.results[0].method) == ("completed", "refer")
    assert ended(rig) == ["left"]
