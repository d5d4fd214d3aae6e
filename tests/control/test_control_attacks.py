"""What somebody with a key, or none, may try: at others' calls, at the bill, at what all share."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from control_rig import FROM, ORG, OTHER, TO, TO2, TRUNK, Client, Serve

from voxtra import CallSession, VoxtraApp
from voxtra.api import Api
from voxtra.control.desk import CallDesk
from voxtra.control.gate import Denied
from voxtra.control.keys import KeyRing
from voxtra.control.requests import checked
from voxtra.control.trunk_models import NewTrunk
from voxtra.control.trunks import Trunks, _tenant_id
from voxtra.testing import FakeCall
from voxtra.testing.fake_office import FakeOffice
from voxtra.wire import Attach

ORDER = {"to": TO, "from": FROM, "trunkId": "trunk_main"}


def desk_of(app: VoxtraApp) -> CallDesk:
    assert isinstance(app.api, Api)
    return app.api.desk


def live_at_the_gate(app: VoxtraApp) -> int:
    return sum(len(account.live) for account in desk_of(app).gate._accounts.values())


async def settled(app: VoxtraApp) -> None:
    async with asyncio.timeout(10):
        while live_at_the_gate(app) or desk_of(app)._busy:
            await asyncio.sleep(0.02)


async def test_a_call_that_went_by_refer_gives_its_places_back(serve: Serve) -> None:
    refer = TRUNK | {"transfer": "refer", "refer_to": "sip:{number}@carrier.example"}
    async with serve(trunks=[refer]) as (app, client):
        for _ in range(3):
            sid = (await client.originate())["sid"]
            await client.until(sid, "in_progress")
            assert (await client.do("voice.calls.transfer", sid=sid, to=TO2)).data is None
            assert await client.until(sid, "completed") == "completed"
        await settled(app)


@pytest.mark.parametrize("wait_s", [0.0, 0.03, 0.06])
async def test_hung_up_while_it_is_transferred(serve: Serve, wait_s: float) -> None:
    async with serve() as (app, client):
        sid = (await client.originate())["sid"]
        await client.until(sid, "in_progress")
        transfer = asyncio.ensure_future(client.do("voice.calls.transfer", sid=sid, to=TO2))
        await asyncio.sleep(wait_s)
        assert (await client.do("voice.calls.hangup", sid=sid)).status == 200
        assert (await transfer).status in (200, 409, 410)
        assert await client.until(sid, "completed") == "completed"
        await settled(app)


@pytest.mark.parametrize("failure", [TimeoutError(), OSError("no such host")])
async def test_a_call_that_could_not_be_placed_gives_its_place_back(
    serve: Serve, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(endpoint: str, **options: Any) -> CallSession:
        raise failure

    async with serve(check=False) as (app, client):
        monkeypatch.setattr(app, "originate", fails)
        reply = await client.do("voice.calls.originate", **ORDER)
        assert reply.status in (500, 504)
        assert live_at_the_gate(app) == 0


async def test_everything_at_once_on_one_call_leaves_nothing(serve: Serve) -> None:
    async def bot(call: CallSession) -> None:
        await asyncio.sleep(60)

    async with serve() as (app, client):
        app.agent("a")(bot)
        app.agent("b")(bot)
        sid = (await client.originate(agent="a"))["sid"]
        for _ in range(2):
            replies = await asyncio.gather(
                *(client.do("voice.agents.attach", sid=sid, agent="ab"[n % 2]) for n in range(6)),
                client.do("voice.calls.transfer", sid=sid, to=TO2),
                client.do("voice.agents.detach", sid=sid),
                client.do("voice.calls.originate", **ORDER),
            )
            assert {reply.status for reply in replies} <= {200, 409}
            await client.until(sid, "in_progress")
        calls = (await client.ask("GET", "/v1/calls")).body["calls"]
        hung = await asyncio.gather(
            *(client.do("voice.calls.hangup", sid=call["sid"]) for call in calls for _ in range(3)),
            *(client.do("voice.agents.attach", sid=call["sid"], agent="a") for call in calls),
        )
        assert {reply.status for reply in hung} <= {200, 410}
        await settled(app)


async def test_a_number_that_an_organisation_says_is_its_own_brings_it_no_other_calls(serve: Serve) -> None:
    """Over an endpoint of its own only: else it could take, and hear, the calls of whoever has the number."""
    heard: list[str] = []

    async def desk(call: CallSession) -> None:
        heard.append(str(call.metadata.get("org")))

    async def caller(call: FakeCall) -> None:
        await call.hangs_up()

    app = VoxtraApp(app_name="office")
    app.default()(desk)
    async with serve(app=app, endpoints=["carrier"], org=ORG) as (_, client):
        trunk = {"id": "mine", "endpoint": "carrier", "numbers": ["+15558675310"]}
        made = await client.ask("POST", "/v1/trunks", key="other", json=trunk)
        assert made.status == 201, made.body
        await app._office.call(caller, number="+15558675310")  # type: ignore[attr-defined]
        async with Client(client.url, "other") as theirs:
            assert (await theirs.ask("GET", "/v1/calls")).body["calls"] == []
    assert heard == [ORG]


def test_whose_a_call_is_by_its_endpoint() -> None:

    trunks = Trunks(endpoints=["carrier"])
    trunks._own[OTHER, "lent"] = NewTrunk(id="lent", endpoint="carrier", numbers=("+15558675310",))
    account = {"host": "sip.example.com"}
    trunks._own[OTHER, "own"] = NewTrunk.model_validate(
        {"id": "own", "account": account, "numbers": ["+15558675311"]}
    )
    name = _tenant_id(OTHER, "own")
    for number, channel, args, owner in (
        ("15558675310", "PJSIP/carrier-00000001", (), OTHER),
        ("+15558675310", "PJSIP/carrier2-00000001", (), None),
        ("+15558675310", f"PJSIP/{name}_trunk-00000001", (), None),
        ("+15558675311", f"PJSIP/{name}_trunk-00000001", (), OTHER),
        ("+15558675311", "PJSIP/another-00000001", (name,), OTHER),  # carriers of several share an address
        ("+15558675311", "PJSIP/another-00000001", (), None),
    ):
        found = trunks.by_number(number, channel, args)
        assert (found[0] if found is not None else None) == owner, (number, channel)


@pytest.mark.parametrize("password", ["x\nallow=all", "x\r\n[evil]", "x;y\x00", "\u2028", "p\t"])
async def test_a_password_is_one_line_of_pjsip_conf_and_never_told(serve: Serve, password: str) -> None:
    async with serve(provision="/nonexistent/voxtra") as (app, client):
        account = {"host": "sip.example.com", "username": "acme", "password": password}
        reply = await client.ask("POST", "/v1/trunks", json={"id": "mine", "account": account})
        assert 400 <= reply.status < 500, reply.body
        assert "password" in str(reply.body)
        assert password not in str(reply.body)
        assert desk_of(app).trunks.rows(ORG)[0].id == "trunk_main"


def test_what_is_not_known_is_told_beside_what_is() -> None:
    for model, given, field, knows in (
        (Attach, {"orgId": ORG, "sid": "call_0001", "agent": {"voise": "x"}}, "agent.voise", "voice"),
        (
            Attach,
            {
                "orgId": ORG,
                "sid": "call_0001",
                "agent": {"turnDetection": {"type": "silero", "ttsGuardMs": 1}},
            },
            "agent.turnDetection.ttsGuardMs",
            "silenceThresholdMs",
        ),
        (NewTrunk, {"id": "x", "account": {"host": "h", "pasword": "x"}}, "account.pasword", "password"),
    ):
        with pytest.raises(Denied) as denied:
            checked(model, given)
        assert denied.value.field == field
        assert knows in str(denied.value).partition("there are")[2]


async def test_one_organisation_takes_not_all_streams(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtra.control.stream.MAX_STREAMS_ORG", 2)
    async with serve() as (_, client):
        sid = (await client.originate())["sid"]
        headers = {"Authorization": "Bearer full"}
        path = f"{client.url}/v1/calls/{sid}/events"
        async with aiohttp.ClientSession(headers=headers) as http:
            one, two = await http.get(path), await http.get(path)
            assert (one.status, two.status) == (200, 200)
            third = await client.ask("GET", f"/v1/calls/{sid}/events")
            assert (third.status, third.code) == (429, "TOO_MANY_REQUESTS")
            assert third.headers["Retry-After"]
            one.close()
            async with asyncio.timeout(10):
                while (again := await http.get(path)).status != 200:
                    await asyncio.sleep(0.05)
            again.close()
            two.close()


async def test_keys_that_can_not_be_read_are_told_to_the_log_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys.json"
    app = VoxtraApp(app_name="office")
    app.api = api = Api(0, keys=KeyRing(file), trunks=[TRUNK])
    async with FakeOffice(app), Client(api.url, "vx_" + "0" * 12 + "_" + "x" * 43) as client:
        file.write_text("rubbish")  # after the start, which would refuse it
        reply = await client.ask("GET", "/v1/calls")
        assert (reply.status, reply.code) == (503, "SERVICE_UNAVAILABLE")
        assert "keys.json" not in str(reply.body)
        assert "keys.json is damaged" in caplog.text


async def test_a_query_that_says_two_things(serve: Serve) -> None:
    async with serve() as (_, client):
        twice = await client.ask("GET", "/v1/calls?limit=5&limit=50")
        assert (twice.status, twice.body["error"]["data"]["field"]) == (400, "limit")


async def test_no_operation_shows_or_does_anything_to_another(serve: Serve) -> None:
    """Every operation there is, by the server's own document: one that is added is asked, too."""
    bodies = {"transferCall": {"to": TO2}, "attachAgent": {"agent": "bot"}, "audioToken": {}}
    async with serve(endpoints=["carrier"]) as (app, client):
        app.agent("bot")(lambda call: asyncio.sleep(60))
        sid = (await client.originate())["sid"]
        await client.until(sid, "in_progress")
        assert (
            await client.ask("POST", "/v1/trunks", json={"id": "mine", "endpoint": "carrier"})
        ).status == 201
        document = (await client.ask("GET", "/openapi.json")).body
        asked = 0
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                where = path.replace("{sid}", sid).replace("{trunkId}", "mine")
                name = operation["operationId"]
                nobody = await client.ask(method.upper(), where, key="wrong")
                assert nobody.status in (401, 429), name
                if operation["description"] != "The key needs the scope `voice:calls:read`.":
                    reader = await client.ask(method.upper(), where, key="reader")
                    assert (reader.status, reader.code) == (403, "FORBIDDEN"), name
                if where != path:
                    options = {"json": bodies.get(name, {})} if method in ("post", "put") else {}
                    other = await client.ask(method.upper(), where, key="other", **options)
                    assert (other.status, other.code) == (404, "NOT_FOUND"), name
                    asked += 1
        assert asked >= 10
        for path, key in (("/v1/calls", "calls"), ("/v1/trunks", "trunks")):
            seen = (await client.ask("GET", path, key="other")).body[key]
            assert not [row for row in seen if row.get("sid") == sid or row.get("id") == "mine"]
        assert await client.status(sid) == "in_progress"


async def test_another_organisation_has_idempotency_keys_of_its_own(serve: Serve) -> None:
    async with serve() as (_, client):
        headers = {"Idempotency-Key": "one"}
        order = {"to": TO, "from": FROM, "trunkId": "trunk_main"}
        mine = await client.ask("POST", "/v1/calls", json=order, headers=headers)
        again = await client.ask("POST", "/v1/calls", json=order, headers=headers)
        theirs = await client.ask("POST", "/v1/calls", key="other", json=order, headers=headers)
        assert mine.body["sid"] == again.body["sid"] != theirs.body["sid"]
        assert (again.headers["Idempotency-Replayed"], theirs.headers.get("Idempotency-Replayed")) == (
            "true",
            None,
        )
