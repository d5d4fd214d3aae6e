"""Who has the floor, on a real call: paused at the first sign of speech, resumed where it stopped, or cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from app_rig import Rig, running

from voxtra import CallSession, EventType
from voxtra.media.resample import resample
from voxtra.speech import local
from voxtra.speech.intents import Intent, IntentLLM
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import PhoneCall

pytestmark = [pytest.mark.live, pytest.mark.local]

LONG = (
    "We are open from Monday to Friday, from nine in the morning until five in the afternoon. "
    "On Saturdays we close at noon."
)
QUIET = frozenset(b"\xff\xfe\xfd\x7f\x7e\x7d")
"""μ-law of what is nearly silence."""


@contextlib.asynccontextmanager
async def talking(asterisk: PrivateAsterisk, results: list[Any]) -> AsyncIterator[tuple[Rig, PhoneCall]]:
    """A call on which the agent says LONG, with the settings for telephones."""

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        results.append(await call.say(LONG))
        results.append(await call.listen(timeout=2))

    stack = local(IntentLLM({"any": Intent(["anything"], reply="Yes.")}))
    options = dict(zip(("stt", "tts", "vad", "llm"), stack, strict=True))
    async with running(asterisk, handler, turn_detection="pstn", **options) as rig, rig.dialled() as call:
        await call.voice()
        yield rig, call
        async with asyncio.timeout(25):
            await rig.finished.wait()


async def spoken(text: str) -> bytes:
    pcm, rate = b"", 0
    async for speech in local().tts.synthesize(text):
        pcm, rate = pcm + speech.pcm, speech.rate
    return resample(pcm, rate, 8000)


def cough() -> bytes:
    random = np.random.default_rng(3)
    bursts = []
    for length in (0.16, 0.22):
        size = int(8000 * length)
        burst = np.convolve(random.normal(0, 1, size), np.ones(3) / 3, "same")
        bursts += [burst * np.exp(-np.arange(size) / 400) * 12000, np.zeros(720)]
    pcm: bytes = np.concatenate(bursts).astype("<i2").tobytes()
    return pcm


def sound(call: PhoneCall) -> bytes:
    """All that was heard on the phone, silence left out, as it came over the wire."""
    voiced = [packet.payload for packet in call.received if not set(packet.payload) <= QUIET]
    return b"".join(voiced)


def gaps(call: PhoneCall, after: float) -> list[tuple[float, float]]:
    """(begin, length) in s of the silences of 100 ms and more."""
    times = [p.time for p in call.received if p.time >= after and not set(p.payload) <= QUIET]
    return [(a, b - a) for a, b in itertools.pairwise(times) if b - a > 0.1]


async def heard_whole(asterisk: PrivateAsterisk) -> bytes:
    """What the phone hears when nobody interrupts."""
    results: list[Any] = []
    async with talking(asterisk, results) as (_, call):
        async with asyncio.timeout(25):
            while not results:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        whole = sound(call)
    assert results[0].reason == "finished"
    return whole


@pytest.fixture(scope="module")
def reference(asterisk: PrivateAsterisk) -> bytes:
    return asyncio.run(heard_whole(asterisk))


async def test_nothing_but_a_backchannel(asterisk: PrivateAsterisk, reference: bytes) -> None:
    """ "Okay" over a statement: paused at once, resumed where it stopped, bit for bit; no turn, no barge-in."""
    results: list[Any] = []
    okay = await spoken("Okay.")
    async with talking(asterisk, results) as (rig, call):
        await asyncio.sleep(2)
        began = asyncio.get_running_loop().time()
        call.play(okay)
        async with asyncio.timeout(25):
            while not results:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        whole, holes = sound(call), gaps(call, began)
    said, turn = results
    assert said.reason == "finished"
    assert said.heard == LONG
    assert turn is None
    assert whole == reference
    kinds = rig.types()
    assert EventType.BARGE_IN not in kinds
    (false,) = [event for event in rig.events if event.type is EventType.FALSE_INTERRUPTION]
    assert false.data == {"reason": "backchannel", "stopped": False}
    paused = [(at - began, length) for at, length in holes if length > 0.4 and at - began < 1]
    assert paused, holes
    assert paused[0][0] < 0.5, "the first sign of speech, one frame of the detector, one of the line"


async def test_nothing_but_a_cough(asterisk: PrivateAsterisk, reference: bytes) -> None:
    results: list[Any] = []
    async with talking(asterisk, results) as (rig, call):
        await asyncio.sleep(2)
        call.play(cough())
        async with asyncio.timeout(25):
            while not results:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        whole = sound(call)
    assert (results[0].reason, results[1]) == ("finished", None)
    assert whole == reference
    assert EventType.BARGE_IN not in rig.types()


async def test_noise_on_the_line(asterisk: PrivateAsterisk, reference: bytes) -> None:
    results: list[Any] = []
    hiss = np.random.default_rng(1).normal(0, 900, 8000 * 6).astype("<i2").tobytes()
    async with talking(asterisk, results) as (rig, call):
        await asyncio.sleep(1)
        call.play(hiss)
        async with asyncio.timeout(25):
            while not results:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        whole = sound(call)
    assert (results[0].reason, results[1]) == ("finished", None)
    assert whole == reference
    assert EventType.BARGE_IN not in rig.types()


async def test_the_agents_own_sound_comes_back(asterisk: PrivateAsterisk, reference: bytes) -> None:
    """The phone returns what it hears, 12 dB weaker and 120 ms later, as a loudspeaker would."""
    from voxtra.media.codecs import ULaw

    results: list[Any] = []
    ulaw = ULaw()
    async with talking(asterisk, results) as (rig, call):
        seen = len(call.received)
        async with asyncio.timeout(25):
            while not results:
                fresh = [p for p in call.received[seen:] if p.time <= asyncio.get_running_loop().time() - 0.1]
                for packet in fresh:
                    pcm = np.frombuffer(ulaw.decode(packet.payload), "<i2") / 4
                    call.play(pcm.astype("<i2").tobytes())
                seen += len(fresh)
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        whole = sound(call)
    assert (results[0].reason, results[1]) == ("finished", None)
    assert whole == reference
    assert EventType.BARGE_IN not in rig.types()


async def test_a_real_interruption(asterisk: PrivateAsterisk, reference: bytes) -> None:
    results: list[Any] = []
    words = await spoken("Sorry, where are you located?")
    async with talking(asterisk, results) as (rig, call):
        await asyncio.sleep(2)
        began = asyncio.get_running_loop().time()
        call.play(words)
        silent = await call.silence(after=began)
        async with asyncio.timeout(25):
            while len(results) < 2:
                await asyncio.sleep(0.05)
        cut = sound(call)
    said, turn = results
    assert said.reason == "interrupted"
    assert 0 < len(said.heard) < len(LONG)
    assert turn is not None
    assert "located" in turn.text.lower()
    assert reference.startswith(cut), "nothing was heard twice, nothing left out"
    assert silent - began < 0.7
    assert rig.types().count(EventType.BARGE_IN) == 1
    assert EventType.FALSE_INTERRUPTION not in rig.types()
