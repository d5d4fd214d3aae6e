"""A server that speaks OpenAI's Realtime protocol over a real WebSocket, with the rules of the real one.

It refuses what the real one refuses: a reply beside a reply, a cut beyond the end, a cancel of nothing, a
turn without sound.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

RATES = {"audio/pcm": 24_000, "audio/pcmu": 8_000, "audio/pcma": 8_000}


@dataclass
class Reply:
    """What the model answers: words, sound that lasts ``ms``, and calls of tools."""

    text: str = ""
    ms: int = 0
    tools: list[tuple[str, str, str]] = field(default_factory=list)
    chunk_ms: int = 100
    pause_s: float = 0.0
    first_s: float = 0.0
    fail: str = ""
    hang: bool = False


class RealtimeServer:
    """Answers each ``response.create`` with the next of ``replies``."""

    def __init__(self) -> None:
        self.url = ""
        self.replies: list[Reply] = []
        self.heard: list[str] = []
        """What the caller says, turn by turn, for the transcriptions."""
        self.refuse: list[tuple[int, dict[str, Any]]] = []
        """Answers to the next handshakes, instead of a WebSocket."""
        self.settle = True
        self.connections: list[Connection] = []
        self.requests: list[web.Request] = []
        self.ids = itertools.count(1)
        self.sound: Callable[[int, str], bytes] = quiet

    @property
    def now(self) -> Connection:
        """The newest connection."""
        return self.connections[-1]

    def sent(self, kind: str) -> list[dict[str, Any]]:
        """Every message of one type that came, over all connections."""
        return [m for c in self.connections for m in c.messages if m["type"] == kind]

    async def until(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until ``count`` messages of a type have come."""
        async with asyncio.timeout(5):
            while len(found := self.sent(kind)) < count:
                await asyncio.sleep(0.005)
        return found

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.refuse:
            status, body = self.refuse.pop(0)
            return web.json_response(body, status=status)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        connection = Connection(self, socket)
        self.connections.append(connection)
        await connection.run()
        return socket

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/v1/realtime", self.take)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"ws://127.0.0.1:{runner.addresses[0][1]}/v1"
        return runner


def quiet(ms: int, kind: str) -> bytes:
    """Sound that isn't silence, as it goes over the wire."""
    samples = RATES[kind] * ms // 1000
    return b"\x10\x10" * samples if kind == "audio/pcm" else b"\x90" * samples


