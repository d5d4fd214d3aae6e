"""A backend that voxtra tells of calls: it believes only what is signed, and acts once for each event.

python examples/webhook_receiver.py, and in the app:

    VoxtraApp(webhook=WebhookConfig("http://127.0.0.1:8080/voxtra", signing_secret="change-me", private_urls=True))
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict

from aiohttp import web

from voxtra.webhook import verify_signature

SECRET = os.environ.get("VOXTRA_WEBHOOK_SECRET", "change-me")
REMEMBERED = 10_000

seen: OrderedDict[str, None] = OrderedDict()
"""Ids of events that were acted upon. A real backend keeps them with its data, in the same transaction."""


async def receive(request: web.Request) -> web.Response:
    body = await request.read()
    if not verify_signature(SECRET, body, request.headers.get("X-Voxtra-Signature-Timed", "")):
        return web.Response(status=401)
    event = json.loads(body)
    if event["id"] not in seen:
        act_on(event)
        seen[event["id"]] = None
        if len(seen) > REMEMBERED:
            seen.popitem(last=False)
    return web.Response(status=204)  # anything but 2xx makes it come again


def act_on(event: dict[str, object]) -> None:
    print(event["session_id"], event["sequence"], event["type"], event["data"], flush=True)


def make_app() -> web.Application:
    app = web.Application(client_max_size=1024 * 1024)
    app.router.add_post("/voxtra", receive)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
