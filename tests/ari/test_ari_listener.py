from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from voxtra.ari import ARIClient, ARIListener, ConnectionState
from voxtra.ari.listener import server_tls
from voxtra.errors import ConfigurationError, TelephonyConnectionError


def login(text: str = "asterisk:secret") -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


@pytest.fixture
async def listener() -> AsyncIterator[ARIListener]:
    listener = ARIListener("127.0.0.1", 0, "asterisk", "secret")
    await listener.start()
    yield listener
    await listener.close()


@pytest.fixture
async def dialler() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_one_connection_at_a_time(listener: ARIListener, dialler: aiohttp.ClientSession) -> None:
    url = f"http://127.0.0.1:{listener.port}/ari"
    accepting = asyncio.ensure_future(listener.accept())
    async with dialler.ws_connect(url, headers=login(), protocols=["ari"]) as first:
        assert first.protocol == "ari"
        socket = await asyncio.wait_for(accepting, 2)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await dialler.ws_connect(url, headers=login())
        assert refused.value.status == 503
        closing = asyncio.ensure_future(socket.close())
        assert (await first.receive(2)).type is aiohttp.WSMsgType.CLOSE
    await closing
    await asyncio.sleep(0.05)
    async with dialler.ws_connect(url, headers=login()) as second:
        socket = await asyncio.wait_for(listener.accept(), 2)
        closing = asyncio.ensure_future(socket.close())
        await second.receive(2)
    await closing


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), (login("asterisk:wrong"), 401), (login("other:secret"), 401), (login(), 426)],
)
async def test_who_is_not_asterisk(
    listener: ARIListener, dialler: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    async with dialler.get(f"http://127.0.0.1:{listener.port}/", headers=headers) as response:
        assert response.status == status


async def test_nobody_comes(monkeypatch: pytest.MonkeyPatch, listener: ARIListener) -> None:
    monkeypatch.setattr("voxtra.ari.listener.PATIENCE_S", 0.05)
    client = ARIClient.accept(listener, "app")
    with pytest.raises(TelephonyConnectionError, match=r"has not connected to ws://127\.0\.0\.1:"):
        await client.connect(wait=False)
    assert client.state is ConnectionState.CLOSED
    with pytest.raises(TelephonyConnectionError, match="closed"):
        await listener.accept()
    assert "secret" not in repr(client)


def test_a_login_is_wanted_and_files_are_read(tmp_path: Path) -> None:
    for user, password in (("", "x"), ("x", ""), ("a:b", "x")):
        with pytest.raises(ConfigurationError, match="wants a user and a password"):
            ARIListener("127.0.0.1", 0, user, password)
    with pytest.raises(ConfigurationError, match="listen_cert"):
        server_tls(str(tmp_path / "none.pem"), "")


async def test_a_login_that_is_no_text(listener: ARIListener, caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(
        b"GET /ari HTTP/1.1\r\nHost: x\r\nAuthorization: Basic \xff\xfe\r\nConnection: close\r\n\r\n"
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 401")
    assert "Traceback" not in caplog.text
