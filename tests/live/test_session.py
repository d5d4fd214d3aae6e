"""The verbs of a call on a real Asterisk, with a real phone at the other end."""

from __future__ import annotations

import asyncio

import pytest
from app_rig import Rig, running

from voxtra import CallSession, CallState
from voxtra.errors import CallEndedError, ConfigurationError, PlaybackError, SessionError
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.types import AudioChunk, AudioCodec, CallDirection

pytestmark = pytest.mark.live


@pytest.mark.proves("call.state", "call.duration", "call.hangup()", "@call.on_hangup", "failure 17")
async def test_attributes_and_the_life_of_a_call(asterisk: PrivateAsterisk) -> None:
    seen = []

    async def handler(call: CallSession, rig: Rig) -> None:
        seen.append((call.state, call.duration))
        await call.answer()
        await call.answer()
        seen.append((call.state, call.duration))
        call.on_hangup(ended("first"))
        call.on_hangup(ended("second"))
        await asyncio.sleep(0.3)
        await call.hangup()
        await call.hangup()

    order = []

    def ended(name: str):  # type: ignore[no-untyped-def]
        async def callback() -> None:
            order.append(name)

        return callback

    async with running(asterisk, handler) as rig:
        async with rig.dialled("4711") as call:
            end = await call.ended()
        await rig.nothing_left()
        session = rig.calls[0]
    assert end.by == "remote"
    assert end.cause in (0, 16)  # Asterisk leaves the Reason out now and then
    assert seen[0] == (CallState.RINGING, 0.0)
    assert seen[1][0] is CallState.IN_PROGRESS
    assert order == ["first", "second"]
    assert session.state is CallState.COMPLETED
    assert 0.25 < session.duration < 3
    assert (session.caller_id, session.called_number) == ("phone", "4711")
    assert session.direction is CallDirection.INBOUND
    assert session.end is not None
    assert session.end.reason == "local"
    assert rig.types() == [
        "session.created", "call.started", "call.ringing", "call.answered", "call.ended", "session.destroyed",
    ]  # fmt: skip


