"""Plays a scenario in text: on the clock that jumps, with an Asterisk in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from voxtra.app import VoxtraApp
from voxtra.evaluation.caller import first_line, perform
from voxtra.evaluation.persona import converse
from voxtra.evaluation.played import Line, Played
from voxtra.evaluation.scenario import Scenario
from voxtra.evaluation.surroundings import LineSpec, Surroundings
from voxtra.events import AgentResponseEvent, CallEndedEvent, EventType, UserTranscriptEvent, VoxtraEvent
from voxtra.speech.base import LLM
from voxtra.testing.fake_call import FakeCall
from voxtra.testing.fake_errors import ExpectationError
from voxtra.testing.fake_llm import ScriptedLLM
from voxtra.testing.fake_result import CallResult
from voxtra.testing.fake_run import run_call
from voxtra.testing.fake_sound import spoken

MakeLLM = Callable[[], LLM]


def play_text(scenario: Scenario, app: VoxtraApp, make_llm: MakeLLM | None = None) -> Played:
    """Let the scenario's caller call ``app``.

    Args:
        make_llm: makes the model that plays a persona; each call gets one of its own.

    Raises:
        ConfigurationError: the app can't start.
    """
    failures: list[str] = []
    around: list[asyncio.Future[None]] = []

    async def caller(call: FakeCall) -> None:
        if not scenario.line.quiet:
            around.append(asyncio.ensure_future(call.surround(_beside(scenario.line))))
        try:
            if scenario.persona is not None:
                assert make_llm is not None
                await converse(call, scenario.persona, make_llm())
            else:
                await perform(call, scenario.caller)
        except ExpectationError as error:
            failures.append(first_line(error))
            await call.hangs_up()

    replies = scenario.replies
    try:
        result = run_call(
            app,
            caller,
            number=scenario.number,
            caller_id=scenario.caller_id,
            llm=None if replies is None else ScriptedLLM(replies),
            prompts=scenario.prompts,
            endpoints=scenario.endpoints,
            check=False,
        )
    except ExpectationError as error:
        return Played(failure=first_line(error))
    return _played(result, "; ".join(failures))


def _beside(line: LineSpec) -> Callable[[bytes], bytes]:
    """The background's words are no words here: nobody understands them."""
    now = asyncio.get_running_loop().time
    room = Surroundings(line, spoken(line.background))

    def beside(heard: bytes) -> bytes:
        room.hear(heard, now())
        return room.beside(now())

    return beside


def _played(result: CallResult, failure: str) -> Played:
    lines = [
        Line(
            said.speaker,
            {"keys": f"[{said.text}]", "prompt": f"<{said.text}>"}.get(said.kind, said.text),
            said.start,
            "" if said.reason == "finished" else said.reason,
        )
        for said in result.transcript
    ]
    played = Played(lines=lines, failure=failure, ended_by=result.call.ended_by)
    from_events(played, result.events)
    played.errors = [f"{type(error).__name__}: {first_line(error)}" for error in result.errors]
    if result.session is None:
        played.failure = played.failure or "the app took no call"
    else:
        played.state = str(result.state)
        played.metadata = dict(result.metadata)
    return played


def from_events(played: Played, events: Iterable[VoxtraEvent]) -> None:
    """What the app's own events tell."""
    for event in events:
        match event:
            case UserTranscriptEvent(type=EventType.USER_TRANSCRIPT):
                played.understood.append(event.text)
            case AgentResponseEvent():
                played.tool_calls += [
                    {"name": call["name"], "arguments": call["arguments"]} for call in event.tool_calls
                ]
            case VoxtraEvent(type=EventType.DTMF_RECEIVED):
                played.digits += getattr(event, "digit", "")
            case CallEndedEvent():
                played.metrics = event.data.get("metrics", {})
            case _:
                pass
