"""One recording over all the states of a call, against tones and noise that real phones sent."""

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
from voxtra.testing.phone import Phone

pytestmark = pytest.mark.live

RATE = 8000
Sound = npt.NDArray[np.int16]


def tone(hz: float, seconds: float) -> bytes:
    wave = 9000 * np.sin(2 * np.pi * hz * np.arange(int(RATE * seconds)) / RATE)
    return wave.astype("<i2").tobytes()


def heard(track: Sound, hz: float) -> list[tuple[float, float]]:
    """(begin, end) in s of where this tone is; holes under 60 ms don't count."""
    block = 80
    samples = track[: len(track) // block * block].astype(float).reshape(-1, block)
    turn = np.exp(-2j * np.pi * hz * np.arange(block) / RATE)
    there = np.flatnonzero(np.abs((samples * turn).mean(axis=1)) * 2 > 4000)
    if not len(there):
        return []
    cuts = np.flatnonzero(np.diff(there) > 6)
    starts, ends = [there[0], *there[cuts + 1]], [*there[cuts], there[-1]]
    return [
        (first * block / RATE, (last + 1) * block / RATE) for first, last in zip(starts, ends, strict=True)
    ]


def read(path: Path) -> tuple[Sound, Sound]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, RATE)
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    return both[:, 0], both[:, 1]


def near(found: list[tuple[float, float]], told: list[tuple[float, float]], slack: float = 0.25) -> bool:
    """The same stretches: as long to 60 ms, begun within ``slack`` s after they were sent."""
    return len(found) == len(told) and all(
        -0.1 <= ours[0] - theirs[0] <= slack and abs((ours[1] - ours[0]) - (theirs[1] - theirs[0])) <= 0.06
        for ours, theirs in zip(found, told, strict=True)
    )


class Diary:
    """When which tone was sent, on the recording's own clock."""

    def __init__(self, call: CallSession) -> None:
        assert call.recording is not None
        self.stereo = call.recording.stereo
        self.told: dict[float, list[tuple[float, float]]] = {}

    def note(self, hz: float, seconds: float) -> None:
        now = self.stereo.now_ms / 1000
        self.told.setdefault(hz, []).append((now, now + seconds))


CALLER, AGENT, OURS = 500.0, 900.0, 1300.0


@pytest.mark.parametrize("source", ["auto", "asterisk"])
async def test_one_recording_goes_on_over_bridge_hold_conference_and_back(
    asterisk: PrivateAsterisk, tmp_path: Path, source: str
) -> None:
    arranged = asyncio.Event()

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await arranged.wait()
        caller, agent_phone = rig.results
        assert await call.record_start("moves", sink=LocalFileSink(tmp_path), source=source) == "moves"
        diary = Diary(call)
        rig.results.append(diary)

        async def both(other: object = None, seconds: float = 0.6) -> None:
            await asyncio.sleep(0.2)
            caller.play(tone(CALLER, seconds))
            diary.note(CALLER, seconds)
            await asyncio.sleep(seconds + 0.3)
            if other is not None:
                other.play(tone(AGENT, seconds))  # type: ignore[attr-defined]
                diary.note(AGENT, seconds)
                await asyncio.sleep(seconds + 0.3)

        line = (await call._live.sound()).line
        await both()
        line.play(tone(OURS, 0.6))
        diary.note(OURS, 0.6)
        await line.drained()
        await asyncio.sleep(0.3)
        # bridged
        placing = asyncio.ensure_future(rig.app.originate("PJSIP/phone2"))
        theirs = await agent_phone.incoming()
        theirs.answer()
        other = await placing
        await call.bridge_with(other)
        await both(theirs)
        await call.unbridge()
        await both()
        await call.bridge_with(other)
        await both(theirs)
        await call.unbridge()
        # H await call.hold()
        await asyncio.sleep(1)
        # H await call.unhold()
        await both()
        print(
            "STATE",
            line.closed.done(),
            call._live.media.joined,
            line.paused,
            line is call._live.media.line,
            line.heard,
            line.queued,
        )
        # P await call.play_file("beep")
        line.play(tone(OURS, 0.6))
        diary.note(OURS, 0.6)
        await line.drained()
        await asyncio.sleep(0.3)
        assert await call.record_stop() == "moves"
        await other.hangup()

    async with running(asterisk, handler) as rig:
        async with Phone(
            (asterisk.sip_host, asterisk.sip_port), user="phone2", password=asterisk.phones["phone2"]
        ) as agent:
            await agent.register()
            async with rig.dialled() as caller:
                rig.results += [caller, agent]
                arranged.set()
                await caller.ended(40)
        await rig.nothing_left()
        assert [e for e in await rig.app.ari.recordings.list_stored() if e.name.startswith("vx-")] == []
    left, right = read(tmp_path / "moves.wav")
    told = rig.results[2].told
    print(
        "RMS",
        [
            (i / 10, int(np.abs(right[i * 800 : i * 800 + 800].astype(int)).mean()))
            for i in range(len(right) // 800)
            if i > 30
        ],
    )
    for hz, track, name in ((CALLER, left, "left"), (AGENT, right, "right"), (OURS, right, "right")):
        print(source, name, hz, [(round(a, 3), round(b, 3)) for a, b in heard(track, hz)])
        print("   told", [(round(a, 3), round(b, 3)) for a, b in told[hz]])
    assert near(heard(left, CALLER), told[CALLER])
    assert near(heard(right, AGENT), told[AGENT])
    assert near(heard(right, OURS), told[OURS])
    assert heard(left, AGENT) == heard(left, OURS) == heard(right, CALLER) == []
