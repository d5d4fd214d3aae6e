"""OpenAI's Realtime server in a transcription session, as its SDK sees it, well and badly behaved."""

import asyncio
import base64
import json

from aiohttp import WSMsgType, web
from fakes.deepgram_server import serve
from fakes.marked_sound import audioop, hear


class TranscriptionServer:
    def __init__(self) -> None:
        self.url = ""
        self.connections: list[dict] = []
        self.refuse_always: tuple[int, dict, dict] | None = None
        self.drop_after_ms: list[int] = []
        self.connect_delay = 0.0
        self.silent = False
        self.garbage: list[str] = []
        self.error: dict | None = None
        self.fail_items = 0

    async def realtime(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.connect_delay)
        if self.refuse_always is not None:
            status, headers, body = self.refuse_always
            return web.json_response(body, status=status, headers=headers)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        state = {"query": dict(request.query), "headers": dict(request.headers), "sound": bytearray()}
        self.connections.append(state)
        await socket.send_json({"type": "session.created", "event_id": "e", "session": {}})
        for text in self.garbage:
            await socket.send_str(text)
        if self.error:
            await socket.send_json({"type": "error", "event_id": "e", "error": self.error})
        drop = self.drop_after_ms.pop(0) if self.drop_after_ms else None
        buffer, items = bytearray(), 0
        async for message in socket:
            if message.type != WSMsgType.TEXT:
                continue
            event = json.loads(message.data)
            if event["type"] == "session.update":
                state["session"] = event["session"]
                await socket.send_json(
                    {"type": "session.updated", "event_id": "e", "session": event["session"]}
                )
            elif event["type"] == "input_audio_buffer.append":
                sound = base64.b64decode(event["audio"], validate=True)
                buffer += sound
                state["sound"] += sound
                if drop is not None and self.ms(state, state["sound"]) >= drop:
                    request.transport.abort()
                    break
            elif event["type"] == "input_audio_buffer.commit":
                items += 1
                await self.commit(socket, state, bytes(buffer), f"item_{items}")
                buffer.clear()
        state["closed"] = True
        return socket

    @staticmethod
    def mulaw(state: dict) -> bool:
        return state["session"]["audio"]["input"]["format"]["type"] == "audio/pcmu"

    def ms(self, state: dict, sound: bytes) -> float:
        return len(sound) / (8 if self.mulaw(state) else 48)

    async def commit(self, socket, state: dict, sound: bytes, item: str) -> None:
        if self.ms(state, sound) < 100:
            error = {"type": "invalid_request_error", "code": "input_audio_buffer_commit_empty"}
            await socket.send_json({"type": "error", "event_id": "e", "error": error | {"message": "empty"}})
            return
        common = {"event_id": "e", "item_id": item, "content_index": 0}
        await socket.send_json({"type": "input_audio_buffer.committed", "event_id": "e", "item_id": item})
        if self.silent:
            return
        of = "conversation.item.input_audio_transcription."
        if self.fail_items:
            self.fail_items -= 1
            error = {"type": "x", "code": "x", "message": "could not be heard"}
            await socket.send_json(common | {"type": of + "failed", "error": error})
            return
        mulaw = self.mulaw(state)
        found = hear(audioop.ulaw2lin(sound, 2), 8000) if mulaw else hear(sound, 24000)
        words = [word for word, _, _ in found]
        for number, word in enumerate(words):
            await socket.send_json(common | {"type": of + "delta", "delta": " " * (number > 0) + word})
        await socket.send_json(
            common | {"type": of + "completed", "transcript": " ".join(words), "usage": {"type": "duration"}}
        )


async def run_transcription(server: TranscriptionServer) -> web.AppRunner:
    app = web.Application()
    app.router.add_get("/v1/realtime", server.realtime)
    return await serve(app, server)
