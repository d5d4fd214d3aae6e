"""An app that stops with calls, bridges and streams: all of them are told, soon, and nothing remains."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from control_rig import FROM, ORG, TO, TRUNK, FixedKeys

from voxtra import VoxtraApp
from voxtra.api import Api
from voxtra.testing.fake_asterisk import FakeEndpoint
from voxtra.testing.fake_office import FakeOffice
from voxtra.voice import AsyncVoice, VoiceError
from voxtra.voice.link import Transport


@pytest.mark.parametrize("transport", ["websocket", "quic"])
async def test_an_app_that_stops_tells_bridges_and_streams(transport: Transport) -> None:
    app = VoxtraApp(app_name="office")
    app.api = api = Api(0, keys=FixedKeys(), trunks=[TRUNK])
    statuses: list[str] = []
    async with contextlib.AsyncExitStack() as office:
        await office.enter_async_context(FakeOffice(app, endpoints={TO: FakeEndpoint(rings=0.05)}))
        v = await office.enter_async_context(
            AsyncVoice(base_url=api.url, api_key="full", org_id=ORG, timeout_s=5)
        )
        call = await v.calls.originate(to=TO, from_=FROM, trunk_id="trunk_main")
        async with asyncio.timeout(10):
            while (await call.refresh()).status != "in_progress":
                await asyncio.sleep(0.02)
        call.on_status(statuses.append)
        bridge = await v.audio_bridge.attach(
            call.sid, on_uplink=lambda *_: None, codec="pcm16", sample_rate=16000, transport=transport
        )
        bridge.publish_downlink(bytes(640))
        while "in_progress" not in statuses:
            await asyncio.sleep(0.02)
        await app.stop(drain_s=0)
        async with asyncio.timeout(5):  # told that the call is over: not still trying
            while not bridge.closed or "completed" not in statuses:
                await asyncio.sleep(0.02)
        for ask in (call.refresh, call.hangup, lambda: v.agents.attach(call.sid, "bot")):
            with pytest.raises(VoiceError) as raised:
                await ask()
            assert raised.value.code == "NETWORK"
        await bridge.close()
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not any(name.startswith(("relay", "bridge of", "events of", "seat")) for name in names), names
