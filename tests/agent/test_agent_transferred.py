"""A conversation whose tool hands the call over: how it ends, whatever kind of transfer and of model."""

from __future__ import annotations

from typing import Any

import pytest

from voxtra import CallSession, VoxtraApp
from voxtra.agent.agent import Agent, end_call, transfer
from voxtra.agent.conversation import ConversationResult
from voxtra.agent.tools import tool
from voxtra.testing import Dialplan, FakeCall, ScriptedLLM, ScriptedRealtime, run_call
from voxtra.testing import tool as calls

CONNECTED = Dialplan(5, connects="PJSIP/anna-00000001")
CAME_BACK = Dialplan(20, returns=("queue", "TIMEOUT"))


def talk(kind: str, tools: list[Any], caller: Any, replies: list[Any], **options: Any) -> ConversationResult:
    """The conversation with a model of STT, LLM and TTS (``cascade``), or one that hears and speaks itself."""
    results: list[ConversationResult] = []

    async def handler(call: CallSession) -> None:
        results.append(await call.converse(Agent(tools=tools)))

    if kind == "cascade":
        run_call(handler, caller, llm=ScriptedLLM(replies), **options)
    else:
        app = VoxtraApp(realtime=ScriptedRealtime(replies))
        app.default()(handler)
        run_call(app, caller, **options)
    return results[0]


async def into_the_queue(call: Any) -> str:
    result = await call.transfer_to_queue("sales")
    return "There." if result else f"Not there: {result.reason}."


@pytest.mark.parametrize("kind", ["cascade", "realtime"])
@pytest.mark.parametrize("terminal", [True, False])
def test_a_queue_that_takes_the_call(kind: str, terminal: bool) -> None:
    @tool(terminal=terminal, timeout_s=60)
    async def to_sales(call: CallSession) -> str:
        """To the sales people."""
        return await into_the_queue(call)

    async def caller(call: FakeCall) -> None:
        await call.says("Sales, please.")
        await call.silence(10)
        assert call.continued == ("voxtra-queue", "sales")
        await call.hangs_up()

    result = talk(
        kind, [to_sales], caller, [["One moment.", calls("to_sales")]], dialplan={"voxtra-queue": CONNECTED}
    )
    assert result.reason == "transferred"
    assert result.transfer is not None
    assert (result.transfer.reason, result.transfer.method, result.transfer.target) == (
        "completed",
        "queue",
        "sales",
    )


@pytest.mark.parametrize("kind", ["cascade", "realtime"])
def test_a_queue_that_gives_it_back(kind: str) -> None:
    @tool(terminal=True, timeout_s=60)
    async def to_sales(call: CallSession) -> str:
        """To the sales people."""
        return await into_the_queue(call)

    async def caller(call: FakeCall) -> None:
        await call.says("Sales, please.")
        await call.hears("Nobody is there", timeout=60)
        await call.says("Goodbye.")
        assert await call.ended() == "app"

    replies = [["One moment.", calls("to_sales")], "Nobody is there.", ["Bye.", calls("end_call")]]
    result = talk(kind, [to_sales, end_call()], caller, replies, dialplan={"voxtra-queue": CAME_BACK})
    assert result.reason == "ended"
    assert result.transfer is not None
    assert (result.transfer.reason, result.transfer.detail) == ("timeout", "TIMEOUT")


@pytest.mark.parametrize("kind", ["cascade", "realtime"])
def test_a_caller_who_gives_up_in_the_queue(kind: str) -> None:
    @tool(terminal=True, timeout_s=60)
    async def to_sales(call: CallSession) -> str:
        """To the sales people."""
        return await into_the_queue(call)

    async def caller(call: FakeCall) -> None:
        await call.says("Sales, please.")
        await call.silence(4)
        assert call.continued == ("voxtra-queue", "sales")
        await call.hangs_up()

    replies = [["One moment.", calls("to_sales")]]
    result = talk(kind, [to_sales], caller, replies, dialplan={"voxtra-queue": CAME_BACK})
    assert result.reason == "hangup"


@pytest.mark.parametrize("kind", ["cascade", "realtime"])
def test_a_bridge_and_its_outcome(kind: str) -> None:
    async def anna(call: FakeCall) -> None:
        await call.says("Anna speaking.")
        await call.hangs_up()

    async def caller(call: FakeCall) -> None:
        await call.says("Anna, please.")
        await call.hears("Anna speaking")
        await call.ended()

    replies = [["I connect you.", calls("transfer_call", destination="anna")]]
    tools = [transfer({"anna": "PJSIP/anna"})]
    result = talk(kind, tools, caller, replies, endpoints={"PJSIP/anna": anna})
    assert result.reason == "transferred"
    assert result.transfer is not None
    assert (result.transfer.method, result.transfer.target) == ("bridge", "PJSIP/anna")
