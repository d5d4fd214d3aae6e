"""The model of a call is connected while the call still rings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from voxtra import CallSession, VoxtraApp
from voxtra.agent.agent import Agent
from voxtra.agent.realtime_early import Early
from voxtra.errors import LLMError
from voxtra.events import VoxtraEvent
from voxtra.speech.base import SpeechEvent, SpeechStream, StreamLost, StreamProblem
from voxtra.testing import FakeCall, ScriptedRealtime, run_call, run_virtual

WANTED: dict[str, Any] = {
    "rate": 8000,
    "codec": "ulaw",
    "instructions": "Be kind.",
    "tools": [],
    "history": [],
}


class Slow(ScriptedRealtime):
    """Notes what the call was like when it was connected to."""

    def __init__(self, happened: list[str], **options: Any) -> None:
        super().__init__(**options)
        self.happened = happened

    async def open(self, **wanted: Any) -> SpeechStream:
        self.happened.append("connecting")
        stream = await super().open(**wanted)
        self.happened.append("connected")
        return stream


def conversation(
    *, answer: bool = False, agent: Agent | None = None, **options: Any
) -> tuple[list[str], Slow]:
    """What happened, in order, up to the agent's first word."""
    happened: list[str] = []
    model = Slow(happened, **options)
    app = VoxtraApp(realtime=model)

    @app.on()
    def note(event: VoxtraEvent) -> None:
        if event.type in ("call.answered", "agent.speech.started"):
            happened.append(str(event.type))

    @app.default()
    async def handler(call: CallSession) -> None:
        if answer:
            await call.answer()
        await call.converse(agent or Agent(greeting="Welcome.", instructions="Be kind."))

    async def caller(call: FakeCall) -> None:
        await call.hears("Welcome")
        await call.hangs_up()

    run_call(app, caller)
    assert model.live == 0
    return happened, model


def test_the_call_is_answered_when_the_model_is_there() -> None:
    happened, model = conversation()
    assert happened == ["connecting", "connected", "call.answered", "agent.speech.started"]
    assert model.opened[0].instructions == "Be kind."


def test_a_call_that_is_answered_already_is_connected_then() -> None:
    happened, _ = conversation(answer=True)
    assert happened == ["call.answered", "connecting", "connected", "agent.speech.started"]


def test_a_model_that_cannot_be_reached_ahead_is_tried_again() -> None:
    happened, _ = conversation(refuses=1)
    assert happened[:4] == ["connecting", "call.answered", "connecting", "connected"]


def test_the_call_does_not_ring_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtra.agent.realtime_early.CONNECT_S", 0.5)
    happened, _ = conversation(latency=0.9)
    assert happened[:4] == ["connecting", "call.answered", "connecting", "connected"]


def test_a_caller_who_hangs_up_while_it_rings_leaves_nothing_open() -> None:
    model = ScriptedRealtime(latency=30)
    app = VoxtraApp(realtime=model)

    @app.default()
    async def handler(call: CallSession) -> None:
        await call.converse(Agent(greeting="Welcome."))

    async def caller(call: FakeCall) -> None:
        await call.hangs_up()

    run_call(app, caller)
    assert (model.live, model.opened) == (0, [])


class Open(ScriptedRealtime):
    """Says something as soon as it is connected to."""

    def __init__(self, *events: SpeechEvent) -> None:
        super().__init__()
        self.events = events
        self.tell: Callable[[SpeechEvent], None] = lambda event: None

    async def open(self, *, on_event: Callable[[SpeechEvent], None], **wanted: Any) -> SpeechStream:
        stream = await super().open(on_event=on_event, **wanted)
        self.tell = on_event
        for event in self.events:
            on_event(event)
        self.events = ()
        return stream


async def taken(model: Open, **wanted: Any) -> tuple[list[SpeechEvent], int]:
    """What comes of a conversation that was prepared, and how many were opened."""
    early, told = Early(model), list[SpeechEvent]()
    await early.connect(**WANTED)
    stream = await early.open(**{**WANTED, **wanted}, on_event=told.append)
    assert told == []  # before whoever opened it has it
    model.tell(StreamProblem("later"))
    await asyncio.sleep(0.1)
    assert model.live == 1
    await stream.close()
    await early.close()
    await early.close()
    return told, len(model.opened)


def test_what_was_prepared_is_taken_with_what_came_meanwhile() -> None:
    told, opened = run_virtual(taken(Open(StreamProblem("before"))))
    assert sorted(each.detail for each in told if isinstance(each, StreamProblem)) == ["before", "later"]
    assert opened == 1


def test_another_conversation_than_was_prepared_is_opened_anew() -> None:
    assert run_virtual(taken(Open(), instructions="Be quick."))[1] == 2
    assert run_virtual(taken(Open(), history=[{"role": "user", "content": "Hello"}]))[1] == 2


def test_one_that_was_lost_meanwhile_is_opened_anew() -> None:
    assert run_virtual(taken(Open(StreamLost(LLMError("gone")))))[1] == 2
