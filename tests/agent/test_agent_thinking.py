"""The caller speaks while the agent thinks: what belongs together gets one answer, and "mhm" none."""

from __future__ import annotations

from typing import Any

import pytest

from voxtra import CallSession, EventType
from voxtra.agent.agent import Agent
from voxtra.agent.conversation import ConversationResult
from voxtra.testing import CallResult, FakeCall, ScriptedLLM, run_call
from voxtra.turns import SpeechStarted, TurnDetection, TurnDropped, TurnEnded, TurnMachine

SETTINGS = TurnDetection(response_min_speech_ms=100, min_speech_ms=100, commit_min_interval_ms=0)


def asked(
    more: str, *, latency: float, after: float = 0.7
) -> tuple[CallResult, ConversationResult, ScriptedLLM]:
    """A question, and ``more`` ``after`` s later."""
    results: list[ConversationResult] = []
    llm = ScriptedLLM(["The first answer, to one of them.", "The second, to both."], latency=latency)

    async def handler(call: CallSession) -> None:
        results.append(await call.converse(Agent()))

    async def caller(call: FakeCall) -> None:
        await call.says("What is the weather?")
        await call.silence(after)
        await call._speak(more, None)
        await call.silence(9)
        await call.hangs_up()

    return run_call(handler, caller, llm=llm), results[0], llm


@pytest.mark.parametrize("latency", [1.0, 1.7, 3.0])
def test_who_goes_on_while_the_agent_thinks_gets_one_answer_to_all(latency: float) -> None:
    result, talk, llm = asked("And in London, please?", latency=latency)
    said = [m["content"] for m in result.history]
    assert said == ["What is the weather?", "And in London, please?", "The second, to both."]
    assert [m["content"] for m in llm.requests[1]] == said[:2]
    assert "agent: The first answer" not in "\n".join(result.lines)
    assert (talk.turns, talk.interruptions) == (2, 0)


@pytest.mark.proves("field 2")
@pytest.mark.parametrize("latency", [1.0, 1.7])
def test_a_backchannel_while_the_agent_thinks_is_no_turn(latency: float) -> None:
    result, talk, llm = asked("mhm", latency=latency)
    assert [m["content"] for m in result.history] == [
        "What is the weather?",
        "The first answer, to one of them.",
    ]
    assert (talk.turns, llm.left) == (1, 1)
    dropped = [e.data.get("dropped") for e in result.events if e.type is EventType.USER_SPEECH_ENDED]
    assert "backchannel" in dropped


def turn(words: str, *, thinks: bool, reason: Any) -> list[Any]:
    """What becomes of a turn with these words."""
    machine = TurnMachine(SETTINGS, over_agent=lambda text: reason)
    machine.agent_thinks(thinks)
    out: list[Any] = []
    for number in range(60):
        out += machine.frame(1.0 if number < 20 else 0.0, number * 20)
        machine.agent_thinks(False)  # how it began is what counts
        if number == 32:
            out += machine.transcript(words, 1.0, True, number * 20)
    return [each for each in out if isinstance(each, SpeechStarted | TurnEnded | TurnDropped)]


def test_the_bars_differ_while_it_thinks() -> None:
    for thinks, reason, kind in (
        (True, "backchannel", TurnDropped),
        (False, "backchannel", TurnEnded),
        (True, "echo", TurnEnded),  # nothing of the agent was heard that could come back
        (True, None, TurnEnded),
    ):
        started, ended = turn("mhm", thinks=thinks, reason=reason)
        assert isinstance(started, SpeechStarted)
        assert isinstance(ended, kind), (thinks, reason)
