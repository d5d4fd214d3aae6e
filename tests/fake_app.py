"""A VoxtraApp on the Asterisk in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from fake_calls import FakeAri, FakeTransport, breathe

from voxtra import CallSession, VoxtraApp
from voxtra.events import VoxtraEvent

FAILURES = ("AssertionError", "Failed", "TypeError", "AttributeError")
"""What a test's own handler may fail with; the app takes it for the user's fault and goes on."""


class World:
    """The app, what it talks to, and all events of its calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.ari = FakeAri()
        self.transport = FakeTransport()
        monkeypatch.setattr("voxtra.calls.switchboard.LATE_S", (0.0,))
        monkeypatch.setattr("voxtra.app.ARIClient", lambda *args, **settings: self.ari)
        monkeypatch.setattr("voxtra.app.open_transport", lambda settings: self.transport)
        self.app = VoxtraApp(app_name="test", **options)
        self.events: list[VoxtraEvent] = []
        self.app.on()(self.events.append)

    def types(self) -> list[str]:
        return [str(event.type) for event in self.events]

    def call(self, name: str = "caller", **details: Any) -> CallSession:
        """A caller arrives."""
        self.ari.arrive(name, **details)
        session = self.app.get_session(name)
        assert session is not None
        return session

    async def over(self, timeout: float = 5.0) -> None:
        """Until no call lives any more."""
        async with asyncio.timeout(timeout):
            while self.app.active_sessions:
                await asyncio.sleep(0.002)

    def nothing_left(self) -> bool:
        """No channel, bridge or line of ours."""
        return not (
            [each for each in self.ari.channels_there if each.startswith("vx-")]
            or self.ari.bridges_there
            or [line for line in self.transport.lines if not line.closed.done()]
        )


@contextlib.asynccontextmanager
async def running(
    monkeypatch: pytest.MonkeyPatch,
    handler: Callable[[CallSession], Awaitable[None]] | None = None,
    **options: Any,
) -> AsyncIterator[World]:
    """An app that runs; afterwards it has left nothing behind, not even a task."""
    before = asyncio.all_tasks()
    world = World(monkeypatch, **options)
    if handler is not None:
        world.app.default()(handler)
    await world.app.start()
    try:
        yield world
    finally:
        await world.app.stop(0)
    await breathe()
    assert [event for event in world.events if getattr(event, "error_type", "") in FAILURES] == []
    assert world.nothing_left()
    assert asyncio.all_tasks() - before == set()
