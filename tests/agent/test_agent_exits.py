"""What becomes of a call whose agent has failed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from voxtra import CallSession, VoxtraApp
from voxtra.agent.agent import Agent, Transfer, hold, transfer
from voxtra.agent.conversation import ConversationResult
from voxtra.errors import ConfigurationError, LLMError
from voxtra.events import EventType, VoxtraEvent
from voxtra.testing import FakeCall, ScriptedLLM, ScriptedRealtime, run_call
from voxtra.testing import tool as calls


def failed(agent: Agent, caller: Any, **options: Any) -> tuple[ConversationResult, bool]:
    """A conversation with a model that is down; whether the call outlived it."""
    results: list[tuple[ConversationResult, bool]] = []
    down = LLMError("it is down")
    app = VoxtraApp(
        stt="local", tts="local", llm=ScriptedLLM([down, down]), realtime=ScriptedRealtime([down, down])
    )

    @app.default()
    async def handler(call: CallSession) -> None:
        talk = await call.converse(agent)
        results.append((talk, call.is_active))

    run_call(app, caller, **options)
    return results[0]


async def anna(call: FakeCall) -> None:
    await call.says("Anna speaking.")
    await call.hangs_up()


@pytest.mark.proves("field 8")
@pytest.mark.parametrize("realtime", [True, False])
@pytest.mark.parametrize("to", ["anna", "PJSIP/anna"])
def test_a_person_takes_over_after_the_apology(realtime: bool, to: str) -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("Is anybody there?")
        await call.hears("Could you say it again")
        if not realtime:
            await call.says("Is anybody there?")
            await call.hears("Could you say it again")
        await call.hears("Anna speaking")
        await call.ended()

    tools = [transfer({"anna": "PJSIP/anna"})]
    agent = Agent(realtime=realtime, tools=tools, on_failure=Transfer(to))
    talk, _ = failed(agent, caller, endpoints={"PJSIP/anna": anna})
    assert (talk.reason, talk.failures) == ("transferred", 2)


def test_hung_up() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("Is anybody there?")
        assert await call.ended() == "app"

    talk, active = failed(Agent(realtime=False, max_failures=1, on_failure="hangup"), caller)
    assert (talk.reason, active) == ("failed", False)


@pytest.mark.parametrize("way", [Transfer("PJSIP/anna"), Transfer("a b c"), None])
def test_when_nobody_answers_the_handler_has_the_call(way: Transfer | None) -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("Is anybody there?")
        await call.ended()

    agent = Agent(realtime=False, max_failures=1, on_failure=way)
    talk, active = failed(agent, caller, endpoints={"PJSIP/anna": "busy"})
    assert (talk.reason, active) == ("failed", True)


def test_what_is_no_way_out() -> None:
    with pytest.raises(ConfigurationError, match="on_failure='leave'"):
        Agent(on_failure="leave")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="alias or an endpoint"):
        Transfer(" ")
    with pytest.raises(ConfigurationError, match="seconds"):
        Transfer("PJSIP/anna", timeout=0)


@pytest.mark.parametrize("realtime", [True, False])
@pytest.mark.parametrize("patient", [True, False])
def test_on_hold_for_as_long_as_the_model_wants(realtime: bool, patient: bool) -> None:
    replies = [["Please hold.", calls("put_on_hold", seconds=30)], "Thank you for holding."]
    app = VoxtraApp(stt="local", tts="local", llm=ScriptedLLM(replies), realtime=ScriptedRealtime(replies))
    results: list[ConversationResult] = []

    @app.default()
    async def handler(call: CallSession) -> None:
        results.append(await call.converse(Agent(realtime=realtime, tools=[hold(longest_s=20)])))

    async def caller(call: FakeCall) -> None:
        await call.says("Can you look that up?")
        await call.hears("Please hold")
        await call.silence(3)
        assert call.on_music
        if patient:
            await call.hears("Thank you for holding")
            assert not call.on_music
        await call.hangs_up()

    result = run_call(app, caller)
    assert results[0].reason == "hangup"
    assert result.duration < (30 if patient else 10)


def test_how_long_a_hold_may_be() -> None:
    with pytest.raises(ConfigurationError, match="longest_s=0"):
        hold(longest_s=0)


BOTH = pytest.mark.parametrize("realtime", [False, True])


def goes_on(realtime: bool, between: Any, *, silence_s: float) -> list[VoxtraEvent]:
    """A conversation in which ``between`` happens while the caller is listened to, and which then goes on."""
    results: list[ConversationResult] = []
    events: list[VoxtraEvent] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        call.observe(events.append)
        talk = asyncio.ensure_future(call.converse(Agent(greeting="Hello.", idle_reprompts=())))
        await asyncio.sleep(4)
        await between(call)
        results.append(await talk)

    async def caller(call: FakeCall) -> None:
        await call.hears("Hello")
        await call.silence(silence_s)
        await call.says("Hi")
        await call.hears("Yes")
        await call.hangs_up()

    if realtime:
        app = VoxtraApp(realtime=ScriptedRealtime(["Yes."]))
        app.default()(handler)
        run_call(app, caller)
    else:
        run_call(handler, caller, llm=ScriptedLLM(["Yes."]))
    assert [each.reason for each in results] == ["hangup"]
    return events


@BOTH
def test_a_line_that_breaks_off_is_no_silence_of_the_callers(realtime: bool) -> None:
    async def breaks_off(call: CallSession) -> None:
        for _ in range(2):
            media = call._live.media
            assert media is not None
            media.line.lose("gone")  # type: ignore[attr-defined]
            await asyncio.sleep(1)

    goes_on(realtime, breaks_off, silence_s=6)


def test_a_line_that_never_stays_is_given_up() -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        talk = asyncio.ensure_future(call.converse(Agent(goodbye="")))
        while not talk.done():
            await asyncio.sleep(0.05)
            if call._live.media is not None:
                call._live.media.line.lose("gone")  # type: ignore[attr-defined]
        assert (await talk).reason == "silence"
        await call.hangup()

    async def caller(call: FakeCall) -> None:
        assert await call.ended(timeout=60) == "app"

    run_call(handler, caller, llm=ScriptedLLM([]))


@BOTH
def test_a_caller_who_is_not_listened_to_is_not_silent(realtime: bool) -> None:
    async def private(call: CallSession) -> None:
        await call.record_pause()
        await asyncio.sleep(60)
        await call.record_resume()

    events = goes_on(realtime, private, silence_s=66)
    assert [event for event in events if event.type is EventType.SILENCE_DETECTED] == []


@BOTH
def test_a_caller_who_puts_the_agent_on_hold_is_not_silent(realtime: bool) -> None:
    results: list[ConversationResult] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        results.append(await call.converse(Agent(greeting="Hello.")))

    async def caller(call: FakeCall) -> None:
        await call.hears("Hello")
        await call.silence(1)
        await call.holds()
        await call.silence(60)
        await call.resumes()
        await call.says("Hi")
        await call.hears("Yes")
        await call.hangs_up()

    if realtime:
        app = VoxtraApp(realtime=ScriptedRealtime(["Yes."]))
        app.default()(handler)
        run_call(app, caller)
    else:
        run_call(handler, caller, llm=ScriptedLLM(["Yes."]))
    assert [each.reason for each in results] == ["hangup"]
