"""Nothing is silent for ever: whoever owes words and gives none is filled in for, and given up in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from voxtra import CallSession, VoxtraApp
from voxtra.agent.agent import Agent
from voxtra.agent.conversation import ConversationResult
from voxtra.agent.tools import tool
from voxtra.speech.base import LLM, LLMEvent, TextDelta
from voxtra.testing import CallResult, FakeCall, ScriptedLLM, ScriptedRealtime, run_call
from voxtra.testing import tool as calls
from voxtra.types import Message

LONG = "This is a long reply that goes on and on and on, about opening hours, prices and the weather."


def realtime(agent: Agent, caller: Any, model: ScriptedRealtime, **options: Any) -> Any:
    results: list[ConversationResult] = []
    app = VoxtraApp(realtime=model, **options)

    @app.default()
    async def handler(call: CallSession) -> None:
        results.append(await call.converse(agent))

    result = run_call(app, caller)
    return result, results[0]


@pytest.mark.proves("field 1")
def test_a_realtime_model_that_is_late_is_filled_in_for() -> None:
    async def caller(call: FakeCall) -> None:
        await call.silence(6)
        await call.says("Are you there?")
        await call.hears("One moment")
        await call.hears("Here I am")
        await call.hangs_up()

    model = ScriptedRealtime(["Here I am."], latency=5)
    result, talk = realtime(Agent(), caller, model, tts="local")
    assert [m["content"] for m in result.history] == ["Are you there?", "One moment, please.", "Here I am."]
    assert (talk.reason, talk.failures) == ("hangup", 0)


@pytest.mark.proves("field 1")
@pytest.mark.parametrize("voice", [True, False])
def test_a_realtime_model_that_says_nothing_is_given_up(voice: bool) -> None:
    async def caller(call: FakeCall) -> None:
        await call.silence(6)
        await call.says("Are you there?")
        if voice:
            await call.hears("One moment")
            await call.hears("Could you say it again", timeout=60)
        await call.ended(timeout=90)

    model = ScriptedRealtime(["never"] * 5, latency=1000)
    model._latency_to_open = 0
    options = {"tts": "local"} if voice else {}
    result, talk = realtime(Agent(reply_s=6), caller, model, **options)
    assert (talk.reason, model.live) == ("failed", 0)
    assert result.duration < 80


def test_a_filler_does_not_begin_the_wait_anew() -> None:
    class Dumb(ScriptedRealtime):
        def reply(self) -> Any:
            self._latency = 1e6
            return ["never"]

    async def caller(call: FakeCall) -> None:
        await call.says("Are you there?")
        await call.hears("One moment")
        assert await call.ended(timeout=90) == "app"

    result, talk = realtime(Agent(max_failures=1), caller, Dumb(), tts="local")
    assert talk.reason == "failed"
    assert [line for line in result.lines if "One moment" in line] == ["agent: One moment, please."]


def test_a_turn_that_ends_while_the_model_is_connected_to_is_answered() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("Are you there?")
        await call.hears("Here I am", timeout=20)
        await call.hangs_up()

    app = VoxtraApp(realtime=ScriptedRealtime(["Here I am."], latency=4))

    @app.default()
    async def handler(call: CallSession) -> None:
        await call.answer()
        await call.converse(Agent())

    run_call(app, caller)


class StallingLLM(LLM):
    """Says some words and then nothing, for ``stall_s``."""

    name = "stalling"

    def __init__(self, *parts: str | float) -> None:
        self.parts = parts
        self.ended = 0

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[dict[str, Any]] = ()
    ) -> AsyncIterator[LLMEvent]:
        try:
            for part in self.parts:
                if isinstance(part, str):
                    yield TextDelta(part)
                else:
                    await asyncio.sleep(part)
        finally:
            self.ended += 1


def cascade(agent: Agent, caller: Any, llm: LLM) -> tuple[CallResult, ConversationResult]:
    results: list[ConversationResult] = []

    async def handler(call: CallSession) -> None:
        results.append(await call.converse(agent))

    return run_call(handler, caller, llm=llm), results[0]


@pytest.mark.proves("field 1")
def test_a_reply_that_halts_in_the_middle_is_filled_and_goes_on() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("What is new?")
        await call.hears("This is the first. One moment, please. And that was it.")
        await call.silence(1)
        await call.hangs_up()

    llm = StallingLLM("This is the first. ", 6.0, "And that was it.")
    result, talk = cascade(Agent(), caller, llm)
    assert [m["content"] for m in result.history] == ["What is new?", "This is the first. And that was it."]
    assert (talk.reason, talk.failures) == ("hangup", 0)


@pytest.mark.proves("field 1")
def test_a_reply_that_halts_for_good_ends_in_an_apology_and_leaves_what_was_heard() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("What is new?")
        await call.hears("This is the first. One moment, please. I am sorry")
        await call.silence(3)
        await call.hangs_up()

    llm = StallingLLM("This is the first. And ", 1000.0, "never")
    result, talk = cascade(Agent(reply_s=5), caller, llm)
    assert (talk.reason, talk.failures, llm.ended) == ("hangup", 1, 1)
    assert [m["content"] for m in result.history] == ["What is new?", "This is the first."]


def test_a_filler_in_the_middle_is_interrupted_like_all_else() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("What is new?")
        await call.hears("One mo")
        await call.interrupts("Never mind, forget about it please.", after=0)
        await call.silence(3)
        await call.hangs_up()

    llm = StallingLLM("This is the first. ", 8.0, "And that was it.")
    result, talk = cascade(Agent(filler="One moment, while I look into the matter, please."), caller, llm)
    assert talk.interruptions == 1
    assert result.history[1]["content"] == "This is the first."


@pytest.mark.proves("field 1")
@pytest.mark.parametrize("realtime_model", [True, False])
def test_a_tool_that_takes_long_is_filled_in_for_again_and_again(realtime_model: bool) -> None:
    @tool(filler="Let me look.")
    async def search() -> str:
        """Search."""
        await asyncio.sleep(25)
        return "found"

    async def caller(call: FakeCall) -> None:
        await call.says("Find it.")
        heard = await call.hears("There it is", timeout=60)
        assert heard.count("Let me look.") == 1
        assert heard.count("Just a second.") == 2
        await call.hangs_up()

    replies = [["Of course I will.", calls("search")], "There it is."]
    agent = Agent(tools=[search], filler="Just a second.", realtime=realtime_model)
    model, llm = ScriptedRealtime(replies), ScriptedLLM(replies)
    _, talk = realtime(agent, caller, model, llm=llm, stt="local", tts="local")
    assert (talk.tool_calls, talk.reason) == (1, "hangup")
