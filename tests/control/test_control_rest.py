"""REST: the operations, pages of calls, idempotency, the status stream, limits, headers."""

from __future__ import annotations

import asyncio
import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from control_rig import FROM, ORG, TO, TO2, TRUNK, Client, Reply, Serve

from voxtra import CallSession, VoxtraApp
from voxtra.agent import Agent
from voxtra.api import Api
from voxtra.control.stream import as_text
from voxtra.errors import ConfigurationError
from voxtra.testing.fake_asterisk import FakeEndpoint
from voxtra.testing.fake_office import FakeOffice

ORDER = {"to": TO, "from": FROM, "trunkId": "trunk_main"}


async def test_a_call_by_rest(serve: Serve) -> None:
    async with serve() as (app, client):
        app.agent("bot")(lambda call: asyncio.sleep(60))
        app.agent("talker", Agent(instructions="Be kind."))
        placed = await client.ask("POST", "/v1/calls", json=ORDER)
        assert placed.status == 201
        sid = placed.body["sid"]
        assert placed.headers["Location"] == f"/v1/calls/{sid}"
        assert placed.body["direction"] == "outbound"
        assert placed.body["answeredAt"] is None
        await client.until(sid, "in_progress")
        put = await client.ask("PUT", f"/v1/calls/{sid}/agent", json={"agent": "bot"})
        assert (put.status, put.body["agent"]) == (200, "bot")
        gone = await client.ask("DELETE", f"/v1/calls/{sid}/agent")
        assert (gone.status, gone.body["agent"]) == (200, None)
        token = await client.ask("POST", f"/v1/calls/{sid}/token")
        assert token.status == 201
        assert token.body["websocket"].startswith("ws://127.0.0.1:")
        moved = await client.ask("POST", f"/v1/calls/{sid}/transfer", json={"agent": "bot"})
        assert (moved.status, moved.body["agent"]) == (200, "bot")
        ended = await client.ask("DELETE", f"/v1/calls/{sid}")
        assert ended.status == 200
        await client.until(sid, "completed")
        row = (await client.ask("GET", f"/v1/calls/{sid}")).body
        assert (row["outcome"], row["cause"]) == ("answered", 16)
        assert row["media"]["received"] >= 0
        agents = (await client.ask("GET", "/v1/agents")).body["agents"]
        assert agents == [{"id": "bot", "kind": "handler"}, {"id": "talker", "kind": "agent"}]
        before = len(app.active_sessions)
        for agent in ("talker", {"instructions": "Be kind."}):
            lacking = await client.ask("POST", "/v1/calls", json=ORDER | {"agent": agent})
            assert (lacking.status, lacking.code) == (422, "UNPROCESSABLE")  # the app has no speech
        assert len(app.active_sessions) == before


@pytest.mark.parametrize(("asked_at", "told", "settings"), [
    ("engine.example.com:8080", "engine.example.com", {}),
    ("[2001:db8::1]", "[2001:db8::1]", {}),
    ("engine.example.com", "relay.example.com", {"relay_host": "relay.example.com"}),
    ("x/../y", "0.0.0.0", {}),
])  # fmt: skip
async def test_where_the_sound_is_when_the_api_listens_everywhere(
    serve: Serve, asked_at: str, told: str, settings: dict[str, str]
) -> None:
    async with serve(host="0.0.0.0", insecure=True, **settings) as (app, client):
        sid = (await client.originate())["sid"]
        port = app.api.relay.quic_url.rpartition(":")[2]  # type: ignore[union-attr]
        for path, body in (
            (f"/v1/calls/{sid}/token", {}),
            ("/trpc/voice.audioBridge.token", {"orgId": ORG, "sid": sid}),
        ):
            reply = await client.ask("POST", path, json=body, headers={"Host": asked_at})
            grant = reply.body if reply.status == 201 else reply.data
            assert grant["websocket"] == f"ws://{told}:{port}"
            assert grant["quic"] == f"https://{told}:{port}"


