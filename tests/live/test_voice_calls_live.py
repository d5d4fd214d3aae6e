"""The Voice client's calls and agents, against a real Asterisk and a telephone."""

from __future__ import annotations

import asyncio
import time

import pytest
from voice_rig import NEXT, ORDER, Hums, aside, served, until

from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.voice import VoiceError

pytestmark = pytest.mark.live


@pytest.mark.proves(
    "voice case 1", "voice case 2", "voice case 3", "calls.originate(agent=, ring_timeout_sec=)"
)
async def test_construct_originate_with_an_agent_and_get(asterisk: PrivateAsterisk) -> None:
    came: list[str] = []
    async with served(asterisk, {"healthcare-assistant": Hums("assistant", came)}) as it:
        call = await it.originate(agent="healthcare-assistant", ring_timeout_sec=30)
        assert (call.status, call.to, call.from_) == ("dialing", ORDER["to"], ORDER["from_"])
        assert (call.trunk_id, call.agent) == ("trunk_main", "healthcare-assistant")
        assert call.started_at == call.startedAt
        far = await it.phone.incoming()
        assert came == []
        far.answer()
        assert await far.voice()
        now = await aside(it.v.calls.get, sid=call.sid)
        assert (now.sid, now.status, now.started_at) == (call.sid, "in_progress", call.started_at)
        await aside(now.hangup)
        await far.ended()
        assert await it.reached(call, "completed")
    assert came == ["assistant came", "assistant went"]


@pytest.mark.proves(
    "voice case 4", "Call.transfer(to=)", "Call.transfer('+15557654321')", "Call.transfer(agent=)"
)
async def test_transfer_to_a_number_a_bare_string_and_an_agent(asterisk: PrivateAsterisk) -> None:
    came: list[str] = []
    async with served(asterisk, {"billing-bot": Hums("billing", came)}) as it:
        for target in ({"to": NEXT}, NEXT):
            call, far = await it.answered()
            sid = call.sid
            for wrong in ({}, {"to": NEXT, "agent": "billing-bot"}):
                with pytest.raises(VoiceError, match="exactly one"):
                    await aside(call.transfer, **wrong)
            await aside(call.transfer, agent="billing-bot")
            await until(lambda: came[-1:] == ["billing came"])
            assert (await aside(call.refresh)).agent == "billing-bot"
            handing = asyncio.create_task(
                aside(call.transfer, **target) if isinstance(target, dict) else aside(call.transfer, target)
            )
            third = await it.phone.incoming()
            third.answer()
            await asyncio.wait_for(handing, 15)
            assert came[-1] == "billing went"
            far.play(bytes([0, 64]) * 8000)
            await third.voice()
            assert (await aside(it.v.calls.get, sid=sid)).status == "in_progress"
            await aside(call.hangup)
            await far.ended()
            await third.ended()
            assert await it.reached(call, "completed")
            assert call.sid == sid


@pytest.mark.proves("voice case 8", "Call.status", "calls.get(sid=)")
@pytest.mark.parametrize("far_end", ["answers", "busy", "rejects", "is away", "rings on"])
async def test_originate_and_poll(asterisk: PrivateAsterisk, far_end: str) -> None:
    async with served(asterisk) as it:
        call = await it.originate(ring_timeout_sec=1)  # clamped to 5
        began = time.monotonic()
        far = await it.phone.incoming()
        far.ringing()
        assert await it.reached(call, "ringing") == "ringing"
        match far_end:
            case "answers":
                far.answer()
            case "busy":
                far.reject(486)
            case "rejects":
                far.reject(603)
            case "is away":
                far.reject(480)
        status = await it.reached(call, "in_progress", "failed", "no_answer")
        wanted = {"answers": "in_progress", "busy": "failed", "rejects": "failed"}.get(far_end, "no_answer")
        assert status == wanted
        if far_end == "rings on":
            assert time.monotonic() - began > 3
        await aside(call.hangup)  # of one that has ended, too


@pytest.mark.proves("voice case 7", "voice case 14", "agents.attach(call_sid, agent)")
async def test_an_agent_on_a_live_call_and_another_in_its_place(asterisk: PrivateAsterisk) -> None:
    came: list[str] = []
    agents = {"one": Hums("one", came), "two": Hums("two", came)}
    async with served(asterisk, agents) as it:
        call, far = await it.answered()
        await aside(it.v.agents.attach, call.sid, "one")
        assert await far.voice()
        await aside(it.v.agents.attach, call.sid, "two")
        await until(lambda: came == ["one came", "one went", "two came"], str(came))
        await aside(it.v.agents.detach, call.sid)
        await until(lambda: came[-1] == "two went")
        assert (await aside(call.refresh)).agent is None
        assert call.status == "in_progress"
        with pytest.raises(VoiceError, match="no such agent"):
            await aside(it.v.agents.attach, call.sid, "three")
        await aside(call.hangup)
        await far.ended()


