"""Conversations with a model that hears and speaks: a real WebSocket, a line with a real clock, a caller of ours."""

import asyncio
import random
import struct
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "speech"))
from fakes.realtime_server import RATES, RealtimeServer, Reply

from voxtra.agent.client import AgentClient
from voxtra.agent.realtime import RealtimePipeline
from voxtra.errors import LLMError
from voxtra.media.clock import Clock
from voxtra.media.codecs import make_codec
from voxtra.media.paced_line import PacedLine
from voxtra.speech.base import VAD, ReplyAudio, ReplyStarted, VADStream
from voxtra.speech.realtime import OpenAIRealtime
from voxtra.turns import TurnDetection

QUICK = TurnDetection(
    response_min_speech_ms=100,
    commit_min_interval_ms=0,
    cancel_min_interval_ms=0,
    barge_confirm_ms=100,
    tts_guard_ms=0,
    silence_threshold_ms=100,
    min_speech_ms=80,
)
TOOL = {"name": "look_up", "description": "Finds.", "parameters": {"type": "object", "properties": {}}}


LEVELS = random.Random(4)


def voice(ms, kind):
    """Sound of the model: its loudness changes as that of speech does, or the caller's would seem its echo."""
    samples = RATES[kind] // 50
    pcm = b"".join(struct.pack("<h", LEVELS.randrange(300, 3000)) * samples for _ in range(ms // 20))
    return pcm if kind == "audio/pcm" else make_codec("ulaw").encode(pcm)


class Wire(PacedLine):
    """A line whose far end is the test."""

    transport = "test"

    def __init__(self, codec="ulaw"):
        super().__init__(make_codec(codec), Clock(), max_queue_ms=60_000)
        self.wire = []
        self._begun = self._loop.time()
        self._start_clock()

    def _can_send(self):
        return not self._closed.done()

    def _send_frame(self, data):
        quiet = bytes(len(data)) if self.codec != "ulaw" else b"\xff" * len(data)
        self.wire.append(data != quiet)

    async def close(self):
        self.hang_up()

    def hang_up(self):
        self._finish("hangup")

    async def say(self, ms):
        """The caller speaks for so long."""
        for _ in range(ms // 20):
            loud = struct.pack("<h", LEVELS.randrange(4000, 16000)) * self._codec.frame_samples
            await self._frames(self._codec.encode(loud), 20)

    async def wait(self, ms):
        """The caller says nothing for so long."""
        await self._frames(self._codec.encode(bytes(self._codec.pcm_frame_bytes)), ms)

    async def _frames(self, data, ms):
        for _ in range(ms // 20):
            self._receive(data)
            await asyncio.sleep(0.02)

    async def voiced(self, frames, limit=3.0):
        """Wait until so many frames with sound were sent."""
        async with asyncio.timeout(limit):
            while sum(self.wire) < frames:
                await asyncio.sleep(0.01)


class Loud(VAD):
    """Whatever is not silence is speech."""

    def open(self, *, rate):
        return self

    def push(self, pcm):
        return 1.0 if any(pcm[:2]) else 0.0


VADStream.register(Loud)


class Talk:
    """A conversation under test."""

    def __init__(self, server, line, provider, **options):
        self.server = server
        self.line = line
        self.events = []
        self.agent = AgentClient(None, instructions="Be short.")
        self.pipeline = RealtimePipeline(
            line, provider, self.agent, QUICK, self.events.append, vad=Loud(), **options
        )
        self.task = asyncio.ensure_future(self.pipeline.run())

    def types(self):
        return [str(event.type) for event in self.events]

    def of(self, kind):
        return [event for event in self.events if event.type == kind]

    async def until(self, condition, limit=4.0):
        async with asyncio.timeout(limit):
            while not condition():
                await asyncio.sleep(0.01)

    async def until_event(self, kind, count=1):
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]

    def said(self):
        return [(m["role"], m["content"]) for m in self.agent.history]


@pytest.fixture
async def server():
    fake = RealtimeServer()
    fake.sound = voice
    runner = await fake.start()
    yield fake
    await runner.cleanup()


@pytest.fixture
async def talk(server):
    made = []

    async def begin(*, codec="ulaw", settings=(), **options):
        settings = {"first_timeout_s": 1.0, "idle_timeout_s": 1.0, "max_retries": 0} | dict(settings)
        provider = OpenAIRealtime(websocket_base_url=server.url, model="m", **settings)
        line = Wire(codec)
        talk = Talk(server, line, provider, **options)
        made.append((talk, provider))
        await talk.until(lambda: talk.pipeline._link.stream is not None or talk.task.done())
        return talk

    yield begin
    for each, provider in made:
        each.pipeline.stop()
        await asyncio.gather(each.task, return_exceptions=True)
        await each.line.close()
        await provider.close()


async def test_a_turn_is_answered_and_remembered(server, talk):
    server.heard = ["When do you open?"]
    server.replies = [Reply("We open at nine.", 400)]
    call = await talk()
    await call.line.wait(200)
    await call.line.say(300)
    await call.line.wait(300)
    ended = await call.until_event("agent.speech.ended")
    assert ended.data == {"reason": "finished", "heard": "We open at nine.", "text": "We open at nine."}
    assert call.said() == [("user", "When do you open?"), ("assistant", "We open at nine.")]
    assert sum(call.line.wire) == 20
    assert [kind for kind in call.types() if not kind.endswith("partial")] == [
        "user.speech.started",
        "user.speech.ended",
        "turn.ended",
        "agent.thinking",
        "user.transcript",
        "agent.speech.started",
        "agent.response",
        "agent.speech.ended",
    ]
    latency = call.of("agent.speech.started")[0].data["latency"]
    assert set(latency) == {"endpointing", "stt", "llm", "tts", "framework", "total"}
    assert call.of("agent.response")[0].data == {"input_tokens": 20, "output_tokens": 10}
    # only the turn was sent, with what came right before it, and not the silence around
    (turn,) = server.now.turns
    assert len(turn) - turn.count(b"\xff") == 300 * 8
    assert 300 * 8 < len(turn) <= 800 * 8
    assert server.now.session["instructions"] == "Be short."
    assert server.now.errors == []


async def test_a_barge_in_cuts_the_model_to_what_was_heard(server, talk):
    words = " ".join(f"word{n}" for n in range(40))
    server.heard = ["What is new?", "Stop it."]
    server.replies = [Reply(words, 4000), Reply("All right.", 200)]
    call = await talk()
    await call.line.say(300)
    await call.line.wait(200)
    await call.line.voiced(40)
    await call.line.say(300)
    await call.line.wait(300)
    ended = await call.until_event("agent.speech.ended")
    assert ended.data["reason"] == "interrupted"
    await call.until_event("agent.speech.ended", 2)
    (cut,) = server.sent("conversation.item.truncate")
    assert 800 <= cut["audio_end_ms"] <= 1200
    heard = call.said()[1][1]
    assert words.startswith(heard)
    assert abs(len(heard.split()) - cut["audio_end_ms"] / 100) <= 1  # 100 ms a word
    assert call.said()[2:] == [("user", "Stop it."), ("assistant", "All right.")]
    assert call.types().count("barge_in") == 1
    assert server.now.errors == [] or server.now.errors == ["response_cancel_not_active"]
    # the cut in the frames that were sent: nothing of the first reply came after it
    assert sum(call.line.wire) * 20 == cut["audio_end_ms"] + 200


async def test_a_barge_in_while_the_reply_is_still_made(server, talk):
    server.heard = ["What is new?", "Stop it."]
    server.replies = [Reply("la " * 40, 4000, pause_s=0.1), Reply("All right.", 200)]
    call = await talk()
    await call.line.say(300)
    await call.line.wait(200)
    await call.line.voiced(20)
    await call.line.say(300)
    await call.line.wait(300)
    await call.until_event("agent.speech.ended", 2)
    assert len(server.sent("response.cancel")) == 1
    assert [role for role, _ in call.said()] == ["user", "assistant", "user", "assistant"]
    assert call.said()[3] == ("assistant", "All right.")
    assert server.now.errors == []


async def test_a_cough_only_pauses_the_model(server, talk):
    server.heard = ["What is new?"]
    server.replies = [Reply("la " * 20, 2000)]
    call = await talk()
    await call.line.say(300)
    await call.line.wait(200)
    await call.line.voiced(20)
    await call.line.say(60)
    await call.line.wait(400)
    ended = await call.until_event("agent.speech.ended")
    assert ended.data["reason"] == "finished"
    assert sum(call.line.wire) == 100
    assert "barge_in" not in call.types()
    assert [event.data for event in call.of("false_interruption")] == [{"reason": "noise", "stopped": False}]
    assert server.sent("response.cancel") == []
    assert len(server.now.turns) == 1
    assert server.sent("input_audio_buffer.clear")


async def test_a_caller_who_goes_on_is_answered_once(server, talk):
    server.heard = ["My number is", "five five five."]
    server.replies = [Reply("Yes?", 300, first_s=0.9), Reply("Thank you.", 200)]
    call = await talk()
    await call.line.say(300)
    await call.line.wait(160)  # long enough for a turn
    await call.line.say(300)
    await call.line.wait(300)
    await call.until_event("agent.speech.ended")
    await call.line.wait(100)
    assert call.said() == [
        ("user", "My number is"), ("user", "five five five."), ("assistant", "Thank you."),
    ]  # fmt: skip
    assert call.types().count("agent.speech.started") == 1
    assert "barge_in" not in call.types()


async def test_tools_run_side_by_side_and_the_model_goes_on(server, talk):
    server.heard = ["Who are they?"]
    server.replies = [
        Reply("One moment.", 200, tools=[("a", "look_up", '{"n": 1}'), ("b", "look_up", '{"n": 2}')]),
        Reply("Poets.", 200),
    ]
    running = []

    async def on_tool(tool):
        running.append(tool.id)
        await asyncio.sleep(0.1)
        assert sorted(running) == ["a", "b"]
        if tool.id == "b":
            raise ValueError("no such person")
        return "a poet"

    call = await talk(tools=[TOOL], on_tool=on_tool)
    await call.line.say(300)
    await call.line.wait(300)
    await call.until(lambda: ("assistant", "Poets.") in call.said())
    assert await call.pipeline.quiet()
    assert [m["role"] for m in call.agent.history] == ["user", "assistant", "tool", "tool", "assistant"]
    first = call.agent.history[1]
    assert first["content"] == "One moment."
    assert [c["id"] for c in first["tool_calls"]] == ["a", "b"]
    assert [m["content"] for m in call.agent.history[2:4]] == ["a poet", "look_up failed: no such person"]
    results = [i["output"] for i in server.now.items.values() if i["type"] == "function_call_output"]
    assert results == ["a poet", "look_up failed: no such person"]
    assert [c["name"] for c in call.of("agent.response")[0].tool_calls] == ["look_up", "look_up"]


async def test_a_tool_that_ends_the_conversation_waits_until_the_goodbye_was_heard(server, talk):
    server.heard = ["Bye."]
    server.replies = [Reply("Good bye then.", 600, tools=[("a", "end_call", "{}")])]
    call = None
    heard = []

    async def on_tool(tool):
        await call.pipeline.quiet()
        heard.append(sum(call.line.wire))
        call.pipeline.stop()

    call = await talk(on_tool=on_tool)
    await call.line.say(300)
    await call.line.wait(200)
    async with asyncio.timeout(3):
        assert await call.task == "stopped"
    assert heard == [30]
    assert server.sent("response.create")[1:] == []


async def test_the_model_says_what_it_is_told(server, talk):
    server.replies = [Reply("Welcome to Acme.", 300), Reply("Good bye.", 300)]
    call = await talk()
    first, second = await asyncio.gather(
        call.pipeline.say("Welcome to Acme."), call.pipeline.say("Good bye.")
    )
    assert (first.reason, first.heard) == ("finished", "Welcome to Acme.")
    assert (second.reason, second.heard) == ("finished", "Good bye.")
    asked = [m["response"]["instructions"] for m in server.sent("response.create")]
    assert [text.rpartition(": ")[2] for text in asked] == ["Welcome to Acme.", "Good bye."]
    assert call.said() == [("assistant", "Welcome to Acme."), ("assistant", "Good bye.")]


@pytest.mark.parametrize("interruptible", [True, False])
async def test_what_it_is_told_to_say_may_or_may_not_be_interrupted(server, talk, interruptible):
    server.heard = ["Hello?"]
    server.replies = [Reply("Welcome to the long greeting.", 1200), Reply("Yes?", 100)]
    call = await talk()
    saying = asyncio.ensure_future(call.pipeline.say("Welcome.", interruptible=interruptible))
    await call.line.voiced(15)
    await call.line.say(300)
    await call.line.wait(300)
    result = await saying
    assert result.reason == ("interrupted" if interruptible else "finished")
    assert ("barge_in" in call.types()) == interruptible
    if interruptible:
        assert "Welcome to the long greeting.".startswith(result.heard)
        assert len(result.heard) < 29
    else:
        await call.line.wait(100)
        assert server.now.turns == []


async def test_other_rates_are_converted_and_other_formats_used(server, talk):
    server.heard = ["Hi."]
    server.replies = [Reply("Hello there.", 500)]
    call = await talk(codec="slin16")
    await call.line.say(300)
    await call.line.wait(300)
    await call.until_event("agent.speech.ended")
    assert server.now.session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert 24 <= sum(call.line.wire) <= 27
    assert 300 * 48 < len(server.now.turns[0]) < 800 * 48


async def test_where_the_provider_ends_turns_every_frame_is_sent(server, talk):
    server.replies = [Reply("Yes?", 200)]
    call = await talk(settings={"turn_detection": "server_vad"})
    await call.line.wait(200)
    await call.line.say(300)
    await call.line.wait(100)
    await server.now.tell("input_audio_buffer.committed", item_id="u", previous_item_id=None)
    await server.now.tell(
        "conversation.item.input_audio_transcription.completed",
        item_id="u",
        transcript="Hi.",
        content_index=0,
    )
    await server.now.begin({})
    await call.until_event("agent.speech.ended")
    assert len(server.now.buffer) >= 550 * 8
    assert server.sent("input_audio_buffer.commit") == []
    assert server.sent("response.create") == []
    assert call.said() == [("user", "Hi."), ("assistant", "Yes?")]


async def test_a_lost_connection_is_made_again_and_the_turn_sent_again(server, talk):
    server.heard = ["Who are you?"]
    server.replies = [Reply("I am the model.", 300), Reply(hang=True), Reply("Nine.", 300)]
    call = await talk()
    await call.line.say(300)
    await call.line.wait(300)
    await call.until_event("agent.speech.ended")
    server.heard = ["When do you open?"]
    await call.line.say(300)
    await call.line.wait(200)
    await server.until("response.create", 2)
    server.heard = ["When do you open?"]
    await server.now.drop()
    await call.until(lambda: ("assistant", "Nine.") in call.said())
    assert len(server.connections) == 2
    assert server.connections[0].turns[1] == server.now.turns[0]
    before = [
        m["item"]["content"][0]["text"] for m in server.now.messages if m["type"].endswith("item.create")
    ]
    assert before == ["Who are you?", "I am the model."]
    assert [text for _, text in call.said()] == [
        "Who are you?", "I am the model.", "When do you open?", "Nine.",
    ]  # fmt: skip
    assert len(call.of("error")) == 1


async def test_a_tool_that_runs_while_the_connection_is_lost_is_known_to_the_next_one(server, talk):
    server.heard = ["Who?"]
    server.replies = [Reply(tools=[("a", "look_up", "{}")]), Reply("Sorry.", 100), Reply("A poet.", 100)]
    go_on = asyncio.Event()

    async def on_tool(tool):
        await go_on.wait()
        return "a poet"

    call = await talk(tools=[TOOL], on_tool=on_tool)
    await call.line.say(300)
    await call.line.wait(200)
    await call.until_event("agent.response")
    await server.now.drop()
    await call.until(lambda: len(server.connections) == 2 and server.now.session)
    go_on.set()
    await server.until("response.create", 2)
    kinds = [m["item"]["type"] for m in server.now.messages if m["type"] == "conversation.item.create"]
    assert kinds == ["message", "function_call", "function_call_output"]
    await call.until(lambda: any(m["role"] == "tool" for m in call.agent.history))


async def test_a_model_that_says_nothing_is_given_up(server, talk):
    server.heard = ["Hello?"] * 9
    server.replies = [Reply(hang=True) for _ in range(9)]
    call = await talk(settings={"first_timeout_s": 0.1})
    await call.line.say(300)
    await call.line.wait(200)
    with pytest.raises(LLMError, match=r"did not begin to answer within 0\.1 s"):
        await asyncio.wait_for(call.task, 5)
    assert len(server.connections) == 4


async def test_a_reply_that_fails_is_asked_for_again_and_not_for_ever(server, talk):
    server.heard = ["Hello?"]
    server.replies = [Reply(fail="overloaded"), Reply("Here I am.", 200)]
    call = await talk()
    await call.line.say(300)
    await call.line.wait(300)
    await call.until_event("agent.speech.ended")
    assert call.said() == [("user", "Hello?"), ("assistant", "Here I am.")]
    assert "overloaded" in call.of("error")[0].message
    server.replies = [Reply(fail="overloaded"), Reply(fail="still overloaded")]
    await call.line.say(300)
    await call.line.wait(200)
    with pytest.raises(LLMError, match="still overloaded"):
        await asyncio.wait_for(call.task, 5)


async def test_a_provider_that_refuses_is_told_at_once(server):
    server.refuse = [(401, {"error": {"message": "Incorrect API key"}})]
    provider = OpenAIRealtime(websocket_base_url=server.url)
    call = Talk(server, Wire(), provider)
    assert (await call.pipeline.say("Welcome.")).reason == "failed"
    with pytest.raises(LLMError, match="Incorrect API key"):
        await asyncio.wait_for(call.task, 5)
    await call.line.close()
    await provider.close()


@pytest.mark.parametrize("moment", ["before", "asked", "speaking", "connecting"])
async def test_a_hang_up_ends_it_whatever_is_under_way(server, talk, moment):
    server.heard = ["Hi."]
    server.replies = [Reply("la " * 50, 5000, first_s=0.2)]
    if moment == "connecting":
        server.settle = False
        provider = OpenAIRealtime(websocket_base_url=server.url)
        call = Talk(server, Wire(), provider)
        await asyncio.sleep(0.1)
    else:
        call = await talk()
        if moment != "before":
            await call.line.say(300)
            await call.line.wait(160)
        if moment == "speaking":
            await call.line.voiced(10)
    call.line.hang_up()
    async with asyncio.timeout(2):
        assert await call.task == "hangup"
    if moment == "speaking":
        ended = call.of("agent.speech.ended")[0]
        assert ended.data["reason"] == "hangup"
        assert 1 <= len(call.said()[1][1].split()) <= 6
    said = await call.pipeline.say("Are you there?")
    assert said.reason == "hangup"
    if moment == "connecting":
        await provider.close()


async def test_stopped_it_is_silent(server, talk):
    server.replies = [Reply("la " * 50, 5000)]
    call = await talk()
    saying = asyncio.ensure_future(call.pipeline.say("la"))
    await call.line.voiced(10)
    call.pipeline.stop()
    assert await call.task == "stopped"
    assert (await saying).reason == "interrupted"
    count = sum(call.line.wire)
    await asyncio.sleep(0.1)
    assert sum(call.line.wire) == count


async def test_nothing_is_heard_on_hold(server, talk):
    call = await talk()
    call.pipeline.deaf = True
    await call.line.say(300)
    await call.line.wait(200)
    assert server.sent("input_audio_buffer.append") == []
    assert call.types() == []
    call.pipeline.deaf = False
    assert not call.pipeline.deaf


async def test_a_connection_made_while_keys_are_pressed_is_sent_no_old_sound(server, talk):
    server.heard = ["Who?"]
    server.replies = [Reply("Me.", 100), Reply("Seven.", 100)]
    call = await talk()
    await call.line.say(300)
    await call.line.wait(300)
    await call.until_event("agent.speech.ended")
    call.pipeline.key("7")
    await server.now.drop()
    await call.until(lambda: len(server.connections) == 2 and call.pipeline._link.stream is not None)
    call.pipeline.key("#")
    await call.until_event("agent.speech.ended", 2)
    assert server.now.buffer == b""
    assert call.said()[2:] == [("user", "[keys pressed: 7]"), ("assistant", "Seven.")]


async def test_what_was_owed_is_paid_by_a_reply_that_the_provider_begins(server, talk):
    """The result of a tool came while the caller spoke: the provider answers both."""

    async def on_tool(call):
        await asyncio.sleep(0.4)
        return "nine"

    server.replies = [Reply(tools=[("c1", "look_up", "{}")]), Reply("At nine.", 100)]
    call = await talk(settings={"turn_detection": "server_vad"}, tools=[TOOL], on_tool=on_tool)
    await server.now.begin({})
    await call.line.say(700)
    assert server.sent("response.create") == []
    await call.line.wait(300)
    await server.now.begin({})
    await call.until_event("agent.speech.ended")
    assert not call.pipeline.owes


async def test_a_model_knows_what_was_heard_before_it_is_asked_again(server, talk):
    """A key that is a turn of its own cuts in and ends the turn at once."""
    words = " ".join(f"word{n}" for n in range(40))
    server.heard = ["What is new?"]
    server.replies = [Reply(words, 4000), Reply("All right.", 200)]
    call = await talk()
    await call.line.say(300)
    await call.line.wait(200)
    await call.line.voiced(40)
    call.pipeline.key("#")
    assert call.pipeline.busy
    await call.until_event("agent.speech.ended", 2)
    kinds = [m["type"] for m in server.now.messages if not m["type"].startswith("input_audio")]
    assert kinds[-3:] == ["conversation.item.create", "conversation.item.truncate", "response.create"]
    assert call.said()[2:] == [("user", "[keys pressed: #]"), ("assistant", "All right.")]


async def test_what_was_held_back_of_a_connection_that_is_gone_is_not_said(server, talk):
    call = await talk()
    await call.line.say(300)
    await call.line.wait(200)
    await server.until("response.create")
    cutting = call.pipeline._cutting
    call.pipeline._event(ReplyStarted("r"))
    call.pipeline._cut()
    call.pipeline._event(ReplyAudio("r", "i", bytes(320)))
    task = cutting._task
    await call.pipeline._link.close()
    await task
    assert not cutting.under_way
