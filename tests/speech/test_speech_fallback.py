"""Several providers as one: who takes over when, and what of a sentence or a turn is said and heard again."""

import asyncio
import logging

import pytest
from fakes.deepgram_server import DeepgramServer, run_server
from fakes.listening import listening
from fakes.marked_sound import hear
from fakes.voice_server import VoiceServer, run_voices

from voxtra.errors import ConfigurationError, LLMError, STTError, TTSError
from voxtra.speech import LLM, TTS, BatchSTT, Speech, TextDelta, ToolCall, Transcript, Usage
from voxtra.speech.cartesia import CartesiaTTS
from voxtra.speech.deepgram import DeepgramSTT
from voxtra.speech.fallback import Fallback
from voxtra.speech.sdk import TTSRefusedError


class Voice(TTS):
    """Says 100 ms a word, or what it is told: "refuse", "slow", "silent", or the word to break at."""

    rate = 8000

    def __init__(self, name, does=None, *, timed=False):
        self.name, self.does, self.timed = name, does, timed
        self.asked, self.closed, self.ended = [], 0, 0

    async def synthesize(self, text, *, voice=None, language=None):
        self.asked.append((text, voice))
        try:
            if self.does == "refuse":
                raise TTSError(f"{self.name}: 500 no")
            if self.does == "slow":
                await asyncio.sleep(5)
            if self.does == "silent":
                return
            for number, word in enumerate(text.split()):
                if number == self.does:
                    raise TTSError(f"{self.name}: broke")
                stamp = ((word.strip(","), number * 100),) if self.timed else ()
                yield Speech(bytes(1600), 8000, stamp)
        finally:
            self.ended += 1

    async def close(self):
        self.closed += 1


@pytest.fixture
async def made():
    providers = []

    def make(*parts, **options):
        options = {"first_result_s": 0.2, "retry_s": 30} | options
        providers.append(Fallback(*parts, **options))
        return providers[-1]

    yield make
    for provider in providers:
        await provider.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others


async def say(tts, text="one two three", **options):
    return [speech async for speech in tts.synthesize(text, **options)]


@pytest.mark.parametrize("does", ["refuse", "slow", "silent", 0])
async def test_the_next_voice_says_what_the_first_could_not(made, caplog, does):
    a, b = Voice("a", does), Voice("b")
    tts = made(a, b)
    with caplog.at_level(logging.WARNING):
        assert len(await say(tts, voice="v", language="en")) == 3
    assert a.asked == [("one two three", "v")]
    assert b.asked == [("one two three", None)]  # "v" is a name of the first provider's
    assert tts.failures == {"a": 1, "b": 0}
    assert "a failed (1 times so far)" in caplog.text
    assert a.ended == b.ended == 1


async def test_one_that_failed_is_left_alone(made):
    a, b = Voice("a", "refuse"), Voice("b")
    tts = made(a, b)
    for _ in range(3):
        await say(tts)
    assert len(a.asked) == 1
    assert tts.failures == {"a": 1, "b": 0}


async def test_it_is_tried_again_in_the_background_after_longer_and_longer_pauses(made):
    a, b = Voice("a", "refuse"), Voice("b")
    tts = made(a, b, retry_s=0.05)
    await say(tts)
    began = asyncio.get_running_loop().time()
    while len(a.asked) < 4:  # the caller's, and trials after 50, 100 and 200 ms
        await asyncio.sleep(0.01)
    assert 0.3 < asyncio.get_running_loop().time() - began < 2
    a.does = None
    while tts.standbys.all[0].down:
        await asyncio.sleep(0.01)
    await say(tts)
    assert len(b.asked) == 1
    assert tts.failures == {"a": 1, "b": 0}  # trials are nobody's call


async def test_a_trial_that_fails_in_a_way_nobody_foresaw_is_not_the_last(made, caplog):
    class Odd(Voice):
        tries = 0

        async def synthesize(self, text, *, voice=None, language=None):
            self.tries += 1
            if self.tries == 2:
                raise ZeroDivisionError("a flaw")
            async for speech in super().synthesize(text):
                yield speech

    a = Odd("a", "refuse")
    tts = made(a, Voice("b"), retry_s=0.02)
    await say(tts)
    a.does = None
    async with asyncio.timeout(3):
        while tts.standbys.all[0].down:
            await asyncio.sleep(0.01)
    assert a.tries == 3


async def test_a_server_is_left_alone_for_as_long_as_it_asks(made):
    class Busy(Voice):
        async def synthesize(self, text, *, voice=None, language=None):
            self.asked.append(text)
            error = TTSRefusedError("a: 429 later")
            error.status, error.retry_after_s = 429, 60
            raise error
            yield

    a = Busy("a")
    tts = made(a, Voice("b"), retry_s=0.01)
    await say(tts)
    await asyncio.sleep(0.1)
    assert len(a.asked) == 1


