from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from cli_process import CliProcess

from voxtra.ari import ARIClient
from voxtra.testing.asterisk import PrivateAsterisk

pytestmark = pytest.mark.live


async def doctor(
    asterisk: PrivateAsterisk, folder: Path, *arguments: str, code: int, **env: str
) -> dict[str, dict[str, Any]]:
    login = {
        "VOXTRA_ARI_URL": asterisk.ari_url,
        "VOXTRA_ARI_USER": asterisk.ari_user,
        "VOXTRA_ARI_PASSWORD": asterisk.ari_password,
        "VOXTRA_APP_NAME": "doctored",
        **env,
    }
    async with CliProcess("doctor", "--json", *arguments, folder=folder, env=login) as cli:
        assert await cli.ended(timeout=40) == code, cli.text
        assert asterisk.ari_password not in cli.text
        return {check["name"]: check for check in json.loads(cli.text)["checks"]}


@pytest.mark.parametrize("transport", ["websocket", "rtp", "audiosocket"])
async def test_all_is_well(asterisk: PrivateAsterisk, tmp_path: Path, transport: str) -> None:
    checks = await doctor(asterisk, tmp_path, "--deep", "--transport", transport, code=0)
    wrong = [check for check in checks.values() if check["status"] != "ok" and check["name"] != "python"]
    assert wrong == []
    assert "sound passes both ways" in checks["media"]["found"]
    assert "22." in checks["version"]["found"]
    assert "vx-doctor" not in await asterisk.rx("core show channels concise")
    assert "vx-doctor" not in await asterisk.rx("bridge show all")


async def test_asterisk_connects_to_us(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = {"VOXTRA_MEDIA_CONNECTION": "client", "VOXTRA_MEDIA_BIND_PORT": str(port)}
    async with PrivateAsterisk(media_client_uri=f"ws://127.0.0.1:{port}/media") as asterisk:
        checks = await doctor(asterisk, tmp_path, code=0, **client)
        assert checks["media"]["status"] == "ok"
        client["VOXTRA_MEDIA_CLIENT_ID"] = "nowhere"
        checks = await doctor(asterisk, tmp_path, code=1, **client)
        assert checks["media"]["status"] == "fail"
        assert "[nowhere] in its websocket_client.conf" in checks["media"]["advice"]


async def test_the_table_for_people(asterisk: PrivateAsterisk, tmp_path: Path) -> None:
    login = {"VOXTRA_ARI_URL": asterisk.ari_url, "VOXTRA_ARI_USER": asterisk.ari_user}
    login["VOXTRA_ARI_PASSWORD"] = asterisk.ari_password
    async with CliProcess("doctor", folder=tmp_path, env=login) as cli:
        assert await cli.ended(timeout=40) == 0, cli.text
    assert any(line.startswith("✓ media") for line in cli.lines)
    assert cli.lines[-1] == "All is well: dial an extension whose dialplan says Stasis(voxtra)."
    assert "\x1b" not in cli.text


async def test_a_wrong_password(asterisk: PrivateAsterisk, tmp_path: Path) -> None:
    checks = await doctor(asterisk, tmp_path, code=1, VOXTRA_ARI_PASSWORD="wrong-one")
    assert checks["is it ARI"]["status"] == "ok"
    assert checks["login"]["status"] == "fail"
    assert "password from environment VOXTRA_ARI_PASSWORD" in checks["login"]["advice"]
    assert checks["media"]["status"] == "skip"


async def test_a_wrong_port(asterisk: PrivateAsterisk, tmp_path: Path) -> None:
    checks = await doctor(asterisk, tmp_path, code=1, VOXTRA_ARI_URL="http://127.0.0.1:1")
    assert checks["reachable"]["status"] == "fail"
    assert "bindport" in checks["reachable"]["advice"]


async def test_something_else_listens_there(asterisk: PrivateAsterisk, tmp_path: Path) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 404 Not Found\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(other, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        checks = await doctor(asterisk, tmp_path, code=1, VOXTRA_ARI_URL=f"http://127.0.0.1:{port}")
    assert checks["is it ARI"]["status"] == "fail"
    assert checks["is it ARI"]["found"] == "answers 404 as nginx"


async def test_the_name_is_taken(asterisk: PrivateAsterisk, tmp_path: Path) -> None:
    login = (asterisk.ari_url, asterisk.ari_user, asterisk.ari_password)
    async with ARIClient(*login, app="doctored") as other:
        checks = await doctor(asterisk, tmp_path, code=0)
        assert checks["app name"]["status"] == "warn"
        assert "--app-name" in checks["app name"]["advice"]
        assert other.ready  # looking has not replaced it


async def test_a_module_is_missing_and_the_user_may_only_read(tmp_path: Path) -> None:
    reader = "[reader]\ntype = user\nread_only = yes\npassword_format = plain\npassword = only-reads\n"
    async with PrivateAsterisk(
        extra={
            "modules.conf": "noload = chan_websocket.so\nnoload = codec_alaw.so",
            "ari.conf": reader,
            "http.conf": "[general](+)\nsessionlimit = 50",
        }
    ) as asterisk:
        checks = await doctor(asterisk, tmp_path, code=1)
        assert checks["modules"]["found"] == "not running: chan_websocket"
        assert checks["modules"]["advice"] == "in modules.conf: load=chan_websocket.so"
        checks = await doctor(asterisk, tmp_path, "--transport", "rtp", code=1, VOXTRA_MEDIA_CODEC="alaw")
        assert checks["formats"]["found"] == "alaw wants codec_alaw"
        checks = await doctor(asterisk, tmp_path, "--transport", "rtp", "--deep", code=0)
        assert checks["sessions"]["status"] == "warn"
        assert "sessionlimit=500" in checks["sessions"]["advice"]
        only_reads = {"VOXTRA_ARI_USER": "reader", "VOXTRA_ARI_PASSWORD": "only-reads"}
        checks = await doctor(asterisk, tmp_path, code=1, **only_reads)
        assert checks["login"]["found"] == "user reader may only read"
        assert "read_only=no" in checks["login"]["advice"]
