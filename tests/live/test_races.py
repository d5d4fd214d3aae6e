"""Calls that end and connections that break at the worst moment, on a real Asterisk: nothing stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from app_rig import Rig, running
from faults import FaultProxy

from voxtra import CallSession
from voxtra.ari import ARIClient
from voxtra.errors import CallEndedError, VoxtraError
from voxtra.speech.base import TTS, Speech
from voxtra.testing.asterisk import PrivateAsterisk

pytestmark = pytest.mark.live


class Beeps(TTS):
    """100 ms of sound for each word."""

    name = "beeps"
    rate = 8000

    async def synthesize(
        self, text: str, *, voice: str | None = None, language: str | None = None
    ) -> AsyncIterator[Speech]:
        for _ in text.split():
            await asyncio.sleep(0.001)
            yield Speech(b"\x00\x30\x00\xd0" * 400, self.rate)


class Failures:
    """A handler's body, and what went wrong in it that should not."""

    def __init__(self, *allowed: type[Exception]) -> None:
        self.allowed = allowed
        self.seen: list[BaseException] = []

    async def __call__(self, call: CallSession) -> None:
        try:
            if call._shared.speech.tts is not None:
                await call.say("one two three four five")
            else:
                await call.answer()
                await call.send_audio_bytes(bytes(160))
                async for _ in call.audio_stream():
                    pass
            await call.play_file("demo-congrats")
        except self.allowed:
            raise
        except Exception as error:
            self.seen.append(error)
            raise


async def hung_up_early(rig: Rig, calls: int, delay_s: float) -> None:
    """``calls`` calls, the n-th hung up n * ``delay_s`` after it was dialled."""
    async with rig.phone() as phone:
        for number in range(calls):
            call = await phone.dial("100")
            await asyncio.sleep(number * delay_s)
            await call.hangup()


@pytest.mark.proves("failure 4", "field 9")
@pytest.mark.parametrize(
    ("transport", "tts"),
    [("websocket", None), ("websocket", Beeps()), ("rtp", None), ("audiosocket", Beeps())],
)
async def test_hung_up_while_it_begins(asterisk: PrivateAsterisk, transport: str, tts: TTS | None) -> None:
    failures = Failures(CallEndedError)

    async def handler(call: CallSession, rig: Rig) -> None:
        await failures(call)

    async with running(asterisk, handler, media={"transport": transport}, tts=tts) as rig:
        await hung_up_early(rig, 3, 0.0)
        await rig.nothing_left()
        files = await rig.open_files()
        await hung_up_early(rig, 60, 0.001)
        await rig.nothing_left()
        assert await rig.open_files(at_most=files + 1) <= files + 1
        ends = [call.end.reason for call in rig.calls if call.end]
        assert len(ends) == len(rig.calls) == 63
        assert set(ends) == {"hangup"}
    assert failures.seen == []


@pytest.mark.parametrize("tts", [None, Beeps()])
async def test_the_connection_breaks_while_it_begins(asterisk: PrivateAsterisk, tts: TTS | None) -> None:
    """Of ARI and of the sound at once, the n-th call n * 1.5 ms after it came."""
    failures = Failures(VoxtraError)
    came = asyncio.Event()

    async def handler(call: CallSession, rig: Rig) -> None:
        came.set()
        await failures(call)

    async with (
        FaultProxy(asterisk.http_host, asterisk.http_port) as proxy,
        running(asterisk, handler, url=proxy.url, tts=tts, reconnect_interval=0.3) as rig,
        rig.phone() as phone,
    ):
        for number in range(25):
            async with asyncio.timeout(5):
                while not rig.app.is_ready:
                    await asyncio.sleep(0.005)
            came.clear()
            call = await phone.dial("100")
            async with asyncio.timeout(5):
                await came.wait()
            await asyncio.sleep(number * 0.0015)
            proxy.reset()
            await asyncio.sleep(0.05)
            await call.hangup()
        async with asyncio.timeout(10):
            while not rig.app.is_ready:
                await asyncio.sleep(0.02)
        await rig.nothing_left(10)
        assert rig.types().count("call.ended") == rig.types().count("call.started") == 25
    assert failures.seen == []


