"""Calls that leave the app without its doing, and sound without ARI, on a real Asterisk."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import pytest
from app_rig import Rig, running
from faults import FaultProxy

from voxtra import AudioSocketServer, CallSession
from voxtra.ari import ARIClient
from voxtra.errors import CallEndedError, PlaybackError
from voxtra.events import CallEndedEvent
from voxtra.media.line import Line
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone

pytestmark = pytest.mark.live


async def ends(call: CallSession, rig: Rig) -> None:
    """A handler that tells how its call ended."""
    await call.answer()
    rig.results.append("answered")
    assert await call.listen_dtmf(timeout=30) is None
    with pytest.raises(CallEndedError) as caught:
        await call.play_file("beep")
    rig.results.append(caught.value.reason)


async def until(rig: Rig, count: int) -> None:
    async with asyncio.timeout(15):
        while len(rig.results) < count:
            await asyncio.sleep(0.02)


def told(rig: Rig) -> list[str]:
    return [event.reason for event in rig.events if isinstance(event, CallEndedEvent)]


@pytest.fixture
async def proxy(asterisk: PrivateAsterisk) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(asterisk.http_host, asterisk.http_port) as proxy:
        yield proxy


@pytest.mark.parametrize("who", ["redirect", "continue", "hang-up", "time limit"])
async def test_somebody_else_takes_the_call(asterisk: PrivateAsterisk, who: str) -> None:
    async with running(asterisk, ends) as rig, rig.dialled() as phone:
        await until(rig, 1)
        call = rig.calls[0]
        name = call._leg.channel.name
        if who == "redirect":
            await asterisk.rx(f"channel redirect {name} voxtra,600,1")
        elif who == "continue":
            async with ARIClient(asterisk.ari_url, asterisk.ari_user, asterisk.ari_password) as other:
                await other.channels.continue_in_dialplan(
                    channel_id=call.id, context="voxtra", extension="600", priority=1
                )
        elif who == "hang-up":
            await asterisk.rx(f"channel request hangup {name}")
        else:
            await rig.app.ari.channels.set_channel_var(
                channel_id=call.id, variable="TIMEOUT(absolute)", value="1"
            )
        await until(rig, 2)
        async with asyncio.timeout(5):
            while not told(rig):
                await asyncio.sleep(0.02)
        if who in ("redirect", "continue"):
            assert rig.results[1] == "left"
            assert told(rig) == ["left"]
            assert call.end is not None
            assert call.end.reason == "left"
            assert "Echo" in await asterisk.rx(f"core show channel {name}")  # it is not hung up
            await phone.hangup()
        else:
            assert told(rig) == ["hangup"]
            await phone.ended(5)


@pytest.mark.proves("failure 23")
@pytest.mark.parametrize("where", ["dialplan", "gone"])
async def test_it_leaves_while_the_connection_is_down(
    asterisk: PrivateAsterisk, proxy: FaultProxy, where: str
) -> None:
    async with (
        running(asterisk, ends, url=proxy.url, reconnect_interval=0.3, alone=False) as rig,
        rig.dialled() as phone,
        rig.dialled() as stays,
    ):
        await until(rig, 2)
        leaves = rig.calls[0]
        proxy.stall()  # nothing comes through, and nothing is said of it
        name = leaves._leg.channel.name
        if where == "dialplan":
            await asterisk.rx(f"channel redirect {name} voxtra,600,1")
        else:
            await phone.hangup()
        proxy.reset()
        async with asyncio.timeout(15):
            while rig.app.is_ready:
                await asyncio.sleep(0.01)
            proxy.resume()
            while not rig.app.is_ready:
                await asyncio.sleep(0.01)
        await until(rig, 3)
        async with asyncio.timeout(5):
            while not told(rig):
                await asyncio.sleep(0.02)
        assert leaves.end is not None
        assert leaves.end.reason == ("left" if where == "dialplan" else "lost")
        assert told(rig) == [leaves.end.reason]
        assert rig.calls[1].is_active
        if where == "dialplan":
            assert "Echo" in await asterisk.rx(f"core show channel {name}")
            await phone.hangup()
        await stays.hangup()
        await rig.nothing_left()


@pytest.mark.parametrize("missing", ["no-such-file", "recording:no-such-recording"])
async def test_a_prompt_of_a_list_that_is_not_there(asterisk: PrivateAsterisk, missing: str) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        for prompts in (["beep", missing, "hello-world"], [missing, "beep"]):
            with pytest.raises(PlaybackError) as caught:
                await call.play_file(prompts)
            rig.results.append(str(caught.value))
        rig.results.append((await call.play_file(["beep", "digits:1", "beep"])).reason)

    async with running(asterisk, handler) as rig, rig.dialled() as phone:
        await phone.ended(30)
    one, two, three = rig.results
    assert missing in one
    assert "(2 of 3)" in one
    assert missing in two
    assert "(1 of 2)" in two
    assert three == "finished"


def tone(rate: int) -> bytes:
    samples = (int(9000 * math.sin(2 * math.pi * 500 * i / rate)) for i in range(2 * rate))
    return b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)


@pytest.mark.proves("voxtra.AudioSocketServer")
@pytest.mark.parametrize("application", ["AudioSocket", "Dial"])
async def test_an_audiosocket_server_of_ones_own(
    asterisk: PrivateAsterisk, phone_account: dict[str, object], application: str
) -> None:
    keys: list[str] = []
    async with AudioSocketServer() as server, Phone(**phone_account) as phone:  # type: ignore[arg-type]
        expected = server.expect(on_dtmf=keys.append)
        at = f"127.0.0.1:{server.port}"
        data = {"AudioSocket": f"{expected.number},{at}", "Dial": f"AudioSocket/{at}/{expected.number}"}
        extension = f"as{application.lower()}"
        steps = ("Answer()", f"{application}({data[application]})", "Playback(beep)", "Hangup()")
        for number, step in enumerate(steps, 1):
            await asterisk.rx(f"dialplan add extension {extension},{number},{step} into voxtra replace")
        call = await phone.dial(extension)
        await call.answered()
        line: Line = await expected.line(timeout=5)
        heard: list[bytes] = []
        line.listen(lambda frame: heard.append(frame.pcm))
        line.play(tone(line.rate))
        call.play(tone(8000))
        assert await asyncio.wait_for(line.drained(), 10) == "heard"
        await call.played()
        await call.send_dtmf("5")
        await asyncio.sleep(0.5)
        assert max(abs(s) for s in memoryview(b"".join(heard)).cast("h")) > 5000
        assert max(abs(s) for s in memoryview(call.received_pcm()).cast("h")) > 5000
        assert keys == ["5"]
        await line.close()
        await call.ended(10)
