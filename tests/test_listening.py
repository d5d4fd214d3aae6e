"""Who connects and sends nothing, too many who connect, and what is no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from voxtra._listening import Listening

HELLO = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.asynccontextmanager
async def listening(**options: float) -> AsyncIterator[Listening]:
    app = web.Application()

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app.router.add_get("/", hello)
    it = Listening(app, shutdown_s=0.1, **options)  # type: ignore[arg-type]
    await it.start("127.0.0.1", 0)
    try:
        yield it
    finally:
        await it.close()
        await it.close()


async def connected(it: Listening) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*it.address)


async def cut_off(reader: asyncio.StreamReader) -> bool:
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(10):
            return await reader.read() == b""
    return True


async def test_who_sends_no_whole_request_is_cut_off() -> None:
    async with listening(idle_s=0.3) as it:
        silent, dribbling = await connected(it), await connected(it)

        async def dribble() -> None:
            dribbling[1].write(b"GET / HTTP/1.1\r\nX-A: ")
            while True:
                dribbling[1].write(b"y")
                await asyncio.sleep(0.05)

        task = asyncio.ensure_future(dribble())
        assert await cut_off(silent[0])
        assert await cut_off(dribbling[0])
        task.cancel()
        for _, writer in (silent, dribbling):
            writer.close()


async def test_one_too_many_is_cut_off_and_the_others_are_served() -> None:
    async with listening(most=2) as it:
        first, second = await connected(it), await connected(it)
        second[1].write(HELLO)
        assert b"200 OK" in await second[0].readline()
        third = await connected(it)
        assert await cut_off(third[0])
        first[1].write(HELLO)
        assert b"200 OK" in await first[0].readline()
        first[1].close()
        async with asyncio.timeout(5):
            while True:
                fourth = await connected(it)
                fourth[1].write(HELLO)
                with contextlib.suppress(ConnectionError):
                    if b"200 OK" in await fourth[0].readline():
                        break
                fourth[1].close()
        for _, writer in (second, third, fourth):
            writer.close()


@pytest.mark.parametrize(
    "rubbish", [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"y" * 9000]
)
async def test_what_is_no_http_fills_no_log(rubbish: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as it:
        reader, writer = await connected(it)
        writer.write(rubbish + b"\r\n\r\n")
        assert b"400" in await reader.readline()
        writer.close()
    assert caplog.records == []


async def test_a_port_that_is_taken_leaves_nothing_open() -> None:
    async with listening() as it:
        with pytest.raises(OSError, match="in use"):
            await Listening(web.Application(), shutdown_s=0.1).start(*it.address)
