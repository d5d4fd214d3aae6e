"""The agent never interrupts itself on an echoing line, and a caller still can."""

from __future__ import annotations

import asyncio
import itertools
import random

import numpy as np
import pytest
from turns_echo_line import Sound, play

from voxtra.media.resample import resample
from voxtra.speech.base import VAD
from voxtra.turns import LISTENING, BargeIn, Duck, TurnDetection
from voxtra.turns.echo import DELAYS, SHORTEST, SILENT, EchoGuard, levels_of, overlap
from voxtra.turns.endpoint import plain

# -- by levels


def speech(seconds: float, seed: int) -> list[float]:
    """Levels like those of somebody who speaks: syllables, and breath between phrases."""
    rng = random.Random(seed)
    levels: list[float] = []
    while len(levels) < seconds * 50:
        for _ in range(rng.randint(3, 9)):
            top = rng.uniform(-26, -14)
            length = rng.randint(5, 12)
            levels += [top - 22 * abs(2 * n / length - 1) ** 2 for n in range(length)]
        levels += [SILENT] * rng.randint(8, 25)
    return levels[: int(seconds * 50)]


class Line:
    """A guard, and what comes back of what is sent."""

    def __init__(self, gain: float | None = -12.0, delay: int = 6, noise: float = -65.0) -> None:
        self.guard = EchoGuard()
        self.gain, self.delay, self.noise = gain, delay, noise
        self.sent = [SILENT] * 60
        self.now = 0.0

    def run(self, agent: list[float], caller: list[float] | None = None) -> list[bool]:
        """For each frame, whether speech got through."""
        self.guard.played(agent)
        return [self.frame(level, (caller or [SILENT] * len(agent))[n]) for n, level in enumerate(agent)]

    def frame(self, sent: float, caller: float) -> bool:
        self.now += 20
        self.sent.append(sent)
        echo = SILENT if self.gain is None else self.sent[-1 - self.delay] + self.gain
        level = max(echo, caller, self.noise)
        speaks = max(echo, caller) > self.noise + 3
        return self.guard.hear(0.95 if speaks else 0.05, level, self.now) >= 0.5


@pytest.mark.parametrize("gain", [-6.0, -12.0, -20.0, -30.0])
@pytest.mark.parametrize("delay", [2, 6, 15])
def test_gain_and_delay_are_learned(gain, delay):
    line = Line(gain, delay)
    through = line.run(speech(4, 1))
    coupling = line.guard.coupling
    assert coupling is not None
    assert coupling.gain_db == pytest.approx(gain, abs=2)
    assert coupling.delay_ms == pytest.approx(delay * 20, abs=20)
    assert sum(through) == 0
    assert line.guard.suppressed > 20


@pytest.mark.parametrize("delay", [2, 6, 15])
def test_echo_is_told_from_its_first_syllable(delay):
    line = Line(-8.0, delay)
    assert sum(line.run(speech(0.5, 3))) == 0, "nothing is known yet, and nothing gets through"


@pytest.mark.parametrize("gain", [None, -6.0, -12.0, -20.0, -30.0])
def test_a_caller_gets_through(gain):
    line = Line(gain)
    line.run(speech(3, 1))
    through = line.run(speech(1.5, 2), speech(1.5, 5))
    assert sum(through) * 20 >= 300, "enough for a barge-in in a second and a half"


def test_a_line_that_returns_nothing_lets_the_first_frame_through():
    line = Line(None)
    line.run(speech(2, 1))
    assert line.guard.clean
    assert line.frame(-20.0, -25.0)


def test_a_pause_of_the_agent_ends_its_echo():
    line = Line(-6.0)
    line.run(speech(3, 1))
    line.guard.played(speech(3, 2))
    line.guard.paused()
    through = [line.frame(SILENT, -24.0) for _ in range(40)]
    assert not through[0]
    assert all(through[20:]), "what goes on 400 ms later is no echo"
    assert len(line.guard._queue) == 150, "what is paused is not played"
    line.guard.resumed()
    line.frame(-20.0, SILENT)
    assert len(line.guard._queue) == 149
    line.guard.flushed()
    assert not line.guard._queue


def test_an_echo_that_ends_is_forgotten():
    line = Line(-10.0)
    line.run(speech(3, 1))
    assert line.guard.coupling is not None
    line.gain = None
    line.run(speech(6, 2))
    assert line.guard.coupling is None


def test_a_handset_turned_into_a_loudspeaker():
    line = Line(-30.0, 4)
    line.run(speech(4, 1))
    line.gain, line.delay = -10.0, 10
    line.run(speech(4, 2))
    assert sum(line.run(speech(4, 3))) <= 5
    assert line.guard.coupling is not None
    assert line.guard.coupling.gain_db == pytest.approx(-10, abs=3)


def test_voices_in_the_background_are_not_the_caller():
    """Steady talk, 18 dB below the agent: there before the agent speaks, there while it does."""
    rng = random.Random(4)
    babble = [-38 + rng.uniform(-5, 5) for _ in range(300)]
    line = Line(None)
    assert sum(line.run(speech(6, 1), babble)) <= 3
    talk = speech(1.5, 2)
    assert sum(line.run(speech(1.5, 3), [max(a, b) for a, b in zip(talk, babble, strict=False)])) >= 15


