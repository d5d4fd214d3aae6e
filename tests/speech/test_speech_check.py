"""The conformance checks: our own providers pass them, and each rule is missed by a provider that breaks it."""

import asyncio
import json
import threading
import time

import pytest
from aiohttp import web
from fakes.anthropic_server import HELLO as CLAUDE_HELLO
from fakes.anthropic_server import AnthropicServer
from fakes.deepgram_server import DeepgramServer, run_server, serve
from fakes.gemini_server import HELLO as GEMINI_HELLO
from fakes.gemini_server import GeminiServer
from fakes.marked_sound import hear, say
from fakes.voice_server import VoiceServer, run_voices

from voxtra.errors import ConfigurationError, LLMError, STTError, TTSError
from voxtra.speech import (
    LLM,
    STT,
    TTS,
    VAD,
    BatchSTT,
    CachedTTS,
    Fallback,
    Speech,
    STTStream,
    TextDelta,
    ToolCall,
    Transcript,
    Usage,
    VADStream,
    load_as,
)
from voxtra.speech.anthropic import AnthropicLLM
from voxtra.speech.cartesia import CartesiaTTS
from voxtra.speech.deepgram import DeepgramFluxSTT, DeepgramSTT
from voxtra.speech.deepgram_voice import DeepgramTTS
from voxtra.speech.elevenlabs import ElevenLabsTTS
from voxtra.speech.gemini import GeminiLLM
from voxtra.speech.intents import Intent, IntentLLM
from voxtra.speech.openai import OpenAILLM
from voxtra.speech.openai_speech import OpenAISTT, OpenAITTS
from voxtra.testing import check_llm, check_stt, check_tts, check_vad

SPEECH = {"speech": b"".join(say("hello there my order")), "expect": "hello there my order"}


@pytest.fixture
async def deepgram():
    server = DeepgramServer()
    runner = await run_server(server)
    yield server.url
    await runner.cleanup()


@pytest.fixture
async def voices():
    server = VoiceServer()
    runner = await run_voices(server)
    yield server.url
    await runner.cleanup()


# our own


@pytest.mark.parametrize("make", [DeepgramSTT, DeepgramFluxSTT])
async def test_deepgrams_recognisers_pass(deepgram, make):
    await check_stt(make(api_key="k", base_url=deepgram), **SPEECH)


async def test_openais_transcription_passes(voices):
    await check_stt(OpenAISTT(base_url=f"{voices}/v1"), **SPEECH)


async def test_fallback_passes_as_what_it_is_made_of(voices, deepgram):
    await check_stt(
        Fallback(DeepgramSTT(api_key="k", base_url=deepgram), OpenAISTT(base_url=f"{voices}/v1")), **SPEECH
    )
    await check_stt(
        Fallback(DeepgramSTT(api_key="k", base_url="http://127.0.0.1:9"), OpenAISTT(base_url=f"{voices}/v1")),
        **SPEECH,
    )
    await check_tts(
        Fallback(
            CartesiaTTS(api_key="k", base_url="http://127.0.0.1:9"),
            CartesiaTTS(api_key="k", base_url=voices),
        )
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda url: DeepgramTTS(api_key="k", base_url=url),
        lambda url: ElevenLabsTTS(api_key="k", base_url=url),
        lambda url: ElevenLabsTTS(api_key="k", base_url=url, words=False, rate=16000),
        lambda url: OpenAITTS(api_key="k", base_url=f"{url}/v1"),
        lambda url: CartesiaTTS(api_key="k", base_url=url),
        lambda url: CachedTTS(CartesiaTTS(api_key="k", base_url=url)),
    ],
)
async def test_our_voices_behind_servers_pass(voices, make):
    await check_tts(make(voices))


