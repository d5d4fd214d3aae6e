"""An agent, two taps and a recording on one call at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from app_rig import Rig
from relay_quic_peer import quic_attached
from relay_rig import attached, relaying, share, tone

from voxtra import CallSession
from voxtra.media.resample import resample
from voxtra.recording import LocalFileSink
from voxtra.speech import local
from voxtra.testing.asterisk import PrivateAsterisk

pytestmark = [pytest.mark.live, pytest.mark.local]


async def spoken(text: str) -> bytes:
    pcm, rate = b"", 8000
    async for speech in local().tts.synthesize(text):
        pcm, rate = pcm + speech.pcm, speech.rate
    return resample(pcm, rate, 8000)


async def test_an_agent_two_taps_and_a_recording(asterisk: PrivateAsterisk, tmp_path: Path) -> None:
    """A pre-roll plays before the agent; the agent hears and speaks while two listen; it stays when they go."""
    attach = asyncio.Event()

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.record_start("all")
        await attach.wait()
        await call.say("Welcome to Acme.", interruptible=False)
        for _ in range(2):
            heard = await call.listen(timeout=20)
            rig.results.append(heard.text.lower() if heard else "")
        await call.record_stop()

    stt, tts, vad, _ = local()
    options = {"stt": stt, "tts": tts, "vad": vad, "recording_sink": LocalFileSink(tmp_path)}
    async with relaying(asterisk, handler, relay={"quic": True}, **options) as it, it.call() as phone:
        now = asyncio.get_running_loop().time
        async with (
            attached(it.relay) as one,
            quic_attached(it.relay, codec="pcm16", sampleRate=16000) as two,
        ):
            await asyncio.wait_for(two.subscribed.wait(), 5)
            began = len(phone.received_pcm())
            await one.say(tone(700, 1.0), pace=0)
            attach.set()
            await phone.silence(after=now() + 1.5, timeout=20)
            said = phone.received_pcm()[began:]
            assert share(said, 700, seconds=0.8) > 0.6, "the pre-roll"
            assert share(said[-16000:], 700, seconds=0.2) < 0.2, "and after it the agent"
            phone.play(await spoken("What are your opening hours?"))
            async with asyncio.timeout(20):
                while not it.rig.results:
                    await asyncio.sleep(0.05)
            heard_by_taps = [len(peer.pcm()) / 2 / peer.rate for peer in (one, two)]
            loud = [_loudest(peer.pcm()) for peer in (one, two)]
        assert it.rig.calls[0].is_active, "closing a tap leaves the agent and the call"
        phone.play(await spoken("Thank you, goodbye."))
        await phone.ended(25)
    assert "hours" in it.rig.results[0]
    assert "bye" in it.rig.results[1]
    assert min(heard_by_taps) > 2
    assert min(loud) > 1000
    assert [path.suffix for path in tmp_path.rglob("*.wav")] == [".wav"]  # noqa: ASYNC240


def _loudest(pcm: bytes) -> int:
    return max(
        int.from_bytes(pcm[at : at + 2], "little", signed=True) for at in range(0, len(pcm) // 2 * 2, 2)
    )
