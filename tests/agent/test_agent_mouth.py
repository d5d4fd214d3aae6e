"""The mouth on a line whose time is driven by hand: what is heard, and that nothing goes on afterwards."""

from __future__ import annotations

import asyncio

import pytest
from agent_fakes import Audible, FakeLLM, FakeTTS, HandLine, breathe

from voxtra.agent import mouth as mouth_module
from voxtra.agent.client import AgentClient
from voxtra.agent.mouth import Mouth, SayResult
from voxtra.agent.times import TurnTimes
from voxtra.errors import LLMError, PipelineNotConfiguredError, TTSError

LONG = "one two three four five six seven eight nine ten"


@pytest.fixture
async def line():
    made = HandLine()
    yield made
    await made.close()


def spoken(line, tts=None):
    """A mouth on ``line``, its TTS and what it reports."""
    tts = tts or FakeTTS()
    audible = Audible()
    return Mouth(line, tts, audible), tts, audible


async def still(line, mouth):
    """Nothing is said, and nothing comes."""
    assert mouth.current is None
    before = line.voiced
    for _ in range(20):
        line.tick()
        await breathe()
    assert line.voiced == before
    assert line.queued == line.heard


# -- finished


@pytest.mark.proves("failure 5")
async def test_say_returns_when_the_last_word_was_heard(line):
    mouth, tts, audible = spoken(line)
    say = asyncio.ensure_future(mouth.say("Hello there, friend."))
    await breathe(20)
    assert line.queued == 300 * 16
    line.tick(14)
    await breathe()
    assert not say.done(), "the last frame is not heard yet"
    assert await line.until(say) == SayResult("finished", "Hello there, friend.", "Hello there, friend.")
    assert line.voiced_ms == 300
    assert audible.calls == [True, False]
    assert audible.texts[0] == "Hello there, friend."
    assert mouth.last == say.result()
    assert tts.ended == 1
    assert line.flushes == 0
    await still(line, mouth)


async def test_a_text_is_spoken_clause_by_clause_in_the_voice_asked_for(line):
    mouth, tts, _ = spoken(line)
    result = await line.until(mouth.say("One two three four. Five six seven.", voice="anna"))
    assert result.heard == "One two three four. Five six seven."
    assert tts.asked == ["One two three four.", "Five six seven."]
    assert tts.voices == ["anna", "anna"]
    assert line.voiced_ms == 700


async def test_nothing_to_say_is_said_at_once(line):
    mouth, tts, audible = spoken(line)
    assert await mouth.say(" ") == SayResult("finished", "", "")
    assert (tts.asked, audible.calls) == ([], [])


async def test_without_a_tts_nothing_can_be_said(line):
    with pytest.raises(PipelineNotConfiguredError, match="tts"):
        await Mouth(line, None, Audible()).say("Hello")


@pytest.mark.parametrize("rate", [8000, 24000])
async def test_another_rate_is_converted_slice_by_slice(line, rate):
    mouth, _, _ = spoken(line, FakeTTS(rate=rate, whole=True))
    await line.until(mouth.say(LONG))
    assert 1000 <= line.voiced_ms <= 1040


async def test_a_provider_that_changes_its_rate_is_followed(line):
    class Changing(FakeTTS):
        async def synthesize(self, text, *, voice=None, language=None):
            for self.rate in (8000, 24000, 16000):
                async for speech in super().synthesize("word"):
                    yield speech

    mouth, _, _ = spoken(line, Changing())
    await line.until(mouth.say("three words long"))
    assert 300 <= line.voiced_ms <= 340


async def test_two_says_queue_one_after_another(line):
    mouth, tts, audible = spoken(line)
    first = asyncio.ensure_future(mouth.say("First of all."))
    second = asyncio.ensure_future(mouth.say("Second of all."))
    await breathe(20)
    assert tts.asked == ["First of all."]
    results = await line.until(asyncio.gather(first, second))
    assert [result.heard for result in results] == ["First of all.", "Second of all."]
    assert audible.calls == [True, False, True, False]
    assert line.voiced_ms == 600


async def test_the_times_of_the_turn_are_taken(line):
    mouth, _, _ = spoken(line, FakeTTS(first_s=0.01))
    times = TurnTimes()
    await line.until(mouth.say("Hello there, friend. And once more.", times=times))
    assert 0 < times.tts_started_at < times.tts_first_at <= times.played_at
    assert times.played_at - times.tts_started_at < 5000


# -- streams of text


