"""The HTTP API on a real app, with a real telephone at the far end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from app_rig import Rig, running
from cli_process import CliProcess
from test_handover import hear_each_other

from voxtra import CallSession
from voxtra.api import Api
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone, PhoneCall

sys.path.append(str(Path(__file__).resolve().parents[1] / "control"))

from control_rig import FROM, ORG, TO, TO2, TRUNK, Client, FixedKeys, Reply

pytestmark = pytest.mark.live
CAPS = {"calls_per_second": 100.0}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the relay's key is made here


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


async def test_the_status_stream_to_the_end_and_again_from_the_middle(asterisk: PrivateAsterisk) -> None:
    async with served(asterisk) as (_, client), callee(asterisk) as phone:
        placed = await client.ask("POST", "/v1/calls", json={"to": TO, "from": FROM, "trunkId": "trunk_main"})
        assert placed.status == 201
        sid = placed.body["sid"]
        assert placed.headers["Location"] == f"/v1/calls/{sid}"
        stream = asyncio.create_task(client.ask("GET", f"/v1/calls/{sid}/events"))
        call = await phone.incoming()
        call.ringing()
        await client.until(sid, "ringing")
        call.answer()
        await client.until(sid, "in_progress")
        await call.hangup()
        told = events(await stream)
        assert [event["data"]["status"] for event in told] == [
            "dialing",
            "ringing",
            "in_progress",
            "completed",
        ]
        assert [event["seq"] for event in told] == [1, 2, 3, 4]
        assert told[-1]["data"] == {"status": "completed", "outcome": "answered", "cause": 16}
        rest = events(await client.ask("GET", f"/v1/calls/{sid}/events", headers={"Last-Event-ID": "3"}))
        assert rest == told[3:]
        row = (await client.ask("GET", f"/v1/calls/{sid}")).body
        assert (row["outcome"], row["cause"], row["direction"]) == ("answered", 16, "outbound")
        assert row["durationSec"] > 0


def events(reply: Reply) -> list[Any]:
    lines = str(reply.body).splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


async def test_a_transfer_to_a_number_and_back_to_an_agent_on_one_sid(asterisk: PrivateAsterisk) -> None:
    api = Api(port=0, keys=FixedKeys(), trunks=[TRUNK], caps=CAPS)
    talked: list[str] = []

    async def bot(call: CallSession) -> None:
        talked.append(call.id)
        await call.play_file("sound:hello-world")
        await asyncio.sleep(60)

    async with running(asterisk, api=api) as rig, Client(api.url) as client, callee(asterisk) as phone:
        rig.app.agent("triage-bot")(bot)
        sid = (await client.originate(agent="triage-bot"))["sid"]
        caller = await phone.incoming()
        caller.answer()
        assert await caller.voice()
        transfer = asyncio.create_task(client.do("voice.calls.transfer", sid=sid, to=TO2, agent=None))
        human = await phone.incoming()
        human.answer()
        assert (await transfer).data is None
        assert await hear_each_other(caller, human)
        again = asyncio.create_task(client.do("voice.calls.transfer", sid=sid, to=TO, agent=None))
        second = await phone.incoming()
        await human.ended()
        second.answer()
        assert (await again).data is None
        assert await hear_each_other(caller, second)
        assert (await client.do("voice.calls.transfer", sid=sid, to=None, agent="triage-bot")).data is None
        await second.ended()
        assert await client.status(sid) == "in_progress"
        assert len(talked) == 2
        await client.do("voice.calls.hangup", sid=sid)
        await caller.ended()
        assert await client.status(sid) == "completed"


async def test_a_transfer_that_fails_leaves_the_caller_where_it_was(asterisk: PrivateAsterisk) -> None:
    async with served(asterisk) as (_, client), callee(asterisk) as phone:
        sid = (await client.originate())["sid"]
        caller = await phone.incoming()
        caller.answer()
        await client.until(sid, "in_progress")
        transfer = asyncio.create_task(client.do("voice.calls.transfer", sid=sid, to=TO2))
        (await phone.incoming()).reject(486)
        failed = await transfer
        assert (failed.status, failed.code) == (409, "CONFLICT")
        assert "busy" in failed.body["error"]["message"]
        assert await client.status(sid) == "in_progress"


async def test_an_inbound_call_is_one_too_and_is_taken_over(asterisk: PrivateAsterisk) -> None:
    api = Api(port=0, keys=FixedKeys(), trunks=[TRUNK | {"numbers": ["+15558675309"], "org": ORG}], org=ORG)
    left = asyncio.Event()

    async def handler(call: CallSession, rig: Rig) -> None:
        try:
            await call.answer()  # known to be answered before this returns: it may be taken over here
            await asyncio.sleep(60)
        finally:
            left.set()

    async def bot(call: CallSession) -> None:
        await call.play_file("sound:hello-world")

    async with running(asterisk, handler, api=api) as rig, Client(api.url) as client, rig.dialled() as call:
        rig.app.agent("bot")(bot)
        (row,) = (await client.ask("GET", "/v1/calls")).body["calls"]
        assert (row["direction"], row["status"], row["to"]) == ("inbound", "in_progress", "100")
        assert not (await client.ask("GET", "/v1/calls", key="other")).body["calls"]
        assert (await client.ask("PUT", f"/v1/calls/{row['sid']}/agent", json={"agent": "bot"})).status == 200
        await left.wait()
        assert await call.voice()
        await call.ended()  # the agent is done: the call is hung up
        assert await client.until(row["sid"], "completed") == "completed"


async def test_sound_by_a_token_of_the_api(asterisk: PrivateAsterisk) -> None:
    async with served(asterisk) as (_, client), callee(asterisk) as phone:
        sid = (await client.originate())["sid"]
        call = await phone.incoming()
        call.answer()
        await client.until(sid, "in_progress")
        grant = (await client.do("voice.audioBridge.token", sid=sid, role="server")).data
        url = (
            f"{grant['websocket']}/voice/{sid}?tok={grant['token']}&role=server&codec=pcm16&sampleRate=16000"
        )
        async with aiohttp.ClientSession() as http, http.ws_connect(url) as ws:
            assert json.loads((await ws.receive(timeout=5)).data)["codec"] == "pcm16"
            call.play(b"\x55\x10" * 8000)
            frame = await ws.receive(timeout=5)
            assert len(frame.data) == 8 + 640
        await call.hangup()


@pytest.mark.parametrize("status", [200, 603])
async def test_a_transfer_by_refer_or_bridged_where_that_is_refused(
    asterisk: PrivateAsterisk, status: int
) -> None:
    async def follow(call: PhoneCall, target: str) -> int:
        asked.append(target)
        return status

    asked: list[str] = []
    trunk = TRUNK | {"transfer": "refer", "refer_to": "sip:{number}@127.0.0.1:5999"}
    api = Api(port=0, keys=FixedKeys(), trunks=[trunk], caps=CAPS)
    server = (asterisk.sip_host, asterisk.sip_port)
    async with (
        running(asterisk, api=api),
        Client(api.url) as client,
        Phone(
            server, user="phone2", password=asterisk.phones["phone2"], register=True, on_refer=follow
        ) as phone,
    ):
        sid = (await client.originate())["sid"]
        caller = await phone.incoming()
        caller.answer()
        await client.until(sid, "in_progress")
        transfer = asyncio.create_task(client.do("voice.calls.transfer", sid=sid, to=TO2))
        if status == 200:
            async with asyncio.timeout(10):
                while not asked:
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
            await caller.hangup()
            assert (await transfer).data is None
            assert await client.until(sid, "completed") == "completed"
        else:
            human = await phone.incoming()
            human.answer()
            assert (await transfer).data is None
            assert await hear_each_other(caller, human)
            await client.do("voice.calls.hangup", sid=sid)
            await asyncio.gather(caller.ended(), human.ended())
    assert asked == [f"sip:{TO2}@127.0.0.1:5999"]


APP = """
from voxtra import VoxtraApp

