"""Whole conversations of an agent, on a clock that jumps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from voxtra import CallSession
from voxtra.agent.agent import Agent, current_time, end_call, handoff, transfer
from voxtra.agent.conversation import ConversationResult
from voxtra.agent.tools import Tool, tool
from voxtra.errors import ConfigurationError, LLMError
from voxtra.testing import CallResult, FakeCall, ScriptedLLM, run_call
from voxtra.testing import tool as calls

LONG = "This is a long reply that goes on and on and on, about opening hours, prices and the weather."


def converse(
    agent: Agent, caller: Any, replies: list[Any], **options: Any
) -> tuple[CallResult, ConversationResult]:
    results: list[ConversationResult] = []

    async def handler(call: CallSession) -> None:
        results.append(await call.converse(agent))

    result = run_call(handler, caller, llm=ScriptedLLM(replies), **options)
    return result, results[0]


def test_greets_answers_and_hangs_up() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("Welcome")
        await call.says("Hello there.")
        await call.hears("What can I do")
        await call.says("Nothing, goodbye.")
        assert await call.ended() == "app"

    agent = Agent(instructions="Be kind.", greeting="Welcome to Acme.", tools=[end_call()])
    result, talk = converse(agent, caller, ["Hi! What can I do?", ["Goodbye!", calls("end_call")]])
    assert result.lines == [
        "agent: Welcome to Acme.",
        "caller: Hello there.",
        "agent: Hi! What can I do?",
        "caller: Nothing, goodbye.",
        "agent: Goodbye!",
    ]
    assert (talk.reason, talk.turns, talk.tool_calls, talk.agent) == ("ended", 2, 1, "agent")
    assert [m["role"] for m in result.history] == [
        "assistant",
        "user",
        "assistant",
        "user",
        "assistant",
        "tool",
    ]


def test_tools_take_typed_arguments_and_their_results_reach_the_model() -> None:
    seen: list[object] = []

    @tool(filler="Let me look.")
    async def order_status(number: int, call: CallSession, exact: bool = False) -> dict[str, object]:
        """Where an order is."""
        await asyncio.sleep(4)
        seen.append((number, exact, call.called_number))
        return {"state": "shipped"}

    async def caller(call: FakeCall) -> None:
        await call.says("Where is my order 17?")
        await call.hears("Let me look")
        await call.hears("shipped")
        await call.hangs_up()

    llm_replies = [
        ["One moment.", calls("order_status", number=17)],
        lambda messages: f"It is {messages[-1]['content']}",
    ]
    result, talk = converse(Agent(tools=[order_status]), caller, llm_replies, number="42")
    assert seen == [(17, False, "42")]
    assert talk.reason == "hangup"
    assert any("shipped" in m["content"] for m in result.history if m["role"] == "tool")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"number": "x"}, "Wrong arguments: number"),
        ({}, "Wrong arguments: number"),
        ({"number": 1}, "failed: out of stock"),
    ],
)
def test_what_goes_wrong_in_a_tool_is_told_to_the_model(arguments: dict[str, Any], told: str) -> None:
    def lookup(number: int) -> str:
        """Look it up."""
        raise ValueError("out of stock")

    async def caller(call: FakeCall) -> None:
        await call.says("Is it there?")
        await call.hears("I can not tell")
        await call.hangs_up()

    replies = [[calls("lookup", **arguments)], "I can not tell."]
    result, _ = converse(Agent(tools=[lookup]), caller, replies, check=False)
    assert told in next(m["content"] for m in result.history if m["role"] == "tool")


def test_a_tool_that_never_ends_and_one_that_is_made_up() -> None:
    @tool(timeout_s=20)
    async def forever() -> str:
        """Never done."""
        await asyncio.Event().wait()
        return ""

    async def caller(call: FakeCall) -> None:
        await call.says("Do it.")
        await call.hears("One moment")
        await call.hears("It did not work", timeout=60)
        await call.hangs_up()

    replies = [[calls("forever"), calls("no_such_tool")], "It did not work."]
    result, _ = converse(Agent(tools=[forever]), caller, replies)
    told = [m["content"] for m in result.history if m["role"] == "tool"]
    assert told == ["forever gave no result within 20 seconds.", "There is no tool 'no_such_tool'."]


@pytest.mark.proves("field 6")
@pytest.mark.parametrize("kind", ["finish", "cancel", "if_spoken"])
def test_an_interruption_means_to_a_tool_what_it_says(kind: Any) -> None:
    done: list[str] = []

    @tool(on_interrupt=kind)
    async def book() -> str:
        """Book it."""
        done.append("booked")
        return "booked"

    async def caller(call: FakeCall) -> None:
        await call.says("Book a table.")
        await call.interrupts("No, wait, not that one.", after=2)
        await call.hears("All right")
        await call.hangs_up()

    result, talk = converse(Agent(tools=[book, end_call()]), caller, [[LONG, calls("book")], "All right."])
    assert done == (["booked"] if kind == "finish" else [])
    assert talk.interruptions == 1
    assert [m["role"] for m in result.history] == ["user", "assistant", "tool", "user", "assistant"]
    assert LONG.startswith(result.history[1]["content"])
    assert result.history[1]["content"] != LONG


@pytest.mark.proves("field 6")
def test_a_reply_that_is_cut_does_not_hang_up() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("Goodbye then.")
        await call.interrupts("Wait, one more question please.", after=2)
        await call.hears("Yes")
        await call.hangs_up()

    _, talk = converse(Agent(tools=[end_call()]), caller, [[LONG, calls("end_call")], "Yes?"])
    assert talk.reason == "hangup"


def test_a_cough_over_the_agent_does_not_silence_it() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("Tell me all.")
        await call.hears("This is a long")
        await call.noise(0.7)
        await call.hears("the weather")
        await call.hangs_up()

    result, talk = converse(Agent(), caller, [LONG])
    assert talk.turns == 1
    assert result.history[-1]["content"] == LONG


def test_silence_is_asked_about_and_then_ends_it() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("Hello")
        await call.hears("Are you still there?")
        await call.hears("Goodbye")
        await call.ended()

    agent = Agent(greeting="Hello.", idle_s=6)
    result, talk = converse(agent, caller, [])
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

    _, talk = converse(Agent(max_duration_s=20, goodbye="Time is up."), caller, ["More."] * 9)
    assert talk.reason == "max_duration"


@pytest.mark.proves("field 1", "field 8")
def test_a_slow_model_gets_a_filler_and_a_dead_one_an_apology() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("Are you there?")
        await call.hears("One moment")
        await call.hears("Could you say it again")
        await call.says("Are you there now?")
        await call.ended()

    async def handler(call: CallSession) -> None:
        results.append(await call.converse(Agent()))

    results: list[ConversationResult] = []
    llm = ScriptedLLM(["never heard", LLMError("it is down")], latency=60)
    run_call(handler, caller, llm=llm, check=False)
    assert (results[0].reason, results[0].failures) == ("failed", 2)


def test_another_agent_goes_on() -> None:
    sales = Agent(name="sales", instructions="Sell.", greeting="Sales here.", tools=[end_call()])
    desk = Agent(name="desk", instructions="Ask.", tools=[handoff(sales, description="For orders.")])

    async def caller(call: FakeCall) -> None:
        await call.says("I want to buy something.")
        await call.hears("Sales here")
        await call.says("Ten of them.")
        await call.hears("Sold")
        await call.ended()

    llm = ScriptedLLM([[calls("hand_off_to_sales")], ["Sold.", calls("end_call")]])
    results: list[ConversationResult] = []

    async def handler(call: CallSession) -> None:
        results.append(await call.converse(desk))

    run_call(handler, caller, llm=llm)
    assert (results[0].agent, results[0].reason) == ("sales", "ended")
    assert llm.requests[0][0]["content"] == "Ask."
    assert llm.requests[1][0]["content"] == "Sell."
    assert [t["function"]["name"] for t in llm.tools[1]] == ["end_call"]
    (told,) = [each["content"] for each in llm.requests[1] if each["role"] == "tool"]
    assert told == "sales goes on with the conversation."  # and not what it is instructed to do


def test_a_transfer_by_alias() -> None:
    async def anna(call: FakeCall) -> None:
        await call.says("Anna speaking.")
        await call.hangs_up()

    async def caller(call: FakeCall) -> None:
        await call.says("Anna, please.")
        await call.hears("I connect you")
        await call.hears("Anna speaking")
        await call.ended()

    agent = Agent(tools=[transfer({"anna": "PJSIP/anna"})])
    replies = [["I connect you.", calls("transfer_call", destination="anna")]]
    _, talk = converse(agent, caller, replies, endpoints={"PJSIP/anna": anna})
    assert talk.reason == "transferred"


def test_a_transfer_that_fails_is_told_to_the_model() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("Anna, please.")
        await call.hears("She is busy")
        await call.hangs_up()

    agent = Agent(tools=[transfer({"anna": "PJSIP/anna"})])
    replies = [["I connect you.", calls("transfer_call", destination="anna")], "She is busy."]
    result, _ = converse(agent, caller, replies, endpoints={"PJSIP/anna": "busy"})
    assert next(m["content"] for m in result.history if m["role"] == "tool") == "Not connected: busy."


def test_schemas_and_what_is_refused() -> None:
    def book(people: int, name: str = "", outside: bool = False) -> str:
        """Book a table.

        More about it, not for the model.
        """
        return name

    schema = Tool(book).schema["function"]
    assert schema["description"] == "Book a table."
    assert schema["parameters"]["required"] == ["people"]
    assert schema["parameters"]["properties"]["people"] == {"type": "integer"}
    for wrong, said in (
        (lambda x: x, "docstring"),
        (untyped, "of which type 'x'"),
        (star, r"\*rest"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            Agent(tools=[wrong])
    with pytest.raises(ConfigurationError, match="two tools"):
        Agent(tools=[book, book])
    with pytest.raises(ConfigurationError, match="zone"):
        current_time("Mars/Base")
    with pytest.raises(ConfigurationError, match="on_interrupt"):
        Tool(book, on_interrupt="maybe")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="idle_s"):
        Agent(idle_s=0)


def untyped(x):  # type: ignore[no-untyped-def]
    """Untyped."""


def star(*rest: int) -> None:
    """Star."""
