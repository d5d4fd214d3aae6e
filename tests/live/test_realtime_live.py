"""Speech to speech over a real Asterisk: the model answers with a tone, and is interrupted by a human voice."""

from __future__ import annotations

import asyncio
import math
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from app_rig import Rig, running

sys.path.append(str(Path(__file__).parents[1] / "speech"))
from fakes.realtime_server import RATES, RealtimeServer, Reply

from voxtra import CallSession
from voxtra.agent.realtime import RealtimePipeline
from voxtra.media.codecs import make_codec
from voxtra.media.wav import read_sound
from voxtra.speech.realtime import OpenAIRealtime
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.turns import TurnDetection

pytestmark = [pytest.mark.live]

WORDS = " ".join(f"word{n}" for n in range(60))
VOICE = Path(__file__).parents[2] / ".asterisk/root/usr/share/asterisk/sounds/en/agent-alreadyon.wav"


def tone(ms: int, kind: str) -> bytes:
    """440 Hz; each piece begins and ends at a zero."""
    rate = RATES[kind]
    samples = rate * ms // 1000
    pcm = struct.pack(
        f"<{samples}h", *(int(8000 * math.sin(2 * math.pi * 450 * n / rate)) for n in range(samples))
    )
    return make_codec("ulaw").encode(pcm) if kind == "audio/pcmu" else pcm


@pytest.fixture
async def server() -> AsyncIterator[RealtimeServer]:
    fake = RealtimeServer()
    fake.sound = tone
    runner = await fake.start()
    yield fake
    await runner.cleanup()


@pytest.mark.parametrize("codec", ["ulaw", "slin16"])
async def test_a_conversation_and_a_barge_in(
    asterisk: PrivateAsterisk, server: RealtimeServer, codec: str
) -> None:
    server.heard = ["Tell me everything.", "Stop."]
    server.replies = [Reply("Welcome.", 600), Reply(WORDS, 6000), Reply("All right.", 600)]
    provider = OpenAIRealtime(websocket_base_url=server.url)

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        media = await call._live.sound()
        pipeline = RealtimePipeline(
            media.line, provider, call.agent, TurnDetection(), call._emit, "Be short.", vad=None
        )
        run = asyncio.ensure_future(pipeline.run())
        rig.results.append(await pipeline.say("Welcome."))
        rig.results.append(await run)

    now = asyncio.get_running_loop().time
    async with (
        running(asterisk, handler, media={"codec": codec}) as rig,
        rig.dialled() as call,
    ):
        await call.voice(after=0)
        await call.silence(after=now() + 0.3)
        voice = read_sound(VOICE, 8000)
        call.play(voice[: 16 * 1500])
        await call.played()
        began = await call.voice(after=now())
        await asyncio.sleep(2)
        cut_in = now()
        call.play(voice[: 16 * 1500])
        silent = await call.silence(after=cut_in)
        await call.played()
        third = await call.voice(after=now())
        await call.silence(after=third + 0.1)
        history = list(rig.calls[0].agent.history)
        await call.hangup()
        async with asyncio.timeout(5):
            await rig.finished.wait()
    await provider.close()
    said, end = rig.results
    assert (said.reason, said.heard, end) == ("finished", "Welcome.", "hangup")
    assert server.now.format == ("audio/pcmu" if codec == "ulaw" else "audio/pcm")
    # bargeConfirm is 300 ms of speech, and a voice has its onset and its gaps
    assert silent - cut_in < 1.5
    # the model was told what the telephone got
    (cut,) = server.sent("conversation.item.truncate")
    assert abs(cut["audio_end_ms"] - (silent - began) * 1000) < 100
    print(f"{codec}: silent after {silent - cut_in:.3f} s; told {cut['audio_end_ms']} ms,", end=" ")
    print(f"heard {(silent - began) * 1000:.0f} ms")
    assert [m["role"] for m in history] == ["assistant", "user", "assistant", "user", "assistant"]
    heard = history[2]["content"]
    assert WORDS.startswith(heard)
    assert abs(len(heard.split()) * 100 - cut["audio_end_ms"]) < 150
    assert [m["content"] for m in history[3:]] == ["Stop.", "All right."]
    assert rig.types().count("barge_in") == 1
    assert server.now.errors == []
    # what the model was sent is the voice, and not the silence before and after
    assert all(1.0 < len(turn) / (8000 if codec == "ulaw" else 48_000) < 3.0 for turn in server.now.turns)
