"""Deepgram's server as its SDK sees it: /v1/listen and /v2/listen (Flux), well and badly behaved."""

import asyncio
import json

from aiohttp import WSMsgType, web
from fakes.marked_sound import audioop, hear


class DeepgramServer:
    """What it does badly is set by its attributes; what it got is kept in others."""

    def __init__(self) -> None:
        self.url = ""
        self.connections: list[dict] = []  # of each: path, query, headers, sound (bytes), messages
        self.sockets: list[web.WebSocketResponse] = []
        self.refuse: list[tuple[int, dict, str]] = []  # status, headers, body; one for each attempt
        self.refuse_always: tuple[int, dict, str] | None = None
        self.drop_after_ms: list[int] = []  # of sound, one for each connection
        self.connect_delay = 0.0
        self.answers_finalize = True
        self.silent = False  # takes the sound and says nothing
        self.garbage: list[str] = []  # sent before anything else
        self.error: dict | None = None
        self.interim_every_ms = 200
        self.endpointing_ms: int | None = None  # /v1: a silence after which words are final by themselves
        self.finals = 0  # results that were final by themselves

    def refusal(self) -> web.Response | None:
        what = self.refuse.pop(0) if self.refuse else self.refuse_always
        if what is None:
            return None
        status, headers, body = what
        return web.Response(status=status, headers=headers, text=body, content_type="application/json")

    async def listen(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.connect_delay)
        refusal = self.refusal()
        if refusal is not None:
            return refusal
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        state = {
            "path": request.path,
            "query": dict(request.query),
            "keyterms": request.query.getall("keyterm", []),
            "headers": dict(request.headers),
            "sound": bytearray(),
            "messages": [],
        }
        self.connections.append(state)
        kind = V1 if request.path == "/v1/listen" else Flux
        talk = kind(self, socket, state)
        for text in self.garbage:
            await socket.send_str(text)
        if self.error:
            await socket.send_json(self.error)
        drop = self.drop_after_ms.pop(0) if self.drop_after_ms else None
        try:
            async for message in socket:
                if message.type == WSMsgType.BINARY:
                    state["sound"] += message.data
                    await talk.sound()
                    if drop is not None and talk.ms() >= drop:
                        request.transport.abort()
                        return socket
                elif message.type == WSMsgType.TEXT:
                    state["messages"].append(json.loads(message.data))
                    await talk.message(state["messages"][-1])
        finally:
            state["closed"] = True
        return socket


class Talk:
    """One connection."""

    def __init__(self, server: DeepgramServer, socket: web.WebSocketResponse, state: dict) -> None:
        self.server, self.socket, self.state = server, socket, state
        self.rate = int(state["query"]["sample_rate"])
        self.mulaw = state["query"]["encoding"] == "mulaw"
        self.final_to = 0.0
        self.told = 0.0

    def pcm(self) -> bytes:
        sound = bytes(self.state["sound"])
        return audioop.ulaw2lin(sound, 2) if self.mulaw else sound

    def ms(self) -> float:
        return len(self.state["sound"]) / (1 if self.mulaw else 2) * 1000 / self.rate

    def words(self, begin: float = 0.0) -> list[tuple[str, float, float]]:
        return [word for word in hear(self.pcm(), self.rate) if word[1] >= begin - 0.001]


class V1(Talk):
    async def result(self, *, final: bool, from_finalize: bool = False) -> None:
        words, end = self.words(self.final_to), self.ms() / 1000
        await self.socket.send_json(
            {
                "type": "Results",
                "channel_index": [0, 1],
                "start": self.final_to,
                "duration": end - self.final_to,
                "is_final": final,
                "speech_final": False,
                "from_finalize": from_finalize,
                "channel": {
                    "alternatives": [
                        {
                            "transcript": " ".join(word for word, _, _ in words),
                            "confidence": 0.9,
                            "words": [
                                {
                                    "word": word,
                                    "punctuated_word": word,
                                    "start": b,
                                    "end": e,
                                    "confidence": 0.9,
                                }
                                for word, b, e in words
                            ],
                        }
                    ]
                },
                "metadata": {
                    "request_id": "r",
                    "model_info": {"name": "n", "version": "v", "arch": "a"},
                    "model_uuid": "u",
                },
            }
        )
        if final:
            self.final_to = end

    async def sound(self) -> None:
        if self.server.silent:
            return
        words, limit = self.words(self.final_to), self.server.endpointing_ms
        if limit is not None and words and self.ms() - words[-1][2] * 1000 >= limit:
            await self.result(final=True)
            self.server.finals += 1
        elif self.ms() - self.told >= self.server.interim_every_ms:
            self.told = self.ms()
            await self.result(final=False)

    async def message(self, message: dict) -> None:
        if message["type"] == "Finalize" and self.server.answers_finalize and not self.server.silent:
            await self.result(final=True, from_finalize=True)
        elif message["type"] == "CloseStream":
            await self.socket.close()


class Flux(Talk):
    """Turns end by ForceEndTurn, or after 1 s of silence."""

    turn = 0
    sequence = 0

    async def info(self, event: str, **more: str) -> None:
        words, end = self.words(self.final_to), self.ms() / 1000
        self.sequence += 1
        await self.socket.send_json(
            {
                "type": "TurnInfo",
                "request_id": "r",
                "sequence_id": self.sequence,
                "event": event,
                "turn_index": self.turn,
                "audio_window_start": max(0.0, end - 0.2),
                "audio_window_end": end,
                "transcript": " ".join(word for word, _, _ in words),
                "words": [{"word": word, "confidence": 0.8, "start": b, "end": e} for word, b, e in words],
                "end_of_turn_confidence": 0.3,
                **more,
            }
        )
        if event == "EndOfTurn":
            self.turn += 1
            self.final_to = end

    async def sound(self) -> None:
        if self.server.silent:
            return
        words = self.words(self.final_to)
        if words and self.ms() / 1000 - words[-1][2] >= 1.0:
            await self.info("EndOfTurn", trigger="model")
            self.server.finals += 1
        elif self.ms() - self.told >= 200:
            self.told = self.ms()
            await self.info("Update")

    async def message(self, message: dict) -> None:
        willing = self.server.answers_finalize and not self.server.silent
        if message["type"] == "ForceEndTurn" and willing and self.words(self.final_to):
            await self.info("EndOfTurn", trigger="manual")


async def run_server(server: DeepgramServer) -> web.AppRunner:
    app = web.Application()
    app.router.add_get("/v1/listen", server.listen)
    app.router.add_get("/v2/listen", server.listen)
    return await serve(app, server)


async def serve(app: web.Application, server) -> web.AppRunner:
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    return runner
