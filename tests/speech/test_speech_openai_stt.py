"""OpenAI's transcription, by the official SDK, against a server of our own."""

import asyncio

import pytest
from fakes.listening import listening
from fakes.voice_server import VoiceServer, run_voices

from voxtra.errors import ConfigurationError, STTError
from voxtra.speech import STT, load_as
from voxtra.speech.openai_speech import OpenAISTT


@pytest.fixture
async def server():
    fake = VoiceServer()
    runner = await run_voices(fake)
    yield fake
    await runner.cleanup()


def made(server, timeout_s):
    return OpenAISTT(base_url=f"{server.url}/v1", api_key="k", timeout_s=timeout_s, max_retries=0)


@pytest.fixture
async def stt(server):
    stt = made(server, 20)
    yield stt
    await stt.close()


@pytest.fixture
async def hasty(server):
    stt = made(server, 0.6)
    yield stt
    await stt.close()


@pytest.mark.parametrize("rate", [8000, 16000])
async def test_a_turn_is_heard(server, stt, rate):
    async with listening(stt, rate=rate, language="de-DE", hints=("order", "late")) as call:
        await call.speak("my order please")
        assert await call.final() == "my order please"
        call.stream.next_turn()
        await call.speak("yes")
        assert await call.final(2) == "yes"
    request = server.requests[0]
    assert (request["model"], request["language"], request["prompt"]) == (
        "gpt-4o-mini-transcribe",
        "de",
        "order, late",
    )
    assert request["headers"]["Authorization"] == "Bearer k"


@pytest.mark.parametrize("status", [400, 401, 429, 500])
async def test_a_refusal_is_told_in_the_servers_words(server, stt, status):
    server.refuse = [(status, {"Retry-After": "20"}, {"error": {"message": "not today"}})]
    async with listening(stt) as call:
        await call.speak("yes")
        await call.until(lambda: call.errors)
        assert isinstance(call.errors[0], STTError)
        assert f"{status} " in str(call.errors[0])
        assert "not today" in str(call.errors[0])
        assert call.errors[0].retry_after_s == 20
        await call.speak("no")
        assert await call.final() == "yes no"


async def test_a_busy_server_is_asked_again(server):
    server.refuse = [(503, {"Retry-After": "0.05"}, {})]
    stt = OpenAISTT(base_url=f"{server.url}/v1")
    assert (await stt.transcribe(bytes(1600), rate=8000)).text == ""
    await stt.close()


async def test_a_slow_server_has_a_deadline(server, hasty):
    server.first = 5
    async with listening(hasty) as call:
        await call.speak("yes")
        await call.until(lambda: call.errors)
        assert "timed out" in str(call.errors[0])


@pytest.mark.parametrize("garbage", [b"{nonsense", b"[1]", b'{"text": 5}', b"{}", b"null", b"\xff"])
async def test_garbage_is_an_error_of_ours(server, stt, garbage):
    server.garbage = garbage
    async with listening(stt) as call:
        await call.speak("yes")
        await call.until(lambda: call.errors)
        assert isinstance(call.errors[0], STTError)


async def test_closing_in_mid_request_leaves_nothing(server, stt):
    server.first = 5
    async with listening(stt) as call:
        await call.speak("yes")
        await call.until(lambda: server.requests)
    await asyncio.sleep(0)
    assert not call.heard


async def test_it_is_found_by_name(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match="OpenAISTT has no key"):
        load_as(STT, "openai")
    stt = load_as(STT, "openai", api_key="k", model="whisper-1")
    assert isinstance(stt, OpenAISTT)
    await stt.close()
