"""The tools of a call under the documents' names."""

from __future__ import annotations

import re

from voxtra import CallSession, VoxtraApp
from voxtra.agent import Agent, call_tools
from voxtra.testing import FakeCall, ScriptedLLM, run_call, tool


def test_their_names() -> None:
    names = {each.name for each in call_tools({"sales": "PJSIP/sales"})}
    assert names == {
        "transfer_call", "hold_call", "unhold_call", "disconnect_call", "send_dtmf", "get_current_time"
    }  # fmt: skip
    assert "transfer_call" not in {each.name for each in call_tools()}


def app(replies: list[object], **options: float) -> VoxtraApp:
    made = VoxtraApp(stt="local", tts="local", llm=ScriptedLLM(replies))  # type: ignore[arg-type]

    @made.default()
    async def take(call: CallSession) -> None:
        await call.converse(Agent(tools=call_tools(**options), idle_s=600))  # type: ignore[arg-type]

    return made


def test_held_looked_up_and_back_in_one_turn_then_hung_up() -> None:
    async def caller(call: FakeCall) -> None:
        await call.answered()
        await call.says("what time is it please")
        await call.hears("One moment")
        await call.hears("It is late")
        assert not call.on_music
        await call.says("thank you and goodbye then")
        assert await call.ended() == "app"

    llm_replies = [
        ["One moment.", tool("hold_call")],
        tool("get_current_time"),
        tool("unhold_call"),
        "It is late.",
        ["Goodbye.", tool("disconnect_call")],
    ]
    result = run_call(app(llm_replies), caller)
    texts = [event.data["name"] for event in result.events if event.type == "tool.started"]
    assert texts == ["hold_call", "get_current_time", "unhold_call", "disconnect_call"]
    assert any(event.type == "call.held" for event in result.events)


def test_a_caller_whom_the_model_forgot_on_hold_comes_back() -> None:
    async def caller(call: FakeCall) -> None:
        await call.answered()
        await call.says("can you hold the line please")
        await call.silence(5)
        assert call.on_music
        await call.silence(10)
        assert not call.on_music
        await call.says("press one two three for me please")
        await call.hears("Done")
        assert call.keys == "123"
        await call.hangs_up()

    replies = [["Surely.", tool("hold_call")], "", ["", tool("send_dtmf", keys="123")], "Done."]
    result = run_call(app(replies, longest_hold_s=8), caller)
    held = [str(event.type) for event in result.events if re.match(r"call\.(held|resumed)", event.type)]
    assert held == ["call.held", "call.resumed"]
