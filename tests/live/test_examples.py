"""The programs of examples/, each called by people with telephones: what they notice is what is checked."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_rig import Rig

from voxtra import RecordingMetadata
from voxtra.events import EventType
from voxtra.media.wav import read_sound
from voxtra.provisioning import TenantProvisioner
from voxtra.speech.openai import OpenAILLM
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone, PhoneCall
from voxtra.testing.talking_phone import TestPhone

pytestmark = pytest.mark.live

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("AGENT", "OVERFLOW", "PATIENCE_S", "LLM_MODEL", "TENANTS_FOLDER"):
        monkeypatch.delenv(name, raising=False)


def load(name: str) -> Any:
    """The example as a fresh module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.asynccontextmanager
async def running(asterisk: PrivateAsterisk, module: Any, *, name: str = "") -> AsyncIterator[Rig]:
    """The example's app, on its own as ``voxtra dev`` would run it; it leaves nothing behind."""
    app = module.app
    name = name or module.__name__.replace("_", "-")
    ari = {"url": asterisk.ari_url, "user": asterisk.ari_user, "password": asterisk.ari_password}
    app.configure(app.settings.layered(forced={"asterisk": ari | {"app_name": name}}))
    rig = Rig(app, asterisk)
    app.on()(rig.events.append)
    await asterisk.rx(f"dialplan set global APP {name}")
    await app.start()
    try:
        yield rig
        await rig.nothing_left()
    finally:
        await app.stop(0)
    assert [event for event in rig.events if event.type == EventType.ERROR] == []


class Ear:
    """Recognises Asterisk's prompts in what a phone got."""

    def __init__(self, asterisk: PrivateAsterisk) -> None:
        assert asterisk.installation is not None
        self._sounds = asterisk.installation.sounds

    def at(self, call: PhoneCall, prompt: str) -> float | None:
        """Where in what was heard the prompt begins, in s; None when it was not heard."""
        sound = np.frombuffer(read_sound(self._sounds / f"{prompt}.wav", 8000), "<i2")
        loud = np.flatnonzero(np.abs(sound.astype(int)) > 500)
        piece = sound[loud[0] : loud[0] + 6000].astype(float)
        heard = np.frombuffer(call.received_pcm(), "<i2").astype(float)
        if len(heard) < len(piece):
            return None
        size = 1 << (len(heard) + len(piece)).bit_length()
        product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(piece, size)), size)
        sums = np.concatenate([[0.0], np.cumsum(heard**2)])
        windows = sums[len(piece) :] - sums[: -len(piece)]
        likeness = product[: len(windows)] / np.sqrt((piece**2).sum() * np.maximum(windows, 1e4))
        best = int(likeness.argmax())
        return best / 8000 if likeness[best] > 0.85 else None

    def order(self, call: PhoneCall, *prompts: str) -> bool:
        """Whether all were heard, one after another."""
        places = [self.at(call, prompt) for prompt in prompts]
        there = [place for place in places if place is not None]
        return len(there) == len(prompts) and there == sorted(there)

    async def until(self, call: PhoneCall, prompt: str, timeout: float = 15) -> None:
        """Wait until the beginning of a prompt was heard."""
        try:
            async with asyncio.timeout(timeout):
                while self.at(call, prompt) is None:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{prompt} was not heard") from None


@pytest.fixture
def ear(asterisk: PrivateAsterisk) -> Ear:
    return Ear(asterisk)


@contextlib.asynccontextmanager
async def colleague(asterisk: PrivateAsterisk) -> AsyncIterator[Phone]:
    """A registered phone that may be called: PJSIP/phone2."""
    account = {"user": "phone2", "password": asterisk.phones["phone2"]}
    async with Phone((asterisk.sip_host, asterisk.sip_port), **account) as phone:  # type: ignore[arg-type]
        await phone.register()
        yield phone


def tone(hz: float, seconds: float = 2.0) -> bytes:
    samples = 9000 * np.sin(2 * np.pi * hz * np.arange(int(8000 * seconds)) / 8000)
    return samples.astype("<i2").tobytes()


def hears(call: PhoneCall, hz: float) -> bool:
    """Whether a tone is in the last second heard."""
    samples = np.frombuffer(call.received_pcm()[-16000:], "<i2").astype(float)
    turn = np.exp(-2j * np.pi * hz * np.arange(len(samples)) / 8000)
    return float(abs((samples * turn).mean()) * 2) > 1500


async def talk(*calls: PhoneCall) -> None:
    """Everybody plays a tone of their own; each hears all others and not itself."""
    tones = [400 + 370 * number for number in range(len(calls))]
    for call, hz in zip(calls, tones, strict=True):
        call.play(tone(hz, 2.5))
    await asyncio.sleep(2)
    heard = [[hears(call, hz) for hz in tones] for call in calls]
    await asyncio.gather(*(call.played() for call in calls))
    assert heard == [[a != b for b in range(len(calls))] for a in range(len(calls))]


def said(rig: Rig) -> str:
    """All that the app has said so far, as far as it was heard."""
    return " | ".join(e.data["heard"] for e in rig.events if e.type == EventType.AGENT_SPEECH_ENDED)


async def words(rig: Rig, text: str, timeout: float = 20) -> None:
    """Wait until the app was heard saying something."""
    try:
        async with asyncio.timeout(timeout):
            while text not in said(rig):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{text!r} is not in what was said: {said(rig)}") from None


def test_each_is_short() -> None:
    for example in EXAMPLES.glob("*.py"):
        if example.stem not in ("demo", "receptionist", "test_receptionist"):
            assert len(example.read_text("utf-8").splitlines()) < 60, example.name


async def test_hello(asterisk: PrivateAsterisk, ear: Ear) -> None:
    async with running(asterisk, load("hello")) as rig, rig.dialled() as call:
        end = await call.ended()
    assert end.by == "remote"
    assert ear.at(call, "hello-world") is not None


async def test_ivr_menu(asterisk: PrivateAsterisk, ear: Ear) -> None:
    async with running(asterisk, load("ivr_menu")) as rig, rig.dialled() as call:
        await ear.until(call, "basic-pbx-ivr-main")
        await call.send_dtmf("1")
        await ear.until(call, "vm-enter-num-to-call")
        await call.send_dtmf("42#")
        await ear.until(call, "digits/4")
        await call.send_dtmf("9")  # ahead of the menu
        await ear.until(call, "pbx-invalid")
        await call.send_dtmf("2")
        await ear.until(call, "tt-monkeys")
        await call.send_dtmf("0")
        end = await call.ended(20)
    assert end.by == "remote"
    assert ear.order(call, "you-entered", "digits/4", "pbx-invalid", "tt-monkeys", "vm-goodbye")


async def test_ivr_menu_when_nobody_presses_a_key(asterisk: PrivateAsterisk, ear: Ear) -> None:
    module = load("ivr_menu")
    async with running(asterisk, module) as rig, rig.dialled() as call:
        await ear.until(call, "basic-pbx-ivr-main")
        await call.send_dtmf("1")
        await ear.until(call, "vm-enter-num-to-call")
        await call.send_dtmf("#")
        await ear.until(call, "vm-sorry")
        await call.hangup()


@pytest.mark.local
async def test_ai_receptionist(asterisk: PrivateAsterisk) -> None:
    async with running(asterisk, load("ai_receptionist")) as rig, TestPhone(asterisk) as phone:
        call = await phone.call("100")
        await words(rig, "How can I help you?")
        await phone.says(call, "What are your opening hours?")
        await words(rig, "close at noon")
        await phone.says(call, "Where are you located?")
        await words(rig, "Ten Market Street")
        await phone.says(call, "Thank you, goodbye.")
        end = await call.ended(20)
    assert end.by == "remote"
    assert said(rig).endswith("Goodbye.")


@pytest.mark.proves("failure 13")
@pytest.mark.local
@pytest.mark.parametrize("answer", ["yes", "no"])
async def test_outbound_reminder_and_a_person(asterisk: PrivateAsterisk, answer: str) -> None:
    module = load("outbound_reminder")
    async with running(asterisk, module) as rig, TestPhone(asterisk, user="phone2") as phone:
        await phone.register()
        reminding = asyncio.ensure_future(module.remind("PJSIP/phone2", "tomorrow at nine"))
        call = await phone.incoming()
        assert "4711" in call.remote
        call.answer()
        await asyncio.sleep(0.5)
        await phone.says(call, "Hello?")
        await words(rig, "Will you come?")
        await phone.says(call, {"yes": "Yes, I will.", "no": "No, I can not come."}[answer])
        assert await reminding == answer, [(str(e.type), e.data, getattr(e, "text", "")) for e in rig.events]
        await call.ended()
    assert "appointment tomorrow at nine" in said(rig)
    assert said(rig).endswith("Thank you. Goodbye.")


