"""Agents described in place, through the Voice client: they hear and answer a talking telephone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from relay_rig import share, tone
from voice_rig import Served, aside, served, until

from voxtra.agent import Agent
from voxtra.evaluation.surroundings import LineSpec, Surroundings, add
from voxtra.speech import local
from voxtra.speech.intents import Intent, IntentLLM
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import PhoneCall
from voxtra.testing.rtp import ulaw_to_pcm
from voxtra.voice import AgentSpec, TurnDetection

pytestmark = [pytest.mark.live, pytest.mark.local]

LONG = (
    "We are open from Monday to Friday, from nine in the morning until five in the afternoon. "
    "On Saturdays we close at noon, and on Sundays we do not open at all."
)
SPEC: dict[str, Any] = {"mode": "speech_to_speech", "greeting": "Welcome to Acme."}


def speech() -> dict[str, Any]:
    intents = {
        "hours": Intent(["what are your opening hours", "when do you open"], reply=LONG),
        "place": Intent(["where are you located"], reply="Ten Market Street."),
    }
    return dict(zip(("stt", "tts", "vad", "llm"), local(IntentLLM(intents)), strict=True))


def now() -> float:
    return asyncio.get_running_loop().time()


async def greeted(far: PhoneCall) -> None:
    """The agent has said its first words."""
    await far.voice()
    await far.silence(after=now() + 0.5)


async def asks(it: Served, far: PhoneCall, words: str) -> float:
    """The caller speaks; when the last word was out, s."""
    await it.phone.says(far, words)
    return now()


def echoing(far: PhoneCall) -> Callable[[bytes], bytes]:
    """A microphone that picks up what the telephone played 120 ms ago, at -20 dB."""
    room = Surroundings(LineSpec(echo_db=-20, echo_delay_ms=120))
    far.on_packet = lambda packet: room.hear(ulaw_to_pcm(packet.payload), packet.time)
    return lambda pcm: add(pcm, room.beside(now()))


@pytest.mark.proves(
    "voice case 16", "voice case 17", "voice case 18", "voice case 22", "AgentSpec", "TurnDetection",
    "Call.on('turn_committed', callback)",
)  # fmt: skip
@pytest.mark.parametrize(
    "agent",
    [
        SPEC,
        {"modelCodec": "pcm16", "greeting": "Welcome to Acme."},
        SPEC | {"turnDetection": {"silenceThresholdMs": 300}},
        AgentSpec(greeting="Welcome to Acme.", turn_detection=TurnDetection(silence_threshold_ms=300)),
    ],
    ids=["defaults", "only modelCodec", "silenceThresholdMs 300", "model"],
)
async def test_described_in_place_it_hears_and_answers(asterisk: PrivateAsterisk, agent: Any) -> None:
    async with served(asterisk, **speech()) as it:
        call, far = await it.answered()
        await it.follow(call)
        await aside(it.v.agents.attach, call.sid, agent)
        assert (await aside(call.refresh)).agent == "inline"
        await greeted(far)
        asked = await asks(it, far, "Where are you located?")
        answered = await far.voice(after=asked)
        print(f"from the caller's last word to the agent's first: {answered - asked:.2f} s")
        assert answered - asked < 6
        await until(lambda: it.named("turn_committed"))
        (turn,) = it.named("turn_committed")
        assert "located" in turn.data["text"].lower()
        await aside(call.hangup)
        await far.ended()


@pytest.mark.proves("voice case 15")
async def test_by_id_at_originate(asterisk: PrivateAsterisk) -> None:
    registered = {"appointment-reminder": Agent(greeting="This is a reminder of your appointment.")}
    async with served(asterisk, registered, **speech()) as it:
        call, far = await it.answered(agent="appointment-reminder")
        assert (await aside(call.refresh)).agent == "appointment-reminder"
        await greeted(far)
        asked = await asks(it, far, "When do you open?")
        assert await far.voice(after=asked)
        await aside(call.hangup)
        await far.ended()


@pytest.mark.proves("voice case 19", "Call.on('backchannel_dropped', callback)")
@pytest.mark.parametrize(("confirm_ms", "stops"), [(700, 0), (300, 1)])
async def test_a_backchannel_gets_no_reply(asterisk: PrivateAsterisk, confirm_ms: int, stops: int) -> None:
    """ "Okay" over the agent's words, 0.5 s: with the default ``bargeConfirmMs`` the agent stops and goes on."""
    async with served(asterisk, **speech()) as it:
        call, far = await it.answered()
        await it.follow(call)
        await aside(it.v.agents.attach, call.sid, SPEC | {"turnDetection": {"bargeConfirmMs": confirm_ms}})
        await greeted(far)
        await asks(it, far, "When do you open?")
        await far.voice(after=now())
        await asyncio.sleep(1.5)
        await it.phone.says(far, "Okay.")
        await until(lambda: it.named("backchannel_dropped"), str(it.events))
        assert await far.voice(after=now())  # it kept the floor
        await far.silence(after=now() + 0.5, timeout=20)
        await asyncio.sleep(1)
        assert len(it.named("turn_committed")) == 1
        assert len(it.named("barge_in_confirmed")) == stops
        await aside(call.hangup)
        await far.ended()


@pytest.mark.proves("voice case 21", "Call.on('barge_in_confirmed', callback)")
async def test_a_barge_in_on_a_line_without_echo_cancellation(asterisk: PrivateAsterisk) -> None:
    """The telephone gives the agent's own words back, quieter, all the time; then the caller cuts in."""
    async with served(asterisk, **speech()) as it:
        call, far = await it.answered()
        far.microphone = echoing(far)
        await it.follow(call)
        spec = SPEC | {"turnDetection": {"ttsGuardMs": 300, "bargeConfirmMs": 300}}
        await aside(it.v.agents.attach, call.sid, spec)
        await greeted(far)
        await asks(it, far, "When do you open?")
        await far.voice(after=now())
        await asyncio.sleep(2.5)
        assert it.named("barge_in_confirmed") == []  # it was its own echo
        began = time.monotonic()
        await it.phone.says(far, "Sorry, where are you located?")
        await until(lambda: it.named("barge_in_confirmed"), str(it.events))
        print(f"confirmed within {time.monotonic() - began:.2f} s")
        await until(lambda: len(it.named("turn_committed")) == 2, str(it.events))
        assert await far.voice(after=now())
        await aside(call.hangup)
        await far.ended()


@pytest.mark.proves("voice case 12", "voice case 23")
async def test_a_pre_roll_a_tap_and_an_agent(asterisk: PrivateAsterisk) -> None:
    """The pre-roll is heard before the agent's greeting, the tap hears what the agent hears, and goes."""
    from voice_rig import Tapped

    from voxtra.wire import AudioFormat

    async with served(asterisk, **speech()) as it:
        call, far = await it.answered()
        tapped = Tapped(form=AudioFormat(codec="pcm16", sample_rate=16000))
        bridge = await aside(
            it.v.audio_bridge.attach, call.sid, on_uplink=tapped, codec="pcm16", sample_rate=16000
        )
        bridge.publish_downlink(tone(700, 2, 16000))
        await until(lambda: share(far.received_pcm(), 700) > 0.6)
        await aside(it.v.agents.attach, call.sid, SPEC)
        await until(lambda: share(far.received_pcm()[-8000:], 700, seconds=0.4) < 0.1)
        assert await far.voice(after=now())
        await far.silence(after=now() + 0.5)
        await aside(bridge.close)
        asked = await asks(it, far, "Where are you located?")
        assert await far.voice(after=asked)
        assert len(tapped.frames) > 100
        await aside(call.hangup)
        await far.ended()
