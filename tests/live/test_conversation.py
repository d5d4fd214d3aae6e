"""Conversations over a real Asterisk with the embedded speech engines: heard, answered, interrupted."""

from __future__ import annotations

import asyncio

import pytest
from app_rig import Rig, running

from voxtra import CallSession
from voxtra.agent import Agent, end_call
from voxtra.errors import CallEndedError, PipelineNotConfiguredError
from voxtra.media.resample import resample
from voxtra.speech import local
from voxtra.speech.intents import Intent, IntentLLM
from voxtra.testing import ScriptedLLM, tool
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import PhoneCall

pytestmark = [pytest.mark.live, pytest.mark.local]

LONG = (
    "We are open from Monday to Friday, from nine in the morning until five in the afternoon. "
    "On Saturdays we close at noon, and on Sundays we do not open at all. "
    "Please remember that we are closed on public holidays."
)


def stack():  # type: ignore[no-untyped-def]
    return local(
        IntentLLM(
            {
                "hours": Intent(["what are your opening hours", "when do you open"], reply=LONG),
                "place": Intent(
                    ["where are you located", "sorry, where are you"], reply="Ten Market Street."
                ),
                "bye": Intent(["thank you goodbye", "goodbye"], reply="Goodbye."),
            }
        )
    )


def options():  # type: ignore[no-untyped-def]
    return dict(zip(("stt", "tts", "vad", "llm"), stack(), strict=True))


async def spoken(text: str) -> bytes:
    """What the caller says, 8 kHz."""
    pcm = b""
    rate = 0
    async for speech in local().tts.synthesize(text):
        pcm, rate = pcm + speech.pcm, speech.rate
    return resample(pcm, rate, 8000)


async def say(call: PhoneCall, text: str) -> float:
    """Speak on the phone; returns when the sound began to be sent."""
    pcm = await spoken(text)
    began = asyncio.get_running_loop().time()
    call.play(pcm)
    return began


