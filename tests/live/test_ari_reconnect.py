"""The connection to a real Asterisk when things break."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable

import pytest
from faults import FaultProxy

from voxtra.ari import ARIClient, ConnectionState, Snapshot, StasisEnd, StasisStart
from voxtra.errors import ARIForbiddenError, AuthenticationError, TelephonyConnectionError
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.asterisk_config import free_port

pytestmark = pytest.mark.live

APP = "reconnect"
NOTICED_S = 7.0  # 5 s are promised; the rest is for a busy machine


def client(asterisk: PrivateAsterisk, url: str = "", app: str = APP) -> ARIClient:
    return ARIClient(
        url or asterisk.ari_url, asterisk.ari_user, asterisk.ari_password, app, reconnect_s=(0.05, 0.5)
    )


async def until(holds: Callable[[], bool], within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.fixture
async def proxy(asterisk: PrivateAsterisk) -> AsyncIterator[FaultProxy]:
    async with FaultProxy("127.0.0.1", asterisk.http_port) as between:
        yield between


@pytest.mark.parametrize("fault", ["reset", "closed with 1000", "half-open"])
async def test_a_broken_connection_is_made_anew_and_finds_its_channel(
    asterisk: PrivateAsterisk, proxy: FaultProxy, fault: str
) -> None:
    channel_id = f"vx-{fault[:4]}"
    async with client(asterisk, proxy.url) as ari, ari.events(channel_id=channel_id) as stream:
        snapshots: list[Snapshot] = []
        ari.on_resync(snapshots.append)
        await ari.channels.originate(endpoint="Local/600@voxtra", app=APP, channel_id=channel_id)
        async with asyncio.timeout(5):
            while not isinstance(await anext(stream), StasisStart):
                pass
        began = time.monotonic()
        if fault == "reset":
            proxy.reset()
        elif fault == "half-open":
            proxy.stall()
        else:
            proxy.inject(b"\x88\x02\x03\xe8")
        await until(lambda: ari.state is ConnectionState.LOST)
        assert time.monotonic() - began < NOTICED_S
        proxy.resume()
        await until(lambda: ari.ready)
        (snapshot,) = snapshots
        assert channel_id in [c.id for c in snapshot.channels]
        assert channel_id in snapshot.application.channel_ids
        # The new connection, not some old one, gets what happens next.
        await ari.channels.hangup(channel_id=channel_id)
        async with asyncio.timeout(5):
            while not isinstance(await anext(stream), StasisEnd):
                pass


async def test_an_idle_connection_stays(asterisk: PrivateAsterisk) -> None:
    async with client(asterisk) as ari:
        states: list[ConnectionState] = []
        ari.on_state(states.append)
        await asyncio.sleep(6)
        assert states == []
        assert ari.ready


@pytest.mark.proves("failure 23")
async def test_asterisk_absent_then_killed_then_back() -> None:
    port = free_port("127.0.0.1", udp=False)
    asterisk = PrivateAsterisk(http_port=port, sip_port=free_port("127.0.0.1", udp=True))
    ari = ARIClient(
        f"http://127.0.0.1:{port}", asterisk.ari_user, asterisk.ari_password, APP, reconnect_s=(0.05, 0.3)
    )
    connecting = asyncio.create_task(ari.connect())
    try:
        await until(lambda: ari.attempts >= 3)
        assert not ari.ready
        await asterisk.start()
        await asyncio.wait_for(connecting, 10)
        await ari.channels.originate(endpoint="Local/600@voxtra", app=APP, channel_id="vx-old")
        os.kill(asterisk.pid, signal.SIGKILL)
        await until(lambda: ari.state is ConnectionState.LOST)
        await asterisk.stop()
        snapshots: list[Snapshot] = []
        ari.on_resync(snapshots.append)
        await asterisk.start()
        await ari.wait_ready(15)
        assert [c.id for c in snapshots[0].channels] == []
        assert (await ari.asterisk.ping()).ping == "pong"
    finally:
        connecting.cancel()
        await ari.close()
        await asterisk.stop()


async def test_a_wrong_password_ends_it(asterisk: PrivateAsterisk) -> None:
    for app in (APP, None):
        with pytest.raises(AuthenticationError, match=r"401.*ari\.conf"):
            await ARIClient(asterisk.ari_url, asterisk.ari_user, "wrong", app).connect()
    with pytest.raises(AuthenticationError):
        await ARIClient(asterisk.ari_url, "nobody", asterisk.ari_password, APP).connect()


async def test_a_wrong_path_is_told(asterisk: PrivateAsterisk) -> None:
    with pytest.raises(TelephonyConnectionError, match="404"):
        await client(asterisk, asterisk.ari_url + "/elsewhere").connect(wait=False)


async def test_a_read_only_user_may_look_and_not_touch() -> None:
    user = "[looker]\ntype = user\nread_only = yes\npassword = look"
    async with (
        PrivateAsterisk(extra={"ari.conf": user}) as asterisk,
        ARIClient(asterisk.ari_url, "looker", "look", APP) as ari,
    ):
        await ari.channels.list()
        with pytest.raises(ARIForbiddenError, match="403"):
            await ari.bridges.create()


async def test_the_older_of_two_with_one_name_is_told_and_the_newer_is_left_alone(
    asterisk: PrivateAsterisk, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(asterisk) as older, client(asterisk) as newer:
        states: list[ConnectionState] = []
        newer.on_state(states.append)
        await until(lambda: older.state is ConnectionState.REPLACED)
        assert "another app name" in caplog.text
        async with newer.events(types=["ChannelUserevent"]) as stream, asyncio.timeout(5):
            # ... even after the older has said goodbye, and it can still make requests.
            await older.events.user_event(event_name="hi", application=APP)
            assert (await anext(stream)).type == "ChannelUserevent"
        assert newer.ready
        assert states == []
