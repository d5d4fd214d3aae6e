"""The HTTP API on a real app, with a real telephone at the far end."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from app_rig import Rig, running

from voxtra import CallSession
from voxtra.api import Api
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone

sys.path.append(str(Path(__file__).resolve().parents[1] / "control"))

from control_rig import FROM, TO, TRUNK, Client, FixedKeys

pytestmark = pytest.mark.live
CAPS = {"calls_per_second": 100.0}


@contextlib.asynccontextmanager
async def served(asterisk: PrivateAsterisk, **options: Any) -> AsyncIterator[tuple[Rig, Client]]:
    api = Api(port=0, keys=FixedKeys(), trunks=[TRUNK], caps=CAPS)
    async with running(asterisk, api=api, **options) as rig, Client(api.url) as client:
        yield rig, client


@contextlib.asynccontextmanager
async def callee(asterisk: PrivateAsterisk) -> AsyncIterator[Phone]:
    server = (asterisk.sip_host, asterisk.sip_port)
    async with Phone(server, user="phone2", password=asterisk.phones["phone2"], register=True) as phone:
        yield phone


async def test_a_call_from_dialing_to_completed(asterisk: PrivateAsterisk) -> None:
    async with served(asterisk) as (_, client), callee(asterisk) as phone:
        row = await client.originate()
        sid = row["sid"]
        assert row["status"] == "dialing"
        assert (row["to"], row["from"], row["trunkId"], row["agent"]) == (TO, FROM, "trunk_main", None)
        call = await phone.incoming()
        assert FROM in str(call.remote)
        call.ringing()
        assert await client.until(sid, "ringing") == "ringing"
        call.answer()
        assert await client.until(sid, "in_progress") == "in_progress"
        assert (await client.do("voice.calls.hangup", sid=sid)).data is None
        await call.ended()
        assert await client.status(sid) == "completed"
        assert (await client.do("voice.calls.hangup", sid=sid)).data is None


@pytest.mark.parametrize(
    ("status", "wanted"), [(486, "failed"), (603, "failed"), (480, "no_answer"), (404, "failed")]
)
async def test_an_unanswered_call_by_its_cause(asterisk: PrivateAsterisk, status: int, wanted: str) -> None:
    async with served(asterisk) as (_, client), callee(asterisk) as phone:
        sid = (await client.originate())["sid"]
        (await phone.incoming()).reject(status)
        assert await client.until(sid, "failed", "no_answer") == wanted


async def test_nobody_answers(asterisk: PrivateAsterisk) -> None:
    async with served(asterisk) as (_, client), callee(asterisk) as phone:
        sid = (await client.originate(ringTimeoutSec=1))["sid"]  # clamped to 5
        call = await phone.incoming()
        call.ringing()
        began = asyncio.get_running_loop().time()
        assert await client.until(sid, "failed", "no_answer") == "no_answer"
        assert asyncio.get_running_loop().time() - began > 3


async def test_an_agent_by_id_at_originate_and_on_a_live_call(asterisk: PrivateAsterisk) -> None:
    talked: list[str] = []
    api = Api(port=0, keys=FixedKeys(), trunks=[TRUNK], caps=CAPS)

    async def says(call: CallSession, name: str) -> None:
        talked.append(f"{name} came")
        try:
            await call.play_file("sound:hello-world")
            await asyncio.sleep(60)
        finally:
            talked.append(f"{name} went")

    async with running(asterisk, api=api) as rig, Client(api.url) as client, callee(asterisk) as phone:
        rig.app.agent("first")(lambda call: says(call, "first"))
        rig.app.agent("second")(lambda call: says(call, "second"))
        row = await client.originate(agent="first")
        assert row["agent"] == "first"
        call = await phone.incoming()
        call.answer()
        assert await call.voice()
        assert (await client.do("voice.agents.attach", sid=row["sid"], agent="second")).data is None
        assert (await client.do("voice.calls.get", sid=row["sid"])).data["agent"] == "second"
        await asyncio.sleep(0.3)
        assert talked == ["first came", "first went", "second came"]
        await call.hangup()
        assert await client.until(row["sid"], "completed") == "completed"
    assert talked[-1] == "second went"
