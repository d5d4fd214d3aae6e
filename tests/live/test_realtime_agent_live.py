"""Agents on a speech-to-speech model over a real Asterisk; one is swapped for another while it speaks."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from app_rig import Rig, running

sys.path.append(str(Path(__file__).parents[1] / "speech"))
from fakes.realtime_server import RealtimeServer, Reply
from test_realtime_live import VOICE, WORDS, tone

from voxtra import CallSession
from voxtra.agent import Agent, end_call
from voxtra.media.wav import read_sound
from voxtra.speech.realtime import OpenAIRealtime
from voxtra.testing.asterisk import PrivateAsterisk

pytestmark = [pytest.mark.live]


@pytest.fixture
async def server() -> AsyncIterator[RealtimeServer]:
    fake = RealtimeServer()
    fake.sound = tone
    runner = await fake.start()
    yield fake
    await runner.cleanup()


async def test_swapped_in_mid_reply_and_ended_by_a_tool(
    asterisk: PrivateAsterisk, server: RealtimeServer
) -> None:
    server.heard = ["Tell me everything.", "That is all."]
    goodbye = Reply("Good bye.", 500, tools=[("end", "end_call", "{}")])
    server.replies = [Reply("Welcome.", 600), Reply(WORDS, 6000), Reply("Second.", 500), goodbye]
    provider = OpenAIRealtime(websocket_base_url=server.url)
    first = Agent(name="first", instructions="One.", greeting="Welcome.")
    second = Agent(name="second", instructions="Two.", greeting="Second.", tools=[end_call()])

    async def handler(call: CallSession, rig: Rig) -> None:
        rig.results.append(await call.converse(first))

    now = asyncio.get_running_loop().time
    async with running(asterisk, handler, realtime=provider) as rig, rig.dialled() as call:
        await call.voice(after=0)
        await call.silence(after=now() + 0.3)
        voice = read_sound(VOICE, 8000)
        call.play(voice[: 16 * 1500])
        await call.played()
        await call.voice(after=now())
        await asyncio.sleep(1)
        conversation = rig.calls[0].conversation
        assert conversation is not None
        began = now()
        await conversation.swap(second)
        swapped = now()
        heard = await call.voice(after=swapped + 0.1)
        await call.silence(after=heard + 0.1)
        call.play(voice[: 16 * 1500])
        async with asyncio.timeout(15):
            await rig.finished.wait()
    await provider.close()
    (talk,) = rig.results
    assert (talk.reason, talk.agent, talk.turns, talk.tool_calls) == ("ended", "second", 2, 1)
    history = rig.calls[0].agent.history
    assert [m["role"] for m in history][:5] == ["assistant", "user", "assistant", "assistant", "user"]
    cut = history[2]["content"]
    assert WORDS.startswith(cut)
    assert 3 <= len(cut.split()) <= 30  # a second of it, 100 ms a word, and what the wait for it took
    assert history[3]["content"] == "Second."
    print(f"swapped within {swapped - began:.3f} s, the next one heard {heard - swapped:.3f} s later")
