"""Asterisk dials us: outbound ARI WebSockets, with everything over that one socket."""

from __future__ import annotations

import asyncio
import base64
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from cli_process import CliProcess
from faults import FaultProxy

from voxtra import AppState, CallSession, VoxtraApp
from voxtra.errors import ConfigurationError
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.asterisk_config import free_port
from voxtra.testing.phone import Phone

pytestmark = pytest.mark.live

PASSWORD = "dial-me-4711"


def dials(port: int, *, more: str = "", scheme: str = "ws") -> dict[str, str]:
    """The configuration with which Asterisk connects to us."""
    return {
        "websocket_client.conf": (
            "[voxtra-ari]\ntype = websocket_client\nconnection_type = persistent\n"
            f"uri = {scheme}://127.0.0.1:{port}/ari\nprotocols = ari\nusername = asterisk\n"
            f"password = {PASSWORD}\nconnection_timeout = 1000\nreconnect_interval = 300\n{more}"
        ),
        "ari.conf": (
            "[voxtra-out]\ntype = outbound_websocket\nwebsocket_client_id = voxtra-ari\n"
            "apps = voxtra\nlocal_ari_user = voxtra\n"
        ),
    }


@pytest.fixture
def port() -> int:
    return free_port("127.0.0.1", udp=False)


@pytest.fixture
async def dialling(port: int) -> AsyncIterator[PrivateAsterisk]:
    async with PrivateAsterisk(extra=dials(port), verbose=3) as asterisk:
        yield asterisk


async def becomes(app: VoxtraApp, state: AppState, timeout: float = 10.0) -> None:
    try:
        async with asyncio.timeout(timeout):
            while app.state is not state:
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{app.health()} {app.state}") from None


