"""Servers of voices as their SDKs see them: Deepgram, ElevenLabs, OpenAI by HTTP, Cartesia by WebSocket.

All say 100 ms of one level for each word, and do badly what their attributes tell.
"""

import asyncio
import base64
import contextlib
import io
import json
import struct
import wave

from aiohttp import WSMsgType, web
from fakes.deepgram_server import serve
from fakes.marked_sound import audioop, hear

LEVEL = 3000


def tone(ms: int, rate: int) -> bytes:
    return struct.pack("<h", LEVEL) * (rate * ms // 1000)


class VoiceServer:
    def __init__(self) -> None:
        self.url = ""
        self.requests: list[dict] = []
        self.refuse: list[tuple[int, dict, dict]] = []  # status, headers, body; one for each attempt
        self.first = 0.0  # s before the first byte (of Cartesia: the first message)
        self.pause = 0.0  # s after each word
        self.hold = 0.0  # s before the end
        self.drop_after: int | None = None  # words
        self.drop_once = False
        self.empty = False
        self.odd = False  # pieces that end in half a sample
        self.garbage: bytes | None = None
        self.gone = asyncio.Event()  # the client left before the end
        self.relative_times = False
        self.sockets = 0
        self.socket: web.WebSocketResponse | None = None
        self.cancelled: list[str] = []

    # by HTTP

    async def deepgram(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        query = dict(request.query)
        self.keep(request, body, **query)
        return await self.raw(request, body["text"], int(query["sample_rate"]))

    async def openai(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.keep(request, body)
        return await self.raw(request, body["input"], 24000)

    async def eleven(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        wanted = request.query["output_format"]
        self.keep(request, body, voice=request.match_info["voice"], output_format=wanted)
        kind, rate = wanted.split("_")
        return await self.raw(request, body["text"], int(rate), mulaw=kind == "ulaw")

    async def eleven_timed(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        wanted = request.query["output_format"]
        self.keep(request, body, voice=request.match_info["voice"], output_format=wanted)
        kind, rate = wanted.split("_")
        words, lines = body["text"].split(), []
        for number, word in enumerate(words):
            text = word if number == len(words) - 1 else word + " "
            begin = 0 if self.relative_times else number * 0.1
            starts = [round(begin + at * 0.1 / len(text), 4) for at in range(len(text))]
            sound = tone(100, int(rate))
            sound = audioop.lin2ulaw(sound, 2) if kind == "ulaw" else sound
            alignment = {
                "characters": list(text),
                "character_start_times_seconds": starts,
                "character_end_times_seconds": starts,
            }
            piece = {"audio_base64": base64.b64encode(sound).decode(), "alignment": alignment}
            lines.append(json.dumps(piece | {"normalized_alignment": None}).encode() + b"\n\n")
        return await self.answer(request, lines, "application/json")

    def keep(self, request: web.Request, body: dict, **more) -> None:
        self.requests.append(body | more | {"path": request.path, "headers": dict(request.headers)})

    async def raw(self, request, text: str, rate: int, *, mulaw: bool = False) -> web.StreamResponse:
        sound = tone(100, rate)
        parts = [audioop.lin2ulaw(sound, 2) if mulaw else sound for _ in text.split()]
        if self.odd:
            whole = b"".join(parts)
            parts = [whole[at : at + 333] for at in range(0, len(whole), 333)]
        return await self.answer(request, parts, "audio/basic" if mulaw else "audio/l16")

    async def answer(self, request, parts, kind: str) -> web.StreamResponse:
        if self.refuse:
            status, headers, body = self.refuse.pop(0)
            return web.json_response(body, status=status, headers=headers)
        try:
            await asyncio.sleep(self.first)
            if self.garbage is not None:
                return web.Response(body=self.garbage, content_type="text/html")
            response = web.StreamResponse(headers={"Content-Type": kind})
            await response.prepare(request)
            for number, part in enumerate([] if self.empty else parts):
                if number == self.drop_after:
                    await asyncio.sleep(0.05)
                    self.drop(request)
                    return response
                await response.write(part)
                await asyncio.sleep(self.pause)
            await asyncio.sleep(self.hold)
            await response.write_eof()
        except (asyncio.CancelledError, ConnectionResetError):
            self.gone.set()
            raise
        return response

    def drop(self, request: web.Request) -> None:
        if self.drop_once:
            self.drop_after = None
        request.transport.abort()

    # by WebSocket

    async def cartesia(self, request: web.Request) -> web.StreamResponse:
        if self.refuse:
            status, headers, body = self.refuse.pop(0)
            return web.json_response(body, status=status, headers=headers)
        socket = self.socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets += 1
        talking: dict[str, asyncio.Task] = {}
        async for message in socket:
            if message.type != WSMsgType.TEXT:
                continue
            ask = json.loads(message.data)
            if ask.get("cancel"):
                self.cancelled.append(ask["context_id"])
                self.gone.set()
                talking.pop(ask["context_id"]).cancel()
                continue
            self.keep(request, ask)
            talking[ask["context_id"]] = asyncio.ensure_future(self.context(request, socket, ask))
        for task in talking.values():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return socket

    async def context(self, request, socket, ask: dict) -> None:
        common = {"context_id": ask["context_id"], "status_code": 206, "done": False}
        await asyncio.sleep(self.first)
        if self.garbage is not None:
            await socket.send_str(self.garbage.decode())
            await socket.send_str("{nonsense")
        rate = ask["output_format"]["sample_rate"]
        words = [] if self.empty else ask["transcript"].split()
        for number, word in enumerate(words):
            if number == self.drop_after:
                self.drop(request)
                return
            times = {"words": [word], "start": [number * 0.1], "end": [number * 0.1 + 0.1]}
            await socket.send_json(common | {"type": "timestamps", "word_timestamps": times})
            sound = tone(100, rate)
            for piece in (sound[:333], sound[333:]) if self.odd else (sound,):
                data = base64.b64encode(piece).decode()
                await socket.send_json(common | {"type": "chunk", "data": data, "step_time": 1.0})
            await asyncio.sleep(self.pause)
        await asyncio.sleep(self.hold)
        await socket.send_json(common | {"type": "done", "done": True, "status_code": 200})

    # transcription

    async def transcribe(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        with form["file"].file as file:
            sound = file.read()
        self.keep(request, {name: value for name, value in form.items() if name != "file"}, wav=sound)
        if self.refuse:
            status, headers, body = self.refuse.pop(0)
            return web.json_response(body, status=status, headers=headers)
        await asyncio.sleep(self.first)
        if self.garbage is not None:
            return web.Response(body=self.garbage, content_type="application/json")
        return web.json_response({"text": self.words_of(self.requests[-1]["wav"])})

    @staticmethod
    def words_of(data: bytes) -> str:
        with wave.open(io.BytesIO(data)) as file:
            return " ".join(
                word for word, _, _ in hear(file.readframes(file.getnframes()), file.getframerate())
            )


async def run_voices(server: VoiceServer) -> web.AppRunner:
    app = web.Application()
    app.router.add_post("/v1/speak", server.deepgram)
    app.router.add_post("/v1/audio/speech", server.openai)
    app.router.add_post("/v1/audio/transcriptions", server.transcribe)
    app.router.add_post("/v1/text-to-speech/{voice}/stream", server.eleven)
    app.router.add_post("/v1/text-to-speech/{voice}/stream/with-timestamps", server.eleven_timed)
    app.router.add_get("/tts/websocket", server.cartesia)
    return await serve(app, server)
