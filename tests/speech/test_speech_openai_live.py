"""OpenAI's streamed transcription, by the official SDK, against a server of our own."""

import asyncio

import pytest
from fakes.listening import listening
from fakes.marked_sound import say
from fakes.transcription_server import TranscriptionServer, run_transcription

from voxtra.errors import ConfigurationError
from voxtra.speech import STT, load_as
from voxtra.speech.openai_live import OpenAILiveSTT
from voxtra.testing import check_stt


@pytest.fixture
async def server():
    fake = TranscriptionServer()
    runner = await run_transcription(fake)
    yield fake
    await runner.cleanup()


def made(server, final_timeout_s):
    return OpenAILiveSTT(base_url=f"{server.url}/v1", api_key="k", final_timeout_s=final_timeout_s)


@pytest.fixture
async def stt(server):
    stt = made(server, 60)
    yield stt
    await stt.close()


@pytest.fixture
async def hasty(server):
    stt = made(server, 0.8)
    yield stt
    await stt.close()


@pytest.mark.parametrize("rate", [8000, 12000, 16000, 24000, 48000])
async def test_a_turn_is_heard(server, stt, rate):
    async with listening(stt, rate=rate, language="de-DE", hints=("order", "late")) as call:
        await call.speak("my order please")
        assert await call.final() == "my order please"
        assert "my order" in call.partials
        call.stream.next_turn()
        await call.speak("yes")
        assert await call.final(2) == "yes"
    (connection,) = server.connections
    wanted = connection["session"]["audio"]["input"]
    wire = {"type": "audio/pcmu"} if rate == 8000 else {"type": "audio/pcm", "rate": 24000}
    transcription = {"model": "gpt-4o-mini-transcribe", "language": "de", "prompt": "order, late"}
    assert wanted == {"format": wire, "transcription": transcription, "turn_detection": None}
    assert connection["query"] == {"intent": "transcription"}
    assert connection["headers"]["Authorization"] == "Bearer k"


async def test_it_keeps_the_rules(server, stt):
    await check_stt(stt, speech=b"".join(say("hello there my order")), expect="hello there my order")


async def test_a_pause_after_hardly_any_sound_is_answered(server, stt):
    async with listening(stt) as call:
        call.stream.speech_started()
        call.silence(20)
        call.stream.speech_stopped()
        assert await call.final() == ""


async def test_speech_that_goes_on_after_a_pause_is_one_turn(server, stt):
    async with listening(stt) as call:
        await call.speak("one two")
        assert await call.final(1) == "one two"
        await call.speak("three")
        assert await call.final(2) == "one two three"


@pytest.mark.parametrize("at", [100, 500, 900])
async def test_a_dropped_socket_costs_no_word(server, stt, at):
    server.drop_after_ms = [at]
    async with listening(stt) as call:
        await call.speak("one two three", step=0.002)
        assert await call.final() == "one two three"
        assert call.stream.reconnects == 1
        assert not call.errors


async def test_an_item_that_could_not_be_heard_is_sent_again(server, stt):
    server.fail_items = 1
    async with listening(stt) as call:
        await call.speak("one two")
        assert await call.final() == "one two"
        assert len(server.connections) == 2


async def test_no_word_in_time_is_an_error(server, hasty):
    server.silent = True
    async with listening(hasty) as call:
        await call.speak("hello")
        await call.until(lambda: call.errors)
        assert "no final transcript within 0.8 s" in str(call.errors[0])


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_a_refusal_is_told_once_in_the_servers_words(server, stt, status):
    server.refuse_always = (status, {"Retry-After": "30"}, {"error": {"message": "not today"}})
    async with listening(stt) as call:
        await call.until(lambda: call.errors)
        await asyncio.sleep(0.3)
        assert [str(error) for error in call.errors] == [f"{stt.name}: {status} not today"]
        assert (call.errors[0].status, call.errors[0].retry_after_s) == (status, 30)


async def test_an_error_of_the_server_is_told_in_its_words(server, stt):
    server.error = {"type": "invalid_request_error", "code": "x", "message": "no such model"}
    async with listening(stt) as call:
        await call.until(lambda: call.errors)
        assert "no such model" in str(call.errors[0])


async def test_garbage_is_passed_over(server, stt):
    server.garbage = [
        "{nonsense",
        "[1]",
        "7",
        '"x"',
        '{"type": "new.idea"}',
        '{"type": 7}',
        '{"type": "conversation.item.input_audio_transcription.delta"}',
        '{"type": "conversation.item.input_audio_transcription.completed", "item_id": "x", "transcript": 5}',
        '{"type": "input_audio_buffer.committed", "item_id": "nobodys"}',
    ]
    async with listening(stt) as call:
        await call.speak("yes")
        assert await call.final() == "yes"
        assert not call.errors


async def test_closing_early_or_late_leaves_nothing(server, stt):
    server.connect_delay = 0.1
    for wait in (0.0, 0.05, 0.3):
        async with listening(stt):
            await asyncio.sleep(wait)
    await asyncio.sleep(0.1)
    assert all(connection.get("closed") for connection in server.connections)


async def test_what_is_wrong_is_said(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match="OpenAILiveSTT has no key"):
        load_as(STT, "openai-live")
    with pytest.raises(ConfigurationError, match="websocket_base_url = 'http://x'"):
        load_as(STT, "openai-live", api_key="k", websocket_base_url="http://x")
    stt = load_as(STT, "openai-live", api_key="k")
    with pytest.raises(ConfigurationError, match="rate = 11025: it must be one of 8000, 12000"):
        stt.open(rate=11025, on_transcript=print, on_error=print)
    await stt.close()