async def test_the_first_clause_is_spoken_before_the_stream_is_complete(line):
    mouth, tts, _ = spoken(line)
    more = asyncio.Event()

    async def pieces():
        yield "One two three "
        yield "four. Five"
        await more.wait()
        yield " six seven."

    say = asyncio.ensure_future(mouth.say(pieces()))
    await line.play_ms(400)
    assert tts.asked == ["One two three four."]
    assert not say.done()
    more.set()
    result = await line.until(say)
    assert tts.asked == ["One two three four.", "Five six seven."]
    assert result == SayResult("finished", "One two three four. Five six seven.", result.text)
    assert line.voiced_ms == 700


async def test_the_next_clause_is_made_while_the_one_before_is_played(line):
    mouth, tts, _ = spoken(line)
    say = asyncio.ensure_future(mouth.say("One two three four. Five six seven. Eight nine ten."))
    await breathe(60)
    assert line.voiced == 0
    assert len(tts.asked) == 3
    await line.until(say)


async def test_a_model_that_fails_in_mid_reply_leaves_nothing_speaking(line):
    mouth, _, audible = spoken(line)
    agent = AgentClient(FakeLLM(["One two three four. ", "Five", "fail"], pace_s=0.001))
    with pytest.raises(LLMError):
        await line.until(mouth.say(agent.stream("Hi")))
    assert mouth.last.reason == "failed"
    assert audible.calls == [True, False]
    assert agent.history == []
    await still(line, mouth)


# -- interrupted


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("tts", [FakeTTS(), FakeTTS(timed=True), FakeTTS(whole=True), FakeTTS(rate=24000)])
async def test_stop_gives_exactly_the_words_heard(slow, tts):
    line = HandLine(slow_flush=slow)
    mouth, _, audible = spoken(line, tts)
    say = asyncio.ensure_future(mouth.say(f"{LONG}. Eleven twelve thirteen."))
    await line.play_ms(400)
    mouth.stop()
    mouth.stop()
    result = await line.until(say)
    assert result.reason == "interrupted"
    assert result.heard == "one two three four"
    assert result.text.startswith(LONG)
    assert line.voiced_ms <= 420
    assert line.flushes == 1
    assert audible.calls == [True, False]
    await still(line, mouth)
    await line.close()


async def test_no_sound_made_while_the_flush_is_confirmed_is_played(line):
    line = HandLine(slow_flush=True)
    mouth, tts, _ = spoken(line, FakeTTS(chunk_s=0.001))
    say = asyncio.ensure_future(mouth.say(LONG))
    await line.play_ms(200)
    mouth.stop()
    result = await line.until(say)
    assert result.heard.split() == LONG.split()[: len(result.heard.split())]
    assert line.voiced_ms <= 240
    assert tts.ended == 1
    await still(line, mouth)
    await line.close()


async def test_no_slice_of_a_long_sound_is_played_after_the_stop(line):
    mouth, tts, _ = spoken(line, FakeTTS(rate=24000, whole=True, close_s=0.01))
    say = asyncio.ensure_future(mouth.say(f"{LONG} " * 20))
    for _ in range(100):
        if line.queued:
            break
        await asyncio.sleep(0)
    assert 0 < line.queued < line.samples(1000), "the clause of 4.8 s is still being converted"
    line.tick(5)
    mouth.stop()
    assert (await line.until(say)).reason == "interrupted"
    assert line.voiced_ms <= 120
    assert tts.ended == 1
    await still(line, mouth)


@pytest.mark.parametrize("turns", range(2, 40))
async def test_a_stop_while_the_last_slice_is_made_is_no_end(line, turns):
    """An emptied line has heard all that it holds, at once: the reply would pass as heard."""
    mouth, _, _ = spoken(line, FakeTTS(rate=24000, whole=True))
    say = asyncio.ensure_future(mouth.say(LONG))
    await breathe(turns)
    mouth.stop()
    said = await asyncio.wait_for(say, 5)
    assert (said.reason, said.heard) == ("interrupted", "")
    await still(line, mouth)


async def test_the_requests_have_ended_when_say_returns(line):
    tts = FakeTTS(chunk_s=60, close_s=0.01)
    mouth, _, _ = spoken(line, tts)
    llm = FakeLLM([f"{LONG}. Yes"], close_s=0.01)
    say = asyncio.ensure_future(mouth.say(AgentClient(llm).stream("Hi")))
    await line.play_ms(100)
    mouth.stop()
    await line.until(say)
    assert (tts.ended, llm.ended) == (1, 1)


async def test_stop_before_the_first_sound(line):
    mouth, tts, audible = spoken(line, FakeTTS(first_s=10))
    say = asyncio.ensure_future(mouth.say(LONG))
    await breathe(10)
    mouth.stop()
    assert await line.until(say) == SayResult("interrupted", "", LONG)
    assert (tts.ended, audible.calls) == (1, [])


