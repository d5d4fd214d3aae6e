from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agent_fakes import FakeLLM, FakeTTS, HandLine, breathe
from agent_hearing import Caller, FakeSTT, FakeVAD

from voxtra.agent.client import AgentClient
from voxtra.agent.pipeline import MAX_TURNS, SpeechSetup, VoicePipeline
from voxtra.errors import PipelineError, PipelineNotConfiguredError, STTError, TTSError
from voxtra.events import EventType, VoxtraEvent
from voxtra.speech.base import LLM, Transcript
from voxtra.turns import TurnDetection

TURNS = TurnDetection(
    response_min_speech_ms=200, commit_min_interval_ms=0, min_speech_ms=160, barge_confirm_ms=200
)
LONG = "one two three four five six seven eight nine ten"


class Call:
    """A pipeline on a line driven by hand, the caller, and all events."""

    def __init__(self, *words: str, tts: Any = "own", slow: bool = False, llm: LLM | None = None) -> None:
        self.line = HandLine()
        self.caller = Caller(self.line)
        self.stt = FakeSTT(*words, slow=slow)
        self.vad = FakeVAD()
        self.tts = FakeTTS() if tts == "own" else tts
        self.events: list[VoxtraEvent] = []
        self.agent = AgentClient(llm, emit=self.events.append)
        self.pipeline = VoicePipeline(
            self.line,
            SpeechSetup(stt=self.stt, tts=self.tts, vad=self.vad),
            self.agent,
            turns=TURNS,
            emit=self.events.append,
        )

    def types(self) -> list[str]:
        return [str(event.type) for event in self.events]

    def say(self, text: str, **options: Any) -> asyncio.Task[Any]:
        return asyncio.ensure_future(self.pipeline.say(text, **options))

    def listen(self, timeout: float | None = 5.0) -> asyncio.Task[Any]:
        return asyncio.ensure_future(self.pipeline.listen(timeout))

    async def end(self) -> None:
        await self.line.close()
        await self.pipeline.close()
        await self.pipeline.close()


# ---- listening


async def test_a_turn_is_what_listen_gives() -> None:
    call = Call("hello there")
    listening = call.listen()
    await breathe()
    call.caller.say()
    heard = await listening
    assert (heard.text, heard.confidence, heard.is_final) == ("hello there", 0.9, True)
    assert "there" in heard
    assert call.types() == ["user.speech.started", "user.speech.ended", "user.transcript", "turn.ended"]
    await call.end()


async def test_nobody_speaks() -> None:
    call = Call()
    assert await call.pipeline.listen(0.02) is None
    assert await call.pipeline.listen(0) is None
    assert await call.pipeline.listen(-1) is None
    await call.end()


async def test_who_has_begun_is_heard_to_the_end_however_long_it_takes() -> None:
    call = Call("a long story")
    listening = call.listen(0.05)
    await breathe()
    call.caller.speak(200)
    await asyncio.sleep(0.12)
    assert not listening.done()
    call.caller.say(5000)
    assert (await listening).text == "a long story"
    await call.end()


async def test_noise_does_not_lengthen_the_wait_for_ever() -> None:
    call = Call("uh")
    listening = call.listen(0.05)
    await breathe()
    call.caller.speak(60)
    await asyncio.sleep(0.1)
    assert not listening.done()
    call.caller.quiet()
    assert await asyncio.wait_for(listening, 1) is None
    await call.end()


async def test_turns_wait_for_listen_in_order_and_bounded() -> None:
    call = Call(*(f"turn {number}" for number in range(MAX_TURNS + 4)))
    for _ in range(MAX_TURNS + 4):
        call.caller.now = call.line._loop.time()
        call.caller.say()
    texts = [(await call.pipeline.listen(0)).text for _ in range(MAX_TURNS)]  # type: ignore[union-attr]
    assert texts == [f"turn {number}" for number in range(4, MAX_TURNS + 4)]
    assert await call.pipeline.listen(0) is None
    await call.end()


