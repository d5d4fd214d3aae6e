"""How a phone app is tested: a whole call in milliseconds, without an Asterisk. Copy what you need.

pytest examples/test_receptionist.py
"""

from __future__ import annotations

from receptionist import GREETING, app

from voxtra import CallState
from voxtra.testing import FakeCall, ScriptedLLM, run_call, tool


def test_opening_hours() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears(GREETING)
        await call.says("What are your opening hours?")
        await call.hears("until five in the afternoon")
        await call.hears("family")
        await call.says("Goodbye.")
        assert await call.ended() == "app"

    result = run_call(app, caller, number="100", caller_id="4711")

    assert result.state is CallState.COMPLETED
    assert result.lines[-2:] == ["caller: Goodbye.", "agent: Thank you for calling. Goodbye!"]


def test_the_caller_interrupts() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("When do you open?")
        await call.hears("nine in the morning")
        await call.interrupts("Sorry, where are you located?")
        await call.hears("Ten Market Street")
        await call.hangs_up()

    result = run_call(app, caller)

    hours = next(said for said in result.transcript if said.reason == "interrupted")
    assert hours.text == "We are open from Monday to Friday, from nine in the morning"
    # The model is told what the caller heard, not what it wrote.
    assert {"role": "assistant", "content": hours.text} in result.history


def test_a_key_sends_the_address() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("What is your address?")
        await call.hears("Press one")
        await call.presses("1")
        await call.hears("on its way")
        await call.hangs_up()

    result = run_call(app, caller)

    assert result.digits == "1"
    assert [call["name"] for call in result.tool_calls] == ["text_address"]


def test_nobody_speaks() -> None:
    async def caller(call: FakeCall) -> None:
        await call.silence(15)
        await call.hears("I can't hear you")

    assert run_call(app, caller).end.reason == "local"


def test_with_a_scripted_model() -> None:
    llm = ScriptedLLM(["It is sunny.", ["Bye bye.", tool("end_call")]])

    async def caller(call: FakeCall) -> None:
        await call.says("What is the weather like?")
        await call.hears("sunny")
        await call.says("Thank you.")
        await call.hears("Bye bye")

    run_call(app, caller, llm=llm)

    assert [request[-1]["content"] for request in llm.requests] == ["What is the weather like?", "Thank you."]
