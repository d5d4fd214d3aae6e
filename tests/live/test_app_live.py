"""The app on a real Asterisk: many calls at once and one after another, reconnects, stopping, originate."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import AsyncIterator

import numpy as np
import pytest
from app_rig import Rig, running
from faults import FaultProxy

from voxtra import ARIClient, CallSession, CallState, VoxtraApp
from voxtra.errors import (
    AuthenticationError,
    CallEndedError,
    ConfigurationError,
    NotConnectedError,
    OriginateError,
)
from voxtra.events import AudioFrameEvent, EventType, VoxtraEvent
from voxtra.exchange import Next
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.types import AudioChunk, AudioCodec, CallDirection

pytestmark = pytest.mark.live


async def echo(call: CallSession, rig: Rig) -> None:
    await call.answer()
    async for chunk in call.audio_stream():
        await call.send_audio(chunk)


def tone(hz: float, seconds: float) -> bytes:
    return b"".join(
        int(9000 * math.sin(2 * math.pi * hz * i / 8000)).to_bytes(2, "little", signed=True)
        for i in range(int(8000 * seconds))
    )


def loudest(pcm: bytes) -> tuple[float, float]:
    """Frequency of the strongest component in Hz, and its share of all energy."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    peak = int(power.argmax())
    return peak * 8000 / len(samples), float(power[max(0, peak - 4) : peak + 5].sum() / power.sum())


@pytest.mark.proves("failure 3", "field 5")
async def test_twenty_calls_at_once_without_mixing(asterisk: PrivateAsterisk) -> None:
    async with running(asterisk, echo) as rig, rig.phone() as phone:

        async def caller(number: int) -> tuple[float, tuple[float, float]]:
            hz = 300 + 120 * number
            call = await phone.dial(str(1000 + number))
            await call.answered()
            await asyncio.sleep(0.5)
            call.play(tone(hz, 3))
            await asyncio.sleep(2.5)
            heard = call.received_pcm()[-16000:]
            await call.hangup()
            return hz, loudest(heard)

        for hz, (heard, share) in await asyncio.gather(*(caller(n) for n in range(20))):
            assert abs(heard - hz) < 5
            assert share > 0.7  # a late packet costs some; another's voice would halve it
    assert len(rig.calls) == 20


