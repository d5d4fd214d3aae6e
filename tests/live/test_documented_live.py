"""Programs as people write them for the documented names, run as they stand: with real telephones."""

from __future__ import annotations

import asyncio
import os
import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from app_rig import Rig, running

from voxtra import (
    AudioChunk,
    AudioCodec,
    CallDirection,
    CallSession,
    CallState,
    LocalFileSink,
    RecordingMetadata,
    RecordingSink,
    Router,
    VoxtraApp,
)
from voxtra.events import (
    AgentResponseEvent,
    CallEndedEvent,
    CallStartedEvent,
    DTMFEvent,
    UserTranscriptEvent,
    VoxtraEvent,
)
from voxtra.speech import local
from voxtra.testing import ScriptedLLM, TestPhone, tool
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone, PhoneCall

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def pbx() -> Iterator[PrivateAsterisk]:
    """An Asterisk with an endpoint ``internal``."""
    instance = PrivateAsterisk(phones={"phone": "a-good-password", "internal": "another-password"})
    asyncio.run(instance.start())
    yield instance
    asyncio.run(instance.stop())


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def agent(pbx: PrivateAsterisk) -> AsyncIterator[Phone]:
    """A phone that may be called at PJSIP/internal."""
    async with TestPhone(pbx, user="internal") as phone:
        await phone.register()
        yield phone


def tone(hz: float, seconds: float = 2.0) -> bytes:
    samples = 9000 * np.sin(2 * np.pi * hz * np.arange(int(8000 * seconds)) / 8000)
    return samples.astype("<i2").tobytes()


def hears(call: PhoneCall, hz: float) -> bool:
    samples = np.frombuffer(call.received_pcm()[-16000:], "<i2").astype(float)
    turn = np.exp(-2j * np.pi * hz * np.arange(len(samples)) / 8000)
    return float(abs((samples * turn).mean()) * 2) > 1500


async def connected(one: PhoneCall, other: PhoneCall) -> None:
    """The two hear each other."""
    one.play(tone(500))
    other.play(tone(900))
    await asyncio.sleep(1.8)
    assert hears(other, 500)
    assert hears(one, 900)
    await asyncio.gather(one.played(), other.played())


@pytest.mark.proves(
    "call.id",
    "call.caller_id",
    "call.called_number",
    "call.direction",
    "call.state",
    "call.metadata",
    "call.duration",
    "call.app_name",
    "call.agent",
    "call._event_queue",
    "call._dtmf_queue",
    "call._ari",
    "call._pipeline",
    "call._default_recording_sink",
    "app.get_session(id)",
    "app.active_sessions",
    "app.telephony",
    "app.ari",
    "@app.route(extension=, number=, name=, metadata=)",
    "route metadata in call.metadata",
    "failure 18",
)
async def test_what_a_handler_reads(pbx: PrivateAsterisk) -> None:
    seen: list[object] = []

    async with running(pbx) as rig:

        @rig.app.route(extension="4711", name="sales", metadata={"team": "sales"})
        async def handler(call: CallSession) -> None:
            seen.append((call.state, call.duration, call.metadata))
            channels = await call._ari.channels.list()  # type: ignore[union-attr]
            assert call.id in [channel.id for channel in channels]
            await call.answer()
            call.metadata["order"] = 42
            await asyncio.sleep(0.2)
            seen.append((call.state, call.duration > 0.15, call.metadata))
            assert (call.caller_id, call.called_number) == ("phone", "4711")
            assert call.direction == CallDirection.INBOUND == "inbound"
            assert call.app_name == rig.app.app_name
            assert call.agent.history == []
            assert isinstance(call._event_queue, asyncio.Queue)
            assert isinstance(call._event_queue.get_nowait(), VoxtraEvent)
            assert isinstance(call._dtmf_queue, asyncio.Queue)
            assert call._ari is rig.app.ari is rig.app.telephony
            assert call._pipeline is None
            assert call._default_recording_sink is None
            assert rig.app.get_session(call.id) is call
            assert rig.app.active_sessions == [call]
            seen.append(call)

        async with rig.dialled("4711") as phone:
            await phone.ended()
        await rig.nothing_left()
    assert seen[:2] == [
        (CallState.RINGING, 0.0, {"team": "sales", "order": 42}),
        (CallState.IN_PROGRESS, True, {"team": "sales", "order": 42}),
    ]
    call = seen[2]
    assert isinstance(call, CallSession)
    assert call.state is CallState.COMPLETED
    assert rig.app.get_session(call.id) is None
    lasted = call.duration
    await asyncio.sleep(0.05)
    assert call.duration == lasted