async def test_openais_models_pass():
    async def chat(request):
        body = await request.json()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for delta, end in (({"content": "Hello, "}, None), ({"content": "Acme here."}, None), ({}, "stop")):
            choice = {"index": 0, "delta": delta, "finish_reason": end}
            piece = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
            await response.write(b"data: " + json.dumps(piece | {"choices": [choice]}).encode() + b"\n\n")
            await asyncio.sleep(0.01)
        await response.write(b"data: [DONE]\n\n")
        return response

    class Server:
        url = ""

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = await serve(app, Server)
    await check_llm(OpenAILLM(base_url=f"{Server.url}/v1"))
    await check_llm(
        Fallback(OpenAILLM(base_url="http://127.0.0.1:9/v1"), OpenAILLM(base_url=f"{Server.url}/v1"))
    )
    await runner.cleanup()


@pytest.mark.parametrize(
    ("server", "hello", "make"),
    [(AnthropicServer, CLAUDE_HELLO, AnthropicLLM), (GeminiServer, GEMINI_HELLO, GeminiLLM)],
)
async def test_claude_and_gemini_pass(server, hello, make):
    fake = server()
    runner = await fake.start()
    fake.answers = [hello]
    await check_llm(make(model="m", base_url=fake.url, api_key="k"))
    await runner.cleanup()


async def test_intents_pass():
    await check_llm(IntentLLM({"hello": Intent(["who are you"], reply="Acme.")}, fallback="Pardon?"))


@pytest.mark.local
async def test_whisper_passes():
    await check_stt(load_as(STT, "whisper"))


@pytest.mark.local
async def test_hibari_passes():
    await check_tts(load_as(TTS, "hibari"))


@pytest.mark.local
@pytest.mark.parametrize("name", ["silero", "webrtc"])
@pytest.mark.parametrize("rate", [8000, 16000])
async def test_our_detectors_pass(name, rate):
    await check_vad(load_as(VAD, name), rate=rate)


# those that break a rule


class Ear(BatchSTT):
    name = "ear"

    async def transcribe(self, pcm, *, rate, language=None, hints=()):
        await asyncio.sleep(0)
        return Transcript(" ".join(word for word, _, _ in hear(pcm, rate)), is_final=True)


class Wrapped(STTStream):
    """A stream that does all as another one, for others to break."""

    def __init__(self, inner):
        self.inner = inner

    def push(self, pcm):
        self.inner.push(pcm)

    def speech_started(self):
        self.inner.speech_started()

    def speech_stopped(self):
        self.inner.speech_stopped()

    def next_turn(self):
        self.inner.next_turn()

    async def close(self):
        await self.inner.close()


def ear(stream=Wrapped, change=lambda transcript: transcript):
    class Broken(Ear):
        def open(self, *, rate, on_transcript, on_error, **more):
            told = lambda transcript: on_transcript(change(transcript))  # noqa: E731
            inner = super().open(rate=rate, on_transcript=told, on_error=on_error, **more)
            return stream(inner)

    return Broken()


class Slow(Wrapped):
    def push(self, pcm):
        time.sleep(0.15)


class Deaf(Wrapped):
    def speech_stopped(self):
        pass


class Elephant(Wrapped):
    def next_turn(self):
        pass


class Goldfish(Wrapped):
    def speech_started(self):
        self.inner.next_turn()
        self.inner.speech_started()


class Leaky(Wrapped):
    async def close(self):
        await super().close()
        self.task = asyncio.ensure_future(asyncio.sleep(10))


class Chatty(Wrapped):
    async def close(self):
        tell = self.inner._on_transcript
        await super().close()
        asyncio.get_running_loop().call_later(0.05, tell, Transcript("late"))


class Threaded(Wrapped):
    def speech_stopped(self):
        tell = self.inner._on_transcript
        threading.Thread(target=tell, args=(Transcript("hello there my order", True),)).start()
        super().speech_stopped()