class Connection:
    """One conversation on the server's side."""

    def __init__(self, server: RealtimeServer, socket: web.WebSocketResponse) -> None:
        self.server = server
        self.socket = socket
        self.messages: list[dict[str, Any]] = []
        self.session: dict[str, Any] = {}
        self.buffer = bytearray()
        self.turns: list[bytes] = []
        self.items: dict[str, dict[str, Any]] = {}
        self.lengths: dict[str, float] = {}
        self.active = ""
        self.making: asyncio.Task[None] | None = None
        self.errors: list[str] = []

    def id(self, kind: str) -> str:
        return f"{kind}_{next(self.server.ids)}"

    async def tell(self, kind: str, **body: Any) -> None:
        await self.socket.send_str(json.dumps({"type": kind, "event_id": self.id("event")} | body))

    async def complain(self, code: str, message: str, event: dict[str, Any]) -> None:
        self.errors.append(code)
        error = {"type": "invalid_request_error", "code": code, "message": message}
        await self.tell("error", error=error | {"event_id": event.get("event_id")})

    async def drop(self) -> None:
        """The network goes."""
        transport = self.socket._req.transport if self.socket._req is not None else None
        assert transport is not None
        transport.abort()

    async def run(self) -> None:
        await self.tell("session.created", session={"id": self.id("sess"), "type": "realtime"})
        try:
            async for message in self.socket:
                if message.type is WSMsgType.TEXT:
                    event = json.loads(message.data)
                    self.messages.append(event)
                    await self.act(event)
        except ConnectionResetError:
            pass
        finally:
            if self.making is not None:
                self.making.cancel()

    async def act(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "session.update":
                if event["session"].get("voice_of") == "nobody":
                    await self.complain("invalid_value", "no such voice", event)
                elif self.server.settle:
                    self.session = event["session"]
                    await self.tell("session.updated", session=self.session)
            case "input_audio_buffer.append":
                self.buffer += base64.b64decode(event["audio"])
            case "input_audio_buffer.clear":
                self.buffer.clear()
                await self.tell("input_audio_buffer.cleared")
            case "input_audio_buffer.commit":
                await self.commit(event)
            case "conversation.item.create":
                item = event["item"] | {"id": self.id("item")}
                self.items[item["id"]] = item
                await self.tell("conversation.item.added", item=item, previous_item_id=None)
                await self.tell("conversation.item.done", item=item)
            case "response.create":
                await self.create(event)
            case "response.cancel":
                await self.cancel(event)
            case "conversation.item.truncate":
                await self.truncate(event)
            case "conversation.item.delete":
                if self.items.pop(event["item_id"], None) is None:
                    await self.complain("item_delete_invalid_item_id", "no such item", event)
                else:
                    await self.tell("conversation.item.deleted", item_id=event["item_id"])
            case kind:
                await self.complain("unknown_event", f"no such event {kind}", event)

    @property
    def format(self) -> str:
        return str(self.session["audio"]["output"]["format"]["type"])

    async def commit(self, event: dict[str, Any]) -> None:
        kind = self.session["audio"]["input"]["format"]["type"]
        if len(self.buffer) / (2 if kind == "audio/pcm" else 1) < RATES[kind] / 10:
            await self.complain("input_audio_buffer_commit_empty", "buffer too small", event)
            return
        self.turns.append(bytes(self.buffer))
        self.buffer.clear()
        item = self.id("item")
        self.items[item] = {"type": "message", "role": "user"}
        await self.tell("input_audio_buffer.committed", item_id=item, previous_item_id=None)
        if self.session["audio"]["input"].get("transcription") and self.server.heard:
            text = self.server.heard.pop(0)
            about = {"item_id": item, "content_index": 0}
            kind = "conversation.item.input_audio_transcription"
            if text == "?":
                await self.tell(f"{kind}.failed", **about, error={"message": "could not"})
            else:
                await self.tell(f"{kind}.delta", **about, delta=text[:4])
                await self.tell(f"{kind}.completed", **about, transcript=text)

    async def create(self, event: dict[str, Any]) -> None:
        if self.active:
            code = "conversation_already_has_active_response"
            await self.complain(code, f"Conversation already has an active response: {self.active}", event)
            return
        if not self.server.replies:
            await self.complain("rate_limit_exceeded", "Too many of them", event)
            return
        await self.begin(event.get("response") or {})

    async def begin(self, wanted: dict[str, Any]) -> None:
        self.active = self.id("resp")
        reply = self.server.replies.pop(0)
        metadata = wanted.get("metadata")
        response = {"id": self.active, "status": "in_progress", "output": [], "metadata": metadata}
        await self.tell("response.created", response=response)
        self.making = asyncio.ensure_future(self.make(self.active, reply))

    async def make(self, response: str, reply: Reply) -> None:
        try:
            await asyncio.sleep(reply.first_s)
            if reply.hang:
                await asyncio.Event().wait()
            if reply.ms:
                await self.speak(response, reply)
            for index, (call_id, name, arguments) in enumerate(reply.tools, 1):
                about = {"response_id": response, "output_index": index}
                item = {"id": self.id("item"), "type": "function_call", "call_id": call_id, "name": name}
                await self.tell("response.output_item.added", **about, item=item | {"arguments": ""})
                middle = len(arguments) // 2
                for part in (arguments[:middle], arguments[middle:]):
                    await self.tell(
                        "response.function_call_arguments.delta", **about, call_id=call_id, delta=part
                    )
                done = item | {"arguments": arguments, "status": "completed"}
                self.items[str(item["id"])] = done
                await self.tell("response.output_item.done", **about, item=done)
            await self.done(response, "failed" if reply.fail else "completed", reply.fail)
        except ConnectionResetError:
            pass

    async def speak(self, response: str, reply: Reply) -> None:
        item = self.id("item")
        about = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        self.items[item] = {"id": item, "type": "message", "role": "assistant"}
        self.lengths[item] = 0
        await self.tell(
            "response.output_item.added", response_id=response, output_index=0, item=self.items[item]
        )
        words = reply.text.split(" ")
        chunks = max(1, -(-reply.ms // reply.chunk_ms))
        for number in range(chunks):
            ms = min(reply.chunk_ms, reply.ms - number * reply.chunk_ms)
            part = words[number * len(words) // chunks : (number + 1) * len(words) // chunks]
            if part:
                last = (number + 1) * len(words) // chunks == len(words)
                text = " ".join(part) + ("" if last else " ")
                await self.tell("response.output_audio_transcript.delta", **about, delta=text)
            sound = base64.b64encode(self.server.sound(ms, self.format)).decode()
            self.lengths[item] += ms
            await self.tell("response.output_audio.delta", **about, delta=sound)
            await asyncio.sleep(reply.pause_s)
        await self.tell("response.output_audio_transcript.done", **about, transcript=reply.text)
        await self.tell("response.output_audio.done", **about)
        await self.tell(
            "response.output_item.done", response_id=response, output_index=0, item=self.items[item]
        )

    async def done(self, response: str, status: str, failure: str = "") -> None:
        details = {"type": status, "error": {"code": "server_error", "message": failure}} if failure else None
        usage = {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}
        self.active = ""
        await self.tell(
            "response.done",
            response={
                "id": response,
                "status": status,
                "status_details": details,
                "usage": usage,
                "output": [],
            },
        )

    async def cancel(self, event: dict[str, Any]) -> None:
        wanted = event.get("response_id")
        if not self.active or (wanted and wanted != self.active):
            await self.complain("response_cancel_not_active", "Cancellation failed: none is active", event)
            return
        assert self.making is not None
        self.making.cancel()
        await self.done(self.active, "cancelled")

    async def truncate(self, event: dict[str, Any]) -> None:
        length = self.lengths.get(event["item_id"])
        if length is None:
            await self.complain("item_truncate_invalid_item_id", "no such item", event)
        elif event["audio_end_ms"] > length:
            await self.complain(
                "invalid_value",
                f"Audio content of {length:.0f}ms is already shorter than {event['audio_end_ms']}ms",
                event,
            )
        elif event["audio_end_ms"] == 0:
            await self.complain(
                "unsupported_content_type", "Only model output audio messages can be truncated", event
            )
        else:
            self.lengths[event["item_id"]] = event["audio_end_ms"]
            await self.tell(
                "conversation.item.truncated",
                item_id=event["item_id"], content_index=0, audio_end_ms=event["audio_end_ms"],
            )  # fmt: skip