async def test_stop_with_nothing_to_stop(line):
    mouth, _, _ = spoken(line)
    mouth.stop()
    assert (await line.until(mouth.say("Hello there."))).reason == "finished"
    mouth.stop()
    assert line.flushes == 0


async def test_stop_while_paused_ends_the_pause(line):
    mouth, _, _ = spoken(line)
    say = asyncio.ensure_future(mouth.say(LONG))
    await line.play_ms(300)
    line.pause()
    mouth.stop()
    assert (await line.until(say)).heard == "one two three"
    assert not line.paused
    assert (await line.until(mouth.say("Hello there."))).reason == "finished"


async def test_a_pause_that_ends_only_delays(line):
    mouth, _, _ = spoken(line)
    say = asyncio.ensure_future(mouth.say(LONG))
    await line.play_ms(300)
    line.pause()
    for _ in range(50):
        line.tick()
        await breathe()
    assert line.voiced_ms == 300
    line.resume()
    assert (await line.until(say)).heard == LONG
    assert line.voiced_ms == 1000


async def test_the_one_after_a_stopped_say_is_spoken(line):
    mouth, _, _ = spoken(line)
    first = asyncio.ensure_future(mouth.say(LONG))
    second = asyncio.ensure_future(mouth.say("Second of all."))
    await line.play_ms(200)
    mouth.stop()
    first, second = await line.until(asyncio.gather(first, second))
    assert (first.reason, second.reason, second.heard) == ("interrupted", "finished", "Second of all.")


@pytest.mark.proves("failure 5")
async def test_an_interrupted_reply_is_in_the_history_as_far_as_it_was_heard(line):
    mouth, _, _ = spoken(line)
    llm = FakeLLM(["One two three four. ", "Five six seven. ", "Eight", "hang"], close_s=0.01)
    agent = AgentClient(llm)
    say = asyncio.ensure_future(mouth.say(agent.stream("Hi")))
    await line.play_ms(500)
    mouth.stop()
    result = await line.until(say)
    assert llm.ended == 1, "the request is cancelled by the time say returns"
    assert result.heard == "One two three four. Five"
    agent.cut_to_heard(result.text, result.heard)
    assert agent.history == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "One two three four. Five"},
    ]


async def test_an_interruption_before_the_first_clause_leaves_no_reply_in_the_history(line):
    mouth, _, _ = spoken(line)
    agent = AgentClient(FakeLLM(["One two", "hang"]))
    say = asyncio.ensure_future(mouth.say(agent.stream("Hi")))
    await breathe(20)
    mouth.stop()
    result = await line.until(say)
    assert result == SayResult("interrupted", "", "")
    agent.cut_to_heard(result.text, result.heard)
    assert agent.history == [{"role": "user", "content": "Hi"}]


# -- the call ends


async def test_a_hang_up_ends_it_at_once(line):
    mouth, tts, audible = spoken(line)
    say = asyncio.ensure_future(mouth.say(LONG))
    await line.play_ms(300)
    line.lose("gone")
    await breathe(20)
    assert say.result() == SayResult("hangup", "one two three", LONG)
    assert audible.calls == [True, False]
    assert tts.ended == 1


@pytest.mark.parametrize("tts", [FakeTTS(first_s=60), FakeTTS(chunk_s=60)])
async def test_a_hang_up_does_not_wait_for_the_provider(line, tts):
    mouth, _, _ = spoken(line, tts)
    say = asyncio.ensure_future(mouth.say(LONG))
    await breathe(20)
    line.lose("gone")
    await breathe(20)
    assert say.result().reason == "hangup"
    assert tts.ended == 1


async def test_a_hang_up_does_not_wait_for_the_model(line):
    mouth, _, _ = spoken(line)
    llm = FakeLLM(["hang"])
    say = asyncio.ensure_future(mouth.say(AgentClient(llm).stream("Hi")))
    await breathe(20)
    line.lose("gone")
    await breathe(20)
    assert say.result() == SayResult("hangup", "", "")
    assert llm.ended == 1


async def test_a_hang_up_ends_what_waits_as_well(line):
    mouth, _, _ = spoken(line)
    says = [asyncio.ensure_future(mouth.say(LONG)) for _ in range(3)]
    await line.play_ms(100)
    line.lose("gone")
    await breathe(60)
    assert [say.result().reason for say in says] == ["hangup"] * 3
    assert (await mouth.say("Anybody?")).reason == "hangup"
    assert line.voiced_ms == 100


# -- cancelled and failed