async def test_when_all_are_down_they_are_asked_all_the_same(made):
    a, b = Voice("a", "refuse"), Voice("b", "refuse")
    tts = made(a, b)
    for _ in range(2):
        with pytest.raises(TTSError, match="no provider could: a: 500 no; b: 500 no"):
            await say(tts)
    b.does = None
    assert len(await say(tts)) == 3
    assert not tts.standbys.all[1].down


async def test_half_a_sentence_is_not_said_twice(made):
    tts = made(Voice("a", 2), b := Voice("b"))
    speech = tts.synthesize("one two three")
    await anext(speech)
    await anext(speech)
    with pytest.raises(TTSError, match="a: broke"):
        await anext(speech)
    assert not b.asked
    assert len(await say(tts)) == 3  # from now on by the other
    assert len(b.asked) == 1


async def test_with_the_words_times_the_next_goes_on_where_the_first_broke_off(made):
    tts = made(Voice("a", 2, timed=True), b := Voice("b", timed=True))
    chunks = await say(tts, "one, two three four")
    assert b.asked == [("two three four", None)]  # "two" had begun; nobody knows how much of it was said
    words = [word for speech in chunks for word in speech.words]
    assert words == [("one", 0), ("two", 100), ("two", 200), ("three", 300), ("four", 400)]


async def test_times_of_words_that_are_not_in_the_text_tell_nothing(made):
    class Spelled(Voice):
        async def synthesize(self, text, *, voice=None, language=None):
            yield Speech(bytes(1600), 8000, (("twenty-three", 0),))
            raise TTSError("a: broke")

    tts = made(Spelled("a"), Voice("b"))
    with pytest.raises(TTSError, match="a: broke"):
        await say(tts, "23 apples")


async def test_closing_the_generator_closes_the_one_behind(made):
    a = Voice("a")
    speech = made(a, Voice("b")).synthesize("one two three")
    await anext(speech)
    await speech.aclose()
    assert a.ended == 1


async def test_a_language_that_one_lacks_is_not_held_against_it(made):
    class English(Voice):
        async def synthesize(self, text, *, voice=None, language=None):
            if language != "en":
                raise ConfigurationError("a speaks English only")
            yield Speech(bytes(160), 8000)

    tts = made(English("a"), b := Voice("b"))
    await say(tts, "eins", language="de")
    await say(tts, "one", language="en")
    assert len(b.asked) == 1


class Model(LLM):
    def __init__(self, name, *script):
        self.name, self.script, self.asked, self.ended = name, script, 0, 0

    async def stream(self, messages, *, tools=()):
        self.asked += 1
        try:
            for step in self.script:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    yield step
        finally:
            self.ended += 1


async def answer(llm):
    return [event async for event in llm.stream([{"role": "user", "content": "Hi"}])]


@pytest.mark.parametrize("script", [(LLMError("a: 429"),), (5.0, TextDelta("late"))])
async def test_the_next_model_answers_before_the_first_token(made, script):
    events = [TextDelta("Hi"), ToolCall("1", "x"), Usage(1, 2)]
    llm = made(Model("a", *script), Model("b", *events))
    assert await answer(llm) == events
    assert llm.failures == {"a": 1, "b": 0}


async def test_after_the_first_token_a_model_is_stayed_with(made):
    llm = made(Model("a", TextDelta("Hi"), LLMError("a: broke off")), b := Model("b", TextDelta("Ho")))
    reply = llm.stream([])
    assert await anext(reply) == TextDelta("Hi")
    with pytest.raises(LLMError, match="a: broke off"):
        await anext(reply)
    assert not b.asked
    assert llm.failures == {"a": 1, "b": 0}


async def test_when_no_model_answers_each_ones_words_are_told(made):
    llm = made(Model("a", LLMError("a: 500 x")), Model("a", LLMError("y")))
    with pytest.raises(LLMError, match="no provider could: a: 500 x; a #2: y"):
        await answer(llm)
    assert llm.failures == {"a": 1, "a #2": 1}


class Ear(BatchSTT):
    """Hears the marked sound; does what it is told: None (well), "refuse" or "slow"."""

    def __init__(self, name, does=None):
        self.name, self.does, self.asked = name, does, 0

    async def transcribe(self, pcm, *, rate, language=None, hints=()):
        self.asked += 1
        if self.does == "refuse":
            raise STTError(f"{self.name}: 500 no")
        if self.does == "slow":
            await asyncio.sleep(5)
        return Transcript(" ".join(word for word, _, _ in hear(pcm, rate)), is_final=True)


@pytest.mark.parametrize("does", ["refuse", "slow"])
async def test_the_next_recogniser_hears_the_whole_turn(made, does):
    a, b = Ear("a"), Ear("b")
    stt = made(a, b)
    async with listening(stt) as call:
        await call.speak("one two")
        assert await call.final(1) == "one two"
        a.does = does
        await call.speak("three")
        assert await call.final(2) == "one two three"
        assert stt.failures == {"a": 1, "b": 0}
        assert (call.stream.current.name, call.stream.switches) == ("b", 1)
        assert not call.errors
        call.stream.next_turn()
        await call.speak("four")
        assert await call.final(3) == "four"
        assert a.asked == 2


