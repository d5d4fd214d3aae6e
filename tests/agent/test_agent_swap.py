"""Another agent, or none, from outside the handler: never two that answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from voxtra import CallSession, VoxtraApp
from voxtra.agent.agent import Agent
from voxtra.agent.conversation import Conversation, ConversationResult
from voxtra.agent.tools import tool
from voxtra.errors import PipelineNotConfiguredError, SessionError
from voxtra.testing import CallResult, FakeCall, ScriptedLLM, ScriptedRealtime, run_call
from voxtra.testing import tool as calls

LONG = "This is a long reply that goes on and on and on, about opening hours, prices and the weather."
Outside = Callable[[CallSession, Conversation], Awaitable[None]]


def swapped(
    first: Agent, outside: Outside, caller: Any, replies: list[Any], model: ScriptedRealtime | None = None
) -> tuple[CallResult, ConversationResult, ScriptedLLM]:
    """A conversation that ``outside`` meddles with."""
    results: list[ConversationResult] = []
    llm = ScriptedLLM(replies)
    app = VoxtraApp(stt="local", tts="local", llm=llm, realtime=model)

    @app.default()
    async def handler(call: CallSession) -> None:
        async def meddle() -> None:
            while call.conversation is None:
                await asyncio.sleep(0.01)
            await outside(call, call.conversation)

        task = asyncio.ensure_future(meddle())
        results.append(await call.converse(first))
        assert call.conversation is None
        await task

    result = run_call(app, caller)
    return result, results[0], llm


FIRST = {"cascade": Agent(name="first", realtime=False), "model": Agent(name="first", realtime=True)}
SECOND = {
    "cascade": Agent(name="second", instructions="Two.", greeting="Second here.", realtime=False),
    "model": Agent(name="second", instructions="Two.", greeting="Second here.", realtime=True),
}


@pytest.mark.parametrize("one", ["cascade", "model"])
@pytest.mark.parametrize("two", ["cascade", "model"])
@pytest.mark.parametrize("keep", [True, False])
def test_in_mid_reply(one: str, two: str, keep: bool) -> None:
    model = ScriptedRealtime([LONG] if one == "model" else [])

    async def outside(call: CallSession, conversation: Conversation) -> None:
        while not any(m["role"] == "user" and m["content"] for m in call.agent.history):
            await asyncio.sleep(0.1)
        await asyncio.sleep(1.5)
        await conversation.swap(SECOND[two], keep_history=keep)
        assert conversation.agent.name == "second"

    async def caller(call: FakeCall) -> None:
        await call.says("Tell me everything.")
        heard = await call.hears("Second here")
        assert 5 < len(heard.partition("Second")[0]) < 50
        await call.silence(3)
        await call.hangs_up()

    result, talk, _ = swapped(FIRST[one], outside, caller, [LONG], model)
    assert (talk.agent, talk.reason, model.live) == ("second", "hangup", 0)
    spoken = [line for line in result.lines if line.startswith("agent")]
    assert len(spoken) == 2
    contents = [m["content"] for m in result.history]
    assert contents[-1] == "Second here."
    assert len(contents) == (3 if keep else 1)
    if keep:
        assert LONG.startswith(contents[1])
        assert contents[1] != LONG


@pytest.mark.parametrize("two", ["cascade", "model"])
def test_a_question_that_nobody_answered_yet_is_answered_by_the_next(two: str) -> None:
    model = ScriptedRealtime(["The second answers."] if two == "model" else [])

    async def outside(call: CallSession, conversation: Conversation) -> None:
        events: list[str] = []
        call.observe(lambda event: events.append(str(event.type)))
        while "agent.thinking" not in events:
            await asyncio.sleep(0.01)
        await conversation.swap(Agent(name="second", realtime=two == "model"))

    async def caller(call: FakeCall) -> None:
        await call.says("What time is it?")
        await call.hears("The second answers")
        await call.hangs_up()

    result, talk, _ = swapped(
        FIRST["cascade"], outside, caller, ["never heard", "The second answers."], model
    )
    assert talk.agent == "second"
    assert [m["content"] for m in result.history] == ["What time is it?", "The second answers."]


def test_a_turn_spoken_to_one_model_is_heard_by_the_next() -> None:
    slow = ScriptedRealtime(["never heard"], latency=3)
    quick = ScriptedRealtime(["Quick as ever."])

    async def outside(call: CallSession, conversation: Conversation) -> None:
        while not slow.heard:
            await asyncio.sleep(0.05)
        await conversation.swap(Agent(name="quick", realtime=quick))

    async def caller(call: FakeCall) -> None:
        await call.silence(4)
        await call.says("Who is there?")
        await call.hears("Quick as ever")
        await call.hangs_up()

    swapped(Agent(realtime=slow), outside, caller, [])
    assert quick.heard == ["Who is there?"]
    assert (slow.live, quick.live) == (0, 0)


@pytest.mark.parametrize("one", ["cascade", "model"])
def test_a_tool_at_work_is_cancelled_and_has_a_result(one: str) -> None:
    cancelled = []

    @tool
    async def search() -> str:
        """Search."""
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return "found"

    async def outside(call: CallSession, conversation: Conversation) -> None:
        while not conversation.result.tool_calls:
            await asyncio.sleep(0.1)
        await conversation.swap(SECOND["cascade"])

    async def caller(call: FakeCall) -> None:
        await call.says("Find it.")
        await call.hears("Second here")
        await call.hangs_up()

    first = Agent(tools=[search], realtime=one == "model", filler=())
    reply = [["Wait.", calls("search")]]
    result, _, _ = swapped(first, outside, caller, reply, ScriptedRealtime(reply))
    assert cancelled == [True]
    assert [m["role"] for m in result.history][-3:] == ["assistant", "tool", "assistant"]
    assert "without it" in result.history[-2]["content"]


@pytest.mark.parametrize("one", ["cascade", "model"])
def test_a_tool_may_swap_its_own_agent(one: str) -> None:
    @tool
    async def expert(call: CallSession) -> str:
        """Ask an expert."""
        assert call.conversation is not None
        await call.conversation.swap(SECOND["model"])
        return "never told"

    async def outside(call: CallSession, conversation: Conversation) -> None:
        pass

    async def caller(call: FakeCall) -> None:
        await call.says("An expert, please.")
        await call.hears("Second here")
        await call.hangs_up()

    first = Agent(tools=[expert], realtime=one == "model")
    reply = [["Yes.", calls("expert")]]
    _, talk, _ = swapped(first, outside, caller, reply, ScriptedRealtime(reply))
    assert talk.agent == "second"


@pytest.mark.parametrize("one", ["cascade", "model"])
def test_stopped_and_begun_again(one: str) -> None:
    model = ScriptedRealtime([LONG] if one == "model" else [])
    results: list[str] = []
    app = VoxtraApp(stt="local", tts="local", llm=ScriptedLLM([LONG]), realtime=model)

    @app.default()
    async def handler(call: CallSession) -> None:
        first = asyncio.ensure_future(call.converse(FIRST[one]))
        await asyncio.sleep(0.1)
        conversation = call.conversation
        assert conversation is not None
        with pytest.raises(SessionError, match="first converses already"):
            await call.converse(SECOND[one])
        await asyncio.sleep(8)
        results.append((await conversation.stop()).reason)
        results.append((await conversation.stop()).reason)
        results.append((await first).reason)
        with pytest.raises(SessionError, match="is over: stopped"):
            await conversation.swap(SECOND[one])
        await asyncio.sleep(3)
        results.append((await call.say("The handler again.")).reason)
        results.append((await call.converse(SECOND[one])).reason)

    async def caller(call: FakeCall) -> None:
        await call.silence(3)
        await call.says("Tell me everything.")
        heard = await call.hears("The handler again")
        assert len(heard) < 90
        await call.hears("Second here")
        await call.hangs_up()

    run_call(app, caller)
    assert results == ["stopped", "stopped", "stopped", "finished", "hangup"]


def test_of_two_orders_the_newer_counts() -> None:
    refused: list[BaseException] = []

    async def outside(call: CallSession, conversation: Conversation) -> None:
        await asyncio.sleep(3)
        lost, won = await asyncio.gather(
            conversation.swap(Agent(name="lost", greeting="I am the lost one.")),
            conversation.swap(SECOND["cascade"]),
            return_exceptions=True,
        )
        assert won is None
        assert isinstance(lost, SessionError)
        refused.append(lost)

    async def caller(call: FakeCall) -> None:
        await call.hears("Second here")
        assert "lost" not in call.heard
        await call.hangs_up()

    swapped(FIRST["cascade"], outside, caller, [])
    assert "somebody else" in str(refused[0])


def test_what_is_missing_is_said_before_anything_is_cut_off() -> None:
    async def outside(call: CallSession, conversation: Conversation) -> None:
        with pytest.raises(PipelineNotConfiguredError, match="realtime="):
            await conversation.swap(Agent(realtime=True))
        assert conversation.agent.name == "first"

    async def caller(call: FakeCall) -> None:
        await call.says("Hello.")
        await call.hears("Hi.")
        await call.hangs_up()

    swapped(FIRST["cascade"], outside, caller, ["Hi."])


def test_a_handler_that_listens_beside_an_agent_is_told_so() -> None:
    async def outside(call: CallSession, conversation: Conversation) -> None:
        await asyncio.sleep(1)
        with pytest.raises(SessionError, match="listens already"):
            await call.listen(5)

    async def caller(call: FakeCall) -> None:
        await call.says("Hello.")
        await call.hears("Hi.")
        await call.hangs_up()

    swapped(FIRST["cascade"], outside, caller, ["Hi."])
    swapped(FIRST["model"], outside, caller, [], ScriptedRealtime(["Hi."]))


def test_an_agent_is_refused_while_the_handler_listens() -> None:
    app = VoxtraApp(stt="local", tts="local", llm=ScriptedLLM([]))

    @app.default()
    async def handler(call: CallSession) -> None:
        listening = asyncio.ensure_future(call.listen(10))
        await asyncio.sleep(1)
        with pytest.raises(SessionError, match="the handler listens"):
            await call.converse(SECOND["cascade"])
        assert str(await listening) == "Hello."
        await call.converse(SECOND["cascade"])

    async def caller(call: FakeCall) -> None:
        await call.says("Hello.")
        await call.hears("Second here")
        await call.hangs_up()

    run_call(app, caller)
