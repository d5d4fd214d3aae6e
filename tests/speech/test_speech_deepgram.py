"""Deepgram's recognisers, by the official SDK, against a server of our own that speaks its protocol."""

import asyncio

import pytest
from fakes.deepgram_server import DeepgramServer, run_server
from fakes.listening import listening

from voxtra.errors import ConfigurationError, STTError
from voxtra.speech import STT, load_as
from voxtra.speech.deepgram import DeepgramFluxSTT, DeepgramSTT


@pytest.fixture
async def server():
    fake = DeepgramServer()
    runner = await run_server(fake)
    yield fake
    await runner.cleanup()


def nova(server, **options):
    return DeepgramSTT(api_key="k", base_url=server.url, **{"final_timeout_s": 60.0} | options)


def flux(server, **options):
    return DeepgramFluxSTT(api_key="k", base_url=server.url, **{"final_timeout_s": 60.0} | options)


@pytest.fixture(params=[nova, flux], ids=["nova", "flux"])
def make(request):
    return request.param


@pytest.mark.parametrize("rate", [8000, 16000])
async def test_a_turn_is_heard_with_partials_and_a_final(server, make, rate):
    async with listening(make(server), rate=rate) as call:
        await call.speak("hello there", step=0.001)
        assert await call.final() == "hello there"
        assert call.partials[-1] == "hello there"
        assert not call.errors
    (connection,) = server.connections
    assert connection["query"]["encoding"] == ("mulaw" if rate == 8000 else "linear16")
    assert connection["query"]["sample_rate"] == str(rate)
    assert connection["headers"]["Authorization"] == "Token k"


async def test_the_options_reach_the_server(server):
    stt = nova(server, model="nova-3", language="de", extra={"profanity_filter": "true"}, endpointing_ms=200)
    async with listening(stt, language="en-GB", hints=("order", "late thanks")) as call:
        await call.until(lambda: server.connections)
    query = server.connections[0]["query"]
    wanted = {"model": "nova-3", "language": "en-GB", "interim_results": "true", "endpointing": "200"}
    assert wanted.items() <= query.items()
    assert query["profanity_filter"] == query["smart_format"] == "true"
    assert server.connections[0]["keyterms"] == ["order", "late thanks"]


async def test_flux_gets_its_thresholds_and_the_silence(server):
    stt = flux(server, model="flux-general-multi", eot_threshold=0.6, eot_timeout_ms=900)
    async with listening(stt, language="es") as call:
        call.silence(500)
        await call.until(lambda: server.connections and len(server.connections[0]["sound"]) == 4000)
    query = server.connections[0]["query"]
    assert (query["eot_threshold"], query["eot_timeout_ms"], query["language_hint"]) == ("0.6", "900", "es")


async def test_silence_is_not_sent_but_signs_of_life_are(server):
    async with listening(nova(server, keep_alive_s=0.05)) as call:
        call.silence(2000)
        await call.until(lambda: server.connections and len(server.connections[0]["messages"]) >= 2)
        assert not server.connections[0]["sound"]
        assert {message["type"] for message in server.connections[0]["messages"]} == {"KeepAlive"}
        await call.speak("yes")
        assert await call.final() == "yes"
        # half a second from before the speech was noticed, no more
        assert len(server.connections[0]["sound"]) <= 8 * (500 + 300 + 200)


@pytest.mark.parametrize("ms", [0, 100, 300, 1000])
async def test_a_call_says_how_much_from_before_its_speech_is_heard(server, ms):
    async with listening(nova(server)) as call:
        call.silence(600)
        call.stream.keep_before(ms)
        call.silence(1400)
        assert call.stream.buffered == 8 * ms
        call.stream.speech_started()
        call.silence(200)
        call.stream.speech_stopped()
        await call.until(lambda: server.connections and len(server.connections[0]["sound"]) >= 8 * (ms + 200))
        assert len(server.connections[0]["sound"]) == 8 * (ms + 200)


async def test_speech_that_goes_on_after_a_pause_is_one_turn(server, make):
    async with listening(make(server)) as call:
        await call.speak("one two")
        assert await call.final(1) == "one two"
        await call.speak("three")
        assert await call.final(2) == "one two three"


async def test_a_pause_that_was_none_is_not_answered(server, make):
    async with listening(make(server)) as call:
        await call.speak("one")
        call.stream.speech_started()
        await call.speak("two")
        assert await call.final() == "one two"
        await asyncio.sleep(0.1)
        assert call.finals == ["one two"]


async def test_the_next_turn_begins_empty(server, make):
    async with listening(make(server)) as call:
        await call.speak("one two")
        assert await call.final(1) == "one two"
        call.stream.next_turn()
        await call.speak("five")
        assert await call.final(2) == "five"


async def test_words_of_the_last_turn_that_come_late_are_left_out(server, make):
    server.silent = True
    async with listening(make(server)) as call:
        await call.speak("one two", stop=False)
        await call.until(lambda: server.connections and len(server.connections[0]["sound"]) >= 2400)
        call.stream.next_turn()  # decided without waiting for words
        server.silent = False
        await call.speak("three")
        assert await call.final() == "three"


