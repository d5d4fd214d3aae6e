"""Hold, transfers, queues and bridges between real phones on a real Asterisk."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import numpy as np
import pytest
from app_rig import Rig, running

from voxtra import CallSession, CallState
from voxtra.errors import CallEndedError, ConfigurationError, SessionError
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone, PhoneCall

pytestmark = pytest.mark.live


def tone(hz: float, seconds: float = 2.0) -> bytes:
    return b"".join(
        int(9000 * math.sin(2 * math.pi * hz * i / 8000)).to_bytes(2, "little", signed=True)
        for i in range(int(8000 * seconds))
    )


def strength(pcm: bytes, hz: float) -> float:
    """Amplitude of one frequency in the last second heard, by tenths of it: a late packet shifts what follows."""
    samples = np.frombuffer(pcm[-16000:], "<i2").astype(float)
    turned = samples * np.exp(-2j * np.pi * hz * np.arange(len(samples)) / 8000)
    tenths = turned[: len(turned) // 800 * 800].reshape(-1, 800).mean(axis=1)
    return float(np.abs(tenths).mean() * 2) if len(tenths) else 0.0


async def hear_each_other(first: PhoneCall, second: PhoneCall) -> bool:
    """Each phone plays a tone of its own; the other hears it."""
    first.play(tone(500))
    second.play(tone(900))
    await asyncio.sleep(1.8)
    both = strength(second.received_pcm(), 500), strength(first.received_pcm(), 900)
    await asyncio.gather(first.played(), second.played())
    return all(each > 2000 for each in both)


@pytest.fixture
async def agent(asterisk: PrivateAsterisk) -> AsyncIterator[Phone]:
    """A registered phone that may be called."""
    async with Phone(
        (asterisk.sip_host, asterisk.sip_port), user="phone2", password=asterisk.phones["phone2"]
    ) as phone:
        await phone.register()
        yield phone


async def until(rig: Rig, count: int) -> None:
    async with asyncio.timeout(20):
        while len(rig.results) < count:
            await asyncio.sleep(0.02)


@pytest.mark.proves("call.hold()", "call.unhold()")
async def test_hold_plays_music_and_unhold_ends_it(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.send_audio_bytes(bytes(160))
        await call.hold()
        await call.hold()
        rig.results.append(call.state)
        await asyncio.sleep(2)
        await call.unhold()
        await call.unhold()
        rig.results.append(call.state)
        async for chunk in call.audio_stream():
            await call.send_audio(chunk)

    async with running(asterisk, handler) as rig, rig.dialled() as call:
        await until(rig, 1)
        music = await call.voice(after=0)
        held = call.held
        await until(rig, 2)
        assert held
        assert not call.held
        await asyncio.sleep(0.3)
        call.play(tone(700))
        await call.voice(after=asyncio.get_running_loop().time())
        await asyncio.sleep(1.5)
        echoed = strength(call.received_pcm(), 700)
        await call.hangup()
    assert music
    assert rig.results == [CallState.ON_HOLD, CallState.IN_PROGRESS]
    assert echoed > 2000
    kinds = rig.types()
    assert (kinds.count("call.held"), kinds.count("call.resumed")) == (1, 1)


async def test_the_far_ends_hold_is_seen(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.listen_dtmf(timeout=None)

    async with running(asterisk, handler) as rig, rig.dialled() as call:
        await call.hold()
        await asyncio.sleep(0.3)
        states = [rig.calls[0].state]
        await call.unhold()
        await asyncio.sleep(0.3)
        states.append(rig.calls[0].state)
        await call.hangup()
    assert states == [CallState.ON_HOLD, CallState.IN_PROGRESS]
    assert [e.data["by"] for e in rig.events if "held" in e.type or "resumed" in e.type] == ["far end"] * 2


@pytest.mark.proves("failure 16", "field 10")
@pytest.mark.parametrize("who", ["caller", "agent"])
async def test_a_blind_transfer_outlives_its_handler(
    asterisk: PrivateAsterisk, agent: Phone, who: str
) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.send_audio_bytes(bytes(160))
        rig.results.append(await call.transfer_to("PJSIP/phone2", timeout=10))

    async with running(asterisk, handler) as rig, rig.dialled() as caller:
        ringing = await agent.incoming()
        ringing.ringing()
        await asyncio.sleep(0.5)
        ringing.answer()
        await until(rig, 1)
        await asyncio.sleep(0.5)
        assert await hear_each_other(caller, ringing)
        await (caller if who == "caller" else ringing).hangup()
        await asyncio.gather(caller.ended(), ringing.ended())
    assert rig.results[0].reason == "completed"
    assert "phone" in str(ringing.remote)
    assert rig.types().count("call.transferred") == 1


@pytest.mark.proves('call.transfer_to("PJSIP/agent-001@internal")', "field 10")
@pytest.mark.parametrize(
    ("answer", "reason"),
    [("busy", "busy"), ("ring", "no_answer"), ("decline", "rejected"), ("hangup", "hangup")],
)
async def test_a_transfer_that_fails_brings_the_caller_back(
    asterisk: PrivateAsterisk, agent: Phone, answer: str, reason: str
) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        result = await call.transfer_to("PJSIP/phone2", timeout=1.5)
        rig.results.append(result)
        if not result and result.reason != "hangup":
            await call.play_file("beep")
            rig.results.append(call.state)

    async with running(asterisk, handler) as rig, rig.dialled() as caller:
        incoming = await agent.incoming()
        if answer == "hangup":
            incoming.ringing()
            await caller.hangup()
        elif answer == "ring":
            incoming.ringing()
        else:
            incoming.reject(486 if answer == "busy" else 603)
        await caller.ended(15)
        await incoming.ended(5)
    assert rig.results[0].reason == reason
    if reason != "hangup":
        assert rig.results[1] is CallState.IN_PROGRESS


async def test_a_transfer_to_an_extension_and_targets_that_can_not_be(
    asterisk: PrivateAsterisk, agent: Phone
) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        for wrong in ("+44 20", "+442079460000", "PJSIP/", "no such thing"):
            with pytest.raises(ConfigurationError):
                await call.transfer_to(wrong)
        rig.results.append(await call.transfer_to("call-phone2", context="voxtra", timeout=10))

    async with running(asterisk, handler) as rig, rig.dialled() as caller:
        (await agent.incoming()).answer()
        await until(rig, 1)
        await caller.hangup()
    assert rig.results[0].reason == "completed"


@pytest.mark.proves("field 10")
@pytest.mark.parametrize("key", ["1", "2", None])
async def test_a_warm_transfer(asterisk: PrivateAsterisk, agent: Phone, key: str | None) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()

        async def brief(agent: CallSession) -> None:
            await agent.play_file("beep")

        rig.results.append(
            await call.transfer_warm("PJSIP/phone2", brief=brief, timeout=10, accept_timeout=4)
        )
        if not rig.results[0]:
            await call.play_file("beep")

    async with running(asterisk, handler) as rig, rig.dialled() as caller:
        incoming = await agent.incoming()
        incoming.answer()
        await caller.voice(after=0)  # music
        await incoming.voice(after=0)
        if key is None:
            await incoming.hangup()
        else:
            await incoming.send_dtmf(key)
        await until(rig, 1)
        if key == "1":
            await asyncio.sleep(0.5)
            assert await hear_each_other(caller, incoming)
            await caller.hangup()
        await asyncio.gather(caller.ended(), incoming.ended())
    assert rig.results[0].reason == {"1": "completed", "2": "declined", None: "no_answer"}[key]


@pytest.mark.proves("call.bridge_with(other)")
async def test_three_in_a_bridge_and_back_to_the_app(asterisk: PrivateAsterisk, agent: Phone) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.send_audio_bytes(bytes(160))
        rig.results.append(call)
        if call.called_number != "1":
            await call.listen_dtmf(timeout=None)
            return
        await until(rig, 2)
        other = next(each for each in rig.results if each is not call)
        bridge = await call.bridge_with(other)
        rig.results.append(bridge)
        third = await rig.app.originate("PJSIP/phone2", timeout=10)
        assert await call.bridge_with(third) == bridge
        with pytest.raises(SessionError):
            await call.bridge_with(call)
        rig.results.append(third)
        await asyncio.sleep(2.5)
        await call.unbridge()
        assert call.bridge_id is None
        async for chunk in call.audio_stream():
            await call.send_audio(chunk)

    async with running(asterisk, handler) as rig, rig.phone() as phone:
        first, second = await phone.dial("1"), await phone.dial("2")
        third = await agent.incoming(15)
        third.answer()
        await until(rig, 4)
        await asyncio.sleep(0.3)
        for call, hz in ((first, 500), (second, 900), (third, 1300)):
            call.play(tone(hz, 3))
        await asyncio.sleep(1.7)
        assert strength(first.received_pcm(), 900) > 1500
        assert strength(first.received_pcm(), 1300) > 1500
        assert strength(third.received_pcm(), 500) > 1500
        await asyncio.sleep(1.8)
        first.play(tone(700))
        await asyncio.sleep(1.5)
        assert strength(first.received_pcm(), 700) > 2000  # its handler's echo
        assert strength(second.received_pcm(), 700) < 500
        for call in (first, second, third):
            await call.hangup()


async def test_who_joins_at_once_shares_one_bridge(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        rig.results.append(call)
        if len(rig.results) == 3:
            first, second, third = rig.results
            bridges = await asyncio.gather(
                second.bridge_with(first), third.bridge_with(first), first.bridge_with(third)
            )
            rig.results.append((set(bridges), {each.id for each in await rig.app.ari.bridges.list()}))
        await call.listen_dtmf(timeout=None)

    async with running(asterisk, handler) as rig, rig.phone() as phone:
        calls = [await phone.dial("100") for _ in range(3)]
        await until(rig, 4)
        await asyncio.sleep(0.3)
        for call, hz in zip(calls, (500, 900, 1300), strict=True):
            call.play(tone(hz, 2.5))
        await asyncio.sleep(2)
        heard = [[strength(call.received_pcm(), hz) > 1500 for hz in (500, 900, 1300)] for call in calls]
        for call in calls:
            await call.hangup()
    asked, there = rig.results[3]
    assert len(asked) == 1
    assert there == asked
    assert heard == [[False, True, True], [True, False, True], [True, True, False]]


async def test_hold_and_unhold_at_once_are_one_after_another(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await asyncio.gather(call.hold(), call.unhold())
        rig.results.append(call.state)
        await asyncio.sleep(1.5)

    async with running(asterisk, handler) as rig, rig.dialled() as call:
        await until(rig, 1)
        since = asyncio.get_running_loop().time() + 0.2
        await call.ended()
        music = call.first_voice_after(since)
    assert rig.results == [CallState.IN_PROGRESS]
    assert music is None


async def test_listening_in(asterisk: PrivateAsterisk, agent: Phone) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        supervisor = await rig.app.originate("PJSIP/phone2", timeout=10)
        await supervisor.listen_in(call, whisper=True)
        rig.results.append(supervisor)
        await call.listen_dtmf(timeout=None)

    async with running(asterisk, handler) as rig, rig.dialled() as caller:
        supervisor = await agent.incoming(15)
        supervisor.answer()
        await until(rig, 1)
        await asyncio.sleep(0.3)
        assert await hear_each_other(caller, supervisor)
        await caller.hangup()
        await asyncio.sleep(0.5)
        assert supervisor.digits == ""
        await supervisor.hangup()


@pytest.mark.proves("call.transfer_to_queue(name)", "failure 15")
async def test_a_queue(asterisk: PrivateAsterisk, agent: Phone) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        rig.results.append(
            await call.transfer_to_queue(
                "support", {"CUSTOMER": "4711"}, timeout=20 if not rig.results else 2
            )
        )
        if rig.results[-1].reason == "timeout":
            await call.play_file("beep")
        if rig.results[-1].reason == "hangup":
            with pytest.raises(CallEndedError):
                await call.play_file("beep")

    await asterisk.rx("queue add member PJSIP/phone2 to support")
    try:
        async with running(asterisk, handler) as rig, rig.phone() as phone:
            caller = await phone.dial("100")
            incoming = await agent.incoming(10)
            incoming.answer()
            await until(rig, 1)
            await asyncio.sleep(0.5)
            assert await hear_each_other(caller, incoming)
            await incoming.hangup()
            await caller.ended()
            late = await phone.dial("100")
            await late.ended(20)
        assert [result.reason for result in rig.results] == ["completed", "timeout"]
    finally:
        await asterisk.rx("queue remove member PJSIP/phone2 from support")


async def test_a_refer_is_followed_by_the_callers_own_phone(asterisk: PrivateAsterisk) -> None:
    async def follow(call: PhoneCall, target: str) -> int:
        return 200

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        rig.results.append(await call.transfer_to("sip:bob@127.0.0.1:5999", timeout=5))

    address = (asterisk.sip_host, asterisk.sip_port)
    async with running(asterisk, handler) as rig:
        async with Phone(address, user="phone", password=asterisk.phones["phone"], on_refer=follow) as phone:
            caller = await phone.dial("100")
            async with asyncio.timeout(5):
                while not caller.referred:
                    await asyncio.sleep(0.1)
            await asyncio.sleep(0.3)
            await caller.hangup()
        await until(rig, 1)
    assert caller.referred == ["sip:bob@127.0.0.1:5999"]
    assert (rig.results[0].reason, rig.results[0].method) == ("completed", "refer")


async def test_a_refer_that_is_refused_becomes_a_bridge(asterisk: PrivateAsterisk, agent: Phone) -> None:
    async def refuse(call: PhoneCall, target: str) -> int:
        return 603

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        rig.results.append(await call.transfer_to(agent.contact.strip("<>"), timeout=5))

    address = (asterisk.sip_host, asterisk.sip_port)
    async with (
        running(asterisk, handler) as rig,
        Phone(address, user="phone", password=asterisk.phones["phone"], on_refer=refuse) as phone,
    ):
        caller = await phone.dial("100")
        incoming = await agent.incoming()
        incoming.answer()
        await until(rig, 1)
        await asyncio.sleep(0.5)
        assert await hear_each_other(caller, incoming)
        await incoming.hangup()
        await caller.ended()
    assert (rig.results[0].reason, rig.results[0].method) == ("completed", "bridge")


async def test_a_transfer_before_the_answer_is_a_302(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        rig.results.append(await call.transfer_to("sip:bob@127.0.0.1:5999"))

    async with running(asterisk, handler) as rig, rig.phone() as phone:
        call = await phone.dial("100")
        end = await call.ended()
    assert end.status == 302
    assert rig.results[0].reason == "completed"


async def test_the_far_end_wants_a_transfer(asterisk: PrivateAsterisk, agent: Phone) -> None:
    """Alone with the app its REFER is declined; bridged with another call, that one is transferred."""
    asked = []

    async def handler(call: CallSession, rig: Rig) -> None:
        @call.on_transfer
        async def wanted(target: str) -> object:
            asked.append((call.called_number, target))
            return "PJSIP/phone2" if call.bridge_id else True

        await call.answer()
        rig.results.append(call)
        if call.called_number == "1":
            await call.listen_dtmf(timeout=None)
            await until(rig, 2)
            await call.bridge_with(rig.results[1])
        else:
            await call.listen_dtmf(timeout=None)

    async with running(asterisk, handler) as rig, rig.phone() as phone:
        first = await phone.dial("1")
        await first.answered()
        await asyncio.sleep(0.3)
        assert await first.refer("2000") >= 300
        second = await phone.dial("2")
        await second.answered()
        await first.send_dtmf("1")
        await asyncio.sleep(0.5)
        referring = asyncio.ensure_future(first.refer("2000"))
        (third := await agent.incoming()).answer()
        assert await referring == 200
        await asyncio.sleep(0.5)
        assert await hear_each_other(second, third)
        await first.hangup()
        await third.hangup()
        await second.ended()
    assert asked == [("1", "2000"), ("1", "2000")]


async def test_the_far_end_connects_its_two_calls(asterisk: PrivateAsterisk, agent: Phone) -> None:
    """An attended transfer (REFER with Replaces): the two others are together, though their handlers are done."""

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        rig.results.append(call)
        await until(rig, 4)
        if call.called_number in ("1", "3"):
            await call.bridge_with(rig.results[int(call.called_number)])
        else:
            await call.listen_dtmf(timeout=None)  # until it is told that it is bridged

    async with running(asterisk, handler) as rig, rig.phone() as phone:
        calls = []
        for number in "1234":
            calls.append(await phone.dial(number))
            await calls[-1].answered()
            await until(rig, len(calls))
        first, second, third, fourth = calls
        await asyncio.sleep(0.3)
        await second.send_dtmf("1")
        await fourth.send_dtmf("1")  # their handlers return
        await asyncio.sleep(0.3)
        assert await hear_each_other(first, second)
        assert await first.refer("3", replaces=third) == 200
        await first.hangup()
        await third.hangup()
        await asyncio.sleep(0.5)
        assert await hear_each_other(second, fourth)
        await second.hangup()
        await fourth.ended()


async def test_who_transfers_hangs_up_at_once(asterisk: PrivateAsterisk, agent: Phone) -> None:
    """As many telephones do: they do not wait how it goes."""

    async def handler(call: CallSession, rig: Rig) -> None:
        @call.on_transfer
        async def wanted(target: str) -> object:
            return "PJSIP/phone2"

        await call.answer()
        rig.results.append(call)
        await until(rig, 2)
        if call.called_number == "1":
            await call.bridge_with(rig.results[1])
        else:
            await call.listen_dtmf(timeout=None)

    async with running(asterisk, handler) as rig, rig.phone() as phone:
        first = await phone.dial("1")
        await first.answered()
        await until(rig, 1)
        second = await phone.dial("2")
        await second.answered()
        await until(rig, 2)
        await asyncio.sleep(0.3)
        await second.send_dtmf("1")  # its handler returns
        await asyncio.sleep(0.3)
        referring = asyncio.ensure_future(first.refer("2000"))
        third = await agent.incoming()
        third.ringing()
        await first.hangup()
        await asyncio.gather(referring, return_exceptions=True)
        await asyncio.sleep(1)
        third.answer()
        await asyncio.sleep(0.5)
        assert await hear_each_other(second, third)
        await third.hangup()
        await second.ended()


async def test_a_hold_ends_with_the_bridge(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        rig.results.append(call)
        if call.called_number == "1":
            await call.hold()
            await until(rig, 2)
            await call.bridge_with(rig.results[1])
        else:
            await call.listen_dtmf(timeout=None)

    async with running(asterisk, handler) as rig, rig.phone() as phone:
        first = await phone.dial("1")
        await first.answered()
        await until(rig, 1)
        second = await phone.dial("2")
        await second.answered()
        await asyncio.sleep(0.5)
        assert await hear_each_other(first, second)
        assert rig.results[0].state is CallState.IN_PROGRESS
        await first.hangup()
        await second.hangup()


@pytest.mark.parametrize("early", [False, True])
async def test_who_was_called_wants_a_transfer(asterisk: PrivateAsterisk, early: bool) -> None:
    """As on a call that came in: Asterisk does not transfer our media channel away by itself."""
    asked: list[str] = []

    async def handler(call: CallSession, rig: Rig) -> None:
        raise AssertionError("nobody calls")

    async with running(asterisk, handler) as rig, rig.phone() as phone:
        await phone.register()
        placing = asyncio.ensure_future(rig.app.originate("PJSIP/phone", early_media=early))
        incoming = await phone.incoming()
        incoming.answer()
        call = await placing
        await call.answered(timeout=5)

        @call.on_transfer
        async def wanted(target: str) -> bool:
            asked.append(target)
            return False

        await call.open_line()
        assert await incoming.refer("100") == 603
        assert asked == ["100"]
        assert call.is_active
        await call.hangup()
