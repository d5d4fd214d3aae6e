"""A VoxtraApp on the tests' Asterisk, and a phone to call it with."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from voxtra import CallSession, VoxtraApp
from voxtra.events import VoxtraEvent
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone, PhoneCall


@dataclass
class Rig:
    """An app that runs, and what its calls did.

    ``calls`` holds each session in order, ``events`` all their events, ``results`` what handlers put there.
    """

    app: VoxtraApp
    asterisk: PrivateAsterisk
    calls: list[CallSession] = field(default_factory=list)
    events: list[VoxtraEvent] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.asynccontextmanager
    async def phone(self, name: str = "phone") -> AsyncIterator[Phone]:
        async with Phone(
            (self.asterisk.sip_host, self.asterisk.sip_port), user=name, password=self.asterisk.phones[name]
        ) as phone:
            yield phone

    @contextlib.asynccontextmanager
    async def dialled(self, number: str = "100") -> AsyncIterator[PhoneCall]:
        async with self.phone() as phone:
            call = await phone.dial(number)
            await call.answered()
            yield call

    def types(self) -> list[str]:
        return [str(event.type) for event in self.events]

    async def nothing_left(self, timeout: float = 5.0) -> None:
        """No session, channel or bridge remains, nor anybody who waits for events of one."""
        ari, shared = self.app.ari, self.app._shared
        assert shared is not None
        there: list[object] = []
        try:
            async with asyncio.timeout(timeout):
                while there := [
                    *self.app.active_sessions,
                    *await ari.channels.list(),
                    *await ari.bridges.list(),
                    *shared.switchboard._mailboxes,
                ]:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"still there: {there}") from None

    async def open_files(self, *, at_most: int = 0, timeout: float = 20.0) -> int:
        """How many descriptors this process has; sockets that are being closed, or kept for the next request, are
        waited for."""
        until = asyncio.get_running_loop().time() + timeout
        while True:
            gc.collect()
            files = len(os.listdir("/proc/self/fd"))
            if asyncio.get_running_loop().time() > until:
                print(*sorted(_targets()), sep="\n")
            if files <= at_most or not at_most or asyncio.get_running_loop().time() > until:
                return files
            await asyncio.sleep(0.05)


def _targets() -> list[str]:
    """What this process' descriptors are."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return found


@contextlib.asynccontextmanager
async def running(
    asterisk: PrivateAsterisk,
    handler: Callable[[CallSession, Rig], Awaitable[None]] | None = None,
    *,
    url: str = "",
    alone: bool = True,
    **options: Any,
) -> AsyncIterator[Rig]:
    """An app with one handler; afterwards it has left nothing behind (where it was ``alone`` there)."""
    name = f"app-{uuid.uuid4().hex[:8]}"
    app = VoxtraApp(
        url or asterisk.ari_url, asterisk.ari_user, asterisk.ari_password, app_name=name, **options
    )
    rig = Rig(app, asterisk)
    app.on()(rig.events.append)
    if handler is not None:

        @app.default()
        async def take(call: CallSession) -> None:
            rig.calls.append(call)
            try:
                await handler(call, rig)
            finally:
                rig.finished.set()

    await asterisk.rx(f"dialplan set global APP {name}")
    before = asyncio.all_tasks()
    async with asyncio.timeout(20):
        await app.start()
    try:
        yield rig
        if alone:
            await rig.nothing_left()
    finally:
        await app.stop(0)
    await asyncio.sleep(0.05)
    left = {t for t in asyncio.all_tasks() - before if "pool" not in t.get_name().lower()}
    assert not left or not alone, f"tasks remain: {left}"  # those of another app are its own
