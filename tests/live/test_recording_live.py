"""A recorded call on a real Asterisk, against what the phone really sent and got."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from app_rig import Rig, running

from voxtra import CallSession, LocalFileSink
from voxtra.testing.asterisk import PrivateAsterisk

pytestmark = [pytest.mark.live]

RATE = 8000
Sound = npt.NDArray[np.int16]


def noise(seconds: float, seed: int) -> bytes:
    """Sound that is like nothing else, loud throughout."""
    signs = np.random.default_rng(seed).integers(0, 2, int(seconds * RATE)) * 2 - 1
    return (signs * 6000).astype("<i2").tobytes()


def runs(track: Sound) -> list[tuple[int, int]]:
    """(start, end) in samples of what is loud; holes under 10 ms don't count."""
    loud = np.flatnonzero(np.abs(track.astype(int)) > 3000)
    if not len(loud):
        return []
    cuts = np.flatnonzero(np.diff(loud) > RATE // 100)
    starts = [loud[0], *loud[cuts + 1]]
    ends = [*loud[cuts], loud[-1]]
    return [(int(start), int(end) + 1) for start, end in zip(starts, ends, strict=True)]


@pytest.mark.proves("field 12", "call.record_start(name, fmt)")
@pytest.mark.parametrize("transport", ["websocket", "rtp", "audiosocket"])
async def test_both_lanes_are_what_the_phone_sent_and_got_at_the_same_time(
    asterisk: PrivateAsterisk, tmp_path: Path, transport: str
) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.record_start("acme/call", sink=LocalFileSink(tmp_path))
        line = (await call._live.sound()).line
        await asyncio.sleep(0.3)
        line.play(noise(1.0, 1))
        await line.drained()
        line.play(noise(3.0, 2))
        await asyncio.sleep(0.7)
        heard = await line.flush()
        rig.results.append(heard)
        await asyncio.sleep(0.6)
        line.play(noise(0.5, 3))
        line.pause()
        await asyncio.sleep(0.4)
        line.resume()
        await line.drained()
        await asyncio.sleep(0.2)
        await call.hangup()

    async with running(asterisk, handler, media={"transport": transport}) as rig:
        async with rig.dialled() as call:
            await asyncio.sleep(0.8)
            call.play(noise(0.6, 4))
            await call.played()
            await asyncio.sleep(1.0)
            call.play(noise(0.5, 5))
            await call.ended(timeout=10)
            sent, got = (np.frombuffer(pcm, "<i2") for pcm in (call.sent_pcm(), call.received_pcm()))
        await rig.nothing_left()
    with wave.open(str(tmp_path / "acme" / "call.wav")) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, RATE)
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    left, right = runs(both[:, 0]), runs(both[:, 1])
    said, heard = runs(sent), runs(got)
    print(transport, "left", left, said, "right", right, heard)
    assert len(left) == len(said) == 2
    assert [end - start for start, end in left] == [end - start for start, end in said]
    # The second sound may follow the first without a hole.
    assert abs(sum(end - start for start, end in right) - sum(end - start for start, end in heard)) <= 2 * 160
    assert sum(end - start for start, end in right) == pytest.approx(rig.results[0] + RATE // 2, abs=2 * 160)
    late = [(ours[0] - theirs[0]) * 1000 / RATE for ours, theirs in zip(left, said, strict=True)]
    begun = [start for start, _ in heard]
    whole = [start for start, end in right if end - start > 160]  # a frame may go out as the pause begins
    early = [min(((start - at) * 1000 / RATE for at in begun), key=abs) for start in whole]
    print(transport, "caller's lane", late, "agent's lane", early, "ms against the phone's own clock")
    # Both lanes stand against the phone's clock alike; the way through Asterisk is a few frames.
    assert max(late) - min(late) <= 25
    assert max(late + early) - min(late + early) <= 120