@pytest.mark.parametrize(
    ("provider", "rule"),
    [
        (ear(), ""),
        (ear(Slow), r"push\(\) must not block"),
        (ear(Deaf), "no final transcript within 0.5 s"),
        (ear(Elephant), r"next_turn\(\) must forget"),
        (ear(Goldfish), "a final must hold all of the turn"),
        (ear(Leaky), r"close\(\) of a stream must leave no task"),
        (ear(Chatty), r"a callback came after close\(\)"),
        (ear(Threaded), "on another thread"),
        (
            ear(change=lambda t: Transcript("", t.is_final)),
            "speech must be heard: the final transcript is empty",
        ),
        (
            ear(change=lambda t: Transcript("late thanks", t.is_final)),
            "the words .* must be heard: 'late thanks'",
        ),
        (ear(change=lambda t: Transcript(t.text, t.is_final, 7)), "confidence = 7"),
        (ear(change=lambda t: Transcript(t.text or "you", t.is_final)), "silence must be no words: 'you'"),
    ],
    ids=lambda value: value.replace("\\", "")[:30] if isinstance(value, str) else "",
)
async def test_a_recogniser_that_breaks_a_rule_is_told_which(provider, rule, monkeypatch):
    monkeypatch.setattr("voxtra.testing.check_rules.SETTLE_S", 0.1)
    if not rule:
        await check_stt(provider, **SPEECH, final_s=30)
        return
    with pytest.raises(AssertionError, match=f"ear: .*{rule}"):
        await check_stt(provider, **SPEECH, final_s=0.5 if "within" in rule else 30)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def test_a_recogniser_that_fails_is_told():
    class Broken(Ear):
        async def transcribe(self, pcm, *, rate, language=None, hints=()):
            raise STTError("ear: no power")

    with pytest.raises(AssertionError, match=r"a pause must be answered.*no power"):
        await check_stt(Broken(), **SPEECH)

    class Raw(Ear):
        def open(self, *, rate, on_transcript, on_error, **more):
            return super().open(
                rate=abs(rate) * 8000 if rate < 0 else rate, on_transcript=on_transcript, on_error=on_error
            )

    with pytest.raises(AssertionError, match=r"open\(rate=-1\) must raise ConfigurationError: it did not"):
        await check_stt(Raw(), **SPEECH)


class Voice(TTS):
    name, rate = "voice", 8000
    pause = 0.05

    def pieces(self, text):
        return [Speech(bytes(1600), 8000) for _ in text.split()]

    async def synthesize(self, text, *, voice=None, language=None):
        await asyncio.sleep(self.pause)
        for speech in self.pieces(text):
            yield speech


def voice(pieces):
    made = Voice()
    made.pieces = pieces
    return made


class Unhurried(Voice):
    pause = 1.0


class Stubborn(Voice):
    async def synthesize(self, text, *, voice=None, language=None):
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            pass
        for speech in self.pieces(text):
            yield speech


class Littering(Voice):
    async def synthesize(self, text, *, voice=None, language=None):
        self.task = asyncio.ensure_future(asyncio.sleep(10))
        for speech in self.pieces(text):
            yield speech


class Raw(Voice):
    async def synthesize(self, text, *, voice=None, language=None):
        if voice:
            raise KeyError(voice)
        async for speech in super().synthesize(text):
            yield speech


class Plain(Voice):
    def synthesize(self, text, *, voice=None, language=None):
        return self.pieces(text)


