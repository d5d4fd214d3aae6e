"""Agents that talk on calls of the desk: specs, turn events, what becomes of them at a transfer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from control_rig import FROM, ORG, TO, TO2, TRUNK, FixedKeys

from voxtra import CallSession, VoxtraApp
from voxtra.agent import Agent
from voxtra.api import Api
from voxtra.calls.transfer import TransferResult
from voxtra.control.agents import agent_of, turns_of
from voxtra.control.call import Call
from voxtra.control.gate import Denied
from voxtra.errors import ARIServerError, NotConnectedError
from voxtra.testing.clock import run_virtual
from voxtra.testing.fake_asterisk import FakeEndpoint
from voxtra.testing.fake_call import FakeCall
from voxtra.testing.fake_llm import ScriptedLLM
from voxtra.testing.fake_office import FakeOffice
from voxtra.wire import AgentSpec, CallEvent, Originate


def order(agent: str | AgentSpec | None) -> Originate:
    given = {"orgId": ORG, "to": TO, "from": FROM, "trunkId": "trunk_main", "agent": agent}
    return Originate.model_validate(given)


def talking(
    replies: list[Any], callees: dict[str, Any], main: Callable[[VoxtraApp, Api], Any]
) -> ScriptedLLM:
    """Run ``main`` with an app that has speech, and a desk. Returns what the model was asked."""
    llm = ScriptedLLM(replies)

    async def run() -> None:
        api = Api(0, keys=FixedKeys(), trunks=[TRUNK], relay=False)
        app = VoxtraApp(stt="local", tts="local", llm=llm, instructions="Be brief.", api=api)
        async with FakeOffice(app, endpoints=callees):
            await main(app, api)

    run_virtual(run())
    return llm


async def told(call: Call) -> list[CallEvent]:
    async with asyncio.timeout(600):
        return [event async for event in call.log.follow(0)]


def test_turns_interruptions_and_backchannels_are_on_the_status_stream() -> None:
    async def callee(call: FakeCall) -> None:
        await call.hears("Hello")
        await call.says("I would like a table for tonight please")
        await call.hears("Of course")
        await call.interrupts("no wait, tomorrow is better for us")
        await call.hears("Tomorrow then")
        await call.silence(2)
        await call.noise(0.2)
        await call.silence(2)
        await call.hangs_up()

    spec = AgentSpec(greeting="Hello.", turn_detection={"silenceThresholdMs": 300, "commitMinIntervalMs": 0})
    replies = ["Of course, for how many people may I reserve that table of yours tonight?", "Tomorrow then."]

    async def main(app: VoxtraApp, api: Api) -> None:
        call = await api.desk.originate(order(spec))
        assert call.agent == "inline"
        events = await told(call)
        names = [event.name for event in events]
        assert names.count("turn_committed") == 2
        assert names.count("barge_in_confirmed") == 1
        assert names.index("barge_in_confirmed") > names.index("turn_committed")
        first = next(event for event in events if event.name == "turn_committed")
        assert first.data["text"] == "I would like a table for tonight please"
        assert first.data["speech_ms"] > 500
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert events[-1].data["status"] == "completed"
        noises = [event.data["reason"] for event in events if event.name == "backchannel_dropped"]
        assert noises == ["noise"]

    talking(replies, {TO: callee}, main)


def test_the_agent_goes_on_where_a_transfer_comes_to_nothing() -> None:
    async def callee(call: FakeCall) -> None:
        await call.hears("Hello")
        await call.says("give me a human being please")
        await call.hears("One moment")
        await call.silence(15)
        await call.says("so are you still there my friend")
        await call.hears("I am")
        await call.hangs_up()

    async def main(app: VoxtraApp, api: Api) -> None:
        app.agent("bot", Agent(greeting="Hello.", instructions="You are a bot."))
        call = await api.desk.originate(order("bot"))
        await asyncio.sleep(10)
        with pytest.raises(Denied, match="not connected: busy") as refused:
            await api.desk.transfer(ORG, call.sid, TO2, None)
        assert refused.value.code == "CONFLICT"
        assert call.agent == "bot"
        await told(call)
        assert call.outcome == "answered"

    talking(["One moment.", "I am."], {TO: callee, TO2: FakeEndpoint("busy", rings=3)}, main)


def test_the_agent_goes_on_where_a_transfer_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def callee(call: FakeCall) -> None:
        await call.hears("Hello")
        await call.silence(8)
        await call.says("so are you still there my friend")
        await call.hears("I am")
        await call.hangs_up()

    async def broken(self: CallSession, *args: object, **options: object) -> None:
        raise ARIServerError("POST", "/bridges", 500, "broken")

    async def main(app: VoxtraApp, api: Api) -> None:
        app.agent("bot", Agent(greeting="Hello.", instructions="You are a bot."))
        call = await api.desk.originate(order("bot"))
        await asyncio.sleep(5)
        monkeypatch.setattr(CallSession, "transfer_to", broken)
        with pytest.raises(ARIServerError):
            await api.desk.transfer(ORG, call.sid, TO2, None)
        await told(call)
        assert call.outcome == "answered"

    talking(["I am."], {TO: callee, TO2: FakeEndpoint(rings=3)}, main)


def test_a_target_rings_no_longer_because_it_was_tried_by_refer_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timeouts: list[float] = []

    async def refer(self: CallSession, *args: Any, **options: Any) -> None:
        await asyncio.sleep(15)

    async def transfer_to(
        self: CallSession, endpoint: str, *, timeout: float, caller_id: str
    ) -> TransferResult:
        timeouts.append(timeout)
        return TransferResult("no_answer", "bridge", endpoint)

    monkeypatch.setattr(CallSession, "_refer", refer)
    monkeypatch.setattr(CallSession, "transfer_to", transfer_to)

    async def callee(call: FakeCall) -> None:
        await call.silence(30)

    async def run() -> None:
        trunk = TRUNK | {"transfer": "refer", "refer_to": "sip:{number}@carrier"}
        api = Api(0, keys=FixedKeys(), trunks=[trunk], relay=False, caps={"calls_per_second": 100.0})
        async with FakeOffice(VoxtraApp(api=api), endpoints={TO: callee}, check=False):
            call = await api.desk.originate(order(None))
            while call.status != "in_progress":
                await asyncio.sleep(0.1)
            with pytest.raises(Denied, match="no answer"):
                await api.desk.transfer(ORG, call.sid, TO2, None)
            assert timeouts == [pytest.approx(10)]

    run_virtual(run())


def test_a_call_that_is_being_transferred_outlives_its_agent() -> None:
    async def callee(call: FakeCall) -> None:
        await call.silence(20)
        await call.hangs_up()

    async def main(app: VoxtraApp, api: Api) -> None:
        app.agent("bot")(lambda call: asyncio.sleep(2))
        call = await api.desk.originate(order("bot"))
        while call.status != "in_progress":
            await asyncio.sleep(0.1)
        await api.desk.transfer(ORG, call.sid, TO2, None)  # it rings for 3 s
        assert call.transferred_to == TO2
        await told(call)

    talking([], {TO: callee, TO2: FakeEndpoint(rings=3)}, main)


def test_a_call_that_is_too_long_is_hung_up_though_asterisk_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    hang_up = CallSession.hangup
    tries: list[str] = []

    async def lost_at_first(self: CallSession, *args: Any) -> None:
        tries.append(self.id)
        if len(tries) == 1:
            raise NotConnectedError("Asterisk is away")
        await hang_up(self, *args)

    async def callee(call: FakeCall) -> None:
        await call.silence(600)

    async def run() -> None:
        api = Api(0, keys=FixedKeys(), trunks=[TRUNK], relay=False, caps={"minutes_per_call": 1.0})
        async with FakeOffice(VoxtraApp(api=api), endpoints={TO: callee}, check=False):
            monkeypatch.setattr(CallSession, "hangup", lost_at_first)
            call = await api.desk.originate(order(None))
            await told(call)
            assert (call.outcome, len(tries)) == ("answered", 2)

    run_virtual(run())


def test_calls_at_once_are_no_longer_together_than_a_day_may_have() -> None:
    async def callee(call: FakeCall) -> None:
        await call.silence(1200)

    async def run() -> None:
        caps = {"minutes_per_day": 10.0, "calls_per_second": 100.0}
        api = Api(0, keys=FixedKeys(), trunks=[TRUNK], relay=False, caps=caps)
        async with FakeOffice(VoxtraApp(api=api), endpoints={TO: callee}, check=False):
            calls = [await api.desk.originate(order(None)) for _ in range(4)]
            for call in calls:
                await told(call)
            assert 550 < sum(call.duration_s for call in calls) <= 600

    run_virtual(run())


def test_an_inbound_call_is_transferred_though_its_handler_is_done_and_taken_back() -> None:
    async def run() -> None:
        trunk = TRUNK | {"numbers": [FROM], "org": ORG}
        caps = {"minutes_per_call": 1.0, "calls_per_second": 100.0}
        api = Api(0, keys=FixedKeys(), trunks=[trunk], relay=False, caps=caps)
        app = VoxtraApp(api=api)
        app.agent("bot")(lambda call: asyncio.sleep(100))

        @app.default()
        async def handler(call: CallSession) -> None:
            await call.answer()
            await asyncio.sleep(2)

        async def caller(call: FakeCall) -> None:
            await call.silence(300)

        async with FakeOffice(app, endpoints={TO2: FakeEndpoint(rings=3)}, check=False) as office:
            calling = asyncio.create_task(office.call(caller, number=FROM))
            await asyncio.sleep(1)
            (call,) = api.desk.calls(ORG)
            await api.desk.transfer(ORG, call.sid, TO2, None)
            assert call.transferred_to == TO2
            await api.desk.attach(ORG, call.sid, "bot")  # no longer at the trunk's cost, nor by its minutes
            await told(call)
            assert call.duration_s > 100
            await calling

    run_virtual(run())


def test_an_agent_swapped_for_another_knows_what_was_said() -> None:
    async def callee(call: FakeCall) -> None:
        await call.hears("Hello")
        await call.says("my name is Anna and I call about a bill")
        await call.hears("Billing here")
        await call.says("can you help me with it today please")
        await call.hears("Surely")
        await call.hangs_up()

    async def main(app: VoxtraApp, api: Api) -> None:
        app.agent("first", Agent(greeting="Hello.", tools=()))
        app.agent("billing", Agent(greeting="Billing here."))
        call = await api.desk.originate(order("first"))
        async for event in call.log.follow(0):
            if event.name == "turn_committed":
                break
        await api.desk.attach(ORG, call.sid, "billing")
        assert call.agent == "billing"
        await told(call)

    llm = talking(["Let me see, one moment.", "Surely.", "Surely."], {TO: callee}, main)
    assert any("Anna" in str(message) for message in llm.requests[-1])


def test_what_a_spec_makes() -> None:
    agent = agent_of(AgentSpec(), "The app's.")
    assert (agent.instructions, agent.greeting, agent.voice) == ("The app's.", "", None)
    full = AgentSpec.model_validate(
        {"mode": "speech_to_speech", "modelCodec": "pcm16", "instructions": "Own.", "turnDetection": {
            "type": "silero", "silence_threshold_ms": 300}}
    )  # fmt: skip
    turns = turns_of(full)
    assert (turns.silence_threshold_ms, turns.response_min_speech_ms, turns.min_speech_ms) == (300, 600, 300)
    assert agent_of(full, "The app's.").instructions == "Own."


def test_a_model_that_the_app_does_not_run_is_refused_before_anybody_is_called() -> None:
    async def main(app: VoxtraApp, api: Api) -> None:
        with pytest.raises(Denied, match=r"agent.model = 'gpt-99': this app runs none by name") as refused:
            await api.desk.originate(order(AgentSpec(model="gpt-99")))
        assert refused.value.code == "UNPROCESSABLE"
        assert not app.active_sessions

    talking([], {}, main)
