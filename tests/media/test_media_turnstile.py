"""Sockets that connect and channels that come and go keep out of each other's way."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from voxtra.errors import MediaError
from voxtra.media import interlock, turnstile
from voxtra.media.interlock import Interlock
from voxtra.media.turnstile import Turnstile, turnstile_of
from voxtra.media.websocket_transport import WebSocketSettings, WebSocketTransport


class Watched:
    """Turnstiles of one Asterisk, of as many processes, and who is inside."""

    def __init__(self, folder: Path, processes: int = 1) -> None:
        self.turnstiles = [Turnstile(Interlock("asterisk", folder)) for _ in range(processes)]
        self.inside: list[str] = []
        self.log: list[str] = []

    async def go(self, side: str, name: str, leave: asyncio.Event | None = None) -> None:
        turnstile = self.turnstiles[ord(name[-1]) % len(self.turnstiles)]
        async with getattr(turnstile, side)():
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


@pytest.fixture(params=[1, 2, 3])
def watched(request: pytest.FixtureRequest, tmp_path: Path) -> Watched:
    return Watched(tmp_path, request.param)


async def test_many_of_one_side_at_once_and_none_of_the_other(watched: Watched) -> None:
    leave = asyncio.Event()
    first = [watched.start("connecting", name, leave) for name in "ab"]
    other = watched.start("changing", "c")
    await breathe()
    assert watched.log == ["a", "b"]
    leave.set()
    await asyncio.gather(*first, other)
    assert watched.log == ["a", "b", "c"]


async def test_who_waits_is_not_overtaken_for_ever(watched: Watched) -> None:
    leave = asyncio.Event()
    first = watched.start("connecting", "a", leave)
    await breathe()
    rest = [watched.start("changing", "b"), watched.start("connecting", "c")]
    await breathe()
    assert watched.log == ["a"]
    leave.set()
    await asyncio.gather(first, *rest)
    assert watched.log == ["a", "b", "c"]


@pytest.mark.parametrize("seed", range(20))
async def test_never_both_whatever_is_cancelled(watched: Watched, seed: int) -> None:
    chance = random.Random(seed)
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


async def test_one_that_hangs_holds_nobody_up(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (turnstile, interlock):
        monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    never = asyncio.Event()
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
    assert one is two is turnstile_of("ws://localhost:8088/ari")
    assert three is not one
    assert dialled is None, "Asterisk connects to us: there it looks for nothing"
    for transport in transports:
        await transport.close()


async def test_what_failed_counts_as_under_way_for_a_while(watched: Watched) -> None:
    failed = asyncio.Event()

    async def fail() -> None:
        async with watched.turnstiles[0].connecting():
            failed.set()
            raise MediaError("no socket")

    failing = asyncio.ensure_future(fail())
    await failed.wait()
    async with watched.turnstiles[-1].changing():
        assert failing.done()
    with pytest.raises(MediaError):
        await failing
