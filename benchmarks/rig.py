"""A real Asterisk and the app under test against it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from benchmarks.process import Child
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone


@contextlib.asynccontextmanager
async def rig(
    *arguments: str, transport: str = "websocket", module: str = "benchmarks.worker"
) -> AsyncIterator[tuple[PrivateAsterisk, Child]]:
    """A running Asterisk, and a worker (``module``) whose app takes its calls."""
    async with PrivateAsterisk() as asterisk:
        environment = {
            "VOXTRA_ARI_URL": asterisk.ari_url,
            "VOXTRA_ARI_USER": asterisk.ari_user,
            "VOXTRA_ARI_PASSWORD": asterisk.ari_password,
            "VOXTRA_MEDIA_TRANSPORT": transport,
        }
        async with Child(module, *arguments, env=environment) as worker:
            await worker.ask("start", deadline_s=120)
            yield asterisk, worker
            await worker.ask("stop", deadline_s=30)


@contextlib.asynccontextmanager
async def phone_of(asterisk: PrivateAsterisk) -> AsyncIterator[Phone]:
    """A test phone with an account there."""
    server = (asterisk.sip_host, asterisk.sip_port)
    async with Phone(server=server, user="phone", password=asterisk.phones["phone"]) as phone:
        yield phone


async def until_active(worker: Child, count: int, deadline_s: float) -> int:
    """Wait until the app has ``count`` calls; returns how many it has at the end."""
    loop = asyncio.get_running_loop()
    until = loop.time() + deadline_s
    while True:
        active: int = (await worker.ask("usage"))["active"]
        if active == count or loop.time() > until:
            return active
        await asyncio.sleep(0.2)
