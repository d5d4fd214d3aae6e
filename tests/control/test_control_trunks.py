"""Trunks over REST: who may, what is shown, and that they outlive the server."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from control_rig import FROM, OTHER, TO, Serve

from voxtra.control.trunks import Trunks
from voxtra.errors import ConfigurationError
from voxtra.provisioning import TenantConfig

NEW = {
    "id": "mine",
    "endpoint": "carrier",
    "callerIds": ["+15550001111"],
    "destinations": ["US"],
    "channels": 2,
}
ACCOUNT = {"host": "sip.carrier.example", "username": "acme", "password": "hunter2hunter2"}


async def test_made_used_replaced_and_removed(serve: Serve) -> None:
    async with serve(endpoints=["carrier"]) as (app, client):
        made = await client.ask("POST", "/v1/trunks", json=NEW)
        assert made.status == 201, made.body
        assert made.body == NEW | {"numbers": [], "agent": None, "account": None, "managed": "api"}
        order = {"to": TO, "from": "+15550001111", "trunkId": "mine"}
        placed = await client.ask("POST", "/v1/calls", json=order)
        assert placed.status == 201
        assert app.active_sessions[0].called_number == f"PJSIP/{TO}@carrier"
        assert (await client.ask("POST", "/v1/trunks", json=NEW)).status == 409
        body = {key: value for key, value in NEW.items() if key != "id"} | {"destinations": []}
        assert (await client.ask("PUT", "/v1/trunks/mine", json=body)).body["destinations"] == []
        assert (await client.ask("POST", "/v1/calls", json=order)).status == 403
        assert (await client.ask("PUT", "/v1/trunks/other", json=body)).status == 404
        assert (await client.ask("PUT", "/v1/trunks/%2e%2e", json=body)).status == 404
        rows = (await client.ask("GET", "/v1/trunks")).body["trunks"]
        assert [(row["id"], row["managed"]) for row in rows] == [("mine", "api"), ("trunk_main", "settings")]
        assert (await client.ask("DELETE", "/v1/trunks/trunk_main")).status == 403
        assert (await client.ask("DELETE", "/v1/trunks/mine")).status == 204
        assert (await client.ask("GET", "/v1/trunks/mine")).status == 404
        assert (await client.ask("POST", "/v1/calls", json=order)).status == 404


async def test_another_organisation_neither_sees_nor_uses_them(serve: Serve) -> None:
    async with serve(endpoints=["carrier"], trunks=[]) as (_, client):
        await client.ask("POST", "/v1/trunks", json=NEW)
        for method in ("GET", "DELETE"):
            assert (await client.ask(method, "/v1/trunks/mine", key="other")).status == 404
        assert (await client.ask("GET", "/v1/trunks", key="other")).body == {"trunks": []}
        assert (
            await client.ask("POST", "/v1/trunks", key="other", json=NEW)
        ).status == 201  # a name of its own
        order = {"orgId": OTHER, "to": TO, "from": FROM, "trunkId": "mine"}
        assert (await client.ask("POST", "/trpc/voice.calls.originate", json=order)).status == 403
        assert (await client.ask("POST", "/v1/trunks", key="reader", json=NEW)).status == 403


@pytest.mark.parametrize(
    ("wrong", "status", "field"),
    [
        ({"endpoint": "Local"}, 403, "endpoint"),
        ({"endpoint": "s@vx"}, 400, "endpoint"),
        ({"endpoint": ""}, 400, "account"),
        ({"destinations": ["GBR"]}, 400, "destinations.0"),
        ({"destinations": ["ZZ"]}, 400, "destinations"),
        ({"callerIds": ["Acme"]}, 400, "callerIds.0"),
        ({"channels": 0}, 400, "channels"),
        ({"id": "a/../../x"}, 400, "id"),
        ({"id": "trunk_main"}, 409, "id"),
        ({"account": ACCOUNT, "endpoint": ""}, 422, "account"),
        ({"account": {"host": "x;y", "username": ""}, "endpoint": ""}, 400, "account.host"),
        ({"colour": "red"}, 400, "colour"),
    ],
)
async def test_what_can_not_be(serve: Serve, wrong: dict[str, Any], status: int, field: str) -> None:
    async with serve(endpoints=["carrier"]) as (_, client):
        refused = await client.ask("POST", "/v1/trunks", json=NEW | wrong)
        assert (refused.status, refused.body["error"]["data"].get("field")) == (status, field), refused.body


async def test_what_can_not_be_kept_is_not_made(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    async with serve(endpoints=["carrier"], trunks_file=str(folder / "trunks.json")) as (_, client):
        folder.rmdir()
        refused = await client.ask("POST", "/v1/trunks", json=NEW)
        assert (refused.status, refused.code) == (503, "SERVICE_UNAVAILABLE")
        assert "kept/" not in refused.body["error"]["message"]
        assert (await client.ask("GET", "/v1/trunks/mine")).status == 404
        folder.mkdir()
        assert (await client.ask("POST", "/v1/trunks", json=NEW)).status == 201


async def test_a_number_belongs_to_one_trunk(serve: Serve) -> None:
    async with serve(endpoints=["carrier"]) as (_, client):
        assert (await client.ask("POST", "/v1/trunks", json=NEW | {"numbers": [FROM]})).status == 201
        second = await client.ask("POST", "/v1/trunks", key="other", json=NEW | {"numbers": [FROM]})
        assert (second.status, second.code) == (409, "CONFLICT")


async def test_an_account_is_given_to_asterisk_kept_privately_and_never_shown(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[TenantConfig] = []
    withdrawn: list[str] = []

    class Provisioner:
        def __init__(self, folder: str, ari: object) -> None:
            assert folder == "/etc/asterisk/voxtra"
            assert ari is not None

        async def apply(self, tenant: TenantConfig) -> None:
            written.append(tenant)

        async def withdraw(self, name: str) -> None:
            withdrawn.append(name)

    monkeypatch.setattr("voxtra.control.trunks.TenantProvisioner", Provisioner)
    new = {**NEW, "endpoint": "", "account": ACCOUNT, "numbers": [FROM]}
    async with serve(provision="/etc/asterisk/voxtra") as (app, client):
        made = await client.ask("POST", "/v1/trunks", json=new)
        assert made.status == 201, made.body
        assert made.body["account"] == {
            "host": "sip.carrier.example", "port": 5060, "transport": "udp", "username": "acme"
        }  # fmt: skip
        assert written[0].trunk is not None
        assert written[0].trunk.password.get_secret_value() == "hunter2hunter2"
        assert "hunter2" not in str((await client.ask("GET", "/v1/trunks")).body)
        await client.ask("POST", "/v1/calls", json={"to": TO, "from": "+15550001111", "trunkId": "mine"})
        assert app.active_sessions[0].called_number == f"PJSIP/{TO}@{written[0].trunk.name}"
        body = {key: value for key, value in new.items() if key not in ("id", "account")}
        kept = await client.ask("PUT", "/v1/trunks/mine", json=body | {"channels": 7})
        assert (kept.status, kept.body["account"]["username"]) == (200, "acme")
    file = tmp_path / "trunks.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    async with serve(provision="/etc/asterisk/voxtra") as (_, client):
        again = (await client.ask("GET", "/v1/trunks/mine")).body
        assert (again["channels"], again["account"]["username"]) == (7, "acme")
        assert (await client.ask("DELETE", "/v1/trunks/mine")).status == 204
    assert withdrawn == [written[0].id]
    assert json.loads(file.read_text()) == {"trunks": []}


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "trunks.json"
    file.write_text('{"trunks": [{"org": "x", "trunk": {"id": "y", "nonsense": 1}}]}')
    with pytest.raises(ConfigurationError, match=r"trunks file .* is damaged"):
        Trunks(file=file)
