"""Keys in a conversation: turns of the caller, on a clock that jumps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from voxtra import CallSession, VoxtraApp
from voxtra.agent.agent import Agent
from voxtra.agent.conversation import ConversationResult
from voxtra.agent.tools import tool
from voxtra.events import DTMFEvent, EventType, UserTranscriptEvent, VoxtraEvent
from voxtra.testing import CallResult, FakeCall, ScriptedLLM, ScriptedRealtime, run_call
from voxtra.testing import tool as calls

LONG = "This is a long reply that goes on and on and on, about opening hours, prices and the weather."
ENGINES = pytest.mark.parametrize("engine", ["cascade", "realtime"])


def play(engine: str, handler: Any, caller: Any, replies: list[Any]) -> CallResult:
    if engine == "cascade":
        return run_call(handler, caller, llm=ScriptedLLM(replies))
    app = VoxtraApp(realtime=ScriptedRealtime(replies, latency=0.5))
    app.default()(handler)
    return run_call(app, caller)


def converse(engine: str, agent: Agent, caller: Any, replies: list[Any]) -> CallResult:
    async def handler(call: CallSession) -> None:
        await call.answer()
        await call.converse(agent)

    return play(engine, handler, caller, replies)


def told(result: CallResult) -> list[str]:
    return [m["content"] for m in result.history if m["role"] == "user"]


@ENGINES
def test_keys_are_told_to_the_model(engine: str) -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("key in your number")
        await call.presses("1234#")
        await call.hears("Thank you")
        await call.presses("0")
        await call.hears("An operator")
        await call.hangs_up()

    agent = Agent(greeting="Please key in your number.")
    result = converse(engine, agent, caller, ["Thank you.", "An operator."])
    assert told(result) == ["[keys pressed: 1234]", "[keys pressed: 0]"]


@ENGINES
def test_a_key_cuts_in_and_the_history_holds_what_was_heard(engine: str) -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("Tell me everything.")
        await call.hears("This is a long")
        await call.presses("9#")
        await call.hears("All right")
        await call.hangs_up()

    result = converse(engine, Agent(), caller, [LONG, "All right."])
    heard = next(m["content"] for m in result.history if m["role"] == "assistant")
    assert LONG.startswith(heard)
    assert heard != LONG
    assert told(result)[-1] == "[keys pressed: 9]"


def test_words_and_keys_of_one_turn_get_one_answer() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("My number is")
        await call.presses("77")
        await call.hears("Found it")
        await call.hangs_up()

    result = converse("cascade", Agent(), caller, ["Found it."])
    assert told(result) == ["My number is [keys pressed: 77]"]


def test_words_and_keys_are_one_turn_to_a_model_that_hears() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("My number is")
        await call.presses("77")
        await call.hears("Found it")
        await call.hangs_up()

    result = converse("realtime", Agent(), caller, ["Found it.", "Found it."])
    assert told(result) == ["My number is", "[keys pressed: 77]"]


@ENGINES
def test_keys_pressed_ahead_of_a_greeting_that_is_heard_out(engine: str) -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("Welcome")
        await call.presses("5#")
        await call.hears("Sales")
        await call.hangs_up()

    agent = Agent(
        greeting="Welcome to Acme, this call is recorded for training.", greeting_interruptible=False
    )
    result = converse(engine, agent, caller, ["Sales it is."])
    assert told(result) == ["[keys pressed: 5]"]
    assert any(line.startswith(f"agent: {agent.greeting}") for line in result.lines)


@pytest.mark.parametrize("when", ["thinking", "speaking"])
@ENGINES
def test_a_hash_from_habit_cuts_off_no_answer(engine: str, when: str) -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("key in")
        await call.presses("1234#")
        if when == "speaking":
            await call.hears("This is")
        await call.presses("#")
        await call.hears("the weather", timeout=10)
        await call.hangs_up()

    result = converse(engine, Agent(greeting="Please key in your number."), caller, [LONG])
    assert told(result) == ["[keys pressed: 1234]"]


def test_keys_pressed_ahead_of_a_long_notice_are_answered_after_it() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("This is")
        await call.presses("5#")
        await call.hears("Sales", timeout=60)
        await call.hangs_up()

    agent = Agent(greeting=f"{LONG} {LONG} {LONG}", greeting_interruptible=False)
    result = converse("cascade", agent, caller, ["Sales it is."])
    assert told(result) == ["[keys pressed: 5]"]


def test_keys_pressed_while_the_model_is_connected_to_are_told_to_it() -> None:
    class Slow(ScriptedRealtime):
        async def open(self, *, history: Any, **options: Any) -> Any:
            known = list(history)
            await asyncio.sleep(3)
            return await super().open(history=known, **options)

    async def handler(call: CallSession) -> None:
        await call.answer()
        await call.converse(Agent())

    async def caller(call: FakeCall) -> None:
        await call.silence(1)
        await call.presses("5#")
        await call.hears("Sales")
        await call.hangs_up()

    model = Slow(["Sales it is."])
    app = VoxtraApp(realtime=model)
    app.default()(handler)
    run_call(app, caller)
    assert (model.heard, len(model.opened)) == (["[keys pressed: 5]"], 1)


def test_keys_and_words_into_what_is_heard_out_are_a_turn() -> None:
    """The words are not heard, the keys are."""
    results: list[ConversationResult] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        results.append(await call.converse(Agent(greeting=LONG, greeting_interruptible=False)))

    async def caller(call: FakeCall) -> None:
        await call.hears("This is")
        await call.interrupts("I know that all", after=0.1)
        await call.presses("5#")
        await call.hears("Sales")
        await call.hangs_up()

    play("realtime", handler, caller, ["Sales it is."])
    assert results[0].turns == 1


def test_the_wait_for_keys_is_nobody_elses() -> None:
    async def caller(call: FakeCall) -> None:
        await call.silence(1)
        await call.presses("42")
        await call.hears("Thanks")
        await call.hangs_up()

    result = converse("cascade", Agent(), caller, ["Thanks."])
    (said,) = [event for event in result.events if event.type is EventType.AGENT_SPEECH_STARTED]
    assert said.data["latency"]["endpointing"] == 2000
    assert said.data["latency"]["stt"] < 200


@ENGINES
def test_an_agent_that_keys_cut_off_goes_on_after_a_pause_of_the_recording(engine: str) -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        talk = asyncio.ensure_future(call.converse(Agent(greeting=LONG, idle_s=60)))
        await asyncio.sleep(2.5)
        await call.record_pause()
        await asyncio.sleep(3)
        await call.record_resume()
        await talk

    async def caller(call: FakeCall) -> None:
        await call.silence(2)
        await call.presses("1")
        await call.hears("the weather", timeout=20)
        await call.hangs_up()

    play(engine, handler, caller, [LONG] if engine == "realtime" else [])


@ENGINES
def test_keys_while_a_tool_is_at_work_do_not_part_it_from_its_result(engine: str) -> None:
    @tool
    async def slow() -> str:
        """Slow."""
        await asyncio.sleep(4)
        return "done"

    async def caller(call: FakeCall) -> None:
        await call.says("Do it.")
        await call.silence(3)
        await call.presses("5#")
        await call.hears("That is")
        await call.silence(8)
        await call.hangs_up()

    agent = Agent(tools=[slow], filler="", idle_s=60)
    result = converse(engine, agent, caller, [[calls("slow")], "That is it.", "That is it."])
    roles = [m["role"] for m in result.history]
    assert result.history[roles.index("tool") - 1]["tool_calls"]
    assert told(result) == ["Do it.", "[keys pressed: 5]"]


@ENGINES
def test_keys_that_cut_in_on_a_tools_own_prompt_are_the_tools(engine: str) -> None:
    got: list[str] = []

    @tool
    async def pin(call: CallSession) -> str:
        """Ask for the PIN."""
        await call.say("Now key in the four digits of your PIN, all of them, one after the other.")
        got.append(str(await call.listen_dtmf(max_digits=4)))
        return "right"

    async def caller(call: FakeCall) -> None:
        await call.says("Let me in.")
        await call.hears("Now key in")
        await call.presses("4711")
        await call.hears("Welcome back")
        await call.silence(5)
        await call.hangs_up()

    result = converse(engine, Agent(tools=[pin]), caller, [[calls("pin")], "Welcome back."])
    assert got == ["4711"]
    assert told(result) == ["Let me in."]


@ENGINES
def test_a_tool_that_waits_for_keys_gets_them(engine: str) -> None:
    got: list[str] = []

    @tool(filler="Now, please.")
    async def pin(call: CallSession) -> str:
        """Ask for the PIN."""
        got.append(str(await call.listen_dtmf(max_digits=4)))
        return "right"

    async def caller(call: FakeCall) -> None:
        await call.says("Let me in.")
        await call.hears("Now, please")
        await call.presses("4711")
        await call.hears("Welcome back")
        await call.hangs_up()

    result = converse(engine, Agent(tools=[pin]), caller, [[calls("pin")], "Welcome back."])
    assert got == ["4711"]
    assert all("4711" not in str(m) for m in result.history)


@ENGINES
def test_an_agent_that_wants_no_keys_leaves_them(engine: str) -> None:
    seen: list[str] = []
    later: list[str] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        call.on_dtmf(seen.append)
        talk = asyncio.ensure_future(call.converse(Agent(keys=False)))
        while len(seen) < 2:
            await asyncio.sleep(0.1)
        await call.conversation.stop()  # type: ignore[union-attr]
        await talk
        later.append(str(await call.listen_dtmf(max_digits=2)))

    async def caller(call: FakeCall) -> None:
        await call.silence(1)
        await call.presses("12")
        assert await call.ended() == "app"

    result = play(engine, handler, caller, ["Bye."])
    assert (seen, later) == (["1", "2"], ["12"])
    assert told(result) == []


def test_what_a_key_turn_tells_of_itself() -> None:
    events: list[VoxtraEvent] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        call.observe(events.append)
        await call.converse(Agent())

    async def caller(call: FakeCall) -> None:
        await call.silence(1)
        await call.presses("42#")
        await call.hears("Thanks")
        await call.hangs_up()

    play("cascade", handler, caller, ["Thanks."])
    assert [e.digit for e in events if isinstance(e, DTMFEvent)] == ["4", "2", "#"]
    kinds = [e.type for e in events]
    assert EventType.USER_SPEECH_STARTED not in kinds
    assert EventType.USER_SPEECH_ENDED not in kinds
    (words,) = [e for e in events if isinstance(e, UserTranscriptEvent)]
    assert (words.text, words.data["keys"]) == ("[keys pressed: 42]", "42")


def test_keys_of_a_pause_in_the_recording_are_told_to_nobody() -> None:
    got: list[str] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        talk = asyncio.ensure_future(call.converse(Agent()))
        await asyncio.sleep(1)
        await call.record_pause()
        got.append(str(await call.listen_dtmf(max_digits=4)))
        await asyncio.sleep(3)
        await call.record_resume()
        await talk

    async def caller(call: FakeCall) -> None:
        await call.silence(2)
        await call.presses("411155")
        await call.silence(4)
        await call.says("Is that all?")
        await call.hears("Thanks")
        await call.hangs_up()

    result = play("cascade", handler, caller, ["Thanks."])
    assert got == ["4111"]
    assert told(result) == ["Is that all?"]