async def test_refused_before_the_answer(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.hangup("busy")

    async with running(asterisk, handler) as rig, rig.phone() as phone:
        call = await phone.dial("100")
        end = await call.ended()
    assert end.status == 486


@pytest.mark.proves("the handler ends: the call ends", "error", "ErrorEvent(error_type, message)")
async def test_a_handler_that_fails_or_returns_ends_its_call(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        if call.called_number == "1":
            raise ValueError("the handler's own fault")

    async with running(asterisk, handler) as rig:
        for number in ("1", "2"):
            async with rig.dialled(number) as call:
                assert (await call.ended()).cause in (0, 16)
    assert rig.types().count("error") == 1


@pytest.mark.proves("no handler: hung up with a warning")
async def test_no_route_is_told_to_the_caller(asterisk: PrivateAsterisk) -> None:
    async with running(asterisk) as rig, rig.phone() as phone:
        call = await phone.dial("100")
        assert (await call.ended()).status == 404


@pytest.mark.proves("call.play_file(media URI)", "failure 14")
async def test_prompts_are_heard_to_their_end(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        rig.results += [
            await call.play_file("hello-world"),
            await call.play_file(["digits:12", "sound:beep"]),
        ]
        for wrong, error in (("no-such-file", PlaybackError), ("http:x", ConfigurationError)):
            with pytest.raises(error, match=wrong):
                await call.play_file(wrong)

    async with running(asterisk, handler) as rig, rig.dialled() as call:
        await call.ended()
        seconds = len(call.received_pcm()) / 16000
    assert [result.reason for result in rig.results] == ["finished", "finished"]
    assert seconds > 2.2  # hello-world alone has 1.4 s


@pytest.mark.proves("failure 18")
@pytest.mark.parametrize("verb", ["play_file", "listen_dtmf", "audio_stream", "send_audio"])
async def test_a_hang_up_ends_what_is_under_way(asterisk: PrivateAsterisk, verb: str) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        if verb == "play_file":
            rig.results.append((await call.play_file("demo-congrats")).reason)
        elif verb == "listen_dtmf":
            rig.results.append(await call.listen_dtmf(timeout=60))
        elif verb == "audio_stream":
            rig.results.append([chunk async for chunk in call.audio_stream()][-1].codec)
        else:
            await call.send_audio_bytes(bytes(8000 * 30))
            await asyncio.wait([call._leg.ended])
        rig.results.append(asyncio.get_running_loop().time())
        with pytest.raises(CallEndedError):
            await call.play_file("beep")

    async with running(asterisk, handler) as rig, rig.dialled() as call:
        await asyncio.sleep(0.5)
        began = asyncio.get_running_loop().time()
        await call.hangup()
        async with asyncio.timeout(5):
            await rig.finished.wait()
    assert rig.results[0] in ("hangup", None, AudioCodec.ULAW, rig.results[-1])
    assert rig.results[-1] - began < 1.0
    assert rig.calls[0].end is not None
    assert (rig.calls[0].end.reason, rig.calls[0].end.cause) == ("hangup", 16)


@pytest.mark.proves('call.listen_dtmf(): "#" ends the input', "@call.on_dtmf", "failure 22")
async def test_keys(asterisk: PrivateAsterisk) -> None:
    pressed = []

    async def handler(call: CallSession, rig: Rig) -> None:
        @call.on_dtmf
        async def key(digit: str) -> None:
            pressed.append(digit)

        await call.answer()
        rig.results.append(await call.listen_dtmf(max_digits=4, timeout=5))
        await asyncio.sleep(0.6)  # the next are pressed ahead
        rig.results.append(await call.listen_dtmf(max_digits=2))
        rig.results.append(await call.listen_dtmf(max_digits=9, timeout=5))
        rig.results.append(await call.listen_dtmf(timeout=0.1))

    async with running(asterisk, handler) as rig, rig.dialled() as call:
        await call.send_dtmf("12#34#")
        await call.ended(20)
    digits, ahead, hash_alone, nothing = rig.results
    assert (digits, digits.reason) == ("12", "terminator")
    assert (ahead, ahead.reason) == ("34", "finished")
    assert (hash_alone, hash_alone.reason) == ("", "terminator")
    assert nothing is None
    assert "".join(pressed) == "12#34#"


@pytest.mark.proves("failure 2", "call.audio_stream()")
@pytest.mark.parametrize("transport", ["websocket", "rtp", "audiosocket"])
async def test_an_echo_in_python_through_each_transport(asterisk: PrivateAsterisk, transport: str) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        async for chunk in call.audio_stream():
            await call.send_audio(chunk)

    tone = b"".join(
        (9000 if (i // 4) % 2 else -9000).to_bytes(2, "little", signed=True) for i in range(16000)
    )
    async with running(asterisk, handler, media={"transport": transport}) as rig:
        async with rig.dialled() as call:
            await asyncio.sleep(0.5)
            said = asyncio.get_running_loop().time()
            call.play(tone)
            heard = await call.voice(after=said)
            await call.played()
            await asyncio.sleep(0.3)
            end = call.last_voice_before(asyncio.get_running_loop().time())
            await call.hangup()
        await rig.nothing_left()
    assert heard - said < 0.5
    assert end is not None
    assert abs(end - heard - 2.0) < 0.3


@pytest.mark.proves("call.hangup()")
async def test_sound_that_was_sent_is_heard_before_the_hang_up(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        pcm = b"".join(
            (9000 if (i // 8) % 2 else -9000).to_bytes(2, "little", signed=True) for i in range(16000)
        )
        await call.send_audio(
            AudioChunk(pcm, sample_rate=16000, codec=AudioCodec.PCM_S16LE, duration_ms=1000)
        )
        await call.hangup()

    async with running(asterisk, handler) as rig, rig.dialled() as call:
        began = asyncio.get_running_loop().time()
        end = await call.ended()
        first, last = call.first_voice_after(began - 1), call.last_voice_before(began + 10)
    assert end.by == "remote"
    assert first is not None
    assert last is not None
    assert last - first > 0.9


async def test_sound_that_was_sent_is_heard_when_the_handler_returns(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.send_audio_bytes(b"\x10\x90" * 4000)

    async with running(asterisk, handler) as rig, rig.dialled() as call:
        began = asyncio.get_running_loop().time()
        await call.ended()
        first, last = call.first_voice_after(began - 1), call.last_voice_before(began + 10)
    assert first is not None
    assert last is not None
    assert last - first > 0.9


@pytest.mark.proves(
    "route by extension",
    "route by caller's number",
    "trailing * in a route",
    "route metadata in call.metadata",
)
async def test_routes_and_their_metadata(asterisk: PrivateAsterisk) -> None:
    async with running(asterisk) as rig:

        @rig.app.route(extension="2*", metadata={"queue": "two"})
        async def two(call: CallSession) -> None:
            rig.results.append(("two", call.metadata))
            await call.answer()

        @rig.app.route(number="phone")
        async def by_number(call: CallSession) -> None:
            rig.results.append(("number", call.metadata))
            await call.answer()

        for number in ("200", "300"):
            async with rig.dialled(number) as call:
                await call.ended()
    assert rig.results == [("two", {"queue": "two"}), ("number", {})]


@pytest.mark.proves("failure 20", "call.record_start(name, fmt)")
async def test_a_recording_is_stereo_and_survives_the_caller_hanging_up(
    asterisk: PrivateAsterisk, tmp_path: object
) -> None:
    from voxtra.recording import LocalFileSink

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        rig.results.append(await call.record_start("folder/first"))
        with pytest.raises(SessionError):
            await call.record_start()
        async for chunk in call.audio_stream():
            await call.send_audio(chunk)

    sink = LocalFileSink(str(tmp_path))
    async with running(asterisk, handler, recording_sink=sink) as rig:
        async with rig.dialled() as call:
            await asyncio.sleep(0.5)
            call.play(b"\x00\x30\x00\xd0" * 4000)
            await call.played()
            await asyncio.sleep(0.3)
            await call.hangup()
        await rig.nothing_left()
    assert rig.results == ["folder/first"]
    import wave
    from pathlib import Path

    with wave.open(str(Path(str(tmp_path)) / "folder" / "first.wav")) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8000)
        frames = file.readframes(file.getnframes())
    left, right = [abs(int.from_bytes(frames[i : i + 2], "little", signed=True)) for i in (0, 2)], []
    for channel in (0, 2):
        loud = sum(
            abs(int.from_bytes(frames[i : i + 2], "little", signed=True)) > 3000
            for i in range(channel, len(frames), 4)
        )
        right.append(loud)
    assert left is not None
    assert all(abs(loud - 8000) < 1200 for loud in right), right
