"""OpenAI Realtime over a real WebSocket, against a server of our own with the rules of the real one."""

import asyncio
import base64
import json
import struct

import pytest
from fakes.realtime_server import RealtimeServer, Reply
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.errors import ConfigurationError, LLMError
from voxtra.media.codecs import make_codec
from voxtra.speech import SpeechToSpeech, load_as
from voxtra.speech.base import (
    CallerSpeech,
    CallerText,
    CallerTurn,
    ReplyAudio,
    ReplyAudioEnded,
    ReplyEnded,
    ReplyStarted,
    ReplyText,
    ReplyToolCall,
    StreamLost,
    StreamProblem,
    ToolCall,
    Usage,
)
from voxtra.speech.realtime import OpenAIRealtime
from voxtra.speech.realtime_protocol import PCM24, ULAW, RealtimeProtocol

TOOL = {"name": "look_up", "description": "Finds.", "parameters": {"type": "object", "properties": {}}}
SECOND = struct.pack("<8000h", *([1000, -1000] * 4000))


@pytest.fixture
async def server():
    fake = RealtimeServer()
    runner = await fake.start()
    yield fake
    await runner.cleanup()


def made(server, **timeouts):
    return OpenAIRealtime(websocket_base_url=server.url, api_key="k", model="m", max_retries=0, **timeouts)


@pytest.fixture
async def provider(server):
    provider = made(server)
    yield provider
    await provider.close()


class Told(list):
    """Events as they come, with a wait for one of a kind."""

    async def until(self, kind, count=1):
        async with asyncio.timeout(30):
            while len(found := [event for event in self if isinstance(event, kind)]) < count:
                await asyncio.sleep(0.005)
        return found


@pytest.fixture
async def opened(provider):
    streams = []

    async def open_(by=provider, **options):
        told = Told()
        options = {"rate": 8000, "codec": "ulaw"} | options
        streams.append(await by.open(on_event=told.append, **options))
        return streams[-1], told

    yield open_
    for stream in streams:
        await stream.close()


async def test_the_session_is_as_asked_for(server, opened):
    await opened(instructions="Be short.", tools=[TOOL], language="de-DE")
    (request,) = server.requests
    assert request.query["model"] == "m"
    assert request.headers["Authorization"] == "Bearer k"
    session = server.now.session
    assert session["type"] == "realtime"
    assert session["instructions"] == "Be short."
    assert session["output_modalities"] == ["audio"]
    assert session["audio"]["input"] == {
        "format": {"type": "audio/pcmu"},
        "turn_detection": None,
        "transcription": {"model": "gpt-4o-mini-transcribe", "language": "de"},
    }
    assert session["audio"]["output"] == {"format": {"type": "audio/pcmu"}, "voice": "marin"}
    assert session["tools"] == [{"type": "function", **TOOL}]


async def test_a_turn_goes_up_and_a_reply_comes_down(server, opened):
    server.heard = ["When do you open?"]
    server.replies = [Reply("At nine o'clock.", 300)]
    stream, told = await opened()
    assert stream.rate == 8000
    for at in range(0, len(SECOND), 320):
        stream.push(SECOND[at : at + 320])
    stream.commit()
    stream.respond(tag="first")
    (ended,) = await told.until(ReplyEnded)
    turn = next(event for event in told if isinstance(event, CallerTurn))
    assert server.now.turns == [make_codec("ulaw").encode(SECOND)]
    assert CallerText(turn.item, "When", False) in told
    assert CallerText(turn.item, "When do you open?", True) in told
    assert ReplyStarted(ended.reply, "first") in told
    audio = [event for event in told if isinstance(event, ReplyAudio)]
    assert sum(len(event.pcm) for event in audio) == 300 * 16
    assert "".join(event.text for event in told if isinstance(event, ReplyText)) == "At nine o'clock."
    assert ReplyAudioEnded(ended.reply, audio[0].item) in told
    assert ended == ReplyEnded(ended.reply, "finished", Usage(20, 10), "", "first")
    assert server.now.errors == []


@pytest.mark.parametrize(
    ("codec", "rate"), [("ulaw", 8000), ("alaw", 8000), ("slin16", 24000), ("slin", 24000)]
)
async def test_the_lines_own_format_is_taken_where_it_is_one(server, opened, codec, rate):
    server.replies = [Reply("Yes.", 100)]
    stream, told = await opened(codec=codec)
    assert stream.rate == rate
    stream.respond()
    (audio,) = await told.until(ReplyAudio)
    assert len(audio.pcm) == rate // 10 * 2