@pytest.mark.parametrize(
    ("provider", "rule"),
    [
        (Voice(), ""),
        (Unhurried(), "sound must come: nothing within 0.5 s"),
        (Stubborn(), r"synthesize\(\) must not swallow a cancellation"),
        (Littering(), "closing the generator must leave no task"),
        (Raw(), "errors must be TTSError or ConfigurationError: KeyError"),
        (Plain(), "must be an async generator: it is a list"),
        (voice(lambda text: []), "a sentence must be of a sentence's length: 0.00 s"),
        (voice(lambda text: [Speech(bytes(3), 8000)]), "whole samples: 3 bytes"),
        (voice(lambda text: [Speech(bytes(1600), 4000)]), "8000 Hz or more: 4000"),
        (voice(lambda text: [Speech(b"", 8000)]), "a chunk must hold something"),
        (voice(lambda text: [b"123"]), "chunks must be Speech: bytes"),
        (voice(lambda text: [Speech(bytes(16000), 8000, (("a", 500), ("b", 100)))]), "times must ascend"),
        (voice(lambda text: [Speech(bytes(16000), 8000, (("a", 5000),))]), "times are ms from the begin"),
    ],
    ids=lambda value: value.replace("\\", "")[:30] if isinstance(value, str) else "",
)
async def test_a_voice_that_breaks_a_rule_is_told_which(provider, rule, monkeypatch):
    monkeypatch.setattr("voxtra.testing.check_rules.SETTLE_S", 0.1)
    if not rule:
        await check_tts(provider, first_s=30)
        return
    with pytest.raises(AssertionError, match=f"voice: .*{rule}"):
        await check_tts(provider, first_s=0.5 if "within" in rule else 30)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


class Model(LLM):
    name = "model"

    def __init__(self, *script):
        self.script = script

    async def stream(self, messages, *, tools=()):
        await asyncio.sleep(0.02)
        for step in self.script:
            if isinstance(step, Exception):
                raise step
            yield step


class Meddling(Model):
    async def stream(self, messages, *, tools=()):
        messages.append({"role": "assistant", "content": "x"})
        yield TextDelta("x")


@pytest.mark.parametrize(
    ("provider", "rule"),
    [
        (Model(TextDelta("Hi"), Usage(1, 1)), ""),
        (Model(), "a reply must say or do something"),
        (Model(Usage(1, 1)), "a reply must say or do something"),
        (Model(Usage(1, 1), TextDelta("Hi")), "Usage must come last"),
        (Model(TextDelta("")), "a TextDelta must hold text"),
        (Model("Hi"), "events must be TextDelta, ToolCall or Usage: Hi"),
        (Model(ToolCall("1", "dance")), r"must have an id and be one of \[\]"),
        (Model(KeyError("x")), "errors must be LLMError: KeyError"),
        (Model(TTSError("x")), "errors must be LLMError: TTSError"),
        (Meddling(), "the conversation must be left as it is"),
    ],
    ids=lambda value: value.replace("\\", "")[:30] if isinstance(value, str) else "",
)
async def test_a_model_that_breaks_a_rule_is_told_which(provider, rule):
    if not rule:
        await check_llm(provider)
        return
    with pytest.raises(AssertionError, match=f"model: .*{rule}"):
        await check_llm(provider)


async def test_what_a_model_says_of_itself_comes_through():
    with pytest.raises(LLMError, match="429 later"):
        await check_llm(Model(LLMError("model: 429 later")))


class Detector(VAD):
    name = "vad"

    def __init__(self, push=lambda self, pcm: 1.0 if any(pcm) else 0.0, rates=True):
        self.push, self.rates = push, rates

    def open(self, *, rate):
        if self.rates and rate < 8000:
            raise ConfigurationError("rate")
        return type("Stream", (VADStream,), {"push": self.push})()


@pytest.mark.parametrize(
    ("provider", "rule"),
    [
        (Detector(), ""),
        (Detector(lambda self, pcm: 1.0), "silence must be no speech: 1.00"),
        (Detector(lambda self, pcm: 0.0), "speech must be noticed: in 0% of the frames"),
        (Detector(lambda self, pcm: 2.0), "a probability, 0..1"),
        (Detector(lambda self, pcm: time.sleep(0.006) or 0.0), "a frame may cost microseconds"),
        (Detector(rates=False), r"open\(rate=-1\) must raise"),
    ],
    ids=lambda value: value.replace("\\", "")[:30] if isinstance(value, str) else "",
)
async def test_a_detector_that_breaks_a_rule_is_told_which(provider, rule):
    if not rule:
        await check_vad(provider, speech=SPEECH["speech"])
        return
    with pytest.raises(AssertionError, match=f"vad: .*{rule}"):
        await check_vad(provider, speech=SPEECH["speech"])
