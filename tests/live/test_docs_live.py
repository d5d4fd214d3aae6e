"""What the documentation shows, run: an app on a real Asterisk, and a caller who does what the page says.

``<!-- run: live; say: Hello; expect: nine; hangup -->`` before a block: the caller's steps, in order.
``say`` speaks once the app is silent, ``expect`` waits until the app was heard saying it, ``press``,
``tone`` (s), ``wait`` (s), ``voice`` (waits for any), ``hangup``, ``ended``.

Not in order: ``dial`` (a number), ``app`` (the application's name), ``agent`` (phone2 takes a call:
``answers``, ``answers and presses 1``), ``file`` (what is there afterwards), ``event`` (what must have come).
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import inspect
import math
import struct
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from docs_pages import ROOT, Block, blocks

from voxtra import EventType, VoxtraApp
from voxtra.events import VoxtraEvent
from voxtra.media.resample import resample
from voxtra.speech import local
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone, PhoneCall

pytestmark = pytest.mark.live


def _marked(run: str) -> list[object]:
    return [
        pytest.param(b, id=b.place, marks=[pytest.mark.local] if "local" in b.text else [])
        for b in blocks("python")
        if b.run == f"{run}"
    ]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(block: Block) -> types.ModuleType:
    module = types.ModuleType("snippet")
    exec(compile(block.module, block.place, "exec"), module.__dict__)
    return module


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not holds():
            await asyncio.sleep(0.02)


async def spoken(text: str) -> bytes:
    pcm, rate = b"", 0
    async for speech in local().tts.synthesize(text):
        pcm, rate = pcm + speech.pcm, speech.rate
    return resample(pcm, rate, 8000)


class Caller:
    """Does the steps of a page."""

    def __init__(self, call: PhoneCall, heard: list[str]) -> None:
        self.call = call
        self.heard = heard
        self.since = call.epoch

    async def do(self, name: str, value: str) -> None:
        call, now = self.call, asyncio.get_running_loop().time
        match name:
            case "say":
                await call.silence(after=await call.voice(after=self.since, timeout=10), quiet_ms=600)
                call.play(await spoken(value))
                await call.played()
            case "tone":
                call.play(
                    struct.pack("<800h", *(round(9000 * math.sin(i / 2)) for i in range(800)))
                    * int(10 * float(value))
                )
                await call.played()
            case "expect":
                await until(lambda: any(value in words for words in self.heard))
            case "press":
                await call.send_dtmf(value)
            case "voice":
                await call.voice(after=self.since, timeout=10)
            case "wait":
                await asyncio.sleep(float(value))
            case "hangup":
                await call.hangup()
            case "ended":
                await call.ended()
            case _:
                raise ValueError(f"a page asks for {name!r}: {value!r}")
        self.since = now() if name in ("say", "press", "tone") else self.since


def phone_of(asterisk: PrivateAsterisk, user: str, **options: bool) -> Phone:
    return Phone((asterisk.sip_host, asterisk.sip_port), user=user, password=asterisk.phones[user], **options)


async def take_call(phone: Phone, keys: str) -> None:
    call = await phone.incoming(timeout=15)
    call.answer()
    await call.answered()
    if keys:
        await call.voice(timeout=10)
        await call.send_dtmf(keys)
    await call.ended(timeout=15)


async def call_in(asterisk: PrivateAsterisk, steps: list[tuple[str, str]], heard: list[str]) -> None:
    wanted = dict(steps)
    async with contextlib.AsyncExitStack() as stack:
        phone = await stack.enter_async_context(phone_of(asterisk, "phone"))
        if "agent" in wanted:
            agent = await stack.enter_async_context(phone_of(asterisk, "phone2", register=True))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            tasks.create_task(take_call(agent, wanted["agent"].partition("presses")[2].strip()))
        call = await phone.dial(wanted.get("dial", "100"))
        await call.answered(timeout=10)
        caller = Caller(call, heard)
        for name, value in steps:
            if name not in ("dial", "app", "file", "event", "agent"):
                await caller.do(name, value)
        await call.ended(timeout=15)


@pytest.mark.parametrize("block", _marked("live"))
async def test_apps_of_the_pages(block: Block, asterisk: PrivateAsterisk) -> None:
    app: VoxtraApp = load(block).app
    ari = {"url": asterisk.ari_url, "user": asterisk.ari_user, "password": asterisk.ari_password}
    app.configure(app.settings.layered(forced={"asterisk": ari | {"app_name": "docs"}}))
    heard: list[str] = []
    events: list[VoxtraEvent] = []

    @app.on(EventType.AGENT_SPEECH_ENDED)
    def said(event: VoxtraEvent) -> None:
        heard.append(event.data["heard"])

    app.on()(events.append)
    await asterisk.rx("dialplan set global APP docs")
    await app.start()
    try:
        await call_in(asterisk, list(block.steps), heard)
        await until(lambda: not app.active_sessions)
    finally:
        await app.stop(0)
    assert [event for event in events if event.type == EventType.ERROR] == []
    for name, value in block.steps:
        assert name != "file" or glob.glob(value), value
        assert name != "event" or value in [event.type for event in events], value


@pytest.mark.proves("app.run()")
@pytest.mark.parametrize("block", _marked("program"))
async def test_programs_of_the_pages(block: Block, asterisk: PrivateAsterisk, tmp_path: Path) -> None:
    name = dict(block.steps)["app"]
    (tmp_path / "program.py").write_text(block.text)
    await asterisk.rx(f"dialplan set global APP {name}")
    environment = {
        "VOXTRA_ARI_URL": asterisk.ari_url,
        "VOXTRA_ARI_USER": asterisk.ari_user,
        "VOXTRA_ARI_PASSWORD": asterisk.ari_password,
    }
    program = await asyncio.create_subprocess_exec(sys.executable, "program.py", env=environment)
    try:
        async with asyncio.timeout(15):
            while name not in await asterisk.rx("ari show apps"):
                assert program.returncode is None
        await asyncio.sleep(1)  # registered is not yet listening
        await call_in(asterisk, list(block.steps), [])
        assert program.returncode is None
    finally:
        program.terminate()
        await program.wait()


@pytest.mark.parametrize("block", _marked("test"))
async def test_tests_of_the_pages(block: Block) -> None:
    tests = [value for name, value in vars(load(block)).items() if name.startswith("test_")]
    assert tests
    for test in tests:
        assert inspect.iscoroutinefunction(test)
        await test()


HELLO = (ROOT / "examples" / "hello.py").read_text("utf-8")


@pytest.mark.proves("@app.default()")
async def test_the_smallest_example(asterisk: PrivateAsterisk) -> None:
    steps = (("voice", ""), ("ended", ""))
    await test_apps_of_the_pages(Block("examples/hello.py", "python", HELLO, "live", steps), asterisk)