async def test_a_pause_with_nothing_said_is_answered_at_once(server):
    async with listening(nova(server)) as call:
        call.stream.speech_stopped()
        assert await call.final() == ""


async def test_a_server_that_says_nothing_after_the_pause_costs_little(server, make):
    """Deepgram may leave Finalize without an answer when it has nothing to add."""
    async with listening(make(server)) as call:
        await call.speak("one two")
        await call.final(1)
        server.answers_finalize = False
        call.stream.speech_started()
        call.silence(100)
        call.stream.speech_stopped()
        assert await call.final(2) == "one two"
        assert not call.errors


async def test_words_that_are_final_before_the_pause_are_not_waited_for(server, make):
    """Flux ends turns itself; voxtra's pause may come after that, and there is nothing left to force."""
    server.endpointing_ms = 300
    async with listening(make(server)) as call:
        await call.speak("one two", stop=False)
        for _ in range(65):
            call.silence(20)
            await asyncio.sleep(0.002)
        await call.until(lambda: server.finals)
        await asyncio.sleep(0.05)
        server.answers_finalize = False
        call.stream.speech_stopped()
        assert await call.final() == "one two"
        server.answers_finalize = True
        await call.speak("three")  # and what comes after it is not lost
        assert await call.final(2) == "one two three"


async def test_a_noise_that_held_no_word_is_no_error(server, make):
    server.answers_finalize = False
    async with listening(make(server)) as call:
        call.stream.speech_started()
        call.silence(600)
        call.stream.speech_stopped()
        assert await call.final() == ""
        assert not call.errors


async def test_the_silence_before_a_turn_is_not_sent_again(server):
    server.drop_after_ms = [3000]
    async with listening(flux(server)) as call:
        await call.until(lambda: server.connections)
        for _ in range(31):
            call.silence(100)
            await asyncio.sleep(0.005)
        await call.until(lambda: len(server.connections) == 2)
        await call.speak("yes")
        assert await call.final() == "yes"
        assert len(server.connections[1]["sound"]) <= 8 * 1200


async def test_without_a_final_the_words_known_are_taken(server, make):
    server.answers_finalize = False
    async with listening(make(server, final_timeout_s=0.6)) as call:
        await call.speak("hello there", step=0.002)
        assert await call.final() == "hello there"


async def test_no_word_in_time_is_an_error(server, make):
    server.silent = True
    async with listening(make(server, final_timeout_s=2)) as call:
        await call.speak("hello")
        await call.until(lambda: call.errors)
        assert isinstance(call.errors[0], STTError)
        assert "no final transcript within 2 s" in str(call.errors[0])
        assert not call.finals
        server.silent = False
        await call.speak("there")  # the stream stays usable
        assert await call.final() == "hello there"


@pytest.mark.parametrize("at", [100, 300, 500, 700])
async def test_a_dropped_socket_costs_no_word(server, make, at):
    server.drop_after_ms = [at]
    async with listening(make(server)) as call:
        await call.speak("one two three four", step=0.002)
        assert await call.final() == "one two three four"
        assert call.stream.reconnects == 1
        assert not call.errors
    assert len(server.connections) == 2


async def test_words_that_are_final_are_not_sent_again(server, make):
    server.drop_after_ms = [900]
    async with listening(make(server)) as call:
        await call.speak("one two")  # 600 ms and 200 of silence
        assert await call.final(1) == "one two"
        await call.speak("three")  # the socket drops here
        assert await call.final(2) == "one two three"
        assert len(server.connections[1]["sound"]) <= 8 * 700


async def test_a_pause_while_there_is_no_socket_is_answered_after_it_is_back(server, make):
    server.connect_delay = 0.3
    async with listening(make(server)) as call:
        await call.speak("yes please")
        assert await call.final() == "yes please"


async def test_a_socket_that_keeps_dropping_is_told_once(server):
    server.drop_after_ms = [20] * 50
    server.silent = True
    async with listening(nova(server, final_timeout_s=1.5)) as call:
        await call.speak("hello")
        await call.until(lambda: call.errors)
        assert "the connection broke" in str(call.errors[0])
        await call.until(lambda: len(call.errors) == 2)
        assert "no final transcript within 1.5 s: deepgram (nova-3): the connection broke" in str(
            call.errors[1]
        )


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (401, {}, "401 Websocket initialized with invalid credentials"),
        (400, {"dg-error": "Bad Request: no such model"}, "400 Bad Request: no such model"),
        (429, {"Retry-After": "30", "dg-error": "Too many requests"}, "429 Too many requests"),
        (500, {}, "500 "),
    ],
)
async def test_a_refusal_is_told_once_in_the_servers_words(server, make, status, headers, words):
    server.refuse_always = (status, headers, "{}")
    async with listening(make(server)) as call:
        await call.until(lambda: call.errors)
        await asyncio.sleep(0.4)
        assert len(call.errors) == 1
        assert words in str(call.errors[0])
        assert call.errors[0].status == status
        assert call.errors[0].retry_after_s == float(headers.get("Retry-After", 0))
        if status == 429:
            assert call.stream.reconnects == 0


