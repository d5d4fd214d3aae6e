"""A model is asked at each pause of the caller, in time or not at all."""

from __future__ import annotations

import asyncio
import logging

import pytest
from agent_fakes import HandLine, breathe
from agent_hearing import Caller, FakeSTT, FakeVAD

from voxtra.agent.ears import Ears
from voxtra.agent.hearing_out import HearingOut
from voxtra.errors import ProviderError
from voxtra.speech.base import EndOfTurnModel
from voxtra.turns import LISTENING, SpeechPaused, SpeechStarted, TurnEnded, TurnExtended, TurnMachine


class Asked(EndOfTurnModel):
    """Answers with what it is given, in order; an event holds it back."""

    name = "asked"
    window_s = 2.0

    def __init__(self, *answers: float | Exception | asyncio.Event) -> None:
        self.answers = list(answers)
        self.sounds: list[bytes] = []
        self.cancelled = 0

    async def finished(self, pcm: bytes, rate: int) -> float:
        assert rate == 16000
        self.sounds.append(pcm)
        answer = self.answers.pop(0) if self.answers else 0.5
        if isinstance(answer, asyncio.Event):
            try:
                await answer.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            return 0.0
        if isinstance(answer, Exception):
            raise answer
        return answer


class Heard:
    def __init__(self, model: Asked, *words: str) -> None:
        self.line = HandLine()
        self.caller = Caller(self.line)
        self.decisions: list[object] = []
        self.machine = TurnMachine(LISTENING)
        self.ears = Ears(
            self.line,
            self.machine,
            FakeVAD(),
            FakeSTT(*words),
            decide=lambda decision, now: self.decisions.append(decision),
            partial=lambda transcript: None,
            failed=lambda error: None,
            end_of_turn=model,
        )

    async def quiet(self, ms: int) -> None:
        for _ in range(ms // 20):
            self.caller.quiet(20)
            await breathe()

    def ended(self) -> list[TurnEnded]:
        return [each for each in self.decisions if isinstance(each, TurnEnded)]


async def test_what_sounds_unfinished_is_waited_for() -> None:
    heard = Heard(Asked(0.05), "I went to the")
    heard.caller.speak(1000)
    await heard.quiet(1100)
    assert any(isinstance(each, TurnExtended) for each in heard.decisions)
    assert not heard.ended()
    await heard.quiet(120)
    assert [turn.why for turn in heard.ended()] == ["sounds unfinished"]
    await heard.ears.close()


async def test_it_hears_the_turn_with_its_beginning_and_its_pause() -> None:
    model = Asked()
    heard = Heard(model, "well", "well then")
    heard.caller.quiet(1000)
    heard.caller.speak(400)
    await heard.quiet(220)
    heard.caller.speak(300)
    await heard.quiet(220)
    frames = [len(sound) // 640 for sound in model.sounds]
    before = LISTENING.prefix_padding_ms // 20
    assert [abs(frames[0] - before - 20 - 10) <= 2, abs(frames[1] - frames[0] - 26) <= 2] == [True, True], (
        frames
    )
    await heard.quiet(600)
    heard.caller.speak(3000)
    await heard.quiet(220)
    assert len(model.sounds[-1]) == 100 * 640  # its window
    await heard.ears.close()


async def test_who_goes_on_is_not_waited_for_by_an_older_answer() -> None:
    held = asyncio.Event()
    model = Asked(held, 0.99)
    heard = Heard(model, "one two")
    heard.caller.speak(500)
    await heard.quiet(220)
    heard.caller.speak(300)
    held.set()
    await breathe()
    assert model.cancelled == 1
    await heard.quiet(520)
    assert [turn.text for turn in heard.ended()] == ["one two"]
    await heard.ears.close()


async def test_failures_and_slowness_change_nothing_and_are_told_once(caplog, monkeypatch) -> None:
    monkeypatch.setattr("voxtra.agent.hearing_out.ASK_S", 0.01)
    model = Asked(ProviderError("no such luck"), asyncio.Event(), ProviderError("again"))
    heard = Heard(model, "one", "two", "three")
    for _ in range(3):
        heard.caller.speak(500)
        await heard.quiet(240)
        await asyncio.sleep(0.02)
        await heard.quiet(300)
    assert [turn.text for turn in heard.ended()] == ["one", "two", "three"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "no such luck" in caplog.text
    await heard.ears.close()


async def test_closing_ends_the_question() -> None:
    model = Asked(asyncio.Event())
    heard = Heard(model)
    heard.caller.speak(500)
    await heard.quiet(220)
    await heard.ears.close()
    assert model.cancelled == 1


@pytest.mark.parametrize("ms", [0, 300])
async def test_silence_before_a_turn_is_not_kept(ms: int) -> None:
    model = Asked()
    out = HearingOut(model, 16000, lambda probability: None)
    out.keep_before(ms)
    for _ in range(500):
        out.push(bytes(640))
    out.decided(SpeechStarted(0))
    out.decided(SpeechPaused(0))
    await breathe()
    assert len(model.sounds[0]) == ms // 20 * 640
    await out.close()
