"""Voices behind servers, by their official SDKs, against servers of our own that speak their protocols."""

import asyncio

import pytest
from fakes.voice_server import LEVEL, VoiceServer, run_voices

from voxtra.errors import ConfigurationError, TTSError
from voxtra.speech import TTS, load_as
from voxtra.speech.cartesia import CartesiaTTS
from voxtra.speech.deepgram_voice import DeepgramTTS
from voxtra.speech.elevenlabs import ElevenLabsTTS
from voxtra.speech.openai_speech import OpenAITTS


@pytest.fixture
async def server():
    fake = VoiceServer()
    runner = await run_voices(fake)
    yield fake
    await runner.cleanup()


MAKERS = {
    "deepgram": lambda url, **options: DeepgramTTS(base_url=url, **options),
    "elevenlabs": lambda url, **options: ElevenLabsTTS(base_url=url, words=False, **options),
    "elevenlabs-timed": lambda url, **options: ElevenLabsTTS(base_url=url, **options),
    "openai": lambda url, **options: OpenAITTS(base_url=f"{url}/v1", **options),
    "cartesia": lambda url, **options: CartesiaTTS(base_url=url, **options),
}
HTTP = sorted(set(MAKERS) - {"cartesia"})
TIMED = ["elevenlabs-timed", "cartesia"]


@pytest.fixture
async def make(server):
    made = []

    def make_one(name, **options):
        made.append(MAKERS[name](server.url, **{"api_key": "k"} | options))
        return made[-1]

    yield make_one
    for provider in made:
        await provider.close()
        await provider.close()


every = pytest.mark.parametrize("name", MAKERS)


async def say(tts, text="one two three", **options):
    return [speech async for speech in tts.synthesize(text, **options)]


async def say_until(tts, text, words):
    """What came before the error that ``words`` match."""
    chunks = []

    async def keep():
        async for speech in tts.synthesize(text):
            chunks.append(speech)  # noqa: PERF401 - what came before the error is wanted

    with pytest.raises(TTSError, match=words):
        await keep()
    return chunks


def length_ms(chunks) -> float:
    return sum(len(speech.pcm) * 500 / speech.rate for speech in chunks)


@every
async def test_a_sentence_is_spoken(server, make, name):
    tts = make(name)
    chunks = await say(tts)
    assert length_ms(chunks) == pytest.approx(300, abs=1)
    assert {speech.rate for speech in chunks} == {tts.rate}
    heard = int.from_bytes(chunks[0].pcm[:2], "little", signed=True)
    assert heard == pytest.approx(LEVEL, rel=0.05)


@pytest.mark.parametrize("name", ["deepgram", "elevenlabs", "elevenlabs-timed", "cartesia"])
@pytest.mark.parametrize("rate", [8000, 16000, 24000])
async def test_the_rate_is_asked_for(server, make, name, rate):
    chunks = await say(make(name, rate=rate))
    assert length_ms(chunks) == pytest.approx(300, abs=1)
    assert {speech.rate for speech in chunks} == {rate}


@every
async def test_samples_stay_whole(server, make, name):
    server.odd = True
    chunks = await say(make(name))
    assert all(len(speech.pcm) % 2 == 0 for speech in chunks)
    assert {speech.pcm[:2] for speech in chunks if speech.pcm} == {chunks[0].pcm[:2]}
    assert length_ms(chunks) == pytest.approx(300, abs=1)


@pytest.mark.parametrize("name", TIMED)
async def test_words_have_their_time(server, make, name):
    chunks = await say(make(name), "my order is late".replace("is ", ""))
    words = [word for speech in chunks for word in speech.words]
    assert words == [("my", 0), ("order", 100), ("late", 200)]


async def test_times_that_count_each_piece_anew_are_put_in_line(server, make):
    server.relative_times = True
    words = [word for speech in await say(make("elevenlabs-timed")) for word in speech.words]
    assert words == [("one", 0), ("two", 100), ("three", 200)]


@every
async def test_the_first_sound_is_given_before_the_rest_is_made(server, make, name):
    server.pause = 60
    speech = make(name).synthesize("one two three")
    await asyncio.wait_for(anext(speech), 10)
    await speech.aclose()