async def test_the_wanted_recogniser_takes_the_next_turn_once_it_works_again(made):
    a, b = Ear("a", "refuse"), Ear("b")
    stt = made(a, b, retry_s=0.05)
    async with listening(stt) as call:
        await call.speak("one")
        assert await call.final(1) == "one"
        a.does = None
        await call.until(lambda: not stt.standbys.all[0].down)
        await call.speak("two")
        assert await call.final(2) == "one two"
        assert call.stream.current.name == "b"
        call.stream.next_turn()
        assert call.stream.current.name == "a"
        await call.speak("three")
        assert await call.final(3) == "three"


async def test_the_call_is_told_when_no_recogniser_could_and_stays_usable(made):
    a, b = Ear("a", "refuse"), Ear("b", "slow")
    stt = made(a, b)
    async with listening(stt) as call:
        await call.speak("one")
        await call.until(lambda: call.errors)
        assert str(call.errors[0]) == ("no provider could: a: 500 no; b: no final transcript within 0.2 s")
        b.does = None
        await call.speak("two")
        assert await call.final() == "one two"
        assert len(call.errors) == 1


async def test_the_sound_kept_for_the_next_one_is_bounded(made):
    async with listening(made(Ear("a"), Ear("b"))) as call:
        call.silence(5000)
        assert call.stream._sound_bytes <= 8000
        call.stream.speech_started()
        call.silence(60_000)
        assert call.stream._sound_bytes <= 30 * 16000


@pytest.mark.parametrize("ms", [100, 800])
async def test_each_recogniser_keeps_as_much_from_before_speech_as_the_call_wants(made, ms):
    lengths = []

    class Counts(Ear):
        async def transcribe(self, pcm, *, rate, language=None, hints=()):
            lengths.append((self.name, len(pcm) // 16))
            return await super().transcribe(pcm, rate=rate)

    async with listening(made(Counts("a", "refuse"), Counts("b"))) as call:
        call.stream.keep_before(ms)
        call.silence(2000)
        call.stream.speech_started()
        call.silence(200)
        call.stream.speech_stopped()
        await call.final()
        assert lengths == [("a", ms + 200), ("b", ms + 200)]


async def test_a_recogniser_that_takes_no_such_rate_is_passed_over(made):
    class Wide(Ear):
        def check_language(self, language):
            raise ConfigurationError("a hears nothing at all")

    stt = made(Wide("a"), Ear("b"))
    async with listening(stt) as call:
        await call.speak("one")
        assert await call.final() == "one"
    with pytest.raises(ConfigurationError, match="no provider could: a hears nothing"):
        made(Wide("a"), Wide("b")).open(rate=8000, on_transcript=print, on_error=print)


async def test_a_server_that_is_gone_costs_no_word_of_the_turn(made):
    """End to end: Deepgram refuses, the turn is heard by the standby; it works again, and is back."""
    server = DeepgramServer()
    runner = await run_server(server)
    server.refuse_always = (503, {}, "")
    stt = made(DeepgramSTT(api_key="k", base_url=server.url), Ear("b"), retry_s=0.05, first_result_s=1)
    async with listening(stt) as call:
        await call.speak("hello there", step=0.002)
        assert await call.final() == "hello there"
        assert stt.failures["deepgram (nova-3)"] == 1
        server.refuse_always = None
        await call.until(lambda: not stt.standbys.all[0].down)
        call.stream.next_turn()
        await call.speak("yes")
        assert await call.final(2) == "yes"
        assert call.stream.current.name == "deepgram (nova-3)"
    await stt.close()
    await runner.cleanup()


@pytest.mark.proves("field 8")
async def test_a_socket_that_breaks_in_mid_sentence_is_gone_on_from_by_the_next_voice(made):
    server = VoiceServer()
    runner = await run_voices(server)
    server.drop_after = 2
    tts = made(CartesiaTTS(api_key="k", base_url=server.url), b := Voice("b"), first_result_s=1)
    chunks = await say(tts, "one two three four")
    assert b.asked == [("two three four", None)]
    assert sum(len(speech.pcm) for speech in chunks) == 1600 * 5
    await tts.close()
    await runner.cleanup()


async def test_warming_up_leaves_alone_who_fails_and_raises_when_all_do(made):
    class Cold(Ear):
        async def warm_up(self):
            raise STTError(f"{self.name}: frozen")

    stt = made(Cold("a"), Ear("b"))
    await stt.warm_up()
    assert stt.standbys.all[0].down
    with pytest.raises(STTError, match="frozen"):
        await made(Cold("a")).warm_up()


def test_what_is_wrong_is_said():
    for providers in ((), (Voice("a"), Ear("b")), (print,)):
        with pytest.raises(ConfigurationError, match="providers of one kind"):
            Fallback(*providers)
    with pytest.raises(ConfigurationError, match="first_result_s = 0"):
        Fallback(Voice("a"), first_result_s=0)
    with pytest.raises(ConfigurationError, match="retry_s = 9"):
        Fallback(Voice("a"), retry_s=9, longest_retry_s=3)
