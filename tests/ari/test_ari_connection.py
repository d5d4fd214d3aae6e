"""The connection: readiness, reconciliation, breaks of all kinds, and what becomes of requests meanwhile."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from fake_ari import FakeARI, basic
from faults import FaultProxy

from voxtra.ari import Application, ARIClient, ConnectionState, Event, Snapshot
from voxtra.ari.backoff import Backoff
from voxtra.ari.connection import EventConnection
from voxtra.ari.fanout import Fanout
from voxtra.ari.websocket import MAX_REQUEST
from voxtra.errors import (
    ARIConnectionLostError,
    ARINotFoundError,
    ARITimeoutError,
    AuthenticationError,
    NotConnectedError,
    TelephonyConnectionError,
)

PASSWORD = "s3cret-password"


@pytest.fixture
async def fake() -> AsyncIterator[FakeARI]:
    async with FakeARI() as server:
        yield server


def client(url: str, app: str | None = "a", **settings: object) -> ARIClient:
    quick: dict[str, object] = {"heartbeat_s": 0.6, "reconnect_s": (0.02, 0.1), "request_timeout_s": 2.0}
    return ARIClient(url, "joe", PASSWORD, app, **(quick | settings))  # type: ignore[arg-type]


async def until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


async def test_ready_only_after_the_snapshot_and_events_after_that(fake: FakeARI) -> None:
    fake.hello = [{"type": "StasisStart", "application": "a", "args": [], "channel": {"id": "early"}}]
    ari, seen = client(fake.url), []
    ari.on_state(lambda state: seen.append(str(state)))
    ari.on_resync(lambda snapshot: seen.append((snapshot, ari.ready)))
    ari.on_event(lambda event: seen.append((event.type, ari.ready)))
    assert not ari.ready
    async with ari:
        assert ari.ready
        await until(lambda: len(seen) == 4)
        connecting, (snapshot, ready_then), ready, event = seen
        assert (connecting, ready_then, ready) == ("connecting", False, "ready")
        assert isinstance(snapshot, Snapshot)
        assert snapshot.application.name == "a"
        assert [c.id for c in snapshot.channels] == ["channel-1"]
        assert [b.id for b in snapshot.bridges] == ["bridge-1"]
        assert event == ("StasisStart", True)
    assert seen[-1] == "closed"
    assert fake.authorization == {basic("joe", PASSWORD)}
    assert not any(PASSWORD in q for q in fake.raw_queries)


async def test_a_flood_before_the_snapshot_is_bounded(fake: FakeARI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtra.ari.connection.MAX_HELD_EVENTS", 3)
    fake.hello = [{"type": "StasisEnd", "channel": {"id": str(n)}} for n in range(8)]
    ari, events = client(fake.url), []
    ari.on_event(events.append)
    with pytest.raises(TelephonyConnectionError, match="while reconciling"):
        await ari.connect(wait=False)
    assert events == []
    fake.hello = fake.hello[:3]
    async with ari:
        await until(lambda: len(events) == 3)


async def test_a_state_that_cannot_be_fetched_is_no_connection(fake: FakeARI) -> None:
    fake.answers["GET", "/channels"] = (503, {"message": "not yet"})
    ari = client(fake.url)
    with pytest.raises(TelephonyConnectionError, match="not yet"):
        await ari.connect(wait=False)
    connecting = asyncio.create_task(ari.connect())
    await until(lambda: ari.attempts >= 2)
    del fake.answers["GET", "/channels"]
    await asyncio.wait_for(connecting, 5)
    assert ari.ready
    await ari.close()


async def test_requests_go_over_the_websocket_and_what_can_not_over_http(fake: FakeARI) -> None:
    fake.answers["GET", "/recordings/stored/r/file"] = (200, b"\x00\xff")
    fake.answers["POST", "/channels"] = (200, {"id": "c"})
    async with client(fake.url) as ari:
        await until(lambda: ari.requests_over_websocket)
        await ari.bridges.list()
        assert fake.requests[-1][:3] == ("ws", "GET", "/bridges")
        assert await ari.recordings.get_stored_file(recording_name="r") == b"\x00\xff"
        assert fake.requests[-1][0] == "http"
        await ari.channels.originate(endpoint="x", variables={"A": "x" * MAX_REQUEST})
        assert fake.requests[-1][0] == "http"
        await ari.channels.originate(endpoint="x", app_args="é &=+%", variables={"A": "é"})
        assert fake.requests[-1][0] == "ws"
        assert fake.requests[-1][3]["appArgs"] == "é &=+%"


async def test_an_asterisk_without_requests_on_the_websocket_is_asked_over_http(fake: FakeARI) -> None:
    fake.over_websocket = False
    async with client(fake.url) as ari:
        with pytest.raises(ARINotFoundError) as caught:
            await ari.channels.answer(channel_id="no one")
        assert (caught.value.status, caught.value.path) == (404, "/channels/no%20one/answer")
        assert not ari.requests_over_websocket
        assert {r[0] for r in fake.requests} == {"http"}
    with pytest.raises(TelephonyConnectionError, match="auto"):
        await client(fake.url, transport="websocket", request_timeout_s=0.3).connect(wait=False)


async def test_transport_http_never_uses_the_websocket(fake: FakeARI) -> None:
    async with client(fake.url, transport="http") as ari:
        await ari.bridges.list()
        assert {r[0] for r in fake.requests} == {"http"}


async def test_a_filter_is_set_over_http_and_the_websocket_is_tried_anew(fake: FakeARI) -> None:
    fake.answers["PUT", "/applications/a/eventFilter"] = (200, {"name": "a"})
    async with client(fake.url) as ari:
        await until(lambda: ari.requests_over_websocket)
        fake.over_websocket = False  # as if the filter hid the responses
        await ari.applications.filter(application_name="a", filter={"allowed": [{"type": "StasisStart"}]})
        await ari.bridges.list()
        assert [r[0] for r in fake.requests[-2:]] == ["http", "http"]
        fake.over_websocket = True
        await ari.applications.filter(application_name="a", filter={"allowed": []})
        await until(lambda: ari.requests_over_websocket)


async def test_without_an_app_there_are_requests_and_no_websocket(fake: FakeARI) -> None:
    async with client(fake.url, app=None) as ari:
        assert ari.ready
        await ari.channels.list()
    assert fake.handshakes == 0
    with pytest.raises(NotConnectedError):
        await ari.channels.list()


@pytest.mark.parametrize("code", [1000, 1001, 1011])
async def test_connects_again_after_a_close_without_hurry(fake: FakeARI, code: int) -> None:
    async with client(fake.url) as ari:
        snapshots: list[Snapshot] = []
        states: list[ConnectionState] = []
        ari.on_resync(snapshots.append)
        ari.on_state(states.append)
        await fake.close_all(code)
        await until(lambda: len(snapshots) == 1)
        await until(lambda: ari.ready)
        assert states == [ConnectionState.LOST, ConnectionState.READY]


@pytest.mark.proves("failure 23")
async def test_a_server_that_closes_at_once_is_not_hammered(fake: FakeARI) -> None:
    async with client(fake.url, reconnect_s=(0.05, 0.4)):

        async def close_for_a_second() -> None:
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                await fake.close_all(1000)
                await asyncio.sleep(0.005)

        await close_for_a_second()
    assert 2 <= fake.handshakes <= 12


@pytest.mark.proves("failure 23")
@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_login_ends_it(fake: FakeARI, status: int) -> None:
    fake.handshake = status
    ari, states = client(fake.url), []
    ari.on_state(states.append)
    with pytest.raises(AuthenticationError, match=r"ari\.conf") as caught:
        await ari.connect()
    assert fake.handshakes == 1
    assert ConnectionState.FAILED in states
    assert PASSWORD not in f"{caught.value!r}{caught.value.__context__!r}{ari!r}"


async def test_a_login_refused_later_ends_a_running_client(fake: FakeARI) -> None:
    async with client(fake.url) as ari:
        fake.handshake = 401
        await fake.close_all()
        await until(lambda: ari.state is ConnectionState.FAILED)
        handshakes = fake.handshakes
        await asyncio.sleep(0.3)
        assert fake.handshakes == handshakes
        assert isinstance(ari.last_error, AuthenticationError)
        with pytest.raises(AuthenticationError):
            await ari.wait_ready(1)


async def test_an_absent_asterisk_is_waited_for(fake: FakeARI, caplog: pytest.LogCaptureFixture) -> None:
    target = urlsplit(fake.url)
    async with FaultProxy("127.0.0.1", target.port or 0) as proxy:
        proxy.refuse = True
        ari = client(proxy.url)
        with caplog.at_level(logging.INFO, "voxtra.ari"):
            connecting = asyncio.create_task(ari.connect())
            await until(lambda: ari.attempts >= 3)
            assert not ari.ready
            assert not connecting.done()
            proxy.refuse = False
            await asyncio.wait_for(connecting, 10)
        assert ari.ready
        assert ari.attempts == 0
        assert "ARI try 3" in caplog.text
        assert PASSWORD not in caplog.text
        await ari.close()


async def test_waiting_can_be_bounded_or_declined() -> None:
    async with FaultProxy("127.0.0.1", 1) as nobody:
        with pytest.raises(TelephonyConnectionError, match=r"within 0\.2 s"):
            await client(nobody.url).connect(timeout=0.2)
        for app in ("a", None):
            with pytest.raises(TelephonyConnectionError):
                await client(nobody.url, app).connect(wait=False)


async def test_an_idle_connection_is_kept(fake: FakeARI) -> None:
    async with client(fake.url) as ari:
        states: list[ConnectionState] = []
        ari.on_state(states.append)
        await asyncio.sleep(1.5)
        assert ari.ready
        assert states == []


async def test_a_half_open_connection_is_noticed(fake: FakeARI) -> None:
    async with FaultProxy("127.0.0.1", urlsplit(fake.url).port or 0) as proxy, client(proxy.url) as ari:
        await until(lambda: ari.requests_over_websocket)
        began = time.monotonic()
        proxy.stall()
        under_way = asyncio.create_task(ari.channels.hangup(channel_id="c", request_timeout_s=8))
        await until(lambda: ari.state is ConnectionState.LOST)
        assert 0.3 < time.monotonic() - began < 5
        with pytest.raises(ARIConnectionLostError):
            await under_way
        proxy.resume()
        await until(lambda: ari.ready)


@pytest.mark.proves("failure 25")
async def test_a_reset_fails_what_is_under_way_except_that_a_get_is_sent_again(fake: FakeARI) -> None:
    async with FaultProxy("127.0.0.1", urlsplit(fake.url).port or 0) as proxy, client(proxy.url) as ari:
        await until(lambda: ari.requests_over_websocket)
        fake.delay_s = 0.3
        order = asyncio.create_task(ari.channels.hangup(channel_id="c"))
        question = asyncio.create_task(ari.bridges.list())
        await until(lambda: len(fake.asked("DELETE", "/channels/c")) == 1)
        proxy.reset()
        with pytest.raises(ARIConnectionLostError):
            await order
        assert [b.id for b in await question] == ["bridge-1"]
        assert len(fake.asked("DELETE", "/channels/c")) == 1


async def test_a_lost_answer_is_a_timeout_and_http_is_used_until_answers_come(fake: FakeARI) -> None:
    async with client(fake.url) as ari:
        await until(lambda: ari.requests_over_websocket)
        fake.over_websocket = False
        with pytest.raises(ARITimeoutError, match=r"within 0\.1 s"):
            await ari.channels.hangup(channel_id="c", request_timeout_s=0.1)
        with pytest.raises(ARINotFoundError):
            await ari.channels.hangup(channel_id="c")
        assert fake.asked("DELETE", "/channels/c") == ["http"]


@pytest.mark.parametrize("transport", ["auto", "http"])
async def test_each_request_has_its_deadline(fake: FakeARI, transport: str) -> None:
    async with client(fake.url, transport=transport) as ari:
        fake.delay_s = 3.0
        began = time.monotonic()
        with pytest.raises(ARITimeoutError) as caught:
            await ari.channels.ring(channel_id="c", request_timeout_s=0.2)
        assert time.monotonic() - began < 2
        assert (caught.value.method, caught.value.path) == ("POST", "/channels/c/ring")
        fake.delay_s = 0


async def test_a_taken_over_name_is_reported_and_not_fought_over(
    fake: FakeARI, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(fake.url) as ari:
        events: list[Event] = []
        ari.on_event(events.append)
        await fake.say(type="ApplicationReplaced", application="someone else's")
        await fake.say(type="ApplicationReplaced", application="a")
        await until(lambda: ari.state is ConnectionState.REPLACED)
        assert "another app name" in caplog.text
        assert [e.type for e in events] == ["ApplicationReplaced"] * 2
        await asyncio.sleep(0.3)
        assert fake.handshakes == 1
        assert isinstance(ari.last_error, TelephonyConnectionError)
        await ari.connect()  # on purpose it can be had back
        assert ari.ready
        assert fake.handshakes == 2


async def test_bad_messages_are_dropped_and_the_rest_goes_on(fake: FakeARI) -> None:
    async with client(fake.url) as ari, ari.events(types=["StasisEnd"]) as ends:
        for text in (
            "",
            "{",
            "[]",
            '{"type": "RESTResponse", "request_id": "nobody"}',
            '{"type":"MissingParams"}',
        ):
            await fake.sockets[0].send_str(text)
        await fake.sockets[0].send_bytes(b"\x00")
        await fake.say(type="StasisEnd", channel={"id": "c"})
        async with asyncio.timeout(5):
            assert (await anext(ends)).type == "StasisEnd"
        assert ari.ready


@pytest.mark.proves("failure 19")
async def test_one_who_reads_slowly_delays_nobody(fake: FakeARI) -> None:
    async with client(fake.url) as ari, ari.events(channel_id="slow", limit=5) as slow:
        async with ari.events(channel_id="quick") as quick:
            for number in range(50):
                await fake.say(type="ChannelVarset", variable=str(number), value="", channel={"id": "slow"})
                await fake.say(type="ChannelVarset", variable=str(number), value="", channel={"id": "quick"})
            async with asyncio.timeout(5):
                got = [(await anext(quick)).variable for _ in range(50)]  # type: ignore[attr-defined]
            assert got == [str(n) for n in range(50)]
        assert (await anext(slow)).type == "ChannelVarset"


async def test_streams_live_through_a_reconnect_and_end_with_the_client(fake: FakeARI) -> None:
    ari = client(fake.url)
    async with ari.events(channel_id="c") as source:
        await ari.connect()
        await fake.close_all()
        await until(lambda: not ari.ready)
        await ari.wait_ready(5)
        await fake.say(type="StasisEnd", channel={"id": "c"})
        async with asyncio.timeout(5):
            assert (await anext(source)).type == "StasisEnd"
            await ari.close()
            await ari.close()
            assert [e async for e in source] == []


async def test_a_closed_client_leaves_no_task_and_can_connect_again(fake: FakeARI) -> None:
    before = asyncio.all_tasks()
    ari = client(fake.url)
    for _ in range(2):
        await ari.connect()
        await ari.connect()
        assert ari.ready
        await ari.close()
        assert ari.state is ConnectionState.CLOSED
    await until(lambda: {t for t in asyncio.all_tasks() - before if t.get_name().startswith("ari")} == set())


async def test_a_cancelled_connect_leaves_nothing() -> None:
    async with FaultProxy("127.0.0.1", 1) as nobody:
        ari = client(nobody.url)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await ari.connect()
        assert ari.state is ConnectionState.CLOSED
        assert [t for t in asyncio.all_tasks() if t.get_name().startswith("ari")] == []


async def test_a_failure_nobody_thought_of_is_no_connection() -> None:
    """It is said, and tried again; meanwhile nobody is told that all is well."""
    states: list[ConnectionState] = []
    ready = asyncio.Event()

    class Socket:
        async def run(self, receive: Any) -> None:
            await ready.wait()
            raise ValueError("a flaw")

        async def close(self) -> None: ...

    async def open_socket() -> Any:
        return Socket()

    async def fetch(socket: Any) -> Any:
        return Snapshot(Application(name="a"), (), ())

    connection = EventConnection("a", open_socket, fetch, Fanout(), Backoff(0.05, 0.05))
    connection.on_state.add(states.append)
    connection.start()
    await connection.settled(wait=True)
    ready.set()
    await asyncio.sleep(0.02)
    assert connection.state is ConnectionState.LOST
    await connection.close()
    assert states == [
        ConnectionState.CONNECTING, ConnectionState.READY, ConnectionState.LOST, ConnectionState.CLOSED
    ]  # fmt: skip


async def test_leaving_breaks_no_request_that_is_under_way(fake: FakeARI) -> None:
    """An app that stops cleans up: its requests would else be lost with the WebSocket, and leave bridges behind."""
    for name in "xyz":
        fake.answers["POST", f"/bridges/{name}"] = fake.answers["DELETE", f"/bridges/{name}"] = 204, None
    async with client(fake.url) as ari:
        await until(lambda: ari.requests_over_websocket)
        fake.delay_s = 0.05
        given_up = asyncio.ensure_future(ari.bridges.create_with_id(bridge_id="x"))
        waiting = [asyncio.ensure_future(ari.bridges.destroy(bridge_id=name)) for name in "yz"]
        await asyncio.sleep(0.02)
        given_up.cancel()
        await ari.leave()
        await asyncio.gather(*waiting)
        await ari.bridges.destroy(bridge_id="x")
    asked = [
        (carrier, method, path) for carrier, method, path, *_ in fake.requests if path.startswith("/bridges/")
    ]
    assert asked == [
        ("ws", "POST", "/bridges/x"),
        ("ws", "DELETE", "/bridges/y"),
        ("ws", "DELETE", "/bridges/z"),
        ("http", "DELETE", "/bridges/x"),
    ]


async def test_leaving_an_asterisk_that_answers_no_more_takes_a_bounded_time(
    fake: FakeARI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxtra.ari.websocket.FINISH_S", 0.05)
    async with client(fake.url) as ari:
        await until(lambda: ari.requests_over_websocket)
        fake.delay_s = 60
        waiting = asyncio.ensure_future(ari.bridges.destroy(bridge_id="x"))
        await asyncio.sleep(0.02)
        await asyncio.wait_for(ari.leave(), 5)
        with pytest.raises(ARIConnectionLostError):
            await waiting
        fake.delay_s = 0
        await ari.close()
