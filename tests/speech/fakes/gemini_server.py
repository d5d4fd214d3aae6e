"""A server that speaks the Gemini API's ``streamGenerateContent``, well and badly."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web
from fakes.anthropic_server import Answer, AnthropicServer


def chunk(*parts: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    body = {"candidates": [candidate], "modelVersion": "m", "responseId": "r"} | more
    return b"data: " + json.dumps(body).encode() + b"\r\n\r\n"


def text(words: str) -> dict[str, Any]:
    return {"text": words}


def call(tool: str, signature: str | None = None, id_: str | None = None, **args: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"functionCall": {"name": tool, "args": args} | ({"id": id_} if id_ else {})}
    return made | ({"thoughtSignature": signature} if signature else {})


USED = {"promptTokenCount": 7, "candidatesTokenCount": 2, "thoughtsTokenCount": 3, "totalTokenCount": 12}
HELLO = chunk(text("Grüß ")) + chunk(text("Gott."), finish="STOP", usageMetadata=USED)


class GeminiServer(AnthropicServer):
    """Answers with ``answers`` in turn, the last one for ever."""

    path = "/{version}/models/{model}"

    def refusal(self, status: int, kind: str, message: str) -> Answer:
        async def refuse(request: web.Request) -> web.StreamResponse:
            body = {"error": {"code": status, "message": message, "status": kind}}
            return web.json_response(body, status=status)

        return refuse
