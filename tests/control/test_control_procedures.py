"""The procedures: envelopes, statuses, who may."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from control_rig import FROM, OTHER, TO, TO2, Client, Serve

from voxtra import CallSession
from voxtra.testing.fake_asterisk import FakeAsterisk, FakeEndpoint


@pytest.mark.parametrize("prefix", ["/api/trpc", "/trpc"])
async def test_a_call_and_its_row_on_both_prefixes(serve: Serve, prefix: str) -> None:
    async with serve() as (_, client):
        order = {"to": TO, "from": FROM, "trunkId": "trunk_main", "agent": None, "ringTimeoutSec": 30}
        row = (await client.do("voice.calls.originate", prefix=prefix, **order)).data
        assert set(row) == {"sid", "status", "to", "from", "startedAt", "trunkId", "agent"}
        assert (row["status"], row["to"], row["from"], row["trunkId"]) == ("dialing", TO, FROM, "trunk_main")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", row["startedAt"])
        assert await client.until(row["sid"], "in_progress") == "in_progress"
        ended = await client.do("voice.calls.hangup", prefix=prefix, sid=row["sid"])
        assert ended.body == {"result": {"data": None}}
        assert await client.status(row["sid"]) == "completed"
        again = await client.do("voice.calls.hangup", sid=row["sid"])
        assert again.body == {"result": {"data": None}}


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("busy", "failed"), ("rejected", "failed"), ("failed", "failed"), ("no_answer", "no_answer")],
)
async def test_how_an_unanswered_call_ends(serve: Serve, outcome: str, status: str) -> None:
    async with serve(callee=FakeEndpoint(outcome, rings=0.05)) as (_, client):
        sid = (await client.originate(ringTimeoutSec=5))["sid"]
        assert await client.until(sid, "failed", "no_answer") == status
        detail = (await client.ask("GET", f"/v1/calls/{sid}")).body
        assert detail["outcome"] == outcome
        assert detail["endedAt"] is not None


async def test_hung_up_while_it_rings(serve: Serve) -> None:
    async with serve(callee=FakeEndpoint(rings=60)) as (_, client):
        sid = (await client.originate())["sid"]
        await client.do("voice.calls.hangup", sid=sid)
        assert await client.status(sid) == "no_answer"
        assert (await client.ask("GET", f"/v1/calls/{sid}")).body["outcome"] == "cancelled"


async def test_who_hung_up_reads_the_end_next(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    tell = FakeAsterisk.emit

    def late(self: FakeAsterisk, kind: str, **fields: Any) -> None:
        """As a busy Asterisk tells of the channel's end."""
        if kind != "ChannelDestroyed":
            tell(self, kind, **fields)
        else:
            asyncio.get_running_loop().call_later(0.2, lambda: tell(self, kind, **fields))

    monkeypatch.setattr(FakeAsterisk, "emit", late)
    async with serve() as (_, client):
        sid = (await client.originate())["sid"]
        assert await client.until(sid, "in_progress") == "in_progress"
        await client.do("voice.calls.hangup", sid=sid)
        assert await client.status(sid) == "completed"


@pytest.mark.parametrize(("asked", "wanted"), [(1, 5), (30, 30), (4000, 120), (-5, 5), (27.5, 27.5)])
async def test_the_ring_timeout_is_clamped(serve: Serve, asked: float, wanted: float) -> None:
    async with serve() as (app, client):
        seen: list[float] = []
        originate = app.originate

        async def spy(endpoint: str, **options: float) -> CallSession:
            seen.append(options["timeout"])
            return await originate(endpoint, **options)  # type: ignore[arg-type]

        app.originate = spy  # type: ignore[method-assign,assignment]
        await client.originate(ringTimeoutSec=asked)
        assert seen == [wanted]


async def test_agents_by_id_swapped_and_detached_on_one_sid(serve: Serve) -> None:
    talked: list[str] = []

    async def stays(name: str) -> None:
        talked.append(f"+{name}")
        try:
            await asyncio.sleep(3600)
        finally:
            talked.append(f"-{name}")

    async with serve() as (app, client):
        app.agent("triage-bot")(lambda call: stays("triage"))
        app.agent("human-queue")(lambda call: stays("human"))
        sid = (await client.originate(agent="triage-bot"))["sid"]
        await client.until(sid, "in_progress")
        assert (await client.do("voice.calls.transfer", sid=sid, to=None, agent="human-queue")).data is None
        row = (await client.do("voice.calls.get", sid=sid)).data
        assert (row["sid"], row["agent"], row["status"]) == (sid, "human-queue", "in_progress")
        assert (await client.do("voice.agents.detach", sid=sid)).data is None
        row = (await client.do("voice.calls.get", sid=sid)).data
        assert (row["agent"], row["status"]) == (None, "in_progress")
        assert (await client.do("voice.agents.attach", sid=sid, agent="triage-bot")).data is None
        await client.do("voice.calls.hangup", sid=sid)
        await client.until(sid, "completed")
    assert talked == ["+triage", "-triage", "+human", "-human", "+triage", "-triage"]