@pytest.mark.proves(
    "call.answer()",
    "call.hangup()",
    "call.hangup(reason)",
    "call.hold()",
    "call.hold(moh_class)",
    "call.unhold()",
    "@call.on_hangup",
)
async def test_lifecycle(pbx: PrivateAsterisk) -> None:
    order: list[str] = []

    async def handler(call: CallSession, rig: Rig) -> None:
        @call.on_hangup
        async def first() -> None:
            order.append("first")

        @call.on_hangup
        async def second() -> None:
            order.append("second")

        await call.answer()
        await call.hold()
        order.append(call.state)
        await call.unhold()
        await call.hold("default")
        await call.unhold()
        order.append(call.state)
        await call.hangup(reason="normal")
        await call.hangup()

    async with running(pbx, handler) as rig, rig.dialled() as phone:
        assert (await phone.ended()).cause in (0, 16)
        await rig.nothing_left()
    assert order == ["on_hold", "in_progress", "first", "second"]


@pytest.mark.proves(
    'call.transfer_to("PJSIP/agent-001@internal")',
    "call.transfer_to(extension)",
    "failure 16",
)
@pytest.mark.parametrize(
    ("target", "called"),
    [("PJSIP/agent-001@internal", "agent-001"), ("PJSIP/internal", "internal"), ("777", "internal")],
)
async def test_blind_transfer(pbx: PrivateAsterisk, agent: Phone, target: str, called: str) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.transfer_to(target)

    # an extension is one of the context that the call came by
    await pbx.rx("dialplan add extension 777,1,Dial,PJSIP/internal into app")
    async with running(pbx, handler) as rig, rig.dialled() as caller:
        incoming = await agent.incoming()
        assert called in incoming.called
        incoming.answer()
        await asyncio.sleep(0.5)
        await connected(caller, incoming)
        await caller.hangup()
        await incoming.ended()


@pytest.mark.proves("call.transfer_to(+E.164)")
async def test_transfer_to_a_number_through_the_trunk(pbx: PrivateAsterisk, agent: Phone) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.transfer_to("+442079460000")

    trunk = {"trunk": {"endpoint": "PJSIP/{number}@internal"}}
    async with running(pbx, handler) as rig:
        await rig.app.stop()
        rig.app.configure(rig.app.settings.layered(forced=trunk))
        await rig.app.start()
        async with rig.dialled() as caller:
            incoming = await agent.incoming()
            assert "+442079460000" in incoming.called
            incoming.answer()
            await asyncio.sleep(0.5)
            await connected(caller, incoming)
            await incoming.hangup()
            await caller.ended()


