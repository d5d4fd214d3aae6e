"""A server that speaks Anthropic's Messages API, well and badly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from aiohttp import web

Answer: TypeAlias = bytes | Callable[[web.Request], Awaitable[web.StreamResponse]]


def event(kind: str, **body: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | body)}\n\n".encode()


def start(input_tokens: int = 7) -> bytes:
    usage = {"input_tokens": input_tokens, "cache_read_input_tokens": 3, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m"}
    return event("message_start", message=message | {"stop_reason": None, "usage": usage}) + event("ping")


def text(index: int, *words: str) -> bytes:
    begin = event("content_block_start", index=index, content_block={"type": "text", "text": ""})
    deltas = [
        event("content_block_delta", index=index, delta={"type": "text_delta", "text": word})
        for word in words
    ]
    return begin + b"".join(deltas) + event("content_block_stop", index=index)


def tool(index: int, id_: str, name: str, *pieces: str) -> bytes:
    block = {"type": "tool_use", "id": id_, "name": name, "input": {}}
    deltas = [
        event("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": piece})
        for piece in pieces
    ]
    begin = event("content_block_start", index=index, content_block=block)
    return begin + b"".join(deltas) + event("content_block_stop", index=index)


def stop(reason: str = "end_turn", output_tokens: int = 2) -> bytes:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return event("message_delta", delta=delta, usage={"output_tokens": output_tokens}) + event("message_stop")


HELLO = start() + text(0, "Grüß ", "Gott.") + stop()


class AnthropicServer:
    """Answers POST /v1/messages with ``answers`` in turn, the last one for ever."""

    path = "/v1/messages"

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[Answer] = []
        self.dropped = asyncio.Event()

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.json())
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            return await answer(request)
        return await self.stream(request, [answer])

    async def stream(
        self,
        request: web.Request,
        parts: list[bytes],
        *,
        pause: float = 0.0,
        drop: bool = False,
        last_pause: float = 0.0,
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for part in parts:
                await response.write(part)
                await asyncio.sleep(pause)
            await asyncio.sleep(last_pause)
        except (ConnectionResetError, asyncio.CancelledError):
            self.dropped.set()
            raise
        if drop:
            assert request.transport is not None
            request.transport.abort()
        else:
            await response.write_eof()
        return response

    def refusal(self, status: int, kind: str, message: str) -> Answer:
        async def refuse(request: web.Request) -> web.StreamResponse:
            return web.json_response(
                {"type": "error", "error": {"type": kind, "message": message}},
                status=status,
                headers={"Retry-After": "0.01"},
            )

        return refuse

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post(self.path, self.take)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner
