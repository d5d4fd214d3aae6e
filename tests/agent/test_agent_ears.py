from __future__ import annotations

import asyncio
from array import array
from random import Random
from typing import Any

import pytest
from agent_fakes import HandLine, breathe
from agent_hearing import Caller, FakeSTT, FakeVAD

from voxtra.agent.ears import Ears
from voxtra.errors import STTError
from voxtra.speech.base import Transcript
from voxtra.turns import TurnDetection, TurnDropped, TurnEnded, TurnMachine
from voxtra.turns.echo import EchoGuard


class Heard:
    """Ears, and what came of them."""

    def __init__(self, stt: FakeSTT | None, echo: EchoGuard | None = None, **settings: Any) -> None:
        self.guard = echo
        self.line = HandLine()
        self.caller = Caller(self.line)
        self.vad = FakeVAD()
        self.decisions: list[Any] = []
        self.partials: list[str] = []
        self.errors: list[Exception] = []
        settings = {
            "response_min_speech_ms": 200,
            "commit_min_interval_ms": 0,
            "min_speech_ms": 160,
            **settings,
        }
        self.machine = TurnMachine(TurnDetection(**settings))
        self.ears = Ears(
            self.line,
            self.machine,
            self.vad,
            stt,
            decide=lambda decision, now: self.decisions.append(decision),
            partial=lambda transcript: self.partials.append(transcript.text),
            failed=self.errors.append,
            echo=echo,
        )

    def act_audible(self, audible: bool) -> None:
        now = self.caller.now * 1000
        self.ears.act(self.machine.agent_audible(audible, now), now)

    def names(self) -> list[str]:
        return [type(decision).__name__ for decision in self.decisions]


async def test_a_turn_from_the_first_frame_to_its_words() -> None:
    stt = FakeSTT("hello there")
    heard = Heard(stt)
    heard.caller.quiet(200)
    heard.caller.say(400)
    (stream,) = stt.streams
    assert heard.names() == ["SpeechStarted", "SpeechPaused", "TurnEnded"]
    assert heard.decisions[-1].text == "hello there"
    assert stream.log == ["started", "stopped", "next"]
    assert stream.pushed == 640 * (200 + 400 + 700) // 20, "the recogniser gets every frame"
    await heard.ears.close()


async def test_the_recogniser_has_the_frame_before_it_is_asked_about_it() -> None:
    stt = FakeSTT()
    heard = Heard(stt)
    pushed: list[int] = []
    stream = stt.streams[0]
    stream.speech_started = lambda: pushed.append(stream.pushed)  # type: ignore[method-assign]
    heard.caller.speak(20)
    assert pushed == [640]
    await heard.ears.close()


async def test_a_pause_and_more_words() -> None:
    stt = FakeSTT("I would like")
    heard = Heard(stt)
    heard.caller.speak(400)
    heard.caller.quiet(300)
    stt.words = ["I would like a table"]
    heard.caller.speak(400)
    heard.caller.quiet(700)
    assert heard.names() == ["SpeechStarted", "SpeechPaused", "SpeechResumed", "SpeechPaused", "TurnEnded"]
    assert heard.decisions[-1].text == "I would like a table"
    assert stt.streams[0].log == ["started", "stopped", "started", "stopped", "next"]
    await heard.ears.close()


async def test_noise_is_no_turn_and_the_recogniser_forgets_it() -> None:
    stt = FakeSTT("uh")
    heard = Heard(stt)
    heard.caller.say(60)
    assert isinstance(heard.decisions[-1], TurnDropped)
    assert stt.streams[0].log[-1] == "next"
    await heard.ears.close()


async def test_partials_are_passed_on_and_empty_ones_are_not() -> None:
    stt = FakeSTT("all of it", slow=True)
    heard = Heard(stt)
    heard.caller.speak()
    stream = stt.streams[0]
    for text in ("all", "", "all of"):
        stream.on_transcript(Transcript(text))
    heard.caller.quiet()
    assert heard.names()[-1] == "SpeechPaused", "the turn waits for its words"
    stream.on_transcript(Transcript("all of it", is_final=True))
    assert heard.partials == ["all", "all of"]
    assert isinstance(heard.decisions[-1], TurnEnded)
    await heard.ears.close()