async def test_a_refusal_that_passes_is_forgotten(server, make):
    server.refuse = [(503, {}, ""), (429, {"Retry-After": "0.2"}, "")]
    async with listening(make(server)) as call:
        await call.speak("my order")
        assert await call.final() == "my order"
        assert len(call.errors) == 1


async def test_no_server_is_told(make):
    class Nowhere:
        url = "http://127.0.0.1:9"

    async with listening(make(Nowhere, final_timeout_s=0.6)) as call:
        await call.speak("hello")
        await call.until(lambda: len(call.errors) == 2)
        assert "Connect call failed" in str(call.errors[0])
        assert "no final transcript" in str(call.errors[1])


async def test_a_slow_handshake_has_a_deadline(server, make):
    server.connect_delay = 5
    async with listening(make(server, connect_timeout_s=0.1)) as call:
        await call.until(lambda: call.errors)
        assert "no connection within 0.1 s" in str(call.errors[0])


GARBAGE = [
    "{nonsense",
    "[1, 2]",
    '"text"',
    "7",
    "null",
    '{"type": "Results"}',
    '{"type": "Results", "channel": {"alternatives": []}, "start": 0, "duration": 1}',
    '{"type": "Results", "channel": {"alternatives": [{"transcript": 5}]}, "start": 0, "duration": 1}',
    '{"type": "Results", "channel": 7, "start": "x"}',
    '{"type": "TurnInfo", "audio_window_end": "x"}',
    '{"type": "TurnInfo", "audio_window_end": 1, "transcript": 5}',
    '{"type": "TurnInfo", "audio_window_end": 1, "transcript": "a", "turn_index": 0, "words": [7]}',
    '{"type": "NewIdea"}',
]


async def test_garbage_is_passed_over(server, make):
    server.garbage = GARBAGE
    async with listening(make(server)) as call:
        await call.speak("yes")
        assert await call.final() == "yes"
        assert len(server.connections) == 1
        assert not call.errors


async def test_an_error_of_the_server_is_told_in_its_words(server, make):
    server.error = {
        "type": "Error",
        "variant": "x",
        "code": "INTERNAL",
        "sequence_id": 0,
        "description": "it is on fire",
    }
    async with listening(make(server)) as call:
        await call.until(lambda: call.errors)
        assert "it is on fire" in str(call.errors[0])


async def test_the_sound_kept_is_bounded(server):
    server.refuse_always = (503, {}, "")
    async with listening(nova(server, replay_s=1)) as call:
        call.stream.speech_started()
        call.silence(5000)
        assert call.stream.buffered <= 8000 + 4000


async def test_closing_early_or_late_leaves_nothing(server, make):
    server.connect_delay = 0.2
    for wait in (0.0, 0.1, 0.4):
        async with listening(make(server)) as call:
            await asyncio.sleep(wait)
        call.stream.push(bytes(320))
        call.stream.speech_started()
        call.stream.speech_stopped()
        assert not call.heard
    await asyncio.sleep(0.1)
    assert all(connection.get("closed") for connection in server.connections)


async def test_two_calls_hear_their_own_words_only(server, make):
    stt = make(server)
    async with listening(stt) as one, listening(stt) as two:
        await asyncio.gather(one.speak("one"), two.speak("two"))
        assert (await one.final(), await two.final()) == ("one", "two")


async def test_a_listener_with_a_flaw_does_not_deafen_the_call(server, caplog):
    stt = nova(server)
    async with listening(stt) as call:
        seen = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: seen.append(context))
        call.stream._on_transcript = lambda transcript: 1 / 0
        await call.speak("one")
        await call.until(lambda: seen)
        call.stream._on_transcript = call._told
        await call.speak("two")
        assert await call.final() == "one two"


def test_what_is_wrong_is_said(monkeypatch):
    monkeypatch.delenv("DEEPGRAM_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="DeepgramSTT has no key: set DEEPGRAM_API_KEY"):
        DeepgramSTT()
    with pytest.raises(
        ConfigurationError, match=r"base_url = 'ftp://x': it must begin with http:// or https"
    ):
        DeepgramSTT(api_key="k", base_url="ftp://x")
    with pytest.raises(ConfigurationError, match="Flux must hear the silence"):
        DeepgramFluxSTT(api_key="k", send_silence=False)
    monkeypatch.setenv("DEEPGRAM_API_KEY", "k")
    with pytest.raises(ConfigurationError, match="rate = 11"):
        DeepgramSTT().open(rate=11, on_transcript=print, on_error=print)
    assert isinstance(load_as(STT, "deepgram", model="nova-2"), DeepgramSTT)
    assert isinstance(load_as(STT, "deepgram-flux"), DeepgramFluxSTT)
