"""A client of the HTTP API, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import aiohttp

from voxtra import VoxtraApp
from voxtra.control.keys import Principal

Serve = Callable[..., contextlib.AbstractAsyncContextManager[tuple[VoxtraApp, "Client"]]]
"""The fixture ``serve``."""
ORG, OTHER = "org_abc", "org_xyz"
FROM, TO, TO2 = "+15558675309", "+12125551234", "+12125555678"
TRUNK = {
    "id": "trunk_main",
    "endpoint": "PJSIP/{number}@phone2",
    "caller_ids": [FROM],
    "destinations": ["US"],
}


class FixedKeys:
    """Keys that are known beforehand: ``full``, ``reader`` and ``other``'s."""

    def check(self, bearer: str) -> Principal | None:
        return {
            "full": Principal(ORG, ("voice:*",), "k1"),
            "reader": Principal(ORG, ("voice:calls:read",), "k2"),
            "other": Principal(OTHER, ("voice:*",), "k3"),
        }.get(bearer)


class Reply:
    """An answer: ``status``, ``headers``, ``body`` (JSON, or text)."""

    def __init__(self, status: int, headers: Any, text: str) -> None:
        self.status = status
        self.headers = headers
        try:
            self.body: Any = json.loads(text)
        except ValueError:
            self.body = text

    @property
    def data(self) -> Any:
        assert self.status == 200, self.body
        return self.body["result"]["data"]

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])


class Client:
    """Asks as the holder of a key."""

    def __init__(self, url: str, key: str = "full") -> None:
        self.url = url
        self.key = key

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=40))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def ask(self, method: str, path: str, *, key: str | None = None, **options: Any) -> Reply:
        headers = {
            "Authorization": f"Bearer {self.key if key is None else key}",
            **options.pop("headers", {}),
        }
        async with self._http.request(method, self.url + path, headers=headers, **options) as answer:
            return Reply(answer.status, answer.headers, await answer.text())

    async def do(self, name: str, *, prefix: str = "/api/trpc", **given: Any) -> Reply:
        given.setdefault("orgId", ORG)
        if name == "voice.calls.get":
            return await self.ask("GET", f"{prefix}/{name}", params={"input": json.dumps(given)})
        return await self.ask("POST", f"{prefix}/{name}", json=given)

    async def originate(self, **given: Any) -> Any:
        order = {"to": TO, "from": FROM, "trunkId": "trunk_main", "agent": None, "ringTimeoutSec": 20}
        return (await self.do("voice.calls.originate", **(order | given))).data

    async def status(self, sid: str) -> str:
        return str((await self.do("voice.calls.get", sid=sid)).data["status"])

    async def until(self, sid: str, *wanted: str, timeout: float = 15.0) -> str:
        async with asyncio.timeout(timeout):
            while (status := await self.status(sid)) not in wanted:
                await asyncio.sleep(0.05)
        return status
