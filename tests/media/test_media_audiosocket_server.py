"""An AudioSocket server of one's own: who gets in, and what comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

import pytest

import voxtra
from voxtra.errors import ConfigurationError, MediaError
from voxtra.media.audiosocket import Kind, Parser, build
from voxtra.media.audiosocket_server import AudioSocketServer


class Dialplan:
    """The other side: ``AudioSocket(number,host:port)``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.parser = reader, writer, Parser()

    async def until(self, kind: Kind, payload: bytes | None = None) -> None:
        async with asyncio.timeout(5):
            while data := await self.reader.read(4096):
                for message in self.parser.feed(data):
                    if message[0] == kind and payload in (None, message[1]):
                        return
        raise AssertionError(f"no {kind.name} came")


@contextlib.asynccontextmanager
async def dialplan(server: AudioSocketServer, number: uuid.UUID) -> AsyncIterator[Dialplan]:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(build(Kind.UUID, number.bytes))
    try:
        yield Dialplan(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.proves("voxtra.AudioSocketServer", "failure 6")
async def test_an_id_that_is_expected_gets_a_line_with_sound_both_ways_and_keys() -> None:
    keys: list[str] = []
    async with voxtra.AudioSocketServer() as server:
        expected = server.expect(on_dtmf=keys.append)
        async with dialplan(server, expected.number) as there:
            line = await expected.line(timeout=5)
            assert (line.rate, line.codec, line.transport) == (8000, "slin", "audiosocket")
            heard: asyncio.Queue[bytes] = asyncio.Queue()
            line.listen(lambda frame: heard.put_nowait(frame.pcm))
            there.writer.write(build(Kind.SLIN, b"\x01\x02" * 160) + build(Kind.DTMF, b"7"))
            assert await asyncio.wait_for(heard.get(), 5) == b"\x01\x02" * 160
            line.play(b"\x03\x04" * 160)
            await there.until(Kind.SLIN, b"\x03\x04" * 160)
            await line.close()
            await there.until(Kind.HANGUP)
        assert keys == ["7"]
        assert await line.closed == "closed here"
        async with dialplan(server, expected.number) as again:  # an id is good for once
            assert await asyncio.wait_for(again.reader.read(), 5) is not None
        assert server.refused == 1


async def test_the_dialplan_may_choose_the_id() -> None:
    number = "40325ec2-5efd-4bd3-805f-53576e581d13"
    async with AudioSocketServer() as server:
        expected = server.expect(number)
        assert str(expected.number) == number
        with pytest.raises(ConfigurationError, match="waited for already"):
            server.expect(uuid.UUID(number))
        async with dialplan(server, uuid.UUID(number)) as there:
            line = await expected.line()
            there.writer.write(build(Kind.HANGUP))
            assert "hung up" in await asyncio.wait_for(line.closed, 5)
        server.expect(number)  # the call is over: its id may come again


async def test_who_is_not_expected_is_refused() -> None:
    async with AudioSocketServer() as server:
        gone = server.expect()
        await gone.cancel()
        for number in (uuid.uuid4(), gone.number):
            async with dialplan(server, number) as there:
                await asyncio.wait_for(there.reader.read(), 5)  # until it is closed
        assert server.refused == 2
        with pytest.raises(MediaError, match="did not connect"):
            await server.expect().line(timeout=0.02)


async def test_what_can_not_be() -> None:
    with pytest.raises(ConfigurationError, match="'opus'"):
        AudioSocketServer(format="opus")
    server = AudioSocketServer()
    with pytest.raises(MediaError, match="not started"):
        server.expect()
    async with server:
        with pytest.raises(ConfigurationError, match="'4711': should be a UUID"):
            server.expect("4711")
        with pytest.raises(MediaError, match=str(server.port)):
            await AudioSocketServer(port=server.port).start()
    assert server.port == 0