async def test_an_agent_that_is_done_ends_the_call_and_one_that_fails_too(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async def done(call: CallSession) -> None:
        pass

    async def fails(call: CallSession) -> None:
        raise OSError("its database is gone")

    async with serve(check=False) as (app, client):
        app.agent("done")(done)
        app.agent("fails")(fails)
        for name in ("done", "fails"):
            sid = (await client.originate(agent=name))["sid"]
            assert await client.until(sid, "completed") == "completed"
    assert "fails failed; the call is hung up" in caplog.text


async def test_an_agent_attached_while_it_rings_talks_from_the_answer_on(serve: Serve) -> None:
    heard = asyncio.Event()

    async def bot(call: CallSession) -> None:
        assert call.duration >= 0
        heard.set()
        await asyncio.sleep(60)

    async with serve(callee=FakeEndpoint(rings=0.5)) as (app, client):
        app.agent("bot")(bot)
        sid = (await client.originate())["sid"]
        await client.do("voice.agents.attach", sid=sid, agent="bot")
        assert (await client.do("voice.calls.get", sid=sid)).data["agent"] == "bot"
        assert not heard.is_set()
        await client.until(sid, "in_progress")
        async with asyncio.timeout(2):
            await heard.wait()


async def test_transferred_to_a_number_by_the_same_trunk(serve: Serve) -> None:
    async with serve() as (_, client):
        sid = (await client.originate())["sid"]
        early = await client.do("voice.calls.transfer", sid=sid, to=TO2)
        assert (early.status, early.code) == (409, "CONFLICT")
        await client.until(sid, "in_progress")
        assert (await client.do("voice.calls.transfer", sid=sid, to=TO2)).data is None
        row = (await client.ask("GET", f"/v1/calls/{sid}")).body
        assert (row["sid"], row["status"], row["transferredTo"]) == (sid, "in_progress", TO2)
        refused = await client.do("voice.calls.transfer", sid=sid, to="+19005551234")
        assert (refused.status, refused.code) == (403, "FORBIDDEN")
        both = await client.do("voice.calls.transfer", sid=sid, to=TO2, agent="x")
        assert (both.status, both.code) == (400, "BAD_REQUEST")
        assert (await client.do("voice.calls.transfer", sid=sid)).code == "BAD_REQUEST"


ERRORS: list[tuple[dict[str, object], int, str, str]] = [
    ({"to": "911"}, 400, "BAD_REQUEST", "to"),
    ({"to": "Local/s@vx"}, 400, "BAD_REQUEST", "to"),
    ({"to": "+1212555١٢٣٤"}, 400, "BAD_REQUEST", "to"),
    ({"to": "+12125551234&PJSIP/x"}, 400, "BAD_REQUEST", "to"),
    ({"to": "+12125551234;x"}, 400, "BAD_REQUEST", "to"),
    ({"to": "+12125551234\u0000"}, 400, "BAD_REQUEST", "to"),
    ({"to": "+12125551234\n"}, 400, "BAD_REQUEST", "to"),
    ({"to": "+0212555123"}, 400, "BAD_REQUEST", "to"),
    ({"to": ["+12125551234"]}, 400, "BAD_REQUEST", "to"),
    ({"to": "+442079460000"}, 403, "FORBIDDEN", "to"),
    ({"to": "+19005551234"}, 403, "FORBIDDEN", "to"),
    ({"to": "+881612345678"}, 403, "FORBIDDEN", "to"),
    ({"from": "+12125550000"}, 403, "FORBIDDEN", "from"),
    ({"from": "Acme <+15558675309>"}, 400, "BAD_REQUEST", "from"),
    ({"trunkId": "nobody"}, 404, "NOT_FOUND", "trunkId"),
    ({"trunkId": "PJSIP/x"}, 400, "BAD_REQUEST", "trunkId"),
    ({"agent": "nobody"}, 404, "NOT_FOUND", "agent"),
    ({"agent": {"mode": "hymn"}}, 400, "BAD_REQUEST", "agent.mode"),
    ({"agent": {"turnDetection": {"silenceMs": 1}}}, 400, "BAD_REQUEST", "agent.turnDetection.silenceMs"),
    (
        {"agent": {"turnDetection": {"silenceThresholdMs": 50}}},
        400,
        "BAD_REQUEST",
        "agent.turnDetection.silenceThresholdMs",
    ),
    (
        {"agent": {"turnDetection": {"minSpeechMs": "x"}}},
        400,
        "BAD_REQUEST",
        "agent.turnDetection.minSpeechMs",
    ),
    ({"agent": {"turnDetection": {"type": "x"}}}, 400, "BAD_REQUEST", "agent.turnDetection.type"),
    (
        {"agent": {"turnDetection": {"type": "silero", "ttsGuardMs": 1}}},
        400,
        "BAD_REQUEST",
        "agent.turnDetection.ttsGuardMs",
    ),
    ({"agent": {"turnDetection": 5}}, 400, "BAD_REQUEST", "agent.turnDetection"),
    ({"agent": 5}, 400, "BAD_REQUEST", "agent"),
    ({"to": "+112125551234"}, 400, "BAD_REQUEST", "to"),
    ({"ringTimeoutSec": "soon"}, 400, "BAD_REQUEST", "ringTimeoutSec"),
    ({"ringTimeoutSec": "30"}, 400, "BAD_REQUEST", "ringTimeoutSec"),
    ({"ringTimeoutSec": True}, 400, "BAD_REQUEST", "ringTimeoutSec"),
    ({"orgId": OTHER}, 403, "FORBIDDEN", "orgId"),
    ({"orgId": "../etc"}, 400, "BAD_REQUEST", "orgId"),
    ({"variables": {"ENV(PATH)": "x"}}, 400, "BAD_REQUEST", "variables"),
]


async def test_what_can_not_be_is_said_and_the_field_named(serve: Serve) -> None:
    async with serve() as (app, client):
        order = {"to": TO, "from": FROM, "trunkId": "trunk_main", "agent": None}
        for wrong, status, code, field in ERRORS:
            reply = await client.do("voice.calls.originate", **(order | wrong))
            error = reply.body["error"]
            assert (reply.status, error["code"]) == (status, code), error
            assert error["data"] == {"httpStatus": status, "path": "voice.calls.originate", "field": field}
            assert field in error["message"]
        assert not app.active_sessions


async def test_another_organisations_call_is_not_there(serve: Serve) -> None:
    async with serve() as (_, client):
        sid = (await client.originate())["sid"]
        for name, more in (
            ("voice.calls.get", {}),
            ("voice.calls.hangup", {}),
            ("voice.calls.transfer", {"to": TO2}),
            ("voice.agents.attach", {"agent": "x"}),
            ("voice.audioBridge.token", {}),
        ):
            for org in ("org_abc", OTHER):
                theirs = Client(client.url, "other")
                async with theirs:
                    reply = await theirs.do(name, orgId=org, sid=sid, **more)
                assert (reply.status, reply.code) == (404, "NOT_FOUND"), (name, reply.body)
        assert await client.status(sid) in ("dialing", "ringing", "in_progress")


async def test_without_a_key_or_its_scope(serve: Serve) -> None:
    async with serve() as (app, client):
        for key in ("", "wrong", "vx_000000000000_x", "\u00e9"):
            reply = await client.ask(
                "POST", "/trpc/voice.calls.originate", json={}, headers={"Authorization": f"Bearer {key}"}
            )
            assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
            assert reply.headers["WWW-Authenticate"] == "Bearer"
        reply = await client.do("voice.calls.get", sid="call_00000000")
        assert reply.status == 404
        reader = await client.ask("POST", "/trpc/voice.calls.originate", key="reader", json={})
        assert (reader.status, reader.code) == (403, "FORBIDDEN")
        assert not app.active_sessions


async def test_wrong_method_unknown_procedure_and_bodies_that_are_none(serve: Serve) -> None:
    async with serve() as (_, client):
        path = "/api/trpc/voice.calls.originate"
        assert (await client.ask("GET", path)).status == 405
        assert (await client.ask("POST", "/api/trpc/voice.calls.get", json={})).status == 405
        unknown = await client.ask("POST", "/api/trpc/voice.calls.fly", json={})
        assert (unknown.status, unknown.code) == (404, "NOT_FOUND")
        assert (await client.ask("GET", "/elsewhere")).code == "NOT_FOUND"
        json_kind = {"Content-Type": "application/json"}
        for body in (b"{", b"[]", b"null", b'{"to": NaN}', b"\xff\xfe", b"[" * 100_000):
            reply = await client.ask("POST", path, data=body, headers=json_kind)
            assert (reply.status, reply.code) == (400, "BAD_REQUEST"), body[:20]
        long = json.dumps({"to": "x" * 600_000}).encode()
        reply = await client.ask("POST", path, data=long, headers=json_kind)
        assert (reply.status, reply.code) == (413, "PAYLOAD_TOO_LARGE")
        assert (await client.ask("GET", "/trpc/voice.calls.get", params={"input": "{"})).status == 400


async def test_the_call_is_gone_for_what_needs_a_living_one(serve: Serve) -> None:
    async with serve(callee=FakeEndpoint("busy", rings=0.05)) as (app, client):
        app.agent("bot")(lambda call: asyncio.sleep(0))
        sid = (await client.originate())["sid"]
        await client.until(sid, "failed")
        await asyncio.sleep(0.1)
        for name, more in (("voice.agents.attach", {"agent": "bot"}), ("voice.audioBridge.token", {})):
            reply = await client.do(name, sid=sid, **more)
            assert (reply.status, reply.code) == (410, "GONE")