async def test_pages_and_filters(serve: Serve) -> None:
    async with serve(callee=FakeEndpoint("busy", rings=0.01)) as (_, client):
        sids = [(await client.originate())["sid"] for _ in range(5)]
        for sid in sids:
            await client.until(sid, "failed")
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await client.ask("GET", "/v1/calls", params={"limit": 2, **cursor})).body
            assert len(page["calls"]) <= 2
            seen += [call["sid"] for call in page["calls"]]
            if page["nextCursor"] is None:
                break
            cursor = {"cursor": page["nextCursor"]}
        assert seen == sids[::-1]
        for query, count in (
            ({"status": "failed"}, 5),
            ({"status": "completed"}, 0),
            ({"direction": "inbound"}, 0),
            ({"trunkId": "trunk_main", "to": TO, "from": FROM}, 5),
            ({"agent": "nobody"}, 0),
        ):
            assert len((await client.ask("GET", "/v1/calls", params=query)).body["calls"]) == count
        for query in ({"limit": 0}, {"limit": 101}, {"limit": "x"}, {"status": "lost"}, {"cursor": "call_00000000"},
                      {"colour": "red"}):  # fmt: skip
            refused = await client.ask("GET", "/v1/calls", params=query)
            assert refused.status == (404 if "cursor" in query else 400)
            assert refused.body["error"]["data"]["field"] == next(iter(query))


async def test_asked_twice_with_one_key_is_one_call(serve: Serve) -> None:
    async with serve() as (app, client):
        key = {"Idempotency-Key": "order-66"}
        both = await asyncio.gather(
            *(client.ask("POST", "/v1/calls", json=ORDER, headers=key) for _ in range(5))
        )
        assert {each.status for each in both} == {201}
        assert len({each.body["sid"] for each in both}) == 1
        assert sorted("Idempotency-Replayed" in each.headers for each in both) == [
            False,
            True,
            True,
            True,
            True,
        ]
        by_name = await client.ask(
            "POST", "/trpc/voice.calls.originate", json={**ORDER, "orgId": ORG}, headers=key
        )
        assert by_name.data["sid"] == both[0].body["sid"]
        other = await client.ask("POST", "/v1/calls", json={**ORDER, "ringTimeoutSec": 9}, headers=key)
        assert (other.status, other.code) == (409, "CONFLICT")
        refused = await client.ask("POST", "/v1/calls", json=ORDER, headers={"Idempotency-Key": "\u00fc"})
        assert refused.status == 400
        wrong = {**ORDER, "to": "+442079460000"}
        again = {"Idempotency-Key": "second"}
        assert (await client.ask("POST", "/v1/calls", json=wrong, headers=again)).status == 403
        assert (
            await client.ask("POST", "/v1/calls", json=ORDER, headers=again)
        ).status == 201  # nothing was kept
        assert len(app.active_sessions) == 2


async def test_the_stream_of_a_call(serve: Serve) -> None:
    async with serve() as (_, client):
        sid = (await client.originate())["sid"]
        url = f"{client.url}/v1/calls/{sid}/events"
        async with (
            aiohttp.ClientSession(headers={"Authorization": "Bearer full"}) as http,
            http.get(url) as stream,
        ):
            assert stream.headers["Content-Type"] == "text/event-stream"
            assert stream.headers["X-Request-Id"]
            assert await stream.content.readuntil(b"\n\n") == b"retry: 1000\n\n"
            first = (await stream.content.readuntil(b"\n\n")).decode().splitlines()
            assert first[:2] == ["id: 1", "event: status"]
            assert json.loads(first[2].removeprefix("data: "))["data"] == {"status": "dialing"}
            await client.until(sid, "in_progress")
            await client.do("voice.calls.hangup", sid=sid)
            rest = (await stream.content.read()).decode()
        assert rest.count("event: status") == 3
        assert '"outcome": "answered"' in rest
        later = await client.ask("GET", f"/v1/calls/{sid}/events", headers={"Last-Event-ID": "99"})
        assert (later.status, later.body) == (200, "retry: 1000\n\n")
        refused = await client.ask("GET", f"/v1/calls/{sid}/events", headers={"Last-Event-ID": "x"})
        assert refused.status == 400
        assert (await client.ask("GET", f"/v1/calls/{sid}/events", key="other")).status == 404


async def test_a_day_after_its_end_a_call_is_forgotten_though_no_other_came(serve: Serve) -> None:
    async with serve(callee=FakeEndpoint("busy", rings=0.01)) as (app, client):
        sid = (await client.originate())["sid"]
        await client.until(sid, "failed")
        call = app.api.desk.get(ORG, sid)  # type: ignore[union-attr]
        async with asyncio.timeout(5):
            while app.api.desk._busy:  # type: ignore[union-attr]
                await asyncio.sleep(0.01)
        call.ended_at = datetime.now(UTC) - timedelta(hours=24)
        assert (await client.ask("GET", "/v1/calls")).body["calls"] == []
        assert (await client.ask("GET", f"/v1/calls/{sid}")).status == 404


