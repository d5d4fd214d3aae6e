"""Whole conversations of an agent on a speech-to-speech model, on a clock that jumps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from voxtra import CallSession, VoxtraApp
from voxtra.agent.agent import Agent, end_call, handoff, hold, transfer
from voxtra.agent.conversation import ConversationResult
from voxtra.agent.tools import tool
from voxtra.errors import LLMError
from voxtra.testing import CallResult, FakeCall, ScriptedLLM, ScriptedRealtime, run_call
from voxtra.testing import tool as calls

LONG = "This is a long reply that goes on and on and on, about opening hours, prices and the weather."


def converse(
    agent: Agent, caller: Any, model: ScriptedRealtime, **options: Any
) -> tuple[CallResult, ConversationResult]:
    results: list[ConversationResult] = []
    app = VoxtraApp(realtime=model, **options)

    @app.default()
    async def handler(call: CallSession) -> None:
        results.append(await call.converse(agent))

    result = run_call(app, caller)
    assert model.live == 0
    return result, results[0]


@pytest.mark.parametrize("order", [["save", "end_call"], ["end_call", "save"]])
def test_a_tool_beside_one_that_ends_the_call_is_not_cut_off_by_it(order: list[str]) -> None:
    saved: list[str] = []

    @tool
    async def save() -> str:
        """Save the order."""
        await asyncio.sleep(5)
        saved.append("all of it")
        return "saved"

    async def caller(call: FakeCall) -> None:
        await call.says("That is all.")
        assert await call.ended() == "app"

    model = ScriptedRealtime([["Goodbye.", *map(calls, order)]])
    result, talk = converse(Agent(tools=[save, end_call()], filler=""), caller, model)
    assert (saved, talk.reason) == (["all of it"], "ended")
    assert "saved" in [m["content"] for m in result.history if m["role"] == "tool"]


def test_a_tool_has_the_time_that_is_its_own() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("Can you hold the line?")
        began = call.now
        await call.hears("back again", timeout=200)
        assert 100 < call.now - began < 110
        await call.hangs_up()

    model = ScriptedRealtime([["Surely.", calls("put_on_hold", seconds=100)], "I am back again."])
    converse(Agent(tools=[hold(longest_s=120)]), caller, model)


def test_greets_answers_and_hangs_up() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("Welcome")
        await call.says("Hello there.")
        await call.hears("What can I do")
        await call.says("Nothing, goodbye.")
        assert await call.ended() == "app"

    agent = Agent(instructions="Be kind.", greeting="Welcome to Acme.", tools=[end_call()])
    model = ScriptedRealtime(["Hi! What can I do?", ["Goodbye!", calls("end_call")]])
    result, talk = converse(agent, caller, model)
    assert result.lines == [
        "agent: Welcome to Acme.",
        "caller: Hello there.",
        "agent: Hi! What can I do?",
        "caller: Nothing, goodbye.",
        "agent: Goodbye!",
    ]
    assert (talk.reason, talk.turns, talk.tool_calls, talk.agent) == ("ended", 2, 1, "agent")
    assert model.opened[0].instructions == "Be kind."
    assert result.history[-1]["content"] == "The call has ended."
    assert [m["role"] for m in result.history] == [
        "assistant",
        "user",
        "assistant",
        "user",
        "assistant",
        "tool",
    ]


@pytest.mark.proves("field 4")
def test_a_caller_cuts_in_and_the_history_holds_what_was_heard() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("Tell me everything.")
        await call.interrupts("Stop that please, will you?", after=2)
        await call.hears("All right")
        await call.hangs_up()

    model = ScriptedRealtime([LONG, "All right."])
    result, talk = converse(Agent(), caller, model)
    assert (talk.reason, talk.turns, talk.interruptions) == ("hangup", 2, 1)
    heard = result.history[1]["content"]
    assert LONG.startswith(heard)
    assert 10 < len(heard) < 60
    ((_, ms),) = model.truncated
    assert 1500 < ms < 3000


def test_tools_run_with_a_filler_and_the_model_goes_on() -> None:
    seen: list[object] = []

    @tool(filler="Let me look.")
    async def order_status(number: int, call: CallSession) -> dict[str, object]:
        """Where an order is."""
        await asyncio.sleep(5)
        seen.append((number, call.called_number))
        return {"state": "shipped"}

    async def caller(call: FakeCall) -> None:
        await call.says("Where is my order 17?")
        await call.hears("One moment.")
        await call.hears("Let me look")
        await call.hears("It was shipped")
        await call.hangs_up()

    model = ScriptedRealtime([["One moment.", calls("order_status", number=17)], "It was shipped."])
    result, talk = converse(Agent(tools=[order_status]), caller, model)
    assert seen == [(17, "100")]
    assert (talk.tool_calls, talk.turns) == (1, 1)
    assert list(model.results.values()) == ['{"state": "shipped"}']
    assert [m["role"] for m in result.history] == ["user", "assistant", "tool", "assistant", "assistant"]
    assert [m["content"] for m in result.history][3:] == ["Let me look.", "It was shipped."]


@pytest.mark.proves("field 6")
def test_what_an_interruption_does_to_tools() -> None:
    ran: list[str] = []

    @tool(on_interrupt="if_spoken")
    async def pay() -> str:
        """Pay."""
        ran.append("pay")
        return "paid"

    @tool(on_interrupt="cancel")
    async def search() -> str:
        """Search."""
        await asyncio.sleep(8)
        ran.append("search")
        return "found"

    @tool
    async def note() -> str:
        """Note."""
        ran.append("note")
        return "noted"

    async def caller(call: FakeCall) -> None:
        await call.says("Pay it all now.")
        await call.interrupts("No no, wait a moment please!", after=2)
        await call.hears("All right")
        await call.hangs_up()

    wanted = [calls("pay"), calls("search"), calls("note"), calls("end_call"), calls("magic")]
    model = ScriptedRealtime([[LONG, *wanted], "All right."])
    agent = Agent(tools=[pay, search, note, end_call()], filler=())
    _, talk = converse(agent, caller, model)
    assert ran == ["note"]
    assert [model.results[each.id] for each in wanted] == [
        "Not done: the caller interrupted.",
        "Cancelled: the caller interrupted.",
        "noted",
        "Not done: the caller interrupted.",
        "There is no tool 'magic'.",
    ]
    assert talk.reason == "hangup"


def test_another_agent_goes_on_with_its_own_tools() -> None:
    sales = Agent(name="sales", instructions="Sell.", greeting="Sales here.", tools=[end_call()])
    desk = Agent(name="desk", instructions="Ask.", tools=[handoff(sales, description="For orders.")])

    async def caller(call: FakeCall) -> None:
        await call.says("I want to buy something.")
        await call.hears("Sales here")
        await call.says("Ten of them.")
        await call.hears("Sold")
        await call.ended()

    model = ScriptedRealtime([["I connect you.", calls("hand_off_to_sales")], ["Sold.", calls("end_call")]])
    _, talk = converse(desk, caller, model)
    assert (talk.agent, talk.reason) == ("sales", "ended")
    assert [opened.instructions for opened in model.opened] == ["Ask.", "Sell."]
    assert [t["function"]["name"] for t in model.opened[1].tools] == ["end_call"]
    roles = [m["role"] for m in model.opened[1].history]
    assert roles == ["user", "assistant", "tool"]


def test_from_speech_to_speech_to_the_cascade_and_back() -> None:
    back = Agent(name="back", realtime=True, greeting="Back again.")
    middle = Agent(name="middle", realtime=False, tools=[handoff(back)])
    first = Agent(name="first", tools=[handoff(middle)])

    async def caller(call: FakeCall) -> None:
        await call.says("To the middle, please.")
        await call.hears("This is the middle")
        await call.says("And back.")
        await call.hears("Back again")
        await call.hangs_up()

    model = ScriptedRealtime([["Yes.", calls("hand_off_to_middle")]])
    llm = ScriptedLLM(["This is the middle.", ["Bye.", calls("hand_off_to_back")]])
    result, talk = converse(first, caller, model, llm=llm, stt="local", tts="local")
    assert (talk.agent, talk.turns) == ("back", 2)
    assert [m["content"] for m in llm.requests[0] if m["role"] == "user"] == ["To the middle, please."]
    assert [line.partition(" --")[0] for line in result.lines if line.startswith("agent")] == [
        "agent: Yes.", "agent: This is the middle.", "agent: Bye.", "agent: Back again.",
    ]  # fmt: skip


def test_a_transfer_and_one_that_fails() -> None:
    async def anna(call: FakeCall) -> None:
        await call.says("Anna speaking.")
        await call.hangs_up()

    async def caller(call: FakeCall) -> None:
        await call.says("Bob, please.")
        await call.hears("He is busy")
        await call.says("Then Anna, please.")
        await call.hears("Anna speaking")
        await call.ended()

    agent = Agent(tools=[transfer({"anna": "PJSIP/anna", "bob": "PJSIP/bob"})])
    model = ScriptedRealtime([
        ["I try.", calls("transfer_call", destination="bob")],
        "He is busy.",
        ["I connect you.", calls("transfer_call", destination="anna")],
    ])  # fmt: skip
    results = []
    app = VoxtraApp(realtime=model)

    @app.default()
    async def handler(call: CallSession) -> None:
        results.append(await call.converse(agent))

    run_call(app, caller, endpoints={"PJSIP/anna": anna, "PJSIP/bob": "busy"})
    assert results[0].reason == "transferred"
    assert next(iter(model.results.values())) == "Not connected: busy."


def test_a_silent_caller_is_asked_and_then_let_go() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("Hello")
        await call.hears("Still there?")
        await call.hears("Farewell")
        await call.ended()

    agent = Agent(greeting="Hello.", idle_s=5, idle_reprompts="Still there?", goodbye="Farewell.")
    result, talk = converse(agent, caller, ScriptedRealtime())
    assert talk.reason == "silence"
    assert 12 < result.duration < 20


def test_the_longest_duration() -> None:
    async def caller(call: FakeCall) -> None:
        for _ in range(3):
            await call.says("And what else is there?")
            await call.hears("More", timeout=10)
            await call.silence(4)
        await call.hears("Time is up")
        await call.ended()

    agent = Agent(max_duration_s=20, goodbye="Time is up.")
    _, talk = converse(agent, caller, ScriptedRealtime(["More."] * 9))
    assert talk.reason == "max_duration"


@pytest.mark.parametrize("voice", [True, False])
def test_a_model_that_fails_is_apologised_for_where_there_is_another_voice(voice: bool) -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("Are you there?")
        if voice:
            await call.hears("Could you say it again")
        await call.ended()

    model = ScriptedRealtime([LLMError("overloaded")] * 2)
    options = {"tts": "local"} if voice else {}
    _, talk = converse(Agent(max_failures=2), caller, model, **options)
    assert (talk.reason, talk.failures) == ("failed", 2)


@pytest.mark.proves("field 8")
def test_a_connection_that_is_lost_is_made_again_with_what_was_said() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("Are you there?")
        await call.hears("Yes, I am")
        await call.hangs_up()

    model = ScriptedRealtime([ConnectionError("gone"), "Yes, I am."])
    _, talk = converse(Agent(), caller, model)
    assert talk.reason == "hangup"
    assert model.heard == ["Are you there?"] * 2


def test_keys_and_the_handlers_own_words_go_to_the_same_voice() -> None:
    said = []

    async def caller(call: FakeCall) -> None:
        await call.says("Tell me everything.")
        await call.hears("This is")
        await call.presses("5")
        await call.silence(3)
        await call.hears("Press on")
        await call.hangs_up()

    model = ScriptedRealtime([LONG])
    app = VoxtraApp(realtime=model)

    @app.default()
    async def handler(call: CallSession) -> None:
        @call.on_dtmf
        async def key(digit: str) -> None:
            said.append(await call.say("Press on."))

        await call.converse(Agent())

    result = run_call(app, caller)
    assert said[0].reason == "finished"
    assert LONG.startswith(result.history[1]["content"])
    assert result.history[1]["content"] != LONG


def test_a_call_on_hold_is_not_heard() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("Hello")
        await call.holds()
        await call.noise(3)
        await call.resumes()
        await call.says("Here I am again.")
        await call.hears("Good")
        await call.hangs_up()

    model = ScriptedRealtime(["Good."])
    converse(Agent(greeting="Hello."), caller, model)
    assert model.heard == ["Here I am again."]
