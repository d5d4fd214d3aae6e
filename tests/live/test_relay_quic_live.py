"""The audio bridge over QUIC, with a real phone at the other end."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from relay_quic_peer import quic_attached
from relay_rig import relaying, share, tone

from voxtra.testing.asterisk import PrivateAsterisk

pytestmark = pytest.mark.live

FORMATS = [
    *(("opus", rate, 20) for rate in (8000, 16000, 24000, 48000)),
    *(("pcm16", rate, 20) for rate in (8000, 16000, 24000, 48000)),
    ("g711_ulaw", 8000, 20),
    ("g711_alaw", 8000, 20),
    ("opus", 48000, 60),
]


@pytest.mark.parametrize(("codec", "rate", "frame_ms"), FORMATS)
async def test_each_format_is_heard_both_ways_over_quic(
    asterisk: PrivateAsterisk, codec: str, rate: int, frame_ms: int
) -> None:
    async with relaying(asterisk, relay={"quic": True}) as it, it.call() as phone:
        async with quic_attached(it.relay, codec=codec, sampleRate=rate, frameMs=frame_ms) as peer:
            await asyncio.wait_for(peer.subscribed.wait(), 5)
            assert peer.info == {
                "capability": f"voice/{codec}", "codec": codec, "sampleRate": rate, "channels": 1, "frameMs": frame_ms,
            }  # fmt: skip
            phone.play(tone(440, 2))
            await asyncio.gather(peer.say(tone(700, 1.5)), peer.hears(440))
            steps = {b.timestamp_us - a.timestamp_us for a, b in pairwise(peer.frames)}
            assert steps == {frame_ms * 1000}
            await asyncio.sleep(0.5)
        assert share(phone.received_pcm(), 700) > 0.6
        await phone.hangup()