@pytest.mark.proves("voice case 11")
async def test_from_a_bot_to_a_queue_to_a_number_on_one_sid(asterisk: PrivateAsterisk) -> None:
    came: list[str] = []
    agents = {"triage-bot": Hums("triage", came), "human-queue": Hums("queue", came)}
    async with served(asterisk, agents) as it:
        call, far = await it.answered(agent="triage-bot")
        await it.follow(call)
        await until(lambda: came == ["triage came"])
        await aside(call.transfer, agent="human-queue")
        await until(lambda: came == ["triage came", "triage went", "queue came"], str(came))
        handing = asyncio.create_task(aside(call.transfer, to=NEXT))
        third = await it.phone.incoming()
        assert NEXT in str(third.called)
        third.answer()
        await asyncio.wait_for(handing, 15)
        far.play(bytes([0, 64]) * 8000)
        assert await third.voice()
        await aside(call.hangup)
        await asyncio.gather(far.ended(), third.ended())
        await until(lambda: [e.data["status"] for e in it.named("status")][-1:] == ["completed"])
        assert {event.sid for event in it.events} == {call.sid}


@pytest.mark.proves("voice case 20", "Call.on_status(callback)")
@pytest.mark.parametrize("far_end", ["answers", "busy"])
async def test_the_status_stream_to_its_end(asterisk: PrivateAsterisk, far_end: str) -> None:
    statuses: list[str] = []
    async with served(asterisk) as it:
        call = await it.originate()
        await aside(call.on_status, statuses.append)
        far = await it.phone.incoming()
        far.ringing()
        await until(lambda: statuses == ["dialing", "ringing"], str(statuses))
        if far_end == "busy":
            far.reject(486)
            await until(lambda: statuses == ["dialing", "ringing", "failed"], str(statuses))
        else:
            far.answer()
            await until(lambda: statuses[-1:] == ["in_progress"])
            await far.hangup()
            await until(lambda: statuses[-1:] == ["completed"])
            assert statuses == ["dialing", "ringing", "in_progress", "completed"]
        late: list[str] = []
        await aside((await aside(it.v.calls.get, sid=call.sid)).on_status, late.append)
        await until(lambda: late == statuses, str(late))


@pytest.mark.proves("voice case 24")
async def test_another_organisation_sees_nothing(asterisk: PrivateAsterisk) -> None:
    async with served(asterisk) as it:
        call, far = await it.answered()
        with it.client("other", "org_xyz") as other, it.client("other", "org_abc") as borrowed:
            for v in (other, borrowed):
                for forbidden in (
                    lambda v=v: v.calls.get(sid=call.sid),
                    lambda v=v: v.agents.attach(call.sid, {"modelCodec": "pcm16"}),
                    lambda v=v: v.audio_bridge.attach(call.sid),
                ):
                    with pytest.raises(VoiceError) as raised:
                        await aside(forbidden)
                    assert (raised.value.code, raised.value.status) == ("NOT_FOUND", 404)
            with pytest.raises(VoiceError, match="another's") as raised:
                await aside(borrowed.calls.originate, **ORDER)
            assert raised.value.field == "orgId"
        assert (await aside(call.refresh)).status == "in_progress"
        await far.hangup()
        await it.reached(call, "completed")


async def test_a_number_that_is_not_allowed(asterisk: PrivateAsterisk) -> None:
    async with served(asterisk) as it:
        for wrong in (
            {"to": "+442079460000"},
            {"from_": "+15550000000"},
            {"trunk_id": "nobodys"},
            {"agent": "no"},
        ):
            with pytest.raises(VoiceError) as raised:
                await it.originate(**wrong)
            assert raised.value.status in (403, 404)
            assert raised.value.field


async def test_asked_twice_with_one_key_it_rings_once(asterisk: PrivateAsterisk) -> None:
    async with served(asterisk) as it:
        one, two = await asyncio.gather(
            it.originate(idempotency_key="order-7"), it.originate(idempotency_key="order-7")
        )
        assert one.sid == two.sid
        far = await it.phone.incoming()
        far.answer()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await it.phone.incoming()
        await aside(one.hangup)
        await far.ended()