@pytest.mark.parametrize("slow", [False, True])
async def test_a_cancelled_say_falls_silent(slow):
    line = HandLine(slow_flush=slow)
    mouth, _, audible = spoken(line, FakeTTS(chunk_s=0.001))
    say = asyncio.ensure_future(mouth.say(LONG))
    await line.play_ms(300)
    say.cancel()
    with pytest.raises(asyncio.CancelledError):
        await say
    assert line.flushes == 1
    assert audible.calls == [True, False]
    assert mouth.last.reason == "interrupted"
    assert mouth.last.heard.split() == LONG.split()[: len(mouth.last.heard.split())]
    await still(line, mouth)
    assert (await line.until(mouth.say("Hello there."))).reason == "finished"
    await line.close()


async def test_a_say_cancelled_while_it_waits_for_its_turn(line):
    mouth, tts, _ = spoken(line)
    first = asyncio.ensure_future(mouth.say("First of all."))
    second = asyncio.ensure_future(mouth.say("Second of all."))
    await breathe(20)
    second.cancel()
    assert (await line.until(first)).reason == "finished"
    assert second.cancelled()
    assert tts.asked == ["First of all."]


async def test_a_say_cancelled_twice_still_cleans_up():
    line = HandLine(slow_flush=True)
    mouth, _, audible = spoken(line)
    say = asyncio.ensure_future(mouth.say(LONG))
    await line.play_ms(300)
    say.cancel()
    await breathe()
    say.cancel()
    with pytest.raises(asyncio.CancelledError):
        await say
    assert audible.calls == [True, False]
    await asyncio.sleep(0.03)
    await still(line, mouth)
    await line.close()


@pytest.mark.parametrize("words", [0, 3])
async def test_a_tts_that_fails_raises_and_leaves_nothing_speaking(line, words):
    mouth, tts, audible = spoken(line, FakeTTS(fail_after=words, chunk_s=0.001))
    with pytest.raises(TTSError, match="no more voice"):
        await line.until(mouth.say(LONG))
    assert mouth.last.reason == "failed"
    assert mouth.last.text == LONG
    assert audible.calls == [True, False] * bool(words)
    assert tts.ended == 1
    await still(line, mouth)


@pytest.mark.parametrize("tts", [FakeTTS(first_s=60), FakeTTS(chunk_s=60)])
async def test_a_tts_that_gives_no_sound_in_time_has_failed(line, monkeypatch, tts):
    monkeypatch.setattr(mouth_module, "FIRST_SPEECH_S", 0.02)
    mouth, _, _ = spoken(line, tts)
    with pytest.raises(TTSError, match=r"fake: no sound within 0\.02 s"):
        await line.until(mouth.say(LONG))
    assert tts.ended == 1
    await still(line, mouth)


async def test_sound_that_is_never_reported_as_heard_is_given_up(line, monkeypatch):
    monkeypatch.setattr(mouth_module, "STALL_S", 0.02)
    mouth, _, audible = spoken(line)
    async with asyncio.timeout(5):
        result = await mouth.say("Hello")  # nobody ticks
    assert result == SayResult("failed", "", "Hello")
    assert audible.calls == [True, False]
    await still(line, mouth)


async def test_sound_that_is_late_but_comes_is_waited_for(line, monkeypatch):
    monkeypatch.setattr(mouth_module, "STALL_S", 0.2)
    mouth, _, _ = spoken(line)
    say = asyncio.ensure_future(mouth.say("Hello"))
    await asyncio.sleep(0.2)
    line.tick(4)
    await asyncio.sleep(0.2)  # 100 ms of sound in 400: later than its length and the grace allow
    assert (await line.until(say)).reason == "finished"


async def test_a_line_that_stays_paused_is_given_up(line, monkeypatch):
    monkeypatch.setattr(mouth_module, "STALL_S", 0.02)
    mouth, _, _ = spoken(line)
    line.pause()
    async with asyncio.timeout(5):
        assert (await mouth.say("Hello")).reason == "failed"
    await still(line, mouth)


async def test_a_provider_that_does_not_let_go_holds_nobody(line, monkeypatch, caplog):
    monkeypatch.setattr(mouth_module, "CLEANUP_S", 0.02)
    release = asyncio.Event()

    class Stubborn(FakeTTS):
        async def synthesize(self, text, *, voice=None, language=None):
            try:
                yield self.speech()
                await asyncio.Event().wait()
            finally:
                await release.wait()

        def speech(self):
            from voxtra.speech.base import Speech

            return Speech(self.sound(1000), self.rate)

    mouth, _, _ = spoken(line, Stubborn())
    say = asyncio.ensure_future(mouth.say(LONG))
    await line.play_ms(100)
    mouth.stop()
    async with asyncio.timeout(5):
        assert (await say).reason == "interrupted"
    assert "did not end within" in caplog.text
    await still(line, mouth)
    release.set()
    await asyncio.sleep(0.01)