def test_frames_that_do_not_come_are_silence():
    line = Line(None)
    line.guard.played(speech(3, 1))
    line.frame(SILENT, SILENT)
    line.now += 2000
    assert line.guard.hear(0.9, -20.0, line.now) == 0.9, "two seconds without an echo: there is none"
    assert len(line.guard._queue) < 80


def test_without_the_agent_nothing_is_asked():
    guard = EchoGuard()
    for number in range(200):
        assert guard.hear(0.7, -30.0, number * 20.0) == 0.7


def test_levels():
    loud = np.full(160, 16384, "<i2").tobytes()
    assert levels_of(loud + bytes(320) + b"\0\0", 320) == [pytest.approx(-6.02, abs=0.01), SILENT]
    assert SHORTEST > DELAYS


# -- by words

SAID = (
    "We are open from Monday to Friday, from nine in the morning until five. Would you like a table for four?"
)


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("open from Monday to Friday", True),
        ("from nine in the morning until five", True),
        ("we are open from monday to freddy from nine", True),
        ("for four", False),
        ("Monday", False),
        ("I would like a table for two tomorrow", False),
        ("are you open on Sunday", False),
        ("", False),
    ],
)
def test_words_that_are_nearly_the_agents_own(text, own):
    guard = EchoGuard()
    assert guard.is_own(text, SAID) == own


def test_on_a_clean_line_who_repeats_the_agent_is_the_caller():
    line = Line(None)
    line.run(speech(2, 1))
    assert not line.guard.is_own("open from Monday to Friday", SAID)


def test_on_an_echoing_line_two_words_are_enough():
    line = Line(-10.0)
    line.run(speech(3, 1))
    assert line.guard.is_own("Monday to", SAID)
    assert not line.guard.is_own("Monday", SAID), "one is an answer"


def test_overlap_wants_order():
    assert overlap(plain("friday to monday from open"), plain(SAID), least=2) < 0.75


# -- by ear

TEXT = "Welcome to Acme. We are open from Monday to Friday, from nine in the morning until five in the afternoon."
CALLERS = (
    "Sorry, where are you located?",
    "Wait a moment, I have a question.",
    "No no, that is not what I meant.",
)
CASES = list(itertools.product((-6, -12, -18, -24, -30, -40), (40, 120, 200, 300)))


def voice(text: str, pitch: float = 1.0) -> Sound:
    from voxtra.speech.hibari import HibariTTS

    async def made() -> bytes:
        pcm = b""
        async for piece in HibariTTS(speed=1 / pitch).synthesize(text):
            pcm += resample(piece.pcm, int(piece.rate * pitch) // 100 * 100, 8000)
        return pcm

    return np.frombuffer(asyncio.run(made()), "<i2").astype(np.float32)


@pytest.fixture(scope="module")
def voices() -> list[Sound]:
    return [
        voice(TEXT),
        *(voice(text, pitch) for text, pitch in zip(CALLERS, (0.88, 1.0, 1.14), strict=True)),
    ]


@pytest.fixture(scope="module", params=["silero", "webrtc"])
def vad(request: pytest.FixtureRequest) -> VAD:
    from voxtra.speech.silero import SileroVAD
    from voxtra.speech.webrtc import WebRTCVAD

    return SileroVAD() if request.param == "silero" else WebRTCVAD()


@pytest.mark.proves("field 3")
@pytest.mark.local
@pytest.mark.parametrize("settings", [LISTENING, TurnDetection.preset("pstn")], ids=["default", "pstn"])
def test_the_agent_does_not_interrupt_itself(voices: list[Sound], vad: VAD, settings: TurnDetection) -> None:
    """24 lines, 6 to 40 dB and 40 to 300 ms. Without the guard most of them cut the agent off."""
    bare, guarded = 0, 0
    for echo_db, delay_ms in CASES:
        for guard in (False, True):
            log = play(
                voices[0], None, vad, echo_db=echo_db, delay_ms=delay_ms, guarded=guard, settings=settings
            )
            hit = any(isinstance(decision, Duck | BargeIn) for _, decision in log)
            bare, guarded = bare + (hit and not guard), guarded + (hit and guard)
            if guard:
                assert not any(isinstance(decision, BargeIn) for _, decision in log), (echo_db, delay_ms)
    assert bare >= 16
    assert guarded <= 2, "at most a hiccup"


@pytest.mark.proves("field 3")
@pytest.mark.local
@pytest.mark.parametrize("echo_db", [None, -6, -12, -20, -30])
def test_a_caller_interrupts_over_an_echo(voices: list[Sound], vad: VAD, echo_db: float | None) -> None:
    for number, (delay_ms, at) in enumerate(itertools.product((60, 160, 300), (1500, 2900))):
        caller = voices[1 + number % 3]
        log = play(voices[0], caller, vad, echo_db=echo_db, delay_ms=delay_ms, caller_at_ms=at)
        barged = [when for when, decision in log if isinstance(decision, BargeIn)]
        assert barged, (echo_db, delay_ms, at)
        assert at < barged[0] <= at + 1200