@every
async def test_what_is_asked_for_reaches_the_server(server, make, name):
    await say(make(name), voice="v1", language="de-AT")
    (request,) = server.requests
    headers = {key.lower(): value for key, value in request["headers"].items()}
    wanted = {
        "deepgram": {"model": "v1", "encoding": "linear16", "container": "none", "sample_rate": "8000"},
        "elevenlabs": {"voice": "v1", "language_code": "de", "output_format": "ulaw_8000"},
        "openai": {"voice": "v1", "response_format": "pcm", "model": "gpt-4o-mini-tts"},
        "cartesia": {"language": "de", "voice": {"mode": "id", "id": "v1"}, "model_id": "sonic-3"},
    }[name.removesuffix("-timed")]
    assert wanted.items() <= request.items()
    key = headers.get("xi-api-key") or headers.get("x-api-key") or headers["authorization"]
    assert key.split()[-1] == "k"


@every
async def test_nothing_to_say_asks_nobody(server, make, name):
    assert await say(make(name), "  \n") == []
    assert not server.requests


@every
@pytest.mark.parametrize("status", [400, 401, 404, 422])
async def test_a_refusal_carries_the_servers_words(server, make, name, status):
    body = {"error": {"message": "no such voice"}} if name == "openai" else {"message": "no such voice"}
    server.refuse = [(status, {}, body)]
    with pytest.raises(TTSError, match=f"{status} .*no such voice"):
        await say(make(name))
    assert not server.refuse
    assert length_ms(await say(make(name))) == pytest.approx(300, abs=1)


@every
async def test_a_busy_server_is_asked_again_when_it_leaves_time(server, make, name):
    server.refuse = [(429, {"Retry-After": "0.05"}, {"message": "later"})]
    assert length_ms(await say(make(name))) == pytest.approx(300, abs=1)


@every
async def test_a_server_that_wants_to_be_left_alone_is(server, make, name):
    server.refuse = [(429, {"Retry-After": "30"}, {"message": "later"})] * 2
    with pytest.raises(TTSError, match=r"429 .*later") as caught:
        await say(make(name))
    assert len(server.refuse) == 1
    assert (caught.value.status, caught.value.retry_after_s) == (429, 30)


@every
async def test_the_first_sound_has_a_deadline(server, make, name):
    server.first = 5
    with pytest.raises(TTSError, match=r"did not begin to answer within 0\.\d"):
        await say(make(name, first_timeout_s=0.6))
    await asyncio.wait_for(server.gone.wait(), 2)


@every
async def test_each_further_piece_has_a_deadline(server, make, name):
    server.pause = 5
    chunks = await say_until(make(name, idle_timeout_s=0.4), "one two", r"went silent within 0\.4 s")
    assert length_ms(chunks) == pytest.approx(100, abs=1)


@every
async def test_a_socket_that_breaks_in_the_middle_is_an_error_after_the_sound(server, make, name):
    server.drop_after = 1
    chunks = await say_until(make(name), "one two", f"^{name.removesuffix('-timed')} .*: .*(clos|peer|broke)")
    assert length_ms(chunks) == pytest.approx(100, abs=1)
    server.drop_after = None
    assert length_ms(await say(make(name))) == pytest.approx(300, abs=1)


@every
async def test_an_answer_without_sound_is_an_error(server, make, name):
    server.empty = True
    with pytest.raises(TTSError, match="sent no sound"):
        await say(make(name))


@pytest.mark.parametrize("name", HTTP)
async def test_a_page_is_no_sound(server, make, name):
    server.garbage = b"<html>no</html>"
    with pytest.raises(TTSError, match="sent 'text/html', which is no sound"):
        await say(make(name))


@every
async def test_closing_the_generator_ends_the_request(server, make, name):
    server.hold = 5
    speech = make(name).synthesize("one two")
    await anext(speech)
    await speech.aclose()
    await asyncio.wait_for(server.gone.wait(), 2)


@every
async def test_cancelling_who_waits_ends_the_request(server, make, name):
    server.first = 5
    task = asyncio.ensure_future(say(make(name)))
    while not server.requests:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(server.gone.wait(), 2)


@every
async def test_no_server_is_told(server, name):
    tts = MAKERS[name]("http://127.0.0.1:9", api_key="k")
    with pytest.raises(TTSError, match=f"^{name.removesuffix('-timed')} .*: .*onnect"):
        await say(tts)
    await tts.close()