async def test_tool_calls_in_pieces_and_side_by_side(server, opened):
    server.replies = [
        Reply(tools=[("a", "look_up", '{"name": "Ada"}'), ("b", "look_up", "{}")]),
        Reply("A poet.", 100),
    ]
    stream, told = await opened(tools=[TOOL])
    stream.respond()
    calls = await told.until(ReplyToolCall, 2)
    assert [event.call for event in calls] == [
        ToolCall("a", "look_up", {"name": "Ada"}), ToolCall("b", "look_up", {}),
    ]  # fmt: skip
    stream.add_tool_result("a", "a poet")
    stream.add_tool_result("b", "nobody")
    stream.respond()
    await told.until(ReplyEnded, 2)
    results = [item for item in server.now.items.values() if item["type"] == "function_call_output"]
    assert [(item["call_id"], item["output"]) for item in results] == [("a", "a poet"), ("b", "nobody")]


async def test_a_message_that_was_not_spoken(server, opened):
    server.replies = [Reply("Thank you.", 100)]
    stream, told = await opened()
    stream.add_text("[keys pressed: 12]")
    stream.respond()
    await told.until(ReplyEnded)
    (message,) = [item for item in server.now.items.values() if item.get("role") == "user"]
    assert message["content"] == [{"type": "input_text", "text": "[keys pressed: 12]"}]
    assert not [event for event in told if isinstance(event, CallerTurn)]


async def test_arguments_that_are_no_json_go_back_to_the_model(server, opened):
    server.replies = [Reply(tools=[("a", "look_up", '{"name":')]), Reply("Sorry.", 100)]
    stream, told = await opened(tools=[TOOL])
    stream.respond()
    await told.until(ReplyEnded, 2)
    assert [type(event) for event in told if isinstance(event, ReplyToolCall | StreamProblem)] == [
        StreamProblem
    ]
    assert any(
        item.get("output") == "The arguments are no JSON object." for item in server.now.items.values()
    )


async def test_a_reply_waits_for_the_one_under_way(server, opened):
    server.replies = [Reply("One.", 200, pause_s=0.02), Reply("Two.", 100)]
    stream, told = await opened()
    stream.respond(tag="one")
    await told.until(ReplyAudio)
    stream.respond(tag="two")
    ended = await told.until(ReplyEnded, 2)
    assert [event.tag for event in ended] == ["one", "two"]
    assert server.now.errors == []


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_reply_that_the_server_begins_at_the_same_time_comes_first(server, cancelled):
    server.replies = [Reply("Its own.", 100, pause_s=0.2), Reply("Ours.", 100)]
    provider = OpenAIRealtime(websocket_base_url=server.url, turn_detection="server_vad")
    told = Told()
    stream = await provider.open(rate=8000, codec="ulaw", on_event=told.append)
    stream.respond(tag="ours")
    if cancelled:
        stream.cancel()
    await server.now.begin({})  # before the request is there
    await server.until("response.create")
    ended = await told.until(ReplyEnded, 1 if cancelled else 2)
    assert [event.tag for event in ended] == [""] if cancelled else ["", "ours"]
    assert "conversation_already_has_active_response" in server.now.errors
    await stream.close()
    await provider.close()


async def test_cancelled_nothing_more_of_the_reply_comes(server, opened):
    server.replies = [Reply("Long " * 50, 5000, pause_s=0.01), Reply("Two.", 100)]
    stream, told = await opened()
    stream.respond()
    (first, *_) = await told.until(ReplyAudio, 2)
    stream.cancel()
    count = len(told)
    stream.truncate(first.item, 150)
    (ended,) = await told.until(ReplyEnded)
    assert ended.reason == "cancelled"
    assert told[count:] == [ended]
    assert server.sent("conversation.item.truncate")[0]["audio_end_ms"] == 150
    stream.respond()
    (_, second) = await told.until(ReplyEnded, 2)
    assert second.reason == "finished"
    assert server.now.errors == []


async def test_cancelled_before_it_has_a_name(server, opened):
    server.replies = [Reply("One.", 1000, first_s=0.05), Reply("Two.", 100)]
    stream, told = await opened()
    stream.respond(tag="one")
    stream.cancel()
    stream.respond(tag="two")
    ended = await told.until(ReplyEnded, 2)
    assert [event.reason for event in ended] == ["cancelled", "finished"]
    assert [event.tag for event in told if isinstance(event, ReplyStarted)] == ["two"]


