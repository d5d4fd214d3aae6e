"""Sockets that connect and channels that come and go keep out of each other's way."""

from __future__ import annotations

import asyncio
import random

import pytest

from voxtra.errors import MediaError
from voxtra.media import turnstile as module
from voxtra.media.turnstile import Turnstile, turnstile_of
from voxtra.media.websocket_transport import WebSocketSettings, WebSocketTransport


class Watched:
    """A turnstile, and who is inside."""

    def __init__(self) -> None:
        self.turnstile = Turnstile()
        self.inside: list[str] = []
        self.log: list[str] = []

    async def go(self, side: str, name: str, leave: asyncio.Event | None = None) -> None:
        async with getattr(self.turnstile, side)():
            self.inside.append(side)
            self.log.append(name)
            try:
                if leave is not None:
                    await leave.wait()
            finally:
                self.inside.remove(side)

    def start(self, side: str, name: str, leave: asyncio.Event | None = None) -> asyncio.Task[None]:
        return asyncio.ensure_future(self.go(side, name, leave))


async def breathe() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_many_of_one_side_at_once_and_none_of_the_other() -> None:
    watched, leave = Watched(), asyncio.Event()
    first = [watched.start("connecting", name, leave) for name in "ab"]
    other = watched.start("changing", "c")
    await breathe()
    assert watched.log == ["a", "b"]
    leave.set()
    await asyncio.gather(*first, other)
    assert watched.log == ["a", "b", "c"]


async def test_who_waits_is_not_overtaken_for_ever() -> None:
    watched, leave = Watched(), asyncio.Event()
    first = watched.start("connecting", "a", leave)
    await breathe()
    rest = [watched.start("changing", "b"), watched.start("connecting", "c")]
    await breathe()
    assert watched.log == ["a"]
    leave.set()
    await asyncio.gather(first, *rest)
    assert watched.log == ["a", "b", "c"]


@pytest.mark.parametrize("seed", range(20))
async def test_never_both_whatever_is_cancelled(seed: int) -> None:
    chance, watched = random.Random(seed), Watched()
    tasks = []
    for number in range(60):
        leave = asyncio.Event()
        side = chance.choice(["connecting", "changing"])
        tasks.append(watched.start(side, str(number), leave))
        asyncio.get_running_loop().call_later(chance.random() * 0.02, leave.set)
        if chance.random() < 0.3:
            asyncio.get_running_loop().call_later(chance.random() * 0.02, tasks[-1].cancel)
        await asyncio.sleep(chance.random() * 0.001)
        assert len(set(watched.inside)) <= 1
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0.0005)
        assert len(set(watched.inside)) <= 1
    assert not watched.inside
    await asyncio.wait_for(asyncio.gather(watched.go("changing", "x"), watched.go("connecting", "y")), 5)


async def test_one_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    watched, never = Watched(), asyncio.Event()
    hangs = watched.start("changing", "a", never)
    await breathe()
    await asyncio.wait_for(watched.go("connecting", "b"), 5)
    hangs.cancel()
    await asyncio.wait({hangs})
    await watched.go("connecting", "c")
    assert watched.log == ["a", "b", "c"]


async def test_all_apps_of_one_asterisk_share_it() -> None:
    transports = [
        WebSocketTransport(WebSocketSettings(**settings))
        for settings in (
            {"asterisk_url": "http://127.0.0.1:8088"},
            {"asterisk_url": "http://127.0.0.1:8088"},
            {"asterisk_url": "http://127.0.0.1:8089"},
            {"client_id": "media"},
        )
    ]
    for transport in transports:
        await transport.start()
    one, two, three, dialled = [transport.turnstile for transport in transports]
    assert one is two is turnstile_of("http://127.0.0.1:8088")
    assert three is not one
    assert dialled is None, "Asterisk connects to us: there it looks for nothing"
    for transport in transports:
        await transport.close()


async def test_a_failure_inside_lets_the_next_one_in() -> None:
    turnstile = Turnstile()
    with pytest.raises(MediaError):
        async with turnstile.connecting():
            raise MediaError("no socket")
    async with turnstile.changing():
        pass