@pytest.mark.proves("barge_in", "call.agent.history", "failure 5", "failure 9", "field 4", "field 7")
async def test_a_conversation_and_a_barge_in(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.say("Welcome to Acme.")
        while user := await call.listen(timeout=15):
            reply = await call.agent.respond(user)
            result = await call.say(reply)
            rig.results.append((user.text, result))
            if "Goodbye" in reply:
                break

    async with running(asterisk, handler, **options()) as rig, rig.dialled() as call:
        now = asyncio.get_running_loop().time
        await call.voice()
        await call.silence(after=now() + 0.5)
        await say(call, "What are your opening hours?")
        await call.played()
        await call.voice(after=now())
        await asyncio.sleep(3)
        cut_in = await say(call, "Sorry, where are you located?")
        silent = await call.silence(after=cut_in + 0.1)
        await call.played()
        await call.voice(after=now())
        await call.silence(after=now() + 0.5)
        await say(call, "Thank you, goodbye.")
        end = await call.ended(15)
        history = rig.calls[0].agent.history
    assert end.by == "remote"
    (_, hours), (_, place), (_, bye) = rig.results
    assert [r.reason for r in (hours, place, bye)] == ["interrupted", "finished", "finished"]
    assert 0 < len(hours.heard) < len(LONG) / 2
    assert LONG.startswith(hours.heard)
    assert [m["role"] for m in history] == ["user", "assistant"] * 3
    assert history[1]["content"] == hours.heard
    assert "located" in history[2]["content"].lower()
    assert silent - cut_in < 2.0  # bargeConfirm is 300 ms, and the first syllable takes its time
    kinds = rig.types()
    assert kinds.count("barge_in") == 1
    assert kinds.count("turn.ended") == 3
    split = [e.data["latency"] for e in rig.events if e.type == "agent.speech.started"][1]
    assert set(split) == {"endpointing", "stt", "llm", "tts", "framework", "total"}


@pytest.mark.proves("call.say(interruptible=)")
async def test_not_interruptible_and_interrupted_by_a_key(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        rig.results.append(
            await call.say(
                "This must be heard to its very end, by everybody who calls us.", interruptible=False
            )
        )
        rig.results.append(await call.say(LONG))
        rig.results.append(await call.listen_dtmf(timeout=1))
        rig.results.append(await call.listen(timeout=0.2))

    async with running(asterisk, handler, **options()) as rig, rig.dialled() as call:
        await call.voice()
        await say(call, "No no no.")
        async with asyncio.timeout(10):
            while not rig.results:
                await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        await call.send_dtmf("5")
        await call.ended(15)
    first, second, digit, nothing = rig.results
    assert (first.reason, second.reason, digit, nothing) == ("finished", "interrupted", "5", None)


async def test_keys_are_turns_of_a_conversation(asterisk: PrivateAsterisk) -> None:
    agent = Agent(
        greeting="Please key in your four digit number. " + LONG,
        llm=ScriptedLLM(["Thank you. And now?", ["Goodbye.", tool("end_call")]]),
        tools=[end_call()],
    )

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        rig.results.append(await call.converse(agent))

    async with running(asterisk, handler, **options()) as rig, rig.dialled() as call:
        now = asyncio.get_running_loop().time
        await call.voice()
        await asyncio.sleep(2)
        await call.send_dtmf("1234")  # as many as were asked for
        await call.silence(after=now())
        await call.voice(after=now())
        await call.silence(after=now() + 0.5)
        await call.send_dtmf("9#")
        assert (await call.ended(15)).by == "remote"
    (talk,) = rig.results
    history = rig.calls[0].agent.history
    assert (talk.reason, talk.turns) == ("ended", 2)
    assert [m["content"] for m in history if m["role"] == "user"] == [
        "[keys pressed: 1234]",
        "[keys pressed: 9]",
    ]
    assert history[0]["content"].startswith("Please key in")
    assert agent.greeting.startswith(history[0]["content"])
    assert history[0]["content"] != agent.greeting


@pytest.mark.proves("failure 12", "failure 18")
@pytest.mark.parametrize("verb", ["say", "listen", "stream"])
async def test_a_hang_up_ends_speech_at_once(asterisk: PrivateAsterisk, verb: str) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        if verb == "say":
            rig.results.append((await call.say(LONG)).reason)
        elif verb == "listen":
            await call.say("Yes?")
            rig.results.append(await call.listen())
        else:
            rig.results.append((await call.say(call.agent.stream("what are your opening hours"))).reason)
        rig.results.append(asyncio.get_running_loop().time())
        with pytest.raises(CallEndedError):
            await call.say("Are you there?")

    async with running(asterisk, handler, **options()) as rig, rig.dialled() as call:
        await call.voice()
        await asyncio.sleep(1.5)
        began = asyncio.get_running_loop().time()
        await call.hangup()
        async with asyncio.timeout(5):
            await rig.finished.wait()
    assert rig.results[0] == (None if verb == "listen" else "hangup")
    assert rig.results[1] - began < 1.0


@pytest.mark.proves("failure 10", "field 5")
async def test_calls_at_once_keep_their_words_apart(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.say("Yes?")
        user = await call.listen(timeout=15)
        assert user is not None
        await call.agent.respond(user)
        await call.listen(timeout=2)
        rig.results.append((call.called_number, user.text.lower(), len(call.agent.history)))

    words = {
        "101": "What are your opening hours?",
        "102": "Where are you located?",
        "103": "Thank you, goodbye.",
    }
    async with running(asterisk, handler, **options()) as rig, rig.phone() as phone:

        async def caller(number: str) -> None:
            call = await phone.dial(number)
            await call.answered()
            await call.voice(after=0)
            await call.silence(after=asyncio.get_running_loop().time() + 0.3)
            await say(call, words[number])
            await call.ended(30)

        await asyncio.gather(*(caller(number) for number in words))
    assert len(rig.results) == 3
    for number, text, length in rig.results:
        key = words[number].lower().rstrip("?.").split()[-1]
        assert key in text, (number, text)
        assert length == 2


@pytest.mark.proves('call.say(): RuntimeError("AI pipeline not configured")')
async def test_without_speech_it_says_so(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        for verb in (call.say("Hello."), call.listen(), call.agent.respond("Hello")):
            with pytest.raises(PipelineNotConfiguredError, match="AI pipeline not configured"):
                await verb
        rig.results.append("all said so")

    async with running(asterisk, handler) as rig, rig.dialled() as call:
        await call.ended()
    assert rig.results == ["all said so"]