async def test_no_more_is_cut_than_there_is_and_nothing_at_all_is_taken_out(server, opened):
    server.replies = [Reply("One.", 200), Reply("Two.", 200)]
    stream, told = await opened()
    for heard_ms in (220, 0):
        told.clear()
        stream.respond()
        await told.until(ReplyEnded)
        stream.truncate(next(event.item for event in told if isinstance(event, ReplyAudio)), heard_ms)
    stream.truncate("never heard of", 100)
    await server.until("conversation.item.delete")
    assert [m["audio_end_ms"] for m in server.sent("conversation.item.truncate")] == [200]
    assert server.now.errors == []


async def test_instructions_for_one_reply_stand_beside_the_sessions(server, opened):
    server.replies = [Reply("Hello.", 100), Reply("Yes.", 100)]
    stream, _ = await opened(instructions="Be short.")
    stream.respond("Say hello.")
    stream.respond()
    first, second = (m["response"] for m in await server.until("response.create", 2))
    assert first["instructions"] == "Be short.\n\nSay hello."
    assert "instructions" not in second


async def test_a_cancel_that_comes_too_late_is_no_matter(server, opened):
    server.replies = [Reply("One.", 100)]
    stream, told = await opened()
    stream.respond()
    await told.until(ReplyEnded)
    stream._protocol._active = "resp_gone"
    stream.cancel()
    await server.until("response.cancel")
    await asyncio.sleep(0.05)
    assert server.now.errors == ["response_cancel_not_active"]
    assert not any(isinstance(event, StreamProblem | StreamLost) for event in told)


async def test_a_turn_without_sound_is_told(server, opened):
    stream, told = await opened()
    stream.commit()
    assert await told.until(CallerTurn) == [CallerTurn("")]