async def test_calls_over_a_socket_that_asterisk_opened(dialling: PrivateAsterisk, port: int) -> None:
    asterisk = dialling
    app = VoxtraApp(asterisk.ari_url, "asterisk", PASSWORD, listen=str(port))
    keys: list[str] = []
    waits: list[float] = []

    @app.default()
    async def handler(call: CallSession) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await call.answer()
        await call.play_file("hello-world")
        keys.append(await call.listen_dtmf(timeout=10))
        for _ in range(20):
            began = loop.time()
            await app.ari.channels.get(channel_id=call.id)
            waits.append(loop.time() - began)
        async for _ in call.audio_stream():  # the call's sound has its own way
            break

    async with asyncio.timeout(15):
        await app.start()
    try:
        assert app.is_ready
        assert app.health()["asterisk"] == f"ws://127.0.0.1:{port}/ari"
        assert app.ari.requests_over_websocket
        account = {"user": "phone", "password": asterisk.phones["phone"]}
        async with Phone((asterisk.sip_host, asterisk.sip_port), **account) as phone:
            call = await phone.dial("100")
            await call.answered(timeout=5)
            await asyncio.sleep(1.0)
            await call.send_dtmf("5")
            await call.ended(timeout=10)
        assert keys == ["5"]
        assert sorted(waits)[len(waits) // 2] < 0.02, waits  # acknowledged at once, not 40 ms later
        with pytest.raises(ConfigurationError, match="needs HTTP"):
            await app.ari.recordings.get_stored_file(recording_name="x")

        async with aiohttp.ClientSession() as session:
            for login, status in ((f"asterisk:{PASSWORD}", 503), ("asterisk:wrong", 401)):
                token = base64.b64encode(login.encode()).decode()
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await session.ws_connect(
                        f"ws://127.0.0.1:{port}/ari", headers={"Authorization": f"Basic {token}"}
                    )
                assert refused.value.status == status
        assert app.is_ready
    finally:
        await app.stop(0)
    assert "0 active channels" in await asterisk.rx("core show channels")


async def test_a_connection_lost_comes_back_and_is_reconciled() -> None:
    port = free_port("127.0.0.1", udp=False)
    async with (
        FaultProxy("127.0.0.1", port) as proxy,
        PrivateAsterisk(extra=dials(proxy.port)) as asterisk,
    ):
        app = VoxtraApp(asterisk.ari_url, "asterisk", PASSWORD, listen=f"127.0.0.1:{port}")
        ended: list[str] = []

        @app.default()
        async def handler(call: CallSession) -> None:
            call.on_hangup(lambda: ended.append(call.called_number))  # type: ignore[arg-type,return-value]
            await call.answer()
            await call.listen_dtmf(timeout=60)

        async with asyncio.timeout(15):
            await app.start()
        try:
            account = {"user": "phone", "password": asterisk.phones["phone"]}
            async with Phone((asterisk.sip_host, asterisk.sip_port), **account) as phone:
                stays, goes = await phone.dial("100"), await phone.dial("101")
                await stays.answered(timeout=5)
                await goes.answered(timeout=5)
                await asyncio.sleep(0.3)  # until the handlers wait for a key
                proxy.refuse = True
                proxy.reset()
                await becomes(app, AppState.LOST)
                await goes.hangup()
                await asyncio.sleep(0.3)
                proxy.refuse = False
                await becomes(app, AppState.READY)
                async with asyncio.timeout(5):
                    while ended != ["101"] or len(app.active_sessions) > 1:
                        await asyncio.sleep(0.02)
                assert [call.called_number for call in app.active_sessions] == ["100"]
                proxy.stall()  # half-open
                await becomes(app, AppState.LOST)
                proxy.resume()
                proxy.reset()
                await becomes(app, AppState.READY)
                await stays.send_dtmf("1")
                await stays.ended(timeout=5)
        finally:
            await app.stop(0)


async def test_tls(tmp_path: Path, port: int) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = await asyncio.to_thread(
        subprocess.run,
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)],
        capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("no openssl to make a certificate with")
    more = f"tls_enabled = yes\nca_list_file = {cert}\nverify_server_hostname = no\n"
    async with PrivateAsterisk(extra=dials(port, more=more, scheme="wss")) as asterisk:
        app = VoxtraApp(asterisk.ari_url, "asterisk", PASSWORD, listen=str(port))
        settings = {"asterisk.listen_cert": str(cert), "asterisk.listen_key": str(key)}
        app.configure(app.settings.layered(keywords=settings))
        async with asyncio.timeout(15):
            await app.start()
        try:
            assert app.ari.url == f"wss://127.0.0.1:{port}/ari"
            assert (await app.ari.asterisk.ping()).ping == "pong"
        finally:
            await app.stop(0)


async def test_voxtra_run_listen(dialling: PrivateAsterisk, port: int, tmp_path: Path) -> None:
    asterisk = dialling
    (tmp_path / "app.py").write_text(
        "from voxtra import VoxtraApp\napp = VoxtraApp()\n\n@app.default()\nasync def h(call):\n"
        "    await call.answer()\n    print('call', call.called_number)\n    await call.hangup()\n"
    )
    settings = {"VOXTRA_ARI_URL": asterisk.ari_url, "VOXTRA_ARI_PASSWORD": PASSWORD}
    arguments = ("run", "app:app", "--listen", str(port))
    async with CliProcess(*arguments, folder=tmp_path, env=settings) as cli:
        await cli.until("waiting for Asterisk on ws://127.0.0.1")
        await cli.until("ready: calls that reach Stasis")
        account = {"user": "phone", "password": asterisk.phones["phone"]}
        async with Phone((asterisk.sip_host, asterisk.sip_port), **account) as phone:
            call = await phone.dial("100")
            await call.answered(timeout=5)
            await call.ended(timeout=5)
        cli.signal(signal.SIGTERM)
        assert await cli.ended() == 0, cli.text
        assert "call 100" in cli.text
        assert PASSWORD not in cli.text


async def test_a_port_that_is_taken_and_a_missing_password(port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        app = VoxtraApp("", "asterisk", PASSWORD, listen=str(port))
        with pytest.raises(ConfigurationError, match=r"can't listen on 127\.0\.0\.1"):
            await app.start()
    with pytest.raises(ConfigurationError, match="wants a user and a password"):
        await VoxtraApp("", "asterisk", listen=str(port)).start()
