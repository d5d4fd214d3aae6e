"""Recognisers and voices behind servers, on a real call: sockets drop in mid-turn, and nobody notices."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from app_rig import Rig, running

sys.path.append(str(Path(__file__).parents[1] / "speech"))
from fakes.deepgram_server import DeepgramServer, run_server
from fakes.marked_sound import say
from fakes.transcription_server import TranscriptionServer, run_transcription
from fakes.voice_server import VoiceServer, run_voices

from voxtra import CallSession
from voxtra.speech import STT, Fallback
from voxtra.speech.cartesia import CartesiaTTS
from voxtra.speech.deepgram import DeepgramFluxSTT, DeepgramSTT
from voxtra.speech.deepgram_voice import DeepgramTTS
from voxtra.speech.openai_live import OpenAILiveSTT
from voxtra.testing import FakeVAD
from voxtra.testing.asterisk import PrivateAsterisk

pytestmark = [pytest.mark.live]


class Servers:
    """One of each."""

    def __init__(self) -> None:
        self.deepgram, self.openai, self.voices = DeepgramServer(), TranscriptionServer(), VoiceServer()

    def stt(self, name: str) -> STT:
        if name == "openai-live":
            return OpenAILiveSTT(api_key="k", base_url=f"{self.openai.url}/v1")
        make = DeepgramFluxSTT if name == "flux" else DeepgramSTT
        return make(api_key="k", base_url=self.deepgram.url)


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    all_ = Servers()
    runners = [
        await run_server(all_.deepgram),
        await run_transcription(all_.openai),
        await run_voices(all_.voices),
    ]
    yield all_
    for runner in runners:
        await runner.cleanup()


@pytest.mark.parametrize("name", ["nova", "flux", "openai-live"])
async def test_a_call_through_sockets_that_drop(
    asterisk: PrivateAsterisk, servers: Servers, name: str
) -> None:
    servers.deepgram.drop_after_ms = servers.openai.drop_after_ms = [400]
    servers.voices.drop_once = True
    servers.voices.drop_after = 2  # of Cartesia's words; Deepgram's voice says the rest

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        user = await call.listen(timeout=10)
        assert user is not None
        servers.voices.requests.clear()
        rig.results.append((user.text, await call.say("one two three four five")))

    stt = Fallback(servers.stt(name), servers.stt("nova"))
    tts = Fallback(
        CartesiaTTS(api_key="k", base_url=servers.voices.url),
        DeepgramTTS(api_key="k", base_url=servers.voices.url),
    )

    async with running(asterisk, handler, stt=stt, tts=tts, vad=FakeVAD()) as rig, rig.dialled() as call:
        await asyncio.sleep(0.5)
        call.play(b"".join(say("my order please")))
        await call.played()
        await call.voice(timeout=10)
        await asyncio.wait_for(rig.finished.wait(), 10)
        await call.ended()
        await rig.nothing_left()
        await tts.close()  # given to the app, so ours to close
        await stt.close()
    (heard, result) = rig.results[0]
    assert heard == "my order please"
    assert result
    assert [r.get("transcript") or r.get("text") for r in servers.voices.requests] == [
        "one two three four five",
        "two three four five",
    ]
    assert stt.failures == dict.fromkeys(stt.failures, 0)
    assert tts.failures == {"cartesia (sonic-3)": 1, "deepgram (aura-2-thalia-en)": 0}
    voiced = sum(packet.voiced for packet in call.received) * 20
    assert 500 <= voiced <= 700  # one, then two to five: 500 ms; "two" began twice
