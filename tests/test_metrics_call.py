"""The figures of calls, on the whole session on its fakes."""

from __future__ import annotations

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from voxtra import CallSession, TurnDetection
from voxtra.agent.agent import Agent, end_call
from voxtra.errors import LLMError
from voxtra.events import CallEndedEvent, ErrorEvent, EventType, VoxtraEvent
from voxtra.media.line import LineStats
from voxtra.metrics import CallMetrics
from voxtra.metrics.observer import MAX_KINDS, MAX_TURNS, CallMeter
from voxtra.speech.base import Usage
from voxtra.testing import CallResult, FakeCall, ScriptedLLM, run_call, tool


def ended(result: CallResult) -> dict[str, Any]:
    (event,) = [event for event in result.events if event.type is EventType.CALL_ENDED]
    figures = event.data["metrics"]
    assert json.loads(json.dumps(figures)) == figures
    return dict(figures)


async def look_up(number: int) -> str:
    """Where an order is."""
    await asyncio.sleep(0.7)
    return "on its way"


async def shop(call: CallSession) -> None:
    await call.answer()
    await call.converse(Agent(greeting="Hello.", tools=[look_up, end_call()], filler=(), speculate=False))


def test_a_call_with_everything() -> None:
    llm = ScriptedLLM(
        [
            ["Let me see.", tool("look_up", number=7), Usage(100, 20)],
            ["It is on its way and will be with you on Friday at noon.", Usage(150, 10)],
            ["Bye bye.", tool("end_call"), Usage(180, 5)],
        ]
    )

    async def caller(call: FakeCall) -> None:
        await call.hears("Hello")
        await call.says("Where is my order?")
        await call.hears("It is on")
        await call.interrupts("Thank you, that is all.")
        await call.hears("Bye")

    result = run_call(shop, caller, llm=llm)

    figures = ended(result)
    assert result.session is not None
    assert figures == result.session.metrics.to_dict()  # it no longer changes
    assert (figures["outcome"], figures["reason"], figures["direction"]) == ("answered", "local", "inbound")
    assert figures["duration_s"] == result.duration
    assert figures["answer_delay_ms"] < 100
    assert (figures["interruptions"], figures["false_interruptions"]) == (1, 0)
    assert (figures["input_tokens"], figures["output_tokens"], figures["tool_calls"]) == (430, 35, 2)
    assert figures["characters"] == sum(len(s.text) for s in result.transcript if s.speaker == "agent")
    first, second = figures["turns"]
    (looked,) = first["tools"]
    assert (looked["name"], looked["outcome"], looked["ms"]) == ("look_up", "done", 700.0)
    assert first["interrupted"]
    assert not second["interrupted"]
    assert (first["input_tokens"], second["input_tokens"]) == (250, 180)
    # the fakes' own times: 500 ms of silence, a frame until it is seen, 200 ms of model, 50 ms of voice
    wait = first["wait"]
    assert (wait["endpointing"], wait["stt"], wait["llm"], wait["tts"]) == (500, 20, 200, 50)
    assert wait["total"] == pytest.approx(sum(wait.values()) - wait["total"], abs=0.2)
    assert figures["waits_ms"] == [first["wait"]["total"], second["wait"]["total"]]
    assert figures["media"]["transport"] == "fake"
    assert figures["media"]["received"] > 50
    assert figures["media"]["played"] > 50


def test_a_cough_and_a_murmur() -> None:
    async def handler(call: CallSession) -> None:
        await call.converse(
            Agent(
                greeting="Welcome to Acme, where everything is made by hand, and everything is sold by hand.",
                idle_s=3,
                idle_reprompts=(),
                turn_detection=TurnDetection(barge_confirm_ms=300),
            )
        )

    async def caller(call: FakeCall) -> None:
        await call.hears("Welcome")
        await call.noise(0.16)  # paused for, and gone on
        await call.hears("Acme")
        await call.noise(0.8)  # long enough to stop the agent, and no words come
        await call.hears("Goodbye")

    figures = ended(run_call(handler, caller, llm=ScriptedLLM([])))
    assert (figures["interruptions"], figures["false_interruptions"], figures["backchannels"]) == (1, 1, 1)
    assert figures["turns_total"] == 0


def test_errors_are_counted_by_their_type() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("Hello")
        await call.says("Where is my order?")
        await call.hears("sorry")
        await call.hangs_up()

    figures = ended(run_call(shop, caller, llm=ScriptedLLM([LLMError("down")]), check=False))
    assert figures["errors"] == {"LLMError": 1}
    assert figures["reason"] == "hangup"


def test_a_call_nobody_answers(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(call: CallSession) -> None:
        await call.hangup("busy")

    with caplog.at_level(logging.INFO, "voxtra.metrics"):
        result = run_call(handler)
    figures = ended(result)
    assert (figures["outcome"], figures["answer_delay_ms"], figures["duration_s"]) == ("unanswered", None, 0)
    (record,) = [record for record in caplog.records if record.name == "voxtra.metrics"]
    assert record.__dict__["call_id"] == figures["call_id"]
    assert record.__dict__["metrics"]["turns"] == 0
    assert "outcome=unanswered reason=local" in record.getMessage()
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize(
    ("cause", "outcome"), [(17, "busy"), (19, "no_answer"), (21, "rejected"), (34, "failed"), (0, "failed")]
)
def test_what_became_of_a_call_that_was_placed(cause: int, outcome: str) -> None:
    metrics = CallMetrics(direction="outbound", cause=cause)
    assert metrics.outcome == ""
    metrics.reason = "failed"
    assert metrics.outcome == outcome


def meter(*lines: object) -> CallMeter:
    given = iter(lines)
    return CallMeter("c", lambda: 5.0, lambda: next(given, None))  # type: ignore[arg-type, return-value]


def test_what_is_kept_is_bounded() -> None:
    each = meter()
    for number in range(MAX_TURNS + 7):
        each(VoxtraEvent(type=EventType.TURN_ENDED))
        each(ErrorEvent(error_type=f"E{number}"))
    metrics = each.metrics
    assert (len(metrics.turns), metrics.turns_total) == (MAX_TURNS, MAX_TURNS + 7)
    assert len(metrics.errors) == MAX_KINDS + 1
    assert sum(metrics.errors.values()) == MAX_TURNS + 7


def test_two_lines_are_added_up() -> None:
    lines = [
        SimpleNamespace(transport="rtp", codec="ulaw", stats=LineStats(frames_received=10, jitter_ms=3.0)),
        SimpleNamespace(transport="rtp", codec="alaw", stats=LineStats(frames_received=5, frames_lost=2)),
    ]
    each = meter(*lines)
    each(VoxtraEvent(type=EventType.MEDIA_STARTED))
    each(VoxtraEvent(type=EventType.MEDIA_STARTED))
    each(CallEndedEvent(reason="hangup"))
    media = each.metrics.media
    assert (media.received, media.lost, media.jitter_ms, media.codec) == (15, 2, 3.0, "alaw")