@pytest.mark.proves("failure 12")
async def test_what_was_said_long_ago_is_no_answer() -> None:
    call = Call("stale", "fresh")
    call.caller.now -= 60
    call.caller.say()
    call.caller.now = call.line._loop.time() - 1
    call.caller.say()
    heard = await call.pipeline.listen(0.02)
    assert heard is not None
    assert heard.text == "fresh"
    await call.end()


@pytest.mark.proves("failure 8")
@pytest.mark.parametrize("way", ["line", "pipeline"])
async def test_the_end_of_the_line_ends_it(way: str) -> None:
    call = Call()
    listening = call.listen(None)
    speaking = call.say(LONG)
    await breathe()
    call.caller.speak(100)
    call.line.lose("hangup")
    assert await asyncio.wait_for(listening, 1) is None
    assert (await asyncio.wait_for(speaking, 1)).reason == "hangup"
    assert await call.pipeline.listen(None) is None
    assert (await call.pipeline.say("more")).reason == "hangup"
    await call.end()


async def test_two_listen_at_once_and_each_turn_is_given_once() -> None:
    call = Call("first", "second")
    one, two = call.listen(), call.listen()
    await breathe()
    call.caller.say()
    await breathe()
    assert {one.done(), two.done()} == {True, False}
    call.caller.say()
    assert {(await one).text, (await two).text} == {"first", "second"}
    await call.end()


@pytest.mark.proves("user.transcript.partial", "call.listen(): only finals")
async def test_partials_are_told_and_listen_waits_for_the_whole() -> None:
    call = Call("hello there", slow=True)
    listening = call.listen()
    await breathe()
    call.caller.speak()
    stream = call.stt.streams[0]
    stream.on_transcript(Transcript("hello"))
    call.caller.quiet()
    await breathe()
    assert not listening.done()
    stream.on_transcript(Transcript("hello there", is_final=True))
    assert (await listening).text == "hello there"
    partial = next(event for event in call.events if event.type is EventType.USER_TRANSCRIPT_PARTIAL)
    assert (partial.text, partial.is_final) == ("hello", False)  # type: ignore[attr-defined]
    await call.end()


async def test_a_recogniser_that_fails_is_told_and_the_call_goes_on() -> None:
    call = Call("hello", slow=True)
    listening = call.listen()
    await breathe()
    call.stt.streams[0].on_error(STTError("503 busy"))
    call.caller.speak()
    call.stt.streams[0].on_transcript(Transcript("hello", is_final=False))
    call.caller.quiet(5000)
    assert (await listening).text == "hello"
    error = next(event for event in call.events if event.type is EventType.ERROR)
    assert (error.error_type, error.message) == ("STTError", "503 busy")  # type: ignore[attr-defined]
    await call.end()


async def test_a_detector_with_a_flaw_ends_the_wait() -> None:
    call = Call()
    listening = call.listen(None)
    await breathe()
    call.vad.fails = True
    call.line._receive(bytes(640))
    for waiting in (listening, call.pipeline.listen(None)):
        with pytest.raises(PipelineError, match="a flaw in the detector"):
            await asyncio.wait_for(waiting, 1)
    assert call.types() == ["error"]
    await call.end()


async def test_parts_that_are_missing() -> None:
    line = HandLine()
    pipeline = VoicePipeline(line, SpeechSetup(), AgentClient(None), turns=TURNS, emit=lambda event: None)
    with pytest.raises(PipelineNotConfiguredError, match="stt="):
        await pipeline.listen(1)
    with pytest.raises(RuntimeError, match="tts="):
        await pipeline.say("hello")
    await pipeline.close()


# ---- cutting in


async def test_a_caller_cuts_in() -> None:
    call = Call("wait a moment")
    speaking = call.say(LONG)
    await call.line.play_ms(300)
    assert call.pipeline.speaking
    listening = call.listen()
    call.caller.speak(100)
    assert call.line.paused, "ducked at the first sound"
    sent = len(call.line.wire)
    call.caller.speak(100)
    assert call.line.paused, "not one more frame before the flush"
    await breathe()
    assert not call.line.paused
    call.line.tick()
    assert not any(any(frame) for frame in call.line.wire[sent:])
    result = await asyncio.wait_for(speaking, 1)
    assert result.reason == "interrupted"
    assert result.heard == "one two three"
    assert call.line.queued == call.line.heard
    call.caller.speak(200)
    call.caller.quiet()
    assert (await listening).text == "wait a moment"
    assert call.events[-1].data["interrupted"] is True
    assert call.types().count("barge_in") == 1
    await call.end()


