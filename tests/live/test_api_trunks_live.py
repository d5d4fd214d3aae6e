"""A trunk made over REST with an account of its own, on a real Asterisk: calls out and calls in."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxtra import CallSession, VoxtraApp
from voxtra.api import Api
from voxtra.provisioning import TenantProvisioner
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone

sys.path.append(str(Path(__file__).resolve().parents[1] / "control"))

from control_rig import FROM, TO, Client, FixedKeys

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trunks") / "voxtra"


@pytest.fixture(scope="module")
def pbx(folder: Path) -> Iterator[PrivateAsterisk]:
    instance = PrivateAsterisk(extra=dict(TenantProvisioner(folder).includes))
    asyncio.run(instance.start())
    yield instance
    asyncio.run(instance.stop())


async def test_calls_out_and_in_over_an_account_of_the_organisation(
    pbx: PrivateAsterisk, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    api = Api(0, keys=FixedKeys(), provision=str(folder), relay=False, caps={"calls_per_second": 100.0})
    app = VoxtraApp(pbx.ari_url, pbx.ari_user, pbx.ari_password, app_name="api-trunks", api=api)
    sids: list[str] = []

    @app.agent("receptionist")
    async def receptionist(call: CallSession) -> None:
        sids.append(call.metadata["sid"])
        await call.play_file("sound:hello-world")

    await app.start()
    try:
        async with (
            Client(api.url) as client,
            Phone((pbx.sip_host, pbx.sip_port), host="127.0.0.2", user="carrier") as carrier,
        ):
            trunk = {
                "id": "carrier", "account": {"host": "127.0.0.2", "port": carrier.port}, "callerIds": [FROM],
                "destinations": ["US"], "numbers": [FROM], "agent": "receptionist",
            }  # fmt: skip
            made = await client.ask("POST", "/v1/trunks", json=trunk)
            assert made.status == 201, made.body
            sid = (await client.originate(trunkId="carrier"))["sid"]
            out = await carrier.incoming()
            assert out.invite.uri.startswith(f"sip:{TO}@127.0.0.2")
            assert FROM in out.invite.headers.get("From")
            out.answer()
            await client.until(sid, "in_progress")
            await out.hangup()
            assert await client.until(sid, "completed") == "completed"

            call = await carrier.dial(FROM)
            await call.answered(timeout=10)
            assert await call.voice()
            await call.ended()
            row = (await client.ask("GET", f"/v1/calls/{sids[0]}")).body
            assert (row["direction"], row["agent"], row["trunkId"]) == ("inbound", "receptionist", "carrier")
            assert await client.until(sids[0], "completed") == "completed"

            assert (await client.ask("DELETE", "/v1/trunks/carrier")).status == 204
            assert (
                await client.do("voice.calls.originate", to=TO, **{"from": FROM}, trunkId="carrier")
            ).status == 404
            assert not TenantProvisioner(folder).tenants()
    finally:
        await app.stop(0)
