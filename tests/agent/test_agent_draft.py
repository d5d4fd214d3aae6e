"""Replies that are begun before the caller's turn is decided."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from agent_fakes import FakeLLM, breathe

from voxtra import CallSession
from voxtra.agent.agent import Agent
from voxtra.agent.client import AgentClient
from voxtra.agent.conversation import ConversationResult
from voxtra.agent.draft import MOST_A_TURN
from voxtra.errors import LLMError
from voxtra.events import EventType
from voxtra.speech.base import LLM, LLMEvent, TextDelta
from voxtra.testing import CallResult, FakeCall, ScriptedLLM, run_call, tool


def converse(agent: Agent, caller: Any, llm: LLM, **options: Any) -> tuple[CallResult, ConversationResult]:
    results: list[ConversationResult] = []

    async def handler(call: CallSession) -> None:
        results.append(await call.converse(agent))

    result = run_call(handler, caller, llm=llm, **options)
    return result, results[0]


class Echo(LLM):
    """Answers with what was said; each word takes its time. Knows which requests came to their end."""

    name = "echo"

    def __init__(self, latency_s: float = 0.4) -> None:
        self.asked: list[str] = []
        self.finished: list[str] = []
        self.open = 0
        self._latency_s = latency_s

    async def stream(
        self, messages: Sequence[dict[str, Any]], *, tools: Sequence[dict[str, Any]] = ()
    ) -> AsyncIterator[LLMEvent]:
        said = messages[-1]["content"]
        self.asked.append(said)
        self.open += 1
        try:
            await asyncio.sleep(self._latency_s)
            yield TextDelta(f"You said {said}.")
            await asyncio.sleep(0.1)
            self.finished.append(said)
        finally:
            self.open -= 1


async def one_question(call: FakeCall) -> None:
    await call.says("What are your opening hours?")
    await call.hears("You said")
    await call.hangs_up()


def waited(result: CallResult) -> float:
    said, answer = result.transcript[:2]
    return answer.start - said.end


def test_the_answer_comes_sooner_and_is_asked_for_once() -> None:
    sooner, later = Echo(), Echo()
    early, talk = converse(Agent(), one_question, sooner)
    late, without = converse(Agent(speculate=False), one_question, later)
    assert sooner.asked == later.asked == ["What are your opening hours?"]
    assert waited(late) - waited(early) >= 0.15, (
        "the request leaves with the transcript, not with the silence"
    )
    assert (talk.speculations, talk.discarded) == (1, 0)
    assert (without.speculations, without.discarded) == (0, 0)
    assert [m["role"] for m in early.history] == ["user", "assistant"]


def test_who_goes_on_is_answered_once_and_the_draft_leaves_no_trace() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("I want a table.")
        await call.silence(0.36)
        await call.says("For two people.")
        await call.hears("You said")
        await call.hangs_up()

    llm = Echo(latency_s=3.0)
    result, talk = converse(Agent(filler_after_s=9), caller, llm)
    assert llm.asked == ["I want a table.", "I want a table. For two people."]
    assert llm.finished == llm.asked[1:], "the first one was cancelled"
    assert llm.open == 0
    assert (talk.turns, talk.speculations, talk.discarded) == (1, 2, 1)
    assert [m["content"] for m in result.history if m["role"] == "user"] == [
        "I want a table. For two people."
    ]
    kinds = [event.type for event in result.events]
    assert kinds.count(EventType.AGENT_THINKING) == 1, "a draft is nobody's business"


def test_an_unfinished_phrase_is_not_answered_ahead() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("I would like to")
        await call.silence(1.0)
        await call.says("book a table.")
        await call.hears("You said")
        await call.hangs_up()

    llm = Echo()
    result, talk = converse(Agent(), caller, llm)
    assert llm.asked == ["I would like to book a table."]
    assert (talk.turns, talk.speculations) == (1, 1)
    (extended,) = (e for e in result.events if e.type is EventType.TURN_EXTENDED)
    assert extended.data == {"why": "unfinished: to", "silence_ms": 1600}


def test_a_hang_up_in_the_pause_leaves_no_request() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("What are your opening hours?")
        await call.silence(0.36)
        await call.hangs_up()

    llm = Echo(latency_s=30)
    _, talk = converse(Agent(), caller, llm)
    assert len(llm.asked) == 1
    assert (llm.open, talk.speculations, talk.discarded) == (0, 1, 1)


def test_tools_of_a_draft_run_when_the_turn_is_over() -> None:
    ran: list[str] = []

    def order_status() -> str:
        """Where the order is."""
        ran.append("ran")
        return "shipped"

    async def caller(call: FakeCall) -> None:
        await call.says("Where is my order?")
        await call.silence(0.36)
        assert not ran
        await call.hears("shipped")
        await call.hangs_up()

    llm = ScriptedLLM([[tool("order_status")], "It is shipped."], latency=0.0)
    _, talk = converse(Agent(tools=[order_status]), caller, llm)
    assert ran == ["ran"]
    assert (talk.tool_calls, talk.speculations, talk.discarded) == (1, 1, 0)


def test_a_draft_that_fails_is_a_reply_that_fails() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("What is wrong?")
        await call.hears("I am sorry")
        await call.says("Again please.")
        await call.hears("All right")
        await call.hangs_up()

    llm = ScriptedLLM([LLMError("503"), "All right."], latency=0.0)
    result, talk = converse(Agent(), caller, llm)
    assert talk.failures == 1
    assert len(llm.requests) == 2
    assert [m["role"] for m in result.history][-2:] == ["user", "assistant"]


# -- the client by itself


async def test_a_changed_history_is_another_question() -> None:
    llm = FakeLLM(["Old."], ["New."])
    client = AgentClient(llm)
    client.foresee("Hello")
    client.foresee("Hello")
    await breathe()
    client.history.append({"role": "assistant", "content": "Welcome back."})
    reply = await client.respond("Hello")
    assert reply.text == "New."
    assert len(llm.requests) == 2
    assert (client.drafts.begun, client.drafts.discarded) == (1, 1)
    await client.drafts.close()


async def test_other_tools_are_another_question() -> None:
    llm = FakeLLM(["Old."], ["New."])
    client = AgentClient(llm)
    client.foresee("Hello")
    await breathe()
    client.tools = [{"type": "function", "function": {"name": "book"}}]
    assert (await client.respond("Hello")).text == "New."
    await client.drafts.close()


async def test_a_draft_is_taken_while_it_is_being_made() -> None:
    llm = FakeLLM(["One ", "two."], pace_s=0.01)
    client = AgentClient(llm)
    client.foresee("Hello")
    await asyncio.sleep(0.015)
    assert client.history == []
    assert [piece async for piece in client.stream("Hello")] == ["One ", "two."]
    assert [m["content"] for m in client.history] == ["Hello", "One two."]
    assert client.times.llm_first_at >= client.times.llm_started_at > 0
    assert llm.ended == 1


async def test_a_taken_draft_that_is_broken_off_is_cancelled() -> None:
    llm = FakeLLM(["One ", "hang"])
    client = AgentClient(llm)
    client.foresee("Hello")
    await breathe()
    stream = client.stream("Hello")
    assert await anext(stream) == "One "
    await stream.aclose()
    assert llm.ended == 1
    assert [m["content"] for m in client.history] == ["Hello", "One"]


async def test_so_many_in_a_turn_and_no_more() -> None:
    llm = FakeLLM(*[["x"]] * 9)
    client = AgentClient(llm)
    for number in range(9):
        client.foresee(f"word {number}")
        await breathe()
    assert len(llm.requests) == client.drafts.begun == MOST_A_TURN
    await client.respond("at last")
    client.foresee("and again")
    assert client.drafts.begun == MOST_A_TURN + 1
    await client.drafts.close()
    assert client.drafts.discarded == MOST_A_TURN + 1


async def test_without_a_model_or_words_nothing_is_begun() -> None:
    client = AgentClient(None)
    client.foresee("Hello")
    AgentClient(FakeLLM(["x"])).foresee("")
    assert client.drafts.begun == 0


@pytest.mark.parametrize("turns", ["patient", {"silenceThresholdMs": 900}])
def test_an_agent_takes_a_preset_by_its_name(turns: Any) -> None:
    result, _ = converse(Agent(turn_detection=turns), one_question, Echo())
    assert waited(result) > 0.85