@pytest.mark.proves("field 2")
async def test_a_cough_does_not_cut_in() -> None:
    call = Call()
    speaking = call.say(LONG)
    await call.line.play_ms(200)
    call.caller.speak(60)
    assert call.line.paused
    call.caller.quiet(300)
    assert not call.line.paused
    result = await call.line.until(speaking)
    assert result.reason == "finished"
    assert "barge_in" not in call.types()
    await call.end()


async def test_what_may_not_be_interrupted_is_not() -> None:
    call = Call("let me speak", "now me")
    speaking = call.say(LONG, interruptible=False)
    await call.line.play_ms(200)
    call.caller.say()
    assert not call.line.paused
    call.pipeline.interrupt()
    result = await call.line.until(speaking)
    assert result.reason == "finished"
    # what was said meanwhile was no answer
    assert await call.pipeline.listen(0) is None
    assert call.types().count("user.transcript") == 1
    call.caller.say()
    assert (await call.pipeline.listen(0)).text == "now me"  # type: ignore[union-attr]
    await call.end()


async def test_a_key_cuts_in_at_once_and_once() -> None:
    call = Call()
    call.pipeline.interrupt()
    speaking = call.say(LONG)
    await call.line.play_ms(200)
    call.pipeline.interrupt()
    call.pipeline.interrupt()
    await breathe()
    assert call.line.queued == call.line.heard
    assert (await speaking).reason == "interrupted"
    assert call.types().count("barge_in") == 1
    await call.end()


async def test_cut_in_by_key_and_voice_while_the_tts_takes_its_time_to_end() -> None:
    """The line must not stay paused: nobody would hear the agent again."""
    call = Call("hello", tts=FakeTTS(chunk_s=0.05, close_s=0.2))
    speaking = call.say(LONG)
    await asyncio.sleep(0.12)
    await call.line.play_ms(60)
    call.pipeline.interrupt()
    await breathe()
    assert not speaking.done()
    call.caller.speak(300)
    await speaking
    assert not call.line.paused
    call.caller.quiet()
    speaking = call.say("still here")
    async with asyncio.timeout(5):
        while not speaking.done():
            call.line.tick()
            await asyncio.sleep(0.005)
    assert (await speaking).reason == "finished"
    await call.end()


@pytest.mark.proves("field 4")
async def test_the_history_holds_what_was_heard() -> None:
    call = Call("wait", llm=FakeLLM([LONG]))
    reply = await call.agent.respond("count")
    speaking = call.say(reply.text)
    await call.line.play_ms(300)
    call.pipeline.interrupt()
    await speaking
    assert call.agent.history[-1] == {"role": "assistant", "content": "one two three"}
    await call.end()


async def test_events_of_speaking() -> None:
    call = Call()
    result = await call.line.until(call.say("hello there"))
    assert (result.reason, result.heard) == ("finished", "hello there")
    assert call.types() == ["agent.speech.started", "agent.speech.ended"]
    assert call.events[-1].data == {"reason": "finished", "heard": "hello there", "text": "hello there"}
    await call.end()


async def test_a_voice_that_fails_in_the_middle() -> None:
    call = Call(tts=FakeTTS(fail_after=2), llm=FakeLLM([LONG]))
    await call.agent.respond("count")
    with pytest.raises(TTSError, match="no more voice"):
        await call.line.until(call.say(LONG))
    assert call.types()[-1] == "agent.speech.ended" or "agent.speech.started" not in call.types()
    assert not call.pipeline.speaking
    await call.end()


async def test_closed_while_it_speaks() -> None:
    call = Call()
    speaking = call.say(LONG)
    await call.line.play_ms(100)
    await call.pipeline.close()
    assert (await asyncio.wait_for(speaking, 1)).reason == "interrupted"
    assert call.stt.streams[0].closed == 1
    await call.line.close()
