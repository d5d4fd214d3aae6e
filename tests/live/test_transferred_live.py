"""An agent's tool hands the call over by REFER and to a queue: the conversation ends as transferred."""

from __future__ import annotations

import asyncio

import pytest
from app_rig import Rig, running

from voxtra import CallSession
from voxtra.agent.agent import Agent, transfer
from voxtra.agent.tools import tool
from voxtra.media.resample import resample
from voxtra.speech import local
from voxtra.speech.intents import IntentLLM
from voxtra.testing import ScriptedLLM
from voxtra.testing import tool as calls
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone, PhoneCall

pytestmark = [pytest.mark.live, pytest.mark.local]


async def spoken(text: str) -> bytes:
    """What the caller says, 8 kHz."""
    pcm, rate = b"", 8000
    async for speech in local().tts.synthesize(text):
        pcm, rate = pcm + speech.pcm, speech.rate
    return resample(pcm, rate, 8000)


@tool(terminal=True, timeout_s=60)
async def to_support(call: CallSession) -> str:
    """To the support people."""
    result = await call.transfer_to_queue("support", timeout=20)
    return "Connected." if result else f"Not connected: {result.reason}."


async def follow(call: PhoneCall, target: str) -> int:
    return 200


@pytest.mark.parametrize("kind", ["refer", "queue"])
async def test_a_tool_hands_the_call_over(asterisk: PrivateAsterisk, kind: str) -> None:
    stt, tts, vad, _ = local(IntentLLM())
    wanted = (
        ["One moment.", calls("to_support")]
        if kind == "queue"
        else ["One moment.", calls("transfer_call", destination="bob")]
    )
    agent = Agent(
        greeting="Welcome.", tools=[to_support, transfer({"bob": "sip:bob@127.0.0.1:5999"}, timeout=5)]
    )

    async def handler(call: CallSession, rig: Rig) -> None:
        rig.results.append(await call.converse(agent))

    address = (asterisk.sip_host, asterisk.sip_port)
    async with (
        running(asterisk, handler, stt=stt, tts=tts, vad=vad, llm=ScriptedLLM([wanted])) as rig,
        Phone(address, user="phone2", password=asterisk.phones["phone2"]) as colleague,
        Phone(address, user="phone", password=asterisk.phones["phone"], on_refer=follow) as phone,
    ):
        await colleague.register()
        await asterisk.rx("queue add member PJSIP/phone2 to support")
        try:
            caller = await phone.dial("100")
            await caller.answered()
            now = asyncio.get_running_loop().time
            await caller.voice()
            await caller.silence(after=now() + 0.5)
            caller.play(await spoken("Connect me with somebody, please."))
            if kind == "queue":
                ringing = await colleague.incoming(timeout=20)
                ringing.answer()
            else:
                async with asyncio.timeout(20):
                    while not caller.referred:
                        await asyncio.sleep(0.05)
                await asyncio.sleep(0.3)
                await caller.hangup()
            async with asyncio.timeout(20):
                while not rig.results:
                    await asyncio.sleep(0.05)
            if kind == "queue":
                assert rig.calls[0].is_active
                await caller.hangup()
                await ringing.ended(5)
        finally:
            await asterisk.rx("queue remove member PJSIP/phone2 from support")
        await rig.nothing_left()
    (result,) = rig.results
    assert result.reason == "transferred"
    assert (result.transfer.reason, result.transfer.method) == ("completed", kind)
    assert rig.types().count("call.transferred") == 1
    ended = next(event for event in rig.events if str(event.type) == "call.ended")
    assert ended.reason == ("hangup" if kind == "queue" else "left")
