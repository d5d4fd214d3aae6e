"""An ARI server that does as it is told: for what a real Asterisk won't do on demand."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any, Self

from aiohttp import WSMsgType, web


class FakeARI:
    """Answers the few paths the client itself asks for, records all requests, sends what a test wants.

    Attributes:
        handshake: status of the WebSocket handshake, 101 to accept.
        over_websocket: answers RESTRequests, as Asterisks do since 22.4.
        answers: (method, path) → (status, JSON) for further requests.
        requests: (carrier, method, path, query, body) of everything asked.
        hello: messages sent on a new WebSocket before anything else.
    """

    def __init__(self) -> None:
        self.handshake = 101
        self.over_websocket = True
        self.delay_s = 0.0
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {}
        self.requests: list[tuple[str, str, str, dict[str, str], str]] = []
        self.hello: list[dict[str, Any]] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.handshakes = 0
        self.authorization: set[str] = set()
        self.raw_queries: list[str] = []
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/ari/events", self._events)
        app.router.add_route("*", "/ari/{path:.*}", self._http)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for socket in self.sockets:
            await socket.close()
        assert self._runner is not None
        await self._runner.cleanup()

    async def say(self, **message: Any) -> None:
        """Send an event on every open WebSocket."""
        for socket in self.sockets:
            if not socket.closed:
                await socket.send_str(json.dumps(message))

    async def close_all(self, code: int = 1000) -> None:
        """Close every WebSocket in good order."""
        for socket in self.sockets:
            await socket.close(code=code)
        self.sockets.clear()

    def asked(self, method: str, path: str) -> list[str]:
        """Carriers (``"http"``, ``"ws"``) over which this was asked."""
        return [r[0] for r in self.requests if r[1:3] == (method, path)]

    async def _answer(self, carrier: str, method: str, path: str, query: dict[str, str], body: str) -> Any:
        self.requests.append((carrier, method, path, query, body))
        if self.delay_s and not path.startswith("/applications"):
            await asyncio.sleep(self.delay_s)
        if (method, path) in self.answers:
            return self.answers[method, path]
        if path.startswith("/applications/"):
            return 200, {"name": path.split("/")[2], "channel_ids": ["c1"]}
        if path in ("/channels", "/bridges") and method == "GET":
            return 200, [{"id": path[1:-1] + "-1"}]
        if path == "/asterisk/ping":
            return 200, {"ping": "pong", "asterisk_id": "fake"}
        return 404, {"message": "Resource not found"}

    async def _http(self, request: web.Request) -> web.Response:
        self.authorization.add(request.headers.get("Authorization", ""))
        self.raw_queries.append(request.rel_url.raw_query_string)
        path = request.rel_url.raw_path.removeprefix("/ari")
        body = (await request.read()).decode()
        status, answer = await self._answer("http", request.method, path, dict(request.query), body)
        if isinstance(answer, bytes):
            return web.Response(status=status, body=answer)
        return web.Response(status=status, text="" if answer is None else json.dumps(answer))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        self.handshakes += 1
        self.authorization.add(request.headers.get("Authorization", ""))
        if self.handshake != 101:
            return web.Response(status=self.handshake)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        for message in self.hello:
            await socket.send_str(json.dumps(message))
        async for frame in socket:
            if frame.type is WSMsgType.TEXT and self.over_websocket:
                await self._rest(socket, json.loads(frame.data))
        return socket

    async def _rest(self, socket: web.WebSocketResponse, ask: dict[str, Any]) -> None:
        query = {q["name"]: q["value"] for q in ask.get("query_strings", [])}
        path = "/" + ask["uri"]
        status, answer = await self._answer("ws", ask["method"], path, query, ask.get("message_body", ""))
        reply = {
            "type": "RESTResponse",
            "request_id": ask["request_id"],
            "status_code": status,
            "reason_phrase": "whatever",
            "uri": ask["uri"],
        }
        if answer is not None:
            reply["message_body"] = json.dumps(answer)
        if not socket.closed:
            await socket.send_str(json.dumps(reply))


def basic(user: str, password: str) -> str:
    """The Authorization header of a login."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