async def test_an_error_of_the_recogniser_is_passed_on_and_the_turn_goes_by_what_is_there() -> None:
    stt = FakeSTT(slow=True)
    heard = Heard(stt)
    heard.caller.speak()
    stt.streams[0].on_transcript(Transcript("hello"))
    stt.streams[0].on_error(STTError("503"))
    heard.caller.quiet(5000)
    assert [str(error) for error in heard.errors] == ["503"]
    assert heard.ears.broken is None
    assert heard.decisions[-1].text == "hello"
    await heard.ears.close()


async def test_frames_that_stop_in_mid_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is put on hold: no frame comes, and yet the turn ends."""
    monkeypatch.setattr("voxtra.agent.ears.TICK_S", 0.02)
    stt = FakeSTT("hello")
    heard = Heard(stt, silence_threshold_ms=200)
    heard.caller.speak(400)
    async with asyncio.timeout(5):
        while heard.machine.speaking:
            await asyncio.sleep(0.01)
    assert heard.decisions[-1].text == "hello"
    await asyncio.sleep(0.05)
    assert heard.ears._timer is None, "nothing ticks while nobody speaks"
    await heard.ears.close()


async def test_closed_it_hears_and_ticks_no_more() -> None:
    stt = FakeSTT("hello")
    heard = Heard(stt)
    heard.caller.speak()
    await heard.ears.close()
    await heard.ears.close()
    before = len(heard.decisions)
    heard.caller.quiet()
    await breathe()
    assert len(heard.decisions) == before
    assert heard.ears._timer is None
    assert stt.streams[0].closed == 1


async def test_without_a_recogniser_it_still_notices_speech() -> None:
    heard = Heard(None)
    heard.caller.speak()
    assert heard.names() == ["SpeechStarted"]
    await heard.ears.close()


async def test_a_detector_that_fails_is_reported_once() -> None:
    heard = Heard(FakeSTT("hello"))
    heard.vad.fails = True
    heard.line._receive(bytes(640 * 5))
    assert [str(error) for error in heard.errors] == [
        "the caller can't be heard: ValueError: a flaw in the detector"
    ]
    assert heard.ears.broken is heard.errors[0]
    await heard.ears.close()


async def test_the_agents_echo_is_no_speech_and_a_caller_is() -> None:
    """What is played on the line comes back 120 ms later, 12 dB weaker; then somebody speaks."""

    def wave(level: float, seed: int) -> bytes:
        random = Random(seed)
        return array("h", [int(random.uniform(-1, 1) * level) for _ in range(320)]).tobytes()

    random = Random(5)
    loud = [0.0 if n % 25 > 18 else random.choice((1500.0, 4000.0, 9000.0)) for n in range(200)]
    stt = FakeSTT("stop")
    heard = Heard(stt, echo=EchoGuard())
    heard.line.play(b"".join(wave(level, n) for n, level in enumerate(loud)))
    heard.act_audible(True)
    for n in range(150):
        echo = loud[n - 6] / 4 if n >= 6 else 0.0
        heard.caller.sound(wave(echo, n) if echo else bytes(640), 20)
    assert heard.names() == [], "its own sound"
    assert heard.guard is not None
    assert heard.guard.coupling is not None
    assert heard.guard.coupling.delay_ms == 120
    heard.caller.sound(wave(28000, 1), 400)
    assert "BargeIn" in heard.names()
    await heard.ears.close()
    heard.line.play(bytes(640))
    assert not heard.line._player.observers


async def test_sound_from_before_the_speech_is_kept_as_it_is_set() -> None:
    stt = FakeSTT("hello")
    heard = Heard(stt, prefix_padding_ms=120)
    kept = stt.streams[0].kept
    assert kept == [120]
    heard.ears.use(TurnDetection(prefix_padding_ms=500, silence_threshold_ms=900))
    assert kept == [120, 500]
    heard.caller.say(800)
    assert "TurnEnded" not in heard.names(), "the new threshold holds"
    heard.caller.quiet(300)
    assert heard.decisions[-1].text == "hello"
    await heard.ears.close()