@pytest.mark.local
async def test_outbound_reminder_and_a_machine(asterisk: PrivateAsterisk) -> None:
    module = load("outbound_reminder")
    async with running(asterisk, module) as rig, TestPhone(asterisk, user="phone2") as phone:
        await phone.register()
        reminding = asyncio.ensure_future(module.remind("PJSIP/phone2", "tomorrow at nine"))
        call = await phone.incoming()
        call.answer()
        await asyncio.sleep(0.3)
        await phone.says(
            call,
            "Hello, you have reached the voice mail of Robert Brown. I am not at home at the moment. "
            "Please leave a message after the tone, and I will call you back.",
        )
        greeted = asyncio.get_running_loop().time()
        assert call.first_voice_after(0) is None  # nothing was said into the greeting
        call.play(tone(1000, 0.4))
        assert await reminding == "message"
        await call.ended()
        first = call.first_voice_after(greeted)
    assert first is not None
    assert said(rig) == "This is Acme. You have an appointment tomorrow at nine. Goodbye."


async def test_outbound_reminder_and_nobody(asterisk: PrivateAsterisk) -> None:
    module = load("outbound_reminder")
    async with running(asterisk, module), colleague(asterisk) as phone:
        reminding = asyncio.ensure_future(module.remind("PJSIP/phone2", "tomorrow"))
        (await phone.incoming()).reject(486)
        assert await reminding == "busy"


@pytest.mark.parametrize("key", ["1", "2"])
async def test_warm_transfer(asterisk: PrivateAsterisk, ear: Ear, key: str) -> None:
    module = load("warm_transfer")
    async with running(asterisk, module) as rig, colleague(asterisk) as phone, rig.dialled() as caller:
        agent = await phone.incoming(15)
        agent.answer()
        await ear.until(agent, "vm-press")
        await ear.until(caller, "queue-thankyou")  # music on hold
        await agent.send_dtmf(key)
        if key == "1":
            await asyncio.sleep(1)
            await talk(caller, agent)
            await agent.hangup()
        await caller.ended(20)
        await agent.ended()
    assert ear.at(agent, "followme/call-from") is not None
    assert ear.order(caller, "pls-hold-while-try", "queue-thankyou")
    assert (ear.at(caller, "vm-goodbye") is None) == (key == "1")


async def test_queue_overflow_and_an_agent(asterisk: PrivateAsterisk) -> None:
    await asterisk.rx("queue add member PJSIP/phone2 to support")
    try:
        module = load("queue_overflow")
        async with running(asterisk, module) as rig, colleague(asterisk) as phone, rig.phone() as mine:
            caller = await mine.dial("100")
            agent = await phone.incoming(15)
            agent.answer()
            await caller.answered()
            await asyncio.sleep(1)
            await talk(caller, agent)
            await caller.hangup()
            await agent.ended()
    finally:
        await asterisk.rx("queue remove member PJSIP/phone2 from support")