async def test_what_was_said_before_is_known(server, opened):
    call = {"id": "a", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    await opened(
        history=[
            {"role": "user", "content": "Who is Ada?"},
            {"role": "assistant", "content": "One moment.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "a poet"},
            {"role": "tool", "tool_call_id": "gone", "content": "x"},
            {"role": "assistant", "content": ""},
        ]
    )
    await server.until("conversation.item.create", 4)
    items = [message["item"] for message in server.sent("conversation.item.create")]
    assert items == [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Who is Ada?"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "One moment."}]},
        {"type": "function_call", "call_id": "a", "name": "look_up", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "a poet"},
    ]


async def test_a_transcription_that_failed_is_told_as_unknown(server, opened):
    server.heard = ["?"]
    stream, told = await opened()
    stream.push(SECOND)
    stream.commit()
    (text,) = await told.until(CallerText)
    assert (text.text, text.is_final) == ("", True)


async def test_the_servers_own_end_of_turn(server):
    provider = OpenAIRealtime(
        websocket_base_url=server.url, turn_detection="semantic_vad", transcription=None
    )
    told = Told()
    stream = await provider.open(rate=8000, codec="ulaw", on_event=told.append)
    assert provider.ends_turns
    hears = server.now.session["audio"]["input"]
    assert hears["turn_detection"] == {
        "type": "semantic_vad", "create_response": True, "interrupt_response": False,
    }  # fmt: skip
    assert "transcription" not in hears
    server.replies = [Reply("Yes.", 100)]
    await server.now.tell("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    await server.now.tell("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=900)
    await server.now.tell("input_audio_buffer.committed", item_id="u", previous_item_id=None)
    await server.now.begin({})
    await told.until(ReplyEnded)
    assert told[:3] == [CallerSpeech(True), CallerSpeech(False), CallerTurn("u")]
    await stream.close()
    await provider.close()


# ---- what goes wrong


@pytest.mark.parametrize(
    ("status", "message"), [(401, "Incorrect API key"), (429, "Rate limit reached"), (529, "Overloaded")]
)
async def test_a_refused_connection_carries_the_servers_words(server, opened, status, message):
    server.refuse = [(status, {"error": {"message": message}})]
    with pytest.raises(LLMError, match=rf"openai realtime \(m\): {status} .*{message}"):
        await opened()


async def test_a_busy_server_is_asked_again_and_a_wrong_key_is_not(server):
    for status, tries in ((503, 2), (401, 1)):
        server.refuse = [(status, {"error": {"message": "no"}})] * tries
        server.requests.clear()
        provider = OpenAIRealtime(websocket_base_url=server.url, max_retries=1)
        with pytest.raises(LLMError):
            await provider.open(rate=8000, codec="ulaw", on_event=print)
        assert len(server.requests) == tries
        assert server.refuse == []
        await provider.close()


async def test_a_session_that_is_refused_or_never_begins(server, opened):
    server.settle = False
    hasty = made(server, connect_timeout_s=0.5)
    with pytest.raises(LLMError, match=r"the session did not begin within 0\.5 s"):
        await opened(hasty)
    await hasty.close()
    bad = OpenAIRealtime(websocket_base_url=server.url, extra={"voice_of": "nobody"})
    with pytest.raises(LLMError, match="no such voice"):
        await bad.open(rate=8000, codec="ulaw", on_event=print)
    await bad.close()


async def test_nobody_there_is_told():
    provider = OpenAIRealtime(websocket_base_url="ws://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(LLMError, match="openai realtime"):
        await provider.open(rate=8000, codec="ulaw", on_event=print)
    await provider.close()


async def test_a_socket_that_breaks_is_the_end(server, opened):
    server.replies = [Reply("Long " * 50, 5000, pause_s=0.01)]
    stream, told = await opened()
    stream.respond()
    await told.until(ReplyAudio)
    await server.now.drop()
    (lost,) = await told.until(StreamLost)
    assert str(lost.error).startswith("openai realtime (m): ")
    assert told[-1] is lost
    stream.push(SECOND)  # nobody takes it, and nothing happens
    stream.respond()
    await stream.close()


async def test_a_server_that_hangs_up_says_why(server, opened):
    _, told = await opened()
    await server.now.socket.close(code=1001, message=b"going away")
    (lost,) = await told.until(StreamLost)
    assert "1001 going away" in str(lost.error)


async def test_the_first_piece_has_a_deadline_and_each_further_one(server, opened):
    server.replies = [Reply(hang=True)]
    hasty = made(server, first_timeout_s=0.4)
    stream, told = await opened(hasty)
    stream.respond()
    (lost,) = await told.until(StreamLost)
    assert "did not begin to answer within 0.4 s" in str(lost.error)
    server.replies = [Reply("One two.", 200, pause_s=60)]
    impatient = made(server, idle_timeout_s=0.3)
    stream, told = await opened(impatient)
    stream.respond()
    (lost,) = await told.until(StreamLost)
    assert "went silent within 0.3 s" in str(lost.error)
    await hasty.close()
    await impatient.close()


async def test_a_reply_that_fails_is_told_with_its_words(server, opened):
    server.replies = [Reply("One.", 100, fail="The server had an error")]
    stream, told = await opened()
    stream.respond(tag="x")
    (ended,) = await told.until(ReplyEnded)
    assert (ended.reason, ended.detail, ended.tag) == ("failed", "The server had an error", "x")
    stream.respond(tag="y")  # refused at once: there is no reply left
    (_, refused) = await told.until(ReplyEnded, 2)
    assert (refused.reply, refused.reason, refused.tag) == ("", "failed", "y")
    assert "Too many of them" in refused.detail


@pytest.mark.parametrize(
    "garbage", ["{nonsense", "[1, 2]", '"x"', '{"type": 5}', '{"type": "response.created"}']
)
async def test_garbage_is_the_end_with_an_error_of_ours(server, opened, garbage):
    _, told = await opened()
    await server.now.socket.send_str(garbage)
    (lost,) = await told.until(StreamLost)
    assert "sent what is no event" in str(lost.error)


async def test_what_is_not_known_is_passed_over_and_complaints_are_told(server, opened):
    _, told = await opened()
    await server.now.tell("rate_limits.updated", rate_limits=[])
    await server.now.tell("weather.changed", sky="blue")
    await server.now.tell("error", error={"type": "x", "code": "y", "message": "not so loud"})
    assert await told.until(StreamProblem) == [StreamProblem("y: not so loud")]
    assert len(told) == 1


async def test_a_session_that_is_too_old_is_the_end(server, opened):
    _, told = await opened()
    await server.now.tell("error", error={"code": "session_expired", "message": "60 minutes"})
    (lost,) = await told.until(StreamLost)
    assert "60 minutes" in str(lost.error)


async def test_sound_that_cannot_be_sent_is_dropped_from_its_beginning(server, opened):
    stream, _ = await opened()
    for _ in range(15):  # without a turn of the loop in between nothing is sent
        stream.push(SECOND)
    assert stream.dropped_ms == 5000
    stream.commit()
    await server.until("input_audio_buffer.commit")
    assert len(server.now.turns[0]) == 80_000
    assert server.now.messages[-1]["type"] == "input_audio_buffer.commit"


async def test_closed_in_the_middle_nothing_is_told_any_more(server, opened):
    server.replies = [Reply("Long " * 50, 5000, pause_s=0.01)]
    stream, told = await opened()
    stream.respond()
    await told.until(ReplyAudio)
    await stream.close()
    count = len(told)
    await asyncio.sleep(0.05)
    assert len(told) == count
    await stream.close()


async def test_it_has_a_name():
    made = load_as(SpeechToSpeech, "openai", websocket_base_url="ws://127.0.0.1:9/v1")
    assert isinstance(made, OpenAIRealtime)
    await made.close()
    with pytest.raises(ConfigurationError, match="SpeechToSpeech: "):
        load_as(SpeechToSpeech, "local")


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match="set OPENAI_API_KEY"):
        OpenAIRealtime()
    with pytest.raises(ConfigurationError, match="must begin with ws"):
        OpenAIRealtime(websocket_base_url="http://x")
    with pytest.raises(ConfigurationError, match="turn_detection"):
        OpenAIRealtime(api_key="k", turn_detection="mine")


# ---- the protocol alone


def test_the_betas_names_are_understood():
    protocol = RealtimeProtocol("x", ULAW)
    protocol.receive(json.dumps({"type": "response.created", "response": {"id": "r"}}))
    delta = base64.b64encode(b"\xff" * 8).decode()
    (audio,) = protocol.receive(
        json.dumps({"type": "response.audio.delta", "response_id": "r", "item_id": "i", "delta": delta})
    )
    assert audio == ReplyAudio("r", "i", bytes(16))


STEPS = st.lists(
    st.sampled_from(["respond", "cancel", "own", "serve", "audio", "done", "refused", "not_active"]),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_in_any_order_never_two_replies_are_asked_for_at_once_and_none_is_forgotten(steps):
    """Against a model of the server: one reply at a time, some its own; each request answered, in order."""
    protocol = RealtimeProtocol("x", PCM24, begins=True)
    protocol.ready = True
    active, numbers = "", iter(range(1000))
    requests: list[dict] = []
    served: list[str] = []

    def say(kind, **body):
        return protocol.receive(json.dumps({"type": kind} | body))

    def take():
        requests.extend(m for m in protocol.out if m["type"] == "response.create")
        protocol.out.clear()
        assert len(requests) <= 1  # never a second before the first is answered

    def finish():
        nonlocal active
        gone, active = active, ""
        (event,) = say("response.done", response={"id": gone, "status": "completed"})
        if event.tag and event.reason == "finished":
            served.append(event.tag)

    def serve():
        nonlocal active
        if requests and active:
            requests.pop()
            say("error", error={"code": "conversation_already_has_active_response", "message": "no"})
        elif requests:
            active = f"r{next(numbers)}"
            metadata = requests.pop()["response"]["metadata"]
            say("response.created", response={"id": active, "metadata": metadata})

    for step in steps:
        if step == "respond":
            protocol.respond(tag=f"t{next(numbers)}")
        elif step == "cancel":
            protocol.cancel()
        elif step == "own" and not active:
            active = f"r{next(numbers)}"
            say("response.created", response={"id": active})
        elif step == "serve":
            serve()
        elif step == "audio" and active:
            about = {"response_id": active, "item_id": "i" + active}
            assert len(say("response.output_audio.delta", **about, delta="AAAAAAAA")) <= 1
        elif step == "done" and active:
            finish()
        elif step == "refused" and requests:
            error = {"code": "x", "message": "no", "event_id": requests.pop()["event_id"]}
            (event,) = say("error", error=error)
            assert event.reason == "failed"
        elif step == "not_active":
            assert say("error", error={"code": "response_cancel_not_active", "message": "no"}) == []
        take()
        assert bool(protocol.owing) == bool(active or requests)
    protocol.respond(tag="last")
    for _ in range(20):
        take()
        serve()
        take()
        if active:
            finish()
    take()
    assert served[-1] == "last"  # whatever happened before, who asks is answered
    assert protocol.owing == ""