@pytest.mark.proves(
    'call.play_file("hello-world")',
    'call.play_file("sound:hello-world")',
    "call.play_file(media URI)",
    "call.play_file(filename, lang)",
    "call.stop_playback(id)",
    "failure 14",
)
async def test_prompts(pbx: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        began = asyncio.get_running_loop().time()
        await call.play_file("hello-world")
        rig.results.append(asyncio.get_running_loop().time() - began)
        await call.play_file("sound:hello-world")
        await call.play_file("beep", "en")
        await call.play_file("beep", lang="en")
        await call.play_file("digits:12")
        played = await call.play_file("number:7")
        await call.stop_playback(played)  # it is over already
        playing = asyncio.ensure_future(call.play_file("demo-congrats"))
        await asyncio.sleep(1)
        await call.stop_playback(call._prompts.playing[0])
        rig.results.append((await playing).reason)
        await call.hangup()

    async with running(pbx, handler) as rig, rig.dialled() as phone:
        await phone.ended(20)
    assert 1.2 < rig.results[0] < 3  # it returns when the 1.4 s were heard
    assert rig.results[1] == "interrupted"


@pytest.mark.proves("call.audio_stream()", "call.send_audio(chunk)", "call.send_audio_bytes(data)")
async def test_raw_sound(pbx: PrivateAsterisk) -> None:
    def my_dsp(chunk: AudioChunk) -> AudioChunk:
        assert (chunk.codec, chunk.sample_rate, chunk.channels) == (AudioCodec.ULAW, 8000, 1)
        assert (len(chunk.data), chunk.duration_ms) == (160, 20)
        return chunk

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.send_audio_bytes(b"\x10\x90" * 800)
        async for chunk in call.audio_stream():
            processed = my_dsp(chunk)
            await call.send_audio(processed)
            rig.results.append((chunk.sequence, chunk.timestamp_ms))

    async with running(pbx, handler) as rig, rig.dialled() as phone:
        await phone.voice(after=0)
        await phone.silence(after=asyncio.get_running_loop().time() + 0.3)
        phone.play(tone(700))
        await asyncio.sleep(1.8)
        assert hears(phone, 700)
        await phone.hangup()
    numbers = [sequence for sequence, _ in rig.results]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert rig.results[10][1] - rig.results[0][1] == 200


@pytest.mark.proves(
    "call.listen_dtmf(timeout=)",
    "call.listen_dtmf(): None on timeout",
    "call.listen_dtmf(max_digits=, timeout=)",
    'call.listen_dtmf(): "#" ends the input',
    'call.send_dtmf("4321#")',
    "@call.on_dtmf",
)
async def test_keys(pbx: PrivateAsterisk) -> None:
    pressed: list[str] = []

    async def handler(call: CallSession, rig: Rig) -> None:
        @call.on_dtmf
        async def key(digit: str) -> None:
            pressed.append(digit)

        await call.answer()
        digit = await call.listen_dtmf(timeout=5)
        if digit == "1":
            rig.results.append("one")
        rig.results.append(await call.listen_dtmf(max_digits=4, timeout=10))
        rig.results.append(await call.listen_dtmf(4, 10))
        rig.results.append(await call.listen_dtmf(timeout=0.3))
        await call.send_dtmf("4321#")

    async with running(pbx, handler) as rig, rig.dialled() as phone:
        await phone.send_dtmf("1")
        await phone.send_dtmf("1234")
        await phone.send_dtmf("56#")
        await phone.ended(20)
    assert rig.results == ["one", "1234", "56", None]
    assert "".join(pressed) == "1123456#"
    assert phone.digits == "4321#"


class Cabinet(RecordingSink):
    """A sink of somebody's own."""

    def __init__(self) -> None:
        self.got: list[RecordingMetadata] = []

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        assert os.stat(metadata.file_path).st_size > 44
        self.got.append(metadata)


@pytest.mark.proves(
    "call.record_start()",
    "call.record_start(name)",
    "call.record_start(sink=)",
    "call.record_stop()",
    "call.record_stop(): None when there was none",
    "the sink fires exactly once",
    "VoxtraApp(recording_sink=)",
    "RecordingSink.on_recording_complete(metadata)",
)
async def test_recording(pbx: PrivateAsterisk, tmp_path: Path) -> None:
    app_level, per_call = Cabinet(), Cabinet()

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        rig.results.append(await call.record_stop())
        made_up = await call.record_start()
        await asyncio.sleep(0.3)
        rig.results.append(await call.record_stop() == made_up != "")
        rig.results.append(await call.record_stop())
        name = await call.record_start("acme-call-001")
        await asyncio.sleep(0.3)
        rig.results += [name, await call.record_stop()]
        await call.record_start(sink=per_call)
        await call.hangup()  # it is ended with the call

    async with running(pbx, handler, recording_sink=app_level) as rig:
        async with rig.dialled() as phone:
            await phone.ended()
        await rig.nothing_left()
    assert rig.results == [None, True, None, "acme-call-001", "acme-call-001"]
    assert [len(app_level.got), len(per_call.got)] == [2, 1]
    last = app_level.got[1]
    assert (last.name, last.format, last.session_id) == ("acme-call-001", "wav", rig.calls[0].id)
    assert last.duration_seconds is not None
    assert 0.2 < last.duration_seconds < 1
    assert last.extra is not None


@pytest.mark.proves(
    "without a sink: LocalFileSink",
    "call.record_start(name, fmt)",
    "the handler ends: the call ends",
)
async def test_recordings_go_to_a_folder_where_no_sink_is_set(pbx: PrivateAsterisk, tmp_path: Path) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        rig.results.append(await call.record_start("first", "wav"))
        await asyncio.sleep(0.3)

    async with running(pbx, handler) as rig, rig.dialled() as phone:
        await phone.ended()
        await rig.nothing_left()
    with wave.open(str(tmp_path / "recordings" / "first.wav")) as file:
        assert file.getnframes() > 1600


@pytest.mark.proves("call.bridge_with(other)", "app.originate(endpoint, caller_id=, timeout=, variables=)")
async def test_bridging(pbx: PrivateAsterisk, agent: Phone) -> None:
    async def transfer_to_agent(ai_call: CallSession, agent_call: CallSession) -> str:
        return await ai_call.bridge_with(agent_call)

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        agent_call = await rig.app.originate("PJSIP/internal", caller_id="4711", timeout=10)
        assert agent_call.direction is CallDirection.OUTBOUND
        bridge = await transfer_to_agent(call, agent_call)
        rig.results.append(bridge in [each.id for each in await rig.app.ari.bridges.list()])

    async with running(pbx, handler) as rig, rig.dialled() as caller:
        incoming = await agent.incoming()
        incoming.answer()
        await asyncio.sleep(0.5)
        await connected(caller, incoming)
        await incoming.hangup()
        await caller.ended()
    assert rig.results == [True]


@pytest.mark.proves("call.transfer_to_queue(name)", "call.transfer_to_queue(name, metadata)", "failure 15")
async def test_a_queue(pbx: PrivateAsterisk, agent: Phone) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.transfer_to_queue("support", metadata={"CUSTOMER": "4711", "vip": True})

    await pbx.rx("queue add member PJSIP/internal to support")
    async with running(pbx, handler) as rig, rig.dialled() as caller:
        incoming = await agent.incoming()
        variables = rig.app.ari.channels
        for name, value in (("CUSTOMER", "4711"), ("vip", "True")):
            found = await variables.get_channel_var(channel_id=rig.calls[0].id, variable=name)
            assert found.value == value
        incoming.answer()
        await asyncio.sleep(0.7)
        await connected(caller, incoming)
        await caller.hangup()
        await incoming.ended()
    await pbx.rx("queue remove member PJSIP/internal from support")


@pytest.mark.proves('call.say(): RuntimeError("AI pipeline not configured")')
async def test_without_speech_it_is_a_runtime_error(pbx: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        try:
            await call.say("Welcome to Acme.")
        except RuntimeError as error:
            rig.results.append(str(error))

    async with running(pbx, handler) as rig, rig.phone() as phone:
        await (await phone.dial("100")).ended()
    assert rig.results[0].startswith("AI pipeline not configured")


@pytest.mark.proves(
    "VoxtraApp(stt=, llm=, tts=, vad=)",
    "call.say(text)",
    "call.say(interruptible=)",
    "call.listen(timeout=)",
    "call.listen(): only finals",
    "call.listen(): .text and .confidence",
    "call.listen() reads as a string",
    "call.listen(): None on timeout",
    "call.agent.respond(text)",
    "respond(): .text and .tool_calls",
    "call.agent.history",
    "call.agent.history may be changed",
    "call.agent.messages",
    "call.agent.reset()",
    "call.agent.add_tool_result(tool_id, result)",
    'call.agent.respond("")',
    "@call.on_hangup",
    "user.speech.started",
    "user.speech.ended",
    "user.transcript",
    "turn.ended",
    "agent.thinking",
    "agent.response",
    "agent.speech.started",
    "agent.speech.ended",
    "silence.detected",
    "media.started",
    "media.stopped",
    "failure 9",
)
@pytest.mark.local
async def test_a_conversation(pbx: PrivateAsterisk) -> None:
    saved: list[object] = []
    llm = ScriptedLLM(
        [
            ["One moment.", tool("look_up", order=4321)],
            "It shipped on the fourth of May.",
            "You are welcome.",
        ]
    )

    async def handler(call: CallSession, rig: Rig) -> None:
        @call.on_hangup
        async def cleanup() -> None:
            saved.append((call.id, list(call.agent.history)))

        await call.answer()
        call.agent.history.append({"role": "user", "content": "Hi from earlier."})
        await call.say("Welcome to Acme.")
        user = await call.listen(timeout=10)
        if user:
            rig.results.append((user.text, user.confidence, "order" in user, f"{user}"))
        assert isinstance(user, UserTranscriptEvent)
        assert user.is_final
        reply = await call.agent.respond(user.text)
        assert isinstance(reply, AgentResponseEvent)
        await call.say(reply.text, interruptible=False)
        await call.agent.add_tool_result(tool_id=reply.tool_calls[0]["id"], result="Order #4321 shipped")
        reply = await call.agent.respond("")
        rig.results.append((reply.text, reply.tool_calls))
        await call.say(reply.text)
        rig.results.append(await call.listen(timeout=0.5))
        assert call.agent.messages[0]["content"] == "You are at Acme."
        call.agent.reset()
        await call.agent.respond("Thanks")
        await call.hangup()

    stt, tts, vad, _ = local()
    providers = {"stt": stt, "tts": tts, "vad": vad, "llm": llm, "instructions": "You are at Acme."}
    async with running(pbx, handler, **providers) as rig, TestPhone(pbx) as phone:
        call = await phone.call("100")
        await call.silence(after=await call.voice(after=0), quiet_ms=600)
        await phone.says(call, "Where is my order?")
        await call.ended(20)
        await rig.nothing_left()
    text, confidence, found, printed = rig.results[0]
    assert "order" in text.lower()
    assert 0 < confidence <= 1
    assert found == ("order" in text)
    assert printed == text
    assert rig.results[1:] == [("It shipped on the fourth of May.", []), None]
    roles = [message["role"] for message in llm.requests[1]]
    assert roles == ["system", "user", "user", "assistant", "tool"]
    assert llm.requests[1][1]["content"] == "Hi from earlier."
    assert llm.requests[1][-1]["content"] == "Order #4321 shipped"
    assert llm.requests[2][-1] == {"role": "user", "content": "Thanks"}
    assert len(llm.requests[2]) == 2
    assert saved == [
        (
            rig.calls[0].id,
            [{"role": "user", "content": "Thanks"}, {"role": "assistant", "content": "You are welcome."}],
        )
    ]
    kinds = rig.types()
    for kind in (
        "user.speech.started", "user.speech.ended", "user.transcript", "turn.ended", "agent.thinking",
        "agent.response", "agent.speech.started", "agent.speech.ended", "silence.detected", "media.started",
        "media.stopped",
    ):  # fmt: skip
        assert kind in kinds
    assert kinds.count("user.transcript") == 1


@pytest.mark.proves(
    "call.started",
    "call.ringing",
    "call.answered",
    "call.ended",
    "call.transferred",
    "dtmf.received",
    "session.created",
    "session.destroyed",
    "VoxtraEvent(id, type, session_id, timestamp, data)",
    "CallStartedEvent",
    "CallEndedEvent(reason, duration_seconds)",
    "DTMFEvent(digit)",
)
async def test_events_carry_what_is_documented(pbx: PrivateAsterisk, agent: Phone) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.listen_dtmf(timeout=5)
        await call.transfer_to("PJSIP/internal", timeout=10)

    async with running(pbx, handler) as rig, rig.dialled() as caller:
        await caller.send_dtmf("5")
        incoming = await agent.incoming()
        incoming.answer()
        await asyncio.sleep(0.5)
        await incoming.hangup()
        await caller.ended()
        await rig.nothing_left()
    by_type = {str(event.type): event for event in rig.events}
    for event in rig.events:
        assert event.session_id == rig.calls[0].id
        assert event.timestamp.tzinfo is not None
        assert isinstance(event.data, dict)
    assert len({event.id for event in rig.events}) == len(rig.events)
    started, digit, ended = by_type["call.started"], by_type["dtmf.received"], by_type["call.ended"]
    assert isinstance(started, CallStartedEvent)
    assert isinstance(digit, DTMFEvent)
    assert digit.digit == "5"
    assert isinstance(ended, CallEndedEvent)
    assert ended.reason
    assert ended.duration_seconds > 0.4
    assert rig.types() == [
        "session.created", "call.started", "call.ringing", "call.answered", "dtmf.received",
        "call.transferred", "call.ended", "session.destroyed",
    ]  # fmt: skip


@pytest.mark.proves("call.failed")
async def test_a_call_that_fails_says_so(pbx: PrivateAsterisk) -> None:
    async with running(pbx) as rig:
        with pytest.raises(Exception, match="nobody"):
            await rig.app.originate("PJSIP/nobody", caller_id="1", timeout=3, variables={"A": "b"})
        await rig.nothing_left()
    assert "call.failed" in rig.types()
    assert "call.ended" in rig.types()


@pytest.mark.proves("failure 19", "field 5")
async def test_one_slow_call_holds_up_no_other(pbx: PrivateAsterisk) -> None:
    times: list[float] = []
    now = asyncio.get_running_loop().time

    async def handler(call: CallSession, rig: Rig) -> None:
        @call.on_dtmf
        async def key(digit: str) -> None:
            if call.called_number == "100":
                await asyncio.sleep(60)
            times.append(now())

        @call.on_hangup
        async def slow() -> None:
            if call.called_number == "100":
                await asyncio.sleep(1)

        await call.answer()
        await call.record_start(sink=Slow())
        await call.listen_dtmf(timeout=None)
        if call.called_number == "100":
            await call.record_stop()

    class Slow(RecordingSink):
        async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
            await asyncio.sleep(1)

    async with running(pbx, handler) as rig, rig.phone() as phone:
        slow, quick = await phone.dial("100"), await phone.dial("200")
        await asyncio.gather(slow.answered(), quick.answered())
        await slow.send_dtmf("1")
        pressed = now()
        await quick.send_dtmf("2")
        await quick.ended(5)
        await slow.ended(10)
        await rig.nothing_left(10)
    assert len(times) == 1
    assert times[0] - pressed < 0.8


@pytest.mark.proves("app.originate(endpoint, caller_id=, timeout=, variables=)", "failure 21")
async def test_originate_gives_variables_to_the_channel(pbx: PrivateAsterisk, agent: Phone) -> None:
    async with running(pbx) as rig:
        placing = asyncio.ensure_future(
            rig.app.originate("PJSIP/internal", caller_id="4711", timeout=10, variables={"ORDER": "42, a=b"})
        )
        incoming = await agent.incoming()
        assert "4711" in incoming.remote
        incoming.answer()
        session = await placing
        assert session.state is CallState.IN_PROGRESS
        found = await rig.app.ari.channels.get_channel_var(channel_id=session.id, variable="ORDER")
        assert found.value == "42, a=b"
        await session.hangup()
        await incoming.ended()


@pytest.mark.proves(
    "VoxtraApp(ari_url, ari_user, ari_password)",
    "VoxtraApp(app_name=)",
    "VoxtraApp(reconnect_interval=)",
    "VoxtraApp(router=)",
    "VOXTRA_ARI_URL, VOXTRA_ARI_USER, VOXTRA_ARI_PASSWORD",
    "VoxtraApp.with_asterisk()",
    "VoxtraApp.from_config()",
    "VoxtraApp.from_yaml()",
    "@app.default_route()",
    "@app.on_startup",
    "@app.on_shutdown",
    "app.run_async()",
    "app.stop()",
    "app.is_running",
    "app.app_name",
    "app.router",
    "VoxtraConfig.to_yaml",
    "VoxtraConfig.from_yaml",
)
async def test_an_app_made_in_each_documented_way(
    pbx: PrivateAsterisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxtra.config import VoxtraConfig

    ari = {"ari_url": pbx.ari_url, "ari_user": pbx.ari_user, "ari_password": pbx.ari_password}
    for name, value in ari.items():
        monkeypatch.setenv(f"VOXTRA_{name.upper()}", value)
    by_environment = VoxtraApp(app_name="documented", reconnect_interval=5.0, debug=False)
    for name in ("ari_url", "ari_user"):  # the password stays: to_yaml writes no secret
        monkeypatch.delenv(f"VOXTRA_{name.upper()}")
    keywords = {name.removeprefix("ari_"): value for name, value in ari.items()}
    config = VoxtraConfig(asterisk={**keywords, "app_name": "documented"})  # type: ignore[arg-type]
    config.to_yaml(tmp_path / "voxtra.yaml")
    apps = [
        VoxtraApp(pbx.ari_url, pbx.ari_user, pbx.ari_password, app_name="documented"),
        VoxtraApp(**ari, app_name="documented", recording_sink=LocalFileSink(tmp_path)),  # type: ignore[arg-type]
        VoxtraApp.with_asterisk(**ari, app_name="documented"),
        VoxtraApp.from_config(config, router=Router()),
        VoxtraApp.from_yaml(str(tmp_path / "voxtra.yaml")),
        by_environment,
    ]
    await pbx.rx("dialplan set global APP documented")
    order: list[str] = []
    for app in apps:

        @app.on_startup
        async def begin() -> None:
            order.append("startup")

        @app.on_shutdown
        async def end() -> None:
            order.append("shutdown")

        @app.default_route()
        async def handler(call: CallSession) -> None:
            order.append("call")

        assert not app.is_running
        running_app = asyncio.ensure_future(app.run_async())
        async with asyncio.timeout(10):
            while not app.is_running:
                await asyncio.sleep(0.01)
        assert app.app_name == "documented"
        assert app.router is not None
        async with Rig(app, pbx).phone() as phone:
            await (await phone.dial("100")).ended()
        await app.stop()
        await running_app
    assert order == ["startup", "call", "shutdown"] * len(apps)
