"""Whatever is asked of one call at once, in whatever order: it ends, and nothing of it remains."""

from __future__ import annotations

import asyncio
import random

import pytest
from control_rig import FROM, ORG, TO, TO2, TRUNK, FixedKeys

from voxtra import CallSession, VoxtraApp
from voxtra.agent import Agent
from voxtra.api import Api
from voxtra.ari.protocol import Request
from voxtra.control.gate import Denied
from voxtra.errors import CallEndedError
from voxtra.testing.clock import run_virtual
from voxtra.testing.fake_ari import FakeARI
from voxtra.testing.fake_asterisk import FakeEndpoint
from voxtra.testing.fake_call import FakeCall
from voxtra.testing.fake_llm import ScriptedLLM
from voxtra.testing.fake_office import FakeOffice
from voxtra.wire import Originate

ORDER = {"orgId": ORG, "to": TO, "from": FROM, "trunkId": "trunk_main"}
VERBS = ("attach", "attach", "transfer", "transfer", "detach", "hangup")


class Chance:
    """One course of a call, by its seed."""

    def __init__(self, seed: int) -> None:
        self.any = random.Random(seed)
        trunk = TRUNK | {"numbers": [FROM], "org": ORG, "channels": 1000}
        caps = {"calls_per_second": 10_000.0, "concurrent": 1000}
        self.api = Api(0, keys=FixedKeys(), trunks=[trunk], relay=False, caps=caps)
        llm = ScriptedLLM(["Well."] * 50)
        self.app = app = VoxtraApp(stt="local", tts="local", llm=llm, api=self.api)
        app.agent("talker", Agent(greeting="Hello there my friend."))
        app.agent("other", Agent(greeting="Good day."))
        app.agent("short")(lambda call: asyncio.sleep(self.any.uniform(0, 6)))
        app.default()(self.handler)

    async def handler(self, call: CallSession) -> None:
        await call.answer()
        await asyncio.sleep(self.any.uniform(0, 20))

    async def caller(self, call: FakeCall) -> None:
        await call.silence(self.any.uniform(5, 60))
        await call.hangs_up()

    async def ask(self, sid: str) -> None:
        await asyncio.sleep(self.any.uniform(0, 12))
        desk = self.api.desk
        try:
            match self.any.choice(VERBS):
                case "attach":
                    await desk.attach(ORG, sid, self.any.choice(("talker", "other", "short")))
                case "transfer":
                    await desk.transfer(ORG, sid, TO2, None)
                case "detach":
                    await desk.detach(ORG, sid)
                case "hangup" if self.any.random() < 0.3:
                    await desk.hangup(ORG, sid)
        except (Denied, CallEndedError):
            pass

    async def run(self) -> None:
        target = FakeEndpoint(self.any.choice(("busy", "answers")), rings=3)
        async with FakeOffice(self.app, endpoints={TO: self.caller, TO2: target}) as office:
            desk = self.api.desk
            calling: asyncio.Task[object] | None = None
            if self.any.random() < 0.5:
                agent = self.any.choice((None, "talker", "short"))
                call = await desk.originate(Originate.model_validate({**ORDER, "agent": agent}))
            else:
                calling = asyncio.create_task(office.call(self.caller, number=FROM))
                await asyncio.sleep(2)
                (call,) = desk.calls(ORG)
            await asyncio.gather(*(self.ask(call.sid) for _ in range(8)))
            assert [event async for event in call.log.follow(0)][-1].data["status"] == call.status
            if calling is not None:
                await calling
            await asyncio.sleep(20)
            assert [*desk._running, *desk._busy, *desk._work] == []
            assert not desk.gate._trunks
            assert not office.asterisk.channels
            assert not office.asterisk.bridges


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_asked_at_once(
    seed: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    send = FakeARI.send
    chance = random.Random(-1 - seed)

    async def slow(self: FakeARI, request: Request, timeout_s: float | None = None) -> str | bytes:
        await asyncio.sleep(chance.choice((0, 0, 0.1, 0.7)))
        return await send(self, request, timeout_s)

    monkeypatch.setattr(FakeARI, "send", slow)

    async def run() -> None:
        await Chance(seed).run()

    run_virtual(run())
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