async def test_queue_overflow_to_who_is_on_call(
    asterisk: PrivateAsterisk, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATIENCE_S", "2")
    module = load("queue_overflow")
    async with running(asterisk, module) as rig, colleague(asterisk) as phone, rig.dialled() as caller:
        on_call = await phone.incoming(20)
        on_call.answer()
        await asyncio.sleep(1)
        await talk(caller, on_call)
        await on_call.hangup()
        await caller.ended()
    assert ear.at(caller, "pls-hold-while-try") is not None


async def test_queue_overflow_to_a_message(
    asterisk: PrivateAsterisk, ear: Ear, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATIENCE_S", "2")
    async with running(asterisk, load("queue_overflow")) as rig, colleague(asterisk) as phone:
        async with rig.dialled() as caller:
            (await phone.incoming(20)).reject(486)
            await ear.until(caller, "beep", 20)
            caller.play(tone(500))
            await caller.played()
            await caller.hangup()
        await rig.nothing_left()
    (message,) = (tmp_path / "call-back").glob("phone-*.wav")
    with wave.open(str(message)) as file:
        assert file.getnframes() / file.getframerate() > 1.8


async def test_voicemail(asterisk: PrivateAsterisk, ear: Ear, tmp_path: Path) -> None:
    told: list[str] = []
    module = load("voicemail")
    module.app.recording_sink.tell = told.append

    async def leave(phone: Phone, box: str) -> PhoneCall:
        """204 ends the message with a key, 205 with the hang-up, 206 hangs up at the beep."""
        call = await phone.dial(box)
        await call.answered()
        await ear.until(call, "vm-isunavail", 20)
        await ear.until(call, "beep", 20)
        if box != "206":
            await asyncio.sleep(0.5)
            call.play(tone(500, 2))
            await call.played()
        if box == "204":
            await call.send_dtmf("#")
            await call.ended(20)
        else:
            await call.hangup()
        return call

    async with running(asterisk, module) as rig, rig.phone() as phone:
        keyed, cut, short = await asyncio.gather(*(leave(phone, box) for box in ("204", "205", "206")))
        await rig.nothing_left()
    assert ear.order(keyed, "vm-theperson", "digits/2", "vm-isunavail", "vm-intro", "beep", "vm-msgsaved")
    assert ear.at(cut, "vm-msgsaved") is ear.at(short, "vm-msgsaved") is None
    messages = sorted((tmp_path / "voicemail").glob("*/*.wav"))
    assert [message.parent.name for message in messages] == ["204", "205"]
    for message in messages:
        with wave.open(str(message)) as file:
            left = np.frombuffer(file.readframes(file.getnframes()), "<i2")[::2]
        loud = np.flatnonzero(np.abs(left.astype(int)) > 4000)
        assert abs((loud[-1] - loud[0]) / 8000 - 2) < 0.2
        assert any(str(message.relative_to(tmp_path)) in line for line in told)
    assert len(told) == 2


async def test_a_message_of_a_mailbox_too_short_is_none(tmp_path: Path) -> None:
    told: list[str] = []
    sink = load("voicemail").Mailbox(str(tmp_path), told.append)
    await sink.on_recording_complete(RecordingMetadata("1", "x", duration_seconds=0.5))
    assert told == []


@pytest.mark.proves("call.bridge_with(other)")
async def test_conference(asterisk: PrivateAsterisk, ear: Ear) -> None:
    async with running(asterisk, load("conference")) as rig, rig.phone() as phone:
        first = await phone.dial("801")
        await ear.until(first, "queue-thankyou")  # alone: music
        other = await phone.dial("802")
        second, third = await phone.dial("801"), await phone.dial("801")
        await ear.until(second, "conf-placeintoconf")
        await ear.until(third, "conf-placeintoconf")
        await asyncio.sleep(3.5)
        await talk(first, second, third)
        await first.hangup()
        await asyncio.sleep(0.5)
        await talk(second, third)  # whoever came first may go
        fourth = await phone.dial("801")
        await ear.until(fourth, "conf-placeintoconf")
        await asyncio.sleep(3)
        await talk(second, third, fourth)
        assert ear.at(second, "queue-thankyou") is None
        await third.hangup()
        await fourth.hangup()
        await ear.until(second, "queue-thankyou")  # alone again
        await second.hangup()
        await other.hangup()
    assert ear.at(first, "conf-onlyperson") is not None
    assert ear.at(other, "conf-placeintoconf") is None


async def test_multi_tenant(asterisk: PrivateAsterisk, ear: Ear) -> None:
    async with running(asterisk, load("multi_tenant")) as rig, rig.phone() as phone:
        acme = await phone.dial("+442071838751")
        zenith = await phone.dial("+33123456789")
        nobody = await phone.dial("+15550100")
        assert (await nobody.ended()).status == 404
        tenants = set()
        while len(tenants) < 2:
            tenants = {call.metadata.get("tenant") for call in rig.app.active_sessions} - {None}
            await asyncio.sleep(0.02)
        await acme.ended(20)
        await zenith.ended(20)
    assert tenants == {"acme", "zenith"}
    assert ear.at(acme, "hello-world") is not None
    assert ear.at(acme, "conf-onlyperson") is None
    assert ear.at(zenith, "conf-onlyperson") is not None
    assert ear.at(zenith, "hello-world") is None


async def test_multi_tenant_with_trunks_of_their_own(
    ear: Ear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tenants"
    monkeypatch.setenv("TENANTS_FOLDER", str(folder))
    extra = dict(TenantProvisioner(folder).includes)
    async with (
        PrivateAsterisk(extra=extra) as pbx,
        running(pbx, load("multi_tenant"), name="voxtra") as rig,
        Phone((pbx.sip_host, pbx.sip_port), host="127.0.0.2", user="acme") as carrier,
        Phone((pbx.sip_host, pbx.sip_port), host="127.0.0.3", user="zenith") as other,
    ):
        calls = [await carrier.dial("+442071838750") for _ in range(2)]
        await asyncio.gather(*(call.answered() for call in calls))
        one_too_many = await carrier.dial("+442071838751")
        assert (await one_too_many.ended()).status == 486
        await (await other.dial("+33123456789")).ended()
        for call in calls:
            assert (await call.ended()).by == "remote"
            assert ear.at(call, "hello-world") is not None
        assert (await (await other.dial("+442071838750")).ended()).status == 404
        await rig.nothing_left()


def test_ai_receptionist_with_another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_MODEL", "a-model")
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    assert isinstance(load("ai_receptionist").language_model(), OpenAILLM)
