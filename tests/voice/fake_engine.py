"""A small engine of the wire for the client's tests, on a thread of its own. It keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import WSMsgType, web

from voxtra.wire import (
    HTTP_STATUS,
    PROCEDURES,
    AudioFormat,
    BridgeGrant,
    CallEvent,
    CallRow,
    ErrorCode,
    SoundFrame,
    pack,
    unpack,
)

KEY = "vx_test_key"
ORG = "org_abc"


@dataclass
class Socket:
    """One bridge that was opened."""

    socket: web.WebSocketResponse
    query: dict[str, str]
    frames: list[SoundFrame] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)


class FakeEngine:
    """``fail`` answers the next requests otherwise: ``("GONE", "the call has ended")``, ``"drop"`` (connection lost
    after it was carried out), ``"hang"``, ``"html"``, ``"lost"`` (before it is)."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.rows: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, str] = {}
        self.fail: list[Any] = []
        self.events: dict[str, list[CallEvent]] = {}
        self.event_requests: list[int] = []
        self.break_after: int | None = None
        self.sockets: list[Socket] = []
        self.refuse_socket: int = 0
        self.extra: dict[str, Any] = {}
        self._changed = asyncio.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None

    # ---- steering, from the test's thread

    def do(self, function: Callable[..., Any], *args: Any) -> Any:
        async def run() -> Any:
            done = function(*args)
            return await done if asyncio.iscoroutine(done) else done

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(5)

    def happen(self, sid: str, name: Any, **data: Any) -> None:
        """An event of a call."""

        async def add() -> None:
            log = self.events.setdefault(sid, [])
            log.append(CallEvent(name=name, sid=sid, seq=len(log) + 1, at=datetime.now(UTC), data=data))
            if name == "status" and sid in self.rows:
                self.rows[sid]["status"] = data["status"]
            async with self._changed:
                self._changed.notify_all()

        self.do(add)

    def say(self, payload: bytes, timestamp_us: int, which: int = -1) -> None:
        self.do(self.sockets[which].socket.send_bytes, pack(SoundFrame(timestamp_us, payload)))

    def cut(self, which: int = -1) -> None:
        """The relay's connection breaks, with no goodbye."""

        def abort() -> None:
            transport = self.sockets[which].socket._req.transport  # type: ignore[union-attr]
            transport.abort()  # type: ignore[union-attr]

        self.do(abort)

    def end_sound(self, code: int, which: int = -1) -> None:
        self.do(lambda: self.sockets[which].socket.close(code=code))

    def inputs(self, procedure: str) -> list[dict[str, Any]]:
        return [given for name, given, _ in self.asked if name == procedure]

    # ---- answering

    async def procedure(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        kind, model = PROCEDURES[name]
        raw = request.query["input"] if kind == "query" else await request.text()
        given = json.loads(raw)
        self.asked.append((name, given, dict(request.headers)))
        failure = self.fail.pop(0) if self.fail else None
        if failure == "lost":
            return self._drop(request)
        if failure == "hang":
            await asyncio.sleep(60)
        if failure == "html":
            return web.Response(status=502, text="<h1>Bad gateway</h1>", content_type="text/html")
        if isinstance(failure, bytes):
            return web.Response(body=failure, content_type="application/json")
        if isinstance(failure, tuple):
            return self._refuse(*failure)
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return self._refuse("UNAUTHORIZED", "no such key")
        asked = model.model_validate(given)
        data = self._done(name, asked, request)
        if data is None and name != "voice.agents.attach" and name.startswith("voice.calls.get"):
            return self._refuse("NOT_FOUND", "there is no such call", "sid")
        if failure == "drop":
            return self._drop(request)
        return web.json_response({"result": {"data": data}})

    def _done(self, name: str, asked: Any, request: web.Request) -> Any:
        if name == "voice.calls.originate":
            key = request.headers.get("Idempotency-Key", "")
            sid = self.keys.get(key) or f"call_{len(self.rows):08d}"
            self.keys[key] = sid
            if sid not in self.rows:
                agent = asked.agent if isinstance(asked.agent, str) or asked.agent is None else "inline"
                self.rows[sid] = CallRow(
                    sid=sid, status="dialing", to=asked.to, from_=asked.from_, trunk_id=asked.trunk_id,
                    started_at=datetime(2026, 5, 4, 12, tzinfo=UTC), agent=agent,
                ).to_wire() | self.extra  # fmt: skip
            return self.rows[sid]
        if name == "voice.calls.get":
            return self.rows.get(asked.sid)
        if name == "voice.audioBridge.token":
            grant = BridgeGrant(
                token=f"{asked.sid}.{asked.role}.{len(self.asked)}",
                expires_at=datetime.now(UTC),
                quic=None,
                websocket=self.url.replace("http", "ws"),
            )
            return grant.to_wire() | self.extra
        return None

    def _refuse(self, code: ErrorCode, message: str, field: str = "", **headers: str) -> web.Response:
        status = HTTP_STATUS[code]
        data = {"httpStatus": status, "path": ""} | ({"field": field} if field else {})
        return web.json_response(
            {"error": {"message": message, "code": code, "data": data}},
            status=status,
            headers={"X-Request-Id": "req_1", **headers},
        )

    @staticmethod
    def _drop(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        sid, seq = request.match_info["sid"], int(request.headers.get("Last-Event-ID", 0))
        self.event_requests.append(seq)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": hello\n\n")
        sent = 0
        while True:
            for event in self.events.get(sid, [])[seq:]:
                seq = event.seq
                text = f"event: {event.name}\nid: {seq}\ndata: {json.dumps(event.to_wire())}\n\n"
                await response.write(text.encode())
                sent += 1
                if self.break_after is not None and sent >= self.break_after:
                    return response
                if event.data.get("status") in ("completed", "failed", "no_answer"):
                    return response
            async with self._changed:
                await self._changed.wait()

    async def sound(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(heartbeat=5)
        await socket.prepare(request)
        entry = Socket(socket, dict(request.query))
        if self.refuse_socket:
            await socket.close(code=self.refuse_socket)
            return socket
        query = request.query
        form = AudioFormat.model_validate(
            {
                "codec": query["codec"],
                "sampleRate": int(query["sampleRate"]),
                "frameMs": int(query["frameMs"]),
            }
        )
        self.sockets.append(entry)
        await socket.send_str(json.dumps(form.info()))
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                entry.frames.append(unpack(message.data))
        entry.closed.set()
        return socket


@contextmanager
def running() -> Iterator[FakeEngine]:
    """An engine that listens, on a thread of its own."""
    engine = FakeEngine()
    ready, stop = threading.Event(), []

    async def serve() -> None:
        engine._loop = asyncio.get_running_loop()
        end = asyncio.Event()
        stop.append(end)
        app = web.Application()
        app.router.add_route("*", "/api/trpc/{name}", engine.procedure)
        app.router.add_get("/v1/calls/{sid}/events", engine.stream)
        app.router.add_get("/voice/{sid}", engine.sound)
        runner = web.AppRunner(app, shutdown_timeout=0.05, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        engine.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await end.wait()
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(5)
    try:
        yield engine
    finally:
        assert engine._loop is not None
        engine._loop.call_soon_threadsafe(stop[0].set)
        thread.join(10)
        assert not thread.is_alive()
