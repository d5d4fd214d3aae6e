"""Prompts that can be cut short, sound from the web, keys sent, and who answered."""

from __future__ import annotations

import asyncio
import io
import math
import wave
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from app_rig import Rig, running

from voxtra import CallSession
from voxtra.errors import ConfigurationError, PlaybackError
from voxtra.media.wav import read_sound
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone

pytestmark = pytest.mark.live


def tone(hz: float, seconds: float) -> bytes:
    return b"".join(
        int(9000 * math.sin(2 * math.pi * hz * i / 8000)).to_bytes(2, "little", signed=True)
        for i in range(int(8000 * seconds))
    )


def wav(pcm: bytes) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(pcm)
    return out.getvalue()


async def until(rig: Rig, count: int) -> None:
    async with asyncio.timeout(20):
        while len(rig.results) < count:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("by", ["dtmf", "speech", "any"])
async def test_a_prompt_is_cut_short(asterisk: PrivateAsterisk, by: str) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        rig.results.append(await call.play_file("demo-congrats", interrupt_by=by))  # type: ignore[arg-type]
        rig.results.append(await call.listen_dtmf(timeout=0.5))

    async with running(asterisk, handler) as rig, rig.dialled() as call:
        await call.voice(after=0)
        await asyncio.sleep(0.5)
        if by == "speech":
            call.play(tone(440, 1.5))
        else:
            await call.send_dtmf("7")
        await call.ended(15)
    assert rig.results[0].reason == "interrupted"
    assert rig.results[1] == (None if by == "speech" else "7")


@pytest.fixture
async def web_server() -> AsyncIterator[tuple[str, list[str]]]:
    asked: list[str] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if request.path == "/tone.wav":
            if request.headers.get("If-None-Match") == '"v1"':
                return web.Response(status=304)
            return web.Response(body=wav(tone(600, 2)), headers={"ETag": '"v1"'})
        if request.path == "/moved":
            raise web.HTTPFound("/tone.wav")
        if request.path == "/text":
            return web.Response(text="this is no sound")
        if request.path == "/loop":
            raise web.HTTPFound("/loop")
        raise web.HTTPNotFound

    app = web.Application()
    app.router.add_get("/{any:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}", asked
    await runner.cleanup()


@pytest.mark.proves("call.play_url(url)")
async def test_sound_from_the_web(asterisk: PrivateAsterisk, web_server: tuple[str, list[str]]) -> None:
    url, asked = web_server

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        rig.results.append(await call.play_url(f"{url}/tone.wav"))
        for wrong in ("/text", "/loop", "/nothing"):
            with pytest.raises(PlaybackError):
                await call.play_url(url + wrong)
        with pytest.raises(ConfigurationError):
            await call.play_url("file:///etc/passwd")
        rig.results.append(await call.play_url(f"{url}/moved", interrupt_by="dtmf"))

    async with running(asterisk, handler, private_urls=True) as rig, rig.dialled() as call:
        began = asyncio.get_running_loop().time()
        await until(rig, 1)
        first = call.first_voice_after(began - 1)
        last = call.last_voice_before(asyncio.get_running_loop().time())
        await call.voice(after=asyncio.get_running_loop().time())
        await call.send_dtmf("1")
        await call.ended(10)
    assert first is not None
    assert last is not None
    assert abs(last - first - 2.0) < 0.3
    assert [result.reason for result in rig.results] == ["finished", "interrupted"]
    assert asked.count("/tone.wav") == 2  # the second was answered by 304


async def test_private_addresses_are_refused(
    asterisk: PrivateAsterisk, web_server: tuple[str, list[str]]
) -> None:
    url, asked = web_server

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        for wrong in (url, url.replace("127.0.0.1", "localhost"), "http://[::1]/", "http://10.0.0.1/"):
            with pytest.raises(ConfigurationError, match="public internet"):
                await call.play_url(f"{wrong}/tone.wav")
        rig.results.append("refused")

    async with running(asterisk, handler) as rig, rig.dialled() as call:
        await call.ended()
    assert rig.results == ["refused"]
    assert not asked


@pytest.mark.proves('call.send_dtmf("4321#")')
async def test_keys_are_sent(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        for wrong in ("", "12x"):
            with pytest.raises(ConfigurationError, match="send_dtmf"):
                await call.send_dtmf(wrong)
        await call.send_dtmf("43w21#")

    async with running(asterisk, handler) as rig, rig.dialled() as call:
        await call.ended(15)
        times = [time for time, _ in call.digit_times]
    assert call.digits == "4321#"
    assert times[2] - times[1] > 0.6
    assert len(rig.calls) == 1


@pytest.mark.parametrize("method", ["speech", "asterisk"])
@pytest.mark.parametrize("who", ["human", "machine"])
async def test_who_answered(asterisk: PrivateAsterisk, method: str, who: str) -> None:
    name = "hello.wav" if who == "human" else "demo-congrats.wav"
    greeting = asterisk.installation.sounds / name  # type: ignore[union-attr]
    pcm = read_sound(greeting, 8000) if greeting.exists() else tone(300, 0.5)
    address = (asterisk.sip_host, asterisk.sip_port)
    async with (
        running(asterisk) as rig,
        Phone(address, user="phone2", password=asterisk.phones["phone2"]) as phone,
    ):
        await phone.register()
        placing = asyncio.ensure_future(rig.app.originate("PJSIP/phone2", timeout=10))
        incoming = await phone.incoming()
        incoming.answer()
        session = await placing
        asyncio.get_running_loop().call_later(0.5, incoming.play, pcm[: 8000 if who == "human" else None])
        result = await session.detect_machine(method)  # type: ignore[arg-type]
        await session.hangup()
        await incoming.ended()
    assert result.who == who, result
    assert 500 < result.delay_ms < 6000