async def test_of_calls_that_ended_long_ago_the_statuses_are_kept(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxtra.control.desk.MAX_TOLD", 1)
    async with serve(callee=FakeEndpoint("busy", rings=0.2)) as (app, client):
        logs = []
        for _ in range(2):
            sid = (await client.originate())["sid"]
            logs.append(app.api.desk.get(ORG, sid).log)  # type: ignore[union-attr]
            logs[-1].add("turn_committed", {"text": "hello"})
            await client.until(sid, "failed")
        async with asyncio.timeout(5):
            while len(logs[0].since(0)) == 4:
                await asyncio.sleep(0.01)
        names = [[event.name for event in log.since(0)] for log in logs]
        assert names == [["status"] * 3, ["status", "turn_committed", "status", "status"]]


async def test_a_reader_that_leaves_costs_nothing_and_many_are_refused(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxtra.control.stream.MAX_STREAMS", 1)
    monkeypatch.setattr("voxtra.control.stream.BEAT_S", 0.05)
    async with serve() as (_, client):
        sid = (await client.originate())["sid"]
        await client.until(sid, "in_progress")
        path = f"/v1/calls/{sid}/events"
        async with aiohttp.ClientSession(headers={"Authorization": "Bearer full"}) as http:
            stream = await http.get(client.url + path)
            while await stream.content.readuntil(b"\n\n") != b": \n\n":
                pass
            refused = await client.ask("GET", path)
            assert (refused.status, refused.code) == (429, "TOO_MANY_REQUESTS")
            assert int(refused.headers["Retry-After"]) == 10
            stream.close()
        async with asyncio.timeout(5):
            while True:  # the place is free again, as soon as a beat finds nobody there
                again = asyncio.ensure_future(client.ask("GET", path))
                done, _ = await asyncio.wait({again}, timeout=0.3)
                if not done:
                    break
                assert again.result().status == 429
        await client.do("voice.calls.hangup", sid=sid)
        assert (await again).status == 200


async def test_every_answer_has_an_id_and_its_security_headers(serve: Serve) -> None:
    async with serve() as (_, client):
        for path in ("/v1/calls", "/nothing", "/healthz", "/docs", "/openapi.json"):
            reply = await client.ask("GET", path, headers={"X-Request-Id": "mine-1"})
            assert reply.headers["X-Request-Id"] == "mine-1"
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
            assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
            assert reply.headers["Cache-Control"] == "no-store"
            assert "Access-Control-Allow-Origin" not in reply.headers
        made = await client.ask("GET", "/v1/calls", headers={"X-Request-Id": "a b\u00e4"})
        assert made.headers["X-Request-Id"].startswith("req_")
        assert (await client.ask("PATCH", "/v1/calls")).status == 405


async def test_too_many_requests_say_when_to_come_again(serve: Serve) -> None:
    async with serve(requests_per_second=1.0) as (_, client):
        replies = [await client.ask("GET", "/v1/calls") for _ in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 429]
        assert replies[2].code == "TOO_MANY_REQUESTS"
        assert replies[2].headers["Retry-After"] == "1"
        assert (await client.ask("GET", "/v1/calls", key="reader")).status == 200  # each key has its own
        guesses = [await client.ask("GET", "/v1/calls", key=f"guess{number}") for number in range(21)]
        assert [guess.status for guess in guesses] == [401] * 20 + [429]


async def test_too_many_calls_are_refused_by_the_gate(serve: Serve) -> None:
    async with serve(caps={"calls_per_second": 100.0, "concurrent": 1}) as (_, client):
        await client.originate()
        second = await client.ask("POST", "/v1/calls", json=ORDER)
        assert (second.status, second.code) == (429, "TOO_MANY_REQUESTS")
        assert "Retry-After" in second.headers


async def test_a_call_that_is_over_frees_its_place(serve: Serve) -> None:
    async with serve(caps={"calls_per_second": 100.0, "concurrent": 1}) as (_, client):
        for _ in range(3):
            sid = (await client.originate())["sid"]
            await client.do("voice.calls.hangup", sid=sid)
            await client.until(sid, "completed", "no_answer", "failed")
            await asyncio.sleep(0.1)


async def test_no_call_lasts_longer_than_it_may(serve: Serve) -> None:
    async with serve(caps={"calls_per_second": 100.0, "minutes_per_call": 0.01}) as (_, client):
        sid = (await client.originate())["sid"]
        assert await client.until(sid, "completed") == "completed"


async def test_health_readiness_and_metrics(serve: Serve) -> None:
    async with serve() as (_, client):
        assert (await client.ask("GET", "/healthz", key="")).body == {"alive": True}
        assert (await client.ask("GET", "/readyz", key="")).body == {"ready": True, "state": "ready"}
        text = str((await client.ask("GET", "/metrics")).body)
        assert 'voxtra_ready{app="office"} 1.0' in text
        assert 'voxtra_api_request_seconds_count{route="/healthz",status="200"} 1.0' in text
        proxied = await client.ask("GET", "/metrics", headers={"X-Forwarded-For": "192.0.2.1"})
        assert proxied.status == 403
    async with serve(metrics_token="hush") as (_, client):
        assert (await client.ask("GET", "/metrics")).status == 401
        assert (await client.ask("GET", "/metrics", key="hush")).status == 200


async def test_while_asterisk_is_gone_no_call_is_placed(serve: Serve) -> None:
    async with serve() as (app, client):
        app._phase = app._phase.DRAINING
        reply = await client.ask("POST", "/v1/calls", json=ORDER)
        app._phase = app._phase.READY
        assert (reply.status, reply.code) == (503, "SERVICE_UNAVAILABLE")
        assert int(reply.headers["Retry-After"]) > 0


def test_plain_http_to_the_network_wants_to_be_asked_for() -> None:
    async def start(**options: Any) -> None:
        async with FakeOffice(VoxtraApp(api=Api(0, **{"relay": False, **options}))):
            pass

    with pytest.raises(ConfigurationError, match=r"api.host = '0.0.0.0'.*plain HTTP"):
        asyncio.run(start(host="0.0.0.0"))
    asyncio.run(start(host="0.0.0.0", insecure=True))
    with pytest.raises(ConfigurationError, match="cert and key belong together"):
        Api(0, cert="x.pem")
    for relay in (True, False):
        with pytest.raises(ConfigurationError, match=r"api.cert 'none.pem': No such file"):
            asyncio.run(start(relay=relay, cert="none.pem", key="none.pem"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ConfigurationError, match=r"api.relay_port: .*already in use"):
            asyncio.run(start(relay=True, relay_port=taken.getsockname()[1]))
    with pytest.raises(ConfigurationError, match=r"unknown setting 'api.prot'"):
        Api(prot=8080)
    with pytest.raises(ConfigurationError, match="destination 'GBR'"):
        asyncio.run(start(trunks=[TRUNK | {"destinations": ["GBR"]}]))


async def test_https_with_a_certificate_of_ones_own(serve: Serve, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    async with serve(cert=cert, key=key) as (_, client):
        assert client.url.startswith("https://")
        async with aiohttp.ClientSession() as http, http.get(f"{client.url}/healthz", ssl=False) as answer:
            assert answer.status == 200
            assert "Strict-Transport-Security" in answer.headers


def certificate(folder: Path) -> tuple[str, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    (folder / "cert.pem").write_bytes(
        made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


async def test_the_app_answers_again_after_a_restart(serve: Serve) -> None:
    async with serve() as (app, client):
        await app.stop(0)
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.ask("GET", "/healthz")


async def test_inbound_calls_are_the_organisations_that_the_trunk_or_route_says(serve: Serve) -> None:
    seen: list[Reply] = []
    app = VoxtraApp(app_name="office")

    async def look(call: CallSession) -> None:
        await call.answer()
        seen.append(await client.ask("GET", "/v1/calls", params={"direction": "inbound"}))
        assert call.metadata["sid"] == seen[-1].body["calls"][0]["sid"]

    app.route(extension="200", metadata={"org": ORG})(look)

    @app.agent("receptionist")
    async def receptionist(call: CallSession) -> None:
        await look(call)

    trunk = TRUNK | {"numbers": [FROM], "agent": "receptionist", "org": ORG}
    async with serve(app=app, trunks=[trunk]) as (_, client):
        office: FakeOffice = app._office  # type: ignore[attr-defined]
        await office.call(number=FROM.removeprefix("+"), caller_id="+442079460000")
        await office.call(number="200")
        first, second = (reply.body["calls"][0] for reply in seen)
        assert (first["agent"], first["trunkId"], first["from"]) == (
            "receptionist",
            "trunk_main",
            "+442079460000",
        )
        assert (second["agent"], second["trunkId"], second["to"]) == (None, None, "200")
        unknown = await office.call(number="999")
        assert unknown.call.hangup_reason == "unallocated"
        ended = (await client.ask("GET", "/v1/calls")).body["calls"]
        assert [call["status"] for call in ended] == ["completed", "completed"]


def test_an_event_as_text() -> None:
    from voxtra.wire import CallEvent

    event = CallEvent(
        name="turn_committed", sid="call_1234", seq=7, at=datetime.now(UTC), data={"text": "a\nb"}
    )
    assert as_text(event).count(b"\n") == 4
    assert as_text(event).startswith(b"id: 7\nevent: turn_committed\ndata: {")


async def test_a_client_of_the_other_organisation_sees_none(serve: Serve) -> None:
    async with serve() as (_, client):
        await client.originate()
        async with Client(client.url, "other") as other:
            assert (await other.ask("GET", "/v1/calls")).body == {"calls": [], "nextCursor": None}


async def test_a_body_that_dribbles_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtra.control.requests.BODY_S", 0.2)
    async with serve() as (_, client):
        host, port = client.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /v1/calls HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer full\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n")
        assert head.startswith(b"HTTP/1.1 400")
        writer.close()
        await writer.wait_closed()


async def test_a_transfer_costs_a_place_until_the_call_is_taken_back(serve: Serve) -> None:
    caps = {"calls_per_second": 100.0, "concurrent": 2}
    async with serve(caps=caps) as (app, client):
        app.agent("bot")(lambda call: asyncio.sleep(60))
        sid = (await client.originate())["sid"]
        await client.until(sid, "in_progress")
        assert (await client.do("voice.calls.transfer", sid=sid, to=TO2)).data is None
        assert (await client.ask("POST", "/v1/calls", json=ORDER)).status == 429
        assert (await client.do("voice.agents.attach", sid=sid, agent="bot")).data is None
        assert (await client.ask("POST", "/v1/calls", json=ORDER)).status == 201


async def test_a_path_can_not_write_into_the_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "voxtra.control")
    async with serve() as (_, client):
        await client.ask("GET", "/v1/calls/x%0aERROR%20forged")
    assert "x%0aERROR%20forged" in caplog.text.replace("%0A", "%0a")
    assert "\nERROR forged" not in caplog.text


async def test_a_server_without_keys_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with FakeOffice(VoxtraApp(api=Api(0, relay=False, keys=None))):
        pass
    assert "no keys in keys.json: make one with  voxtra keys create --org ORG" in caplog.text


async def test_pages_of_named_origins_alone_may_use_it(serve: Serve) -> None:
    asks = {"Origin": "https://desk.example.com", "Access-Control-Request-Method": "POST"}
    async with serve(origins=["https://desk.example.com"]) as (_, client):
        before = await client.ask("OPTIONS", "/v1/calls", key="", headers=asks)
        assert before.status == 204
        assert before.headers["Access-Control-Allow-Origin"] == "https://desk.example.com"
        assert "Authorization" in before.headers["Access-Control-Allow-Headers"]
        reply = await client.ask("GET", "/v1/calls", headers={"Origin": "https://desk.example.com"})
        assert reply.headers["Access-Control-Allow-Origin"] == "https://desk.example.com"
        assert "Access-Control-Allow-Credentials" not in reply.headers
        for other in ("https://evil.example.com", "null", "https://desk.example.com.evil"):
            reply = await client.ask("GET", "/v1/calls", headers={"Origin": other})
            assert "Access-Control-Allow-Origin" not in reply.headers
            assert reply.headers["Vary"] == "Origin"
            before = await client.ask("OPTIONS", "/v1/calls", headers=asks | {"Origin": other})
            assert before.status == 405
    async with serve() as (_, client):
        assert (await client.ask("OPTIONS", "/v1/calls", headers=asks)).status == 405


async def test_a_reader_that_takes_nothing_is_cut_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtra.control.stream.WRITE_S", 0.3)
    async with serve() as (app, client):
        sid = (await client.originate())["sid"]
        await client.until(sid, "in_progress")
        assert isinstance(app.api, Api)
        events = app.api.desk.get(ORG, sid).log
        host, port = client.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        asked = f"GET /v1/calls/{sid}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer full\r\n\r\n"
        writer.write(asked.encode())
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(900):
            events.add("turn_committed", {"text": "x" * 20_000})
        await asyncio.sleep(1.5)
        got = 0
        try:
            while piece := await reader.read(100_000):
                got += len(piece)
        except ConnectionError:
            pass
        assert got < 900 * 20_000
        writer.close()
        await client.do("voice.calls.hangup", sid=sid)
        assert await client.until(sid, "completed") == "completed"
