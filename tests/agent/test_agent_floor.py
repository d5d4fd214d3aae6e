"""What a call tells of its turn-taking, and how words move it, on a clock that jumps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from voxtra import CallSession, EventType
from voxtra.agent.agent import Agent
from voxtra.errors import ConfigurationError
from voxtra.testing import CallResult, FakeCall, ScriptedLLM, run_call

STATEMENT = "This goes on for some time, whatever the caller has to say about it all."


def told(result: CallResult, kind: EventType) -> list[dict[str, Any]]:
    return [event.data for event in result.events if event.type is kind]


async def says_statement(call: CallSession) -> None:
    await call.say(STATEMENT)
    await call.listen(timeout=2)


@pytest.mark.parametrize(
    ("words", "dropped"), [("mhm mhm", "backchannel"), ("okay, I see.", "backchannel"), ("", "no_words")]
)
def test_a_false_interruption_is_told_and_the_agent_goes_on(words: str, dropped: str) -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("goes on")
        await (call.interrupts(words, after=1.0) if words else call.noise(0.6))
        await call.hears("about it all")

    result = run_call(says_statement, caller)
    assert result.transcript[0].reason == "finished"
    assert told(result, EventType.FALSE_INTERRUPTION) == [{"reason": dropped, "stopped": False}]
    assert told(result, EventType.BARGE_IN) == []
    assert {"dropped": dropped} in told(result, EventType.USER_SPEECH_ENDED)
    assert told(result, EventType.TURN_ENDED) == []


@pytest.mark.parametrize("heard_s", [0.0, 1.0])
def test_history_after_a_false_interruption_has_each_reply_in_its_place(heard_s: float) -> None:
    """Also where it came so soon that nothing of the reply was heard, and the history had lost it."""

    async def caller(call: FakeCall) -> None:
        await call.hears("Hello")
        await call.says("What is it?")
        while not call.is_spoken_to:
            await asyncio.sleep(0.01)
        await asyncio.sleep(heard_s)
        await call.noise(1.4)
        await call.hears("about it all")
        await call.hangs_up()

    async def handler(call: CallSession) -> None:
        await call.converse(Agent(greeting="Hello."))

    result = run_call(handler, caller, llm=ScriptedLLM([STATEMENT]))
    assert [message["content"] for message in result.history] == ["Hello.", "What is it?", STATEMENT]


def test_a_reprompt_that_is_said_to_its_end_is_no_part_of_another_reply() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("Hello")
        await call.silence(10)
        while not call.is_spoken_to:
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        await call.noise(1.4)
        await call.hears("about it all")
        await call.hangs_up()

    async def handler(call: CallSession) -> None:
        await call.converse(Agent(greeting="Hello.", idle_reprompts=[STATEMENT]))

    result = run_call(handler, caller, llm=ScriptedLLM([]))
    assert [message["content"] for message in result.history] == ["Hello."]


def test_a_false_interruption_that_stopped_the_agent_is_made_good() -> None:
    """Long noise cuts it off; there are no words in it, so the rest is said."""

    async def caller(call: FakeCall) -> None:
        await call.hears("goes on")
        await call.noise(1.4)
        await call.hears("about it all")
        await call.hangs_up()

    async def handler(call: CallSession) -> None:
        await call.converse(Agent(greeting=STATEMENT))

    result = run_call(handler, caller, llm=ScriptedLLM([]))
    assert told(result, EventType.FALSE_INTERRUPTION) == [{"reason": "no_words", "stopped": True}]
    assert len(told(result, EventType.BARGE_IN)) == 1
    assert result.history == [{"role": "assistant", "content": STATEMENT}]


def test_an_answer_to_a_question_is_no_backchannel() -> None:
    async def handler(call: CallSession) -> None:
        await call.say("Would you like me to send it to the address that we have on file for you?")
        user = await call.listen(timeout=3)
        await call.say(f"You said {user}.")

    async def caller(call: FakeCall) -> None:
        await call.interrupts("okay, sure", after=2)
        await call.hears("You said okay, sure")

    result = run_call(handler, caller)
    assert len(told(result, EventType.BARGE_IN)) == 1
    assert told(result, EventType.FALSE_INTERRUPTION) == []


@pytest.mark.parametrize(
    ("asked", "said", "waited"),
    [
        ("Is that right?", "Yes.", 0.3),
        ("How can I help you?", "A table for two.", 0.5),
        ("What is your phone number?", "five five five one", 1.6),
    ],
)
def test_the_wait_is_as_long_as_the_words_want(asked: str, said: str, waited: float) -> None:
    async def handler(call: CallSession) -> None:
        await call.say(asked)
        await call.listen(timeout=5)

    async def caller(call: FakeCall) -> None:
        await call.hears(asked[-8:])
        await call.says(said)
        await call.ended()

    result = run_call(handler, caller)
    (turn,) = told(result, EventType.TURN_ENDED)
    assert turn["silence_ms"] == round(waited * 1000)
    assert turn["ended_ms_ago"] == pytest.approx(waited * 1000, abs=30)
    assert bool(turn["why"]) == (waited != 0.5)
    assert bool(told(result, EventType.TURN_EXTENDED)) == (waited > 0.5)


def test_an_expectation_is_the_handlers_to_set() -> None:
    async def handler(call: CallSession) -> None:
        await call.say("Go ahead.")
        with pytest.raises(ConfigurationError, match=r"expect = 'four': there are anything, yes_no, digits"):
            await call.listen(expect="four")
        await call.listen(timeout=5, expect="digits:4")

    async def caller(call: FakeCall) -> None:
        await call.hears("ahead")
        await call.says("one two three four")
        await call.ended()

    (turn,) = told(run_call(handler, caller), EventType.TURN_ENDED)
    assert (turn["silence_ms"], turn["why"]) == (300, "digits 4 of 4")