async def test_answers_that_are_lost(asterisk: PrivateAsterisk) -> None:
    """Asterisk carries out the request, and nobody hears of it."""
    results: list[str] = []

    async with FaultProxy(asterisk.http_host, asterisk.http_port) as proxy:

        async def handler(call: CallSession, rig: Rig) -> None:
            proxy.swallow = True
            asyncio.get_running_loop().call_later(0.1, proxy.reset)
            try:
                if call.called_number == "1":
                    await call.answer()
                else:
                    await call.send_audio_bytes(bytes(160))
            except VoxtraError as error:
                results.append(type(error).__name__)
            proxy.swallow = False
            for _ in range(50):  # until the loss is noticed; from then on verbs wait for the connection
                try:
                    await call.send_audio_bytes(bytes(1600))
                    break
                except VoxtraError:
                    await asyncio.sleep(0.02)
            results.append((await call.play_file("beep")).reason)

        async with running(asterisk, handler, url=proxy.url) as rig:
            for number in ("1", "2"):
                async with rig.dialled(number) as call:
                    await call.ended(20)
    assert results == ["ARIConnectionLostError", "finished"] * 2


async def test_a_channel_that_somebody_takes_away(asterisk: PrivateAsterisk) -> None:
    """Its StasisEnd is no hang-up: the session ends, the channel lives on in the dialplan."""
    results: list[str] = []

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.send_audio_bytes(bytes(160))
        results.append(str(await call.listen_dtmf(timeout=20)))
        with pytest.raises(CallEndedError):
            await call.play_file("beep")

    async with running(asterisk, handler) as rig, rig.dialled() as call:
        await asyncio.sleep(0.3)
        async with ARIClient(asterisk.ari_url, asterisk.ari_user, asterisk.ari_password) as other:
            await other.channels.continue_in_dialplan(
                channel_id=rig.calls[0].id, context="voxtra", extension="600", priority=1
            )
            async with asyncio.timeout(5):
                while rig.app.active_sessions or await other.bridges.list():
                    await asyncio.sleep(0.02)
            assert [each.id for each in await other.channels.list()] == [rig.calls[0].id]
            await call.hangup()
    assert results == ["None"]


async def test_two_apps_leave_each_others_channels_alone(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.send_audio_bytes(bytes(160))
        rig.results.append(await call.listen_dtmf(timeout=20))

    async with (
        FaultProxy(asterisk.http_host, asterisk.http_port) as proxy,
        running(asterisk, handler) as one,
        one.dialled() as first,
    ):
        async with running(asterisk, handler, url=proxy.url, alone=False) as two, two.dialled() as second:
            await asyncio.sleep(0.3)
            there = {each.id for each in await one.app.ari.channels.list()}
            assert len(there) == 4
            proxy.reset()  # the second app reconnects, and looks what is there
            async with asyncio.timeout(10):
                while two.app.is_ready:
                    await asyncio.sleep(0.002)
                while not two.app.is_ready:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.2)
            here = {each.id for each in await one.app.ari.channels.list()}
            lost = there - here
            assert len(lost) == 1, "the second's own media channel, as its socket broke too"
            assert len(await one.app.ari.bridges.list()) == 2
            await second.send_dtmf("2")
            await second.ended()
        await first.send_dtmf("1")
        await first.ended()
    assert (one.results, two.results) == (["1"], ["2"])


async def test_stopped_while_calls_begin(asterisk: PrivateAsterisk) -> None:
    """Calls on their way in are hung up or go back to the dialplan; none is left in an app that is gone."""
    failures = Failures(VoxtraError)

    async def handler(call: CallSession, rig: Rig) -> None:
        await failures(call)

    async with ARIClient(asterisk.ari_url, asterisk.ari_user, asterisk.ari_password) as other:
        for number in range(10):
            async with running(asterisk, handler, tts=Beeps(), alone=False) as rig, rig.phone() as phone:
                calls = [await phone.dial("100") for _ in range(5)]
                await asyncio.sleep(number * 0.004)
                await asyncio.wait_for(rig.app.stop(0), 10)
                await asyncio.sleep(0.1)
                there = await other.channels.list()
                assert [each for each in there if each.dialplan.app_name == "Stasis"] == []
                assert await other.bridges.list() == []
                for call in calls:
                    await call.hangup()
            assert rig.types().count("call.started") == rig.types().count("call.ended")
            async with asyncio.timeout(5):
                while await other.channels.list():
                    await asyncio.sleep(0.02)
    assert failures.seen == []