app = VoxtraApp()

@app.agent("bot")
async def bot(call):
    await call.play_file("sound:hello-world")
"""
SETTINGS = f"""
api:
  trunks:
    - id: trunk_main
      endpoint: PJSIP/{{number}}@phone2
      caller_ids: ["{FROM}"]
      destinations: [US]
"""


async def test_served_by_the_command_line_with_a_key_made_there(
    asterisk: PrivateAsterisk, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "voxtra.yaml").write_text(SETTINGS)
    env = {
        "VOXTRA_ARI_URL": asterisk.ari_url,
        "VOXTRA_ARI_USER": asterisk.ari_user,
        "VOXTRA_ARI_PASSWORD": asterisk.ari_password,
        "VOXTRA_APP_NAME": "api-cli",
    }
    async with CliProcess("keys", "create", "--org", ORG, folder=tmp_path) as making:
        key = (await making.until(r"^vx_[\w-]+$"))[0]
        await making.ended()
    async with CliProcess("run", "app:app", "--api", "0", folder=tmp_path, env=env) as process:
        url = (await process.until(r"api: (http://\S+)"))[1]
        async with Client(url, key) as client, callee(asterisk) as phone:
            sid = (await client.originate(agent="bot"))["sid"]
            call = await phone.incoming()
            call.answer()
            assert await call.voice()
            await call.ended()
            assert await client.until(sid, "completed") == "completed"
            assert (await client.ask("GET", "/v1/calls", key=key[:-1] + "x")).status == 401
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
        assert key not in "\n".join(process.lines)
    async with CliProcess(
        "run", "app:app", "--api", "0", "--workers", "2", folder=tmp_path, env=env
    ) as process:
        assert await process.ended() != 0
        assert "--workers with the HTTP API" in "\n".join(process.lines)