@pytest.mark.proves("failure 4", "field 9")
async def test_a_hundred_calls_leave_nothing(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.send_audio_bytes(bytes(160))
        if len(rig.calls) % 2:
            await call.hangup()
        else:
            await asyncio.sleep(10)

    async with running(asterisk, handler) as rig, rig.phone() as phone:
        sockets = 0
        for number in range(100):
            call = await phone.dial("100")
            await call.answered()
            if number % 2:
                await call.hangup()
            await call.ended()
            if number == 10:
                await rig.nothing_left()
                sockets = await rig.open_files()
        await rig.nothing_left()
        assert await rig.open_files(at_most=sockets + 2) <= sockets + 2
        assert len(rig.calls) == 100
        assert rig.types().count("session.destroyed") == 100
        assert rig.types().count("call.ended") == 100
        ours = {call.id for call in rig.calls}
        rig.calls.clear()
        await asyncio.sleep(0)
        gc.collect()
        assert not [o for o in gc.get_objects() if type(o) is CallSession and o.id in ours]


@pytest.fixture
async def proxy(asterisk: PrivateAsterisk) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(asterisk.http_host, asterisk.http_port) as proxy:
        yield proxy


@pytest.mark.proves("failure 23", "field 11")
async def test_a_call_outlives_a_break_of_the_connection(
    asterisk: PrivateAsterisk, proxy: FaultProxy
) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        rig.results.append(await call.listen_dtmf(timeout=20))

    async with running(asterisk, handler, url=proxy.url) as rig, rig.phone() as phone:
        staying, leaving = await phone.dial("100"), await phone.dial("200")
        await staying.answered()
        await leaving.answered()
        await asyncio.sleep(0.2)
        proxy.refuse = True
        proxy.reset()
        async with asyncio.timeout(5):
            while rig.app.is_ready:
                await asyncio.sleep(0.01)
            while f"Deactivating Stasis app '{rig.app.app_name}'" not in asterisk.log_tail(50):
                await asyncio.sleep(0.05)  # a busy Asterisk is later to notice
        await leaving.hangup()
        arriving = await phone.dial("300")
        await asyncio.sleep(0.2)
        assert len(rig.app.active_sessions) == 2
        proxy.refuse = False
        async with asyncio.timeout(20):
            while not rig.app.is_ready:
                await asyncio.sleep(0.01)
            while len(rig.app.active_sessions) != 1:
                await asyncio.sleep(0.02)
        await arriving.ended()  # the dialplan's fallback spoke to it meanwhile
        gone = next(call for call in rig.calls if call.called_number == "200")
        assert gone.end is not None
        assert gone.end.reason == "lost"
        await staying.send_dtmf("7")
        await staying.ended(20)
    assert sorted(map(str, rig.results)) == ["7", "None"]
    assert len(rig.calls) == 2


@pytest.mark.proves("app.stop()", "failure 24")
async def test_stop_lets_calls_end_then_hangs_them_up(asterisk: PrivateAsterisk) -> None:
    order = []

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()

        @call.on_hangup
        async def ended() -> None:
            order.append(f"ended {call.called_number}")

        if call.called_number == "1":
            await asyncio.sleep(1)
            await call.hangup()
        else:
            await asyncio.sleep(60)

    async with running(asterisk, handler) as rig:

        @rig.app.on_shutdown
        def shut() -> None:
            order.append("shutdown")

        async with rig.phone() as phone:
            short, long = await phone.dial("1"), await phone.dial("2")
            await short.answered()
            await long.answered()
            stopping = asyncio.ensure_future(rig.app.stop(2.0))
            await asyncio.sleep(0.2)
            late = await phone.dial("3")
            await asyncio.gather(short.ended(), long.ended(), stopping)
            await late.ended(15)
        await rig.app.start()
    assert order == ["ended 1", "ended 2", "shutdown", "shutdown"]


@pytest.mark.proves(
    "app.start()",
    "app.originate(): RuntimeError when not connected",
    "app.is_running",
    "@app.on_startup",
)
async def test_hooks_run_before_the_first_call(asterisk: PrivateAsterisk) -> None:
    order = []
    app = VoxtraApp(asterisk.ari_url, asterisk.ari_user, asterisk.ari_password, app_name="hooks")
    with pytest.raises(NotConnectedError):
        await app.originate("PJSIP/phone")

    @app.on_startup
    async def begin() -> None:
        assert app.ari.ready
        order.append("startup")

    @app.default()
    async def handler(call: CallSession) -> None:
        order.append("call")
        await call.answer()

    await asterisk.rx("dialplan set global APP hooks")
    await app.start()
    assert app.is_ready
    assert app.is_running
    with pytest.raises(ConfigurationError, match="already"):
        await app.start()
    async with Rig(app, asterisk).dialled() as call:
        await call.ended()
    await app.stop()
    await app.stop()
    assert not app.is_running
    assert order == ["startup", "call"]


async def test_a_wrong_password_and_a_name_taken_are_said(asterisk: PrivateAsterisk) -> None:
    app = VoxtraApp(asterisk.ari_url, asterisk.ari_user, "wrong", app_name="wrong")
    with pytest.raises(AuthenticationError):
        await app.start()
    assert not app.is_running
    async with running(asterisk) as rig:
        other = VoxtraApp(
            asterisk.ari_url, asterisk.ari_user, asterisk.ari_password, app_name=rig.app.app_name
        )
        await other.start()
        async with asyncio.timeout(5):
            assert "another client" in str(await rig.app.wait_broken())
        await other.stop()
        await rig.app.stop(0)
        await rig.app.start()


@pytest.mark.proves("app.originate(endpoint, caller_id=, timeout=, variables=)", "failure 21")
async def test_originate(asterisk: PrivateAsterisk) -> None:
    async with running(asterisk) as rig, rig.phone() as phone:
        await phone.register()
        placing = asyncio.ensure_future(
            rig.app.originate(
                "PJSIP/phone", caller_id="4711", variables={"PJSIP_HEADER(add,X-Order)": "42"}, timeout=10
            )
        )
        incoming = await phone.incoming()
        incoming.answer()
        session = await placing
        assert (session.direction, session.state) == (CallDirection.OUTBOUND, CallState.IN_PROGRESS)
        await incoming.answered()
        await session.play_file("beep")
        await incoming.hangup()
        async with asyncio.timeout(5):
            while session.is_active:
                await asyncio.sleep(0.02)
        with pytest.raises(CallEndedError):
            await session.play_file("beep")
        placing = asyncio.ensure_future(rig.app.originate("PJSIP/phone", timeout=10))
        (await phone.incoming()).reject(486)
        with pytest.raises(OriginateError) as refused:
            await placing
        assert refused.value.outcome == "busy"
        placing = asyncio.ensure_future(rig.app.originate("PJSIP/phone", timeout=1))
        (await phone.incoming()).ringing()
        with pytest.raises(OriginateError) as refused:
            await placing
        assert refused.value.outcome == "no_answer"
        with pytest.raises(OriginateError, match="nobody"):
            await rig.app.originate("PJSIP/nobody", timeout=2)
        with pytest.raises(ConfigurationError, match="PJSIP/alice"):
            await rig.app.originate("alice")


@pytest.mark.proves("audio.frame.received", "audio.frame.sent", "failure 12")
async def test_frames_are_told_to_who_asked_for_them(asterisk: PrivateAsterisk) -> None:
    frames: list[VoxtraEvent] = []
    async with running(asterisk, echo) as rig:
        rig.app.on(EventType.AUDIO_FRAME_RECEIVED)(frames.append)
        rig.app.on(EventType.AUDIO_FRAME_SENT)(frames.append)
        async with rig.dialled() as call:
            await asyncio.sleep(1)
            await call.hangup()
        await rig.nothing_left()
        assert rig.calls[0]._event_queue.qsize() < 20
    kinds = [str(frame.type) for frame in frames]
    assert kinds.count("audio.frame.received") > 30
    assert kinds.count("audio.frame.sent") > 30
    assert all(isinstance(frame, AudioFrameEvent) and frame.chunk.data for frame in frames)
    assert not any("frame" in kind for kind in rig.types())


async def test_middleware_and_an_apology(asterisk: PrivateAsterisk) -> None:
    order: list[str] = []

    async def handler(call: CallSession, rig: Rig) -> None:
        order.append("handler")
        raise ValueError("the handler's own fault")

    async with running(asterisk, handler, apology="sound:tt-somethingwrong") as rig:

        @rig.app.middleware
        async def outer(call: CallSession, run: Next) -> None:
            order.append("outer")
            try:
                await run(call)
            finally:
                order.append("outer again")

        @rig.app.middleware
        async def inner(call: CallSession, run: Next) -> None:
            order.append("inner")
            await call.answer()
            await run(call)

        async with rig.dialled() as call:
            await call.ended(15)
            heard = call.first_voice_after(0)
    assert order == ["outer", "inner", "handler", "outer again"]
    assert heard is not None


async def test_a_call_that_rings_and_early_media(asterisk: PrivateAsterisk) -> None:
    async with running(asterisk) as rig, rig.phone() as phone:
        await phone.register()
        session = await rig.app.originate("PJSIP/phone", wait=False, headers={"X-Order": "42"})
        incoming = await phone.incoming()
        assert session.state is CallState.RINGING
        with pytest.raises(TimeoutError):
            await session.answered(0.3)
        incoming.answer()
        await session.answered(5)
        assert session.state is CallState.IN_PROGRESS
        await session.hangup()
        await incoming.ended()
        early = await rig.app.originate(
            "PJSIP/phone", caller_id="Clinic <4711>", early_media=True, timeout=10
        )
        incoming = await phone.incoming()
        assert str(incoming.invite.headers.get("From")).startswith('"Clinic" <sip:4711@')
        incoming.ringing(early_media=True)
        heard: list[AudioChunk] = []
        async for chunk in early.audio_stream(AudioCodec.PCM_S16LE):
            if not heard:
                incoming.play(tone(700, 1))  # what a network plays instead of a ringing tone
            heard.append(chunk)
            if len(heard) == 40:
                break
        assert max(np.abs(np.frombuffer(b"".join(chunk.data for chunk in heard), "<i2"))) > 2000
        assert early.state is CallState.RINGING
        incoming.answer()
        await early.answered(5)
        assert early.state is CallState.IN_PROGRESS
        await early.play_file("beep")
        await early.hangup()
        await incoming.ended()
        busy = await rig.app.originate("PJSIP/phone", caller_id="4711", early_media=True, timeout=10)
        incoming = await phone.incoming()
        assert incoming.remote.startswith("sip:4711@")
        incoming.reject(486)
        with pytest.raises(OriginateError) as refused:
            await busy.answered(5)
        assert refused.value.outcome == "busy"
        with pytest.raises(ConfigurationError, match="X Order"):
            await rig.app.originate("PJSIP/phone", headers={"X Order": "1"})


@pytest.mark.proves("VoxtraApp(telephony=)")
async def test_an_ari_client_of_ones_own(asterisk: PrivateAsterisk) -> None:
    ari = ARIClient(asterisk.ari_url, asterisk.ari_user, asterisk.ari_password, app="own")
    app = VoxtraApp(app_name="own", telephony=ari)
    await app.start()
    assert app.ari is ari
    assert ari.ready
    await app.stop()
    assert not ari.ready
    with pytest.raises(ConfigurationError, match="telephony"):
        VoxtraApp(telephony="asterisk")  # type: ignore[arg-type]