@every
async def test_many_at_once(server, make, name):
    tts = make(name)
    server.pause = 0.01
    texts = ["one", "one two", "one two three"] * 4
    for text, chunks in zip(texts, await asyncio.gather(*(say(tts, text) for text in texts)), strict=True):
        assert length_ms(chunks) == pytest.approx(100 * len(text.split()), abs=1)


async def test_cartesia_speaks_everything_on_one_socket(server, make):
    tts = make("cartesia")
    await asyncio.gather(*(say(tts) for _ in range(5)))
    await say(tts)
    assert server.sockets == 1
    assert len({request["context_id"] for request in server.requests}) == 6
    assert not server.cancelled


async def test_cartesia_makes_the_socket_anew_when_it_was_closed_in_silence(server, make):
    tts = make("cartesia")
    await say(tts)
    await server.socket.close()
    await asyncio.sleep(0.05)
    assert length_ms(await say(tts)) == pytest.approx(300, abs=1)
    assert server.sockets == 2


async def test_a_socket_of_cartesia_that_says_nothing_is_not_asked_again(server, make):
    tts = make("cartesia", first_timeout_s=2)
    server.first = 60
    with pytest.raises(TTSError, match="did not begin to answer"):
        await say(tts)
    server.first = 0.0
    assert length_ms(await say(tts)) == pytest.approx(300, abs=1)
    assert server.sockets == 2


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            {"type": "error", "title": "No", "message": "quota is used up", "status_code": 402},
            "402 No: quota",
        ),
        ({"type": "error", "error": "old words", "status_code": 500}, "500 old words"),
        ({"type": "chunk", "data": 7}, "sent what is no piece of sound"),
        ({"type": "timestamps", "word_timestamps": 7}, "sent what is no piece of sound"),
    ],
)
async def test_what_cartesia_says_of_an_utterance_is_its_own(server, make, message, words):
    tts = make("cartesia")
    server.first = 0.2
    bad = asyncio.ensure_future(say(tts))
    while not server.requests:
        await asyncio.sleep(0.01)
    good = asyncio.ensure_future(say(tts))
    await server.socket.send_json(message | {"context_id": server.requests[0]["context_id"], "done": True})
    with pytest.raises(TTSError, match=words):
        await bad
    assert length_ms(await good) == pytest.approx(300, abs=1)


async def test_cartesia_may_send_what_is_nobodys(server, make):
    server.garbage = b'{"type": "chunk", "context_id": "someone", "data": ""}'
    assert length_ms(await say(make("cartesia"))) == pytest.approx(300, abs=1)


@pytest.mark.parametrize(
    "line", ['{"audio_base64": "%%%"}', '{"audio_base64": 7}', '{"alignment": {}}', "[1]"]
)
async def test_pieces_of_elevenlabs_that_are_none_are_told(server, make, line, monkeypatch):
    async def nonsense(request, lines, kind):
        return await VoiceServer.answer(server, request, [line.encode() + b"\n"], kind)

    monkeypatch.setattr(server, "answer", nonsense)
    with pytest.raises(TTSError, match=r"elevenlabs .* sent (what is no piece of sound|no sound)"):
        await say(make("elevenlabs-timed"))


@pytest.mark.parametrize(
    ("name", "variable", "kind"),
    [
        ("deepgram", "DEEPGRAM_API_KEY", DeepgramTTS),
        ("elevenlabs", "ELEVENLABS_API_KEY", ElevenLabsTTS),
        ("cartesia", "CARTESIA_API_KEY", CartesiaTTS),
        ("openai", "OPENAI_API_KEY", OpenAITTS),
    ],
)
async def test_they_are_found_by_name_and_their_key_in_the_environment(monkeypatch, name, variable, kind):
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match=f"has no key: set {variable} or api_key="):
        load_as(TTS, name)
    monkeypatch.setenv(variable, "k")
    tts = load_as(TTS, name, voice="v")
    assert isinstance(tts, kind)
    await tts.close()
    with pytest.raises(ConfigurationError, match="has no option 'vioce': did you mean 'voice'"):
        load_as(TTS, name, vioce="v")
    with pytest.raises(ConfigurationError, match="base_url = 'x'"):
        load_as(TTS, name, base_url="x")
