"""One recording over all the states of a call, against tones and noise that real phones sent."""
# ruff: noqa: ASYNC240 - small files of a test

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from aiohttp import web
from app_rig import Rig, running

from voxtra import CallSession, LocalFileSink, RecordingMetadata, SpooledSink, WebhookConfig
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone

pytestmark = pytest.mark.live

RATE = 8000
Sound = npt.NDArray[np.int16]


def tone(hz: float, seconds: float) -> bytes:
    wave = 9000 * np.sin(2 * np.pi * hz * np.arange(int(RATE * seconds)) / RATE)
    return wave.astype("<i2").tobytes()


def heard(track: Sound, hz: float) -> list[tuple[float, float]]:
    """(begin, end) in s of where this tone is; holes under 60 ms don't count."""
    block = 80
    samples = track[: len(track) // block * block].astype(float).reshape(-1, block)
    turn = np.exp(-2j * np.pi * hz * np.arange(block) / RATE)
    there = np.flatnonzero(np.abs((samples * turn).mean(axis=1)) * 2 > 4000)
    if not len(there):
        return []
    cuts = np.flatnonzero(np.diff(there) > 6)
    starts, ends = [there[0], *there[cuts + 1]], [*there[cuts], there[-1]]
    return [
        (first * block / RATE, (last + 1) * block / RATE) for first, last in zip(starts, ends, strict=True)
    ]


def read(path: Path) -> tuple[Sound, Sound]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, RATE)
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    return both[:, 0], both[:, 1]


def near(found: list[tuple[float, float]], told: list[tuple[float, float]]) -> bool:
    """The same stretches, within what a busy machine does to a snoop's buffer (140 ms were seen)."""
    return len(found) == len(told) and all(
        -0.1 <= ours[0] - theirs[0] <= 0.3 and abs((ours[1] - ours[0]) - (theirs[1] - theirs[0])) <= 0.2
        for ours, theirs in zip(found, told, strict=True)
    )


class Diary:
    """When which tone was sent, on the recording's own clock."""

    def __init__(self, call: CallSession) -> None:
        assert call.recording is not None
        self.stereo = call.recording.stereo
        self.told: dict[float, list[tuple[float, float]]] = {}

    def note(self, hz: float, seconds: float) -> None:
        now = self.stereo.now_ms / 1000
        self.told.setdefault(hz, []).append((now, now + seconds))


CALLER, AGENT, OURS = 500.0, 900.0, 1300.0
CARD = "4111111111111111"


@pytest.mark.parametrize("source", ["auto", "asterisk"])
async def test_one_recording_goes_on_over_bridge_hold_conference_and_back(
    asterisk: PrivateAsterisk, tmp_path: Path, source: str
) -> None:
    arranged = asyncio.Event()

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await arranged.wait()
        caller, agent_phone = rig.results
        assert await call.record_start("moves", sink=LocalFileSink(tmp_path), source=source) == "moves"
        diary = Diary(call)
        rig.results.append(diary)

        async def both(other: object = None, seconds: float = 0.6) -> None:
            await asyncio.sleep(0.2)
            caller.play(tone(CALLER, seconds))
            diary.note(CALLER, seconds)
            await asyncio.sleep(seconds + 0.3)
            if other is not None:
                other.play(tone(AGENT, seconds))  # type: ignore[attr-defined]
                diary.note(AGENT, seconds)
                await asyncio.sleep(seconds + 0.3)

        line = (await call._live.sound()).line
        await both()
        line.play(tone(OURS, 0.6))
        diary.note(OURS, 0.6)
        await line.drained()
        await asyncio.sleep(0.3)
        # bridged
        placing = asyncio.ensure_future(rig.app.originate("PJSIP/phone2"))
        theirs = await agent_phone.incoming()
        theirs.answer()
        other = await placing
        await call.bridge_with(other)
        await both(theirs)
        await call.unbridge()
        await both()
        await call.bridge_with(other)
        await both(theirs)
        await call.unbridge()
        # H await call.hold()
        await asyncio.sleep(1)
        # H await call.unhold()
        await both()
        print(
            "STATE",
            line.closed.done(),
            call._live.media.joined,
            line.paused,
            line is call._live.media.line,
            line.heard,
            line.queued,
        )
        # P await call.play_file("beep")
        line.play(tone(OURS, 0.6))
        diary.note(OURS, 0.6)
        await line.drained()
        await asyncio.sleep(0.3)
        assert await call.record_stop() == "moves"
        await other.hangup()

    async with running(asterisk, handler) as rig:
        async with Phone(
            (asterisk.sip_host, asterisk.sip_port), user="phone2", password=asterisk.phones["phone2"]
        ) as agent:
            await agent.register()
            async with rig.dialled() as caller:
                rig.results += [caller, agent]
                arranged.set()
                await caller.ended(40)
        await rig.nothing_left()
        assert [e for e in await rig.app.ari.recordings.list_stored() if e.name.startswith("vx-")] == []
    left, right = read(tmp_path / "moves.wav")
    told = rig.results[2].told
    print(
        "RMS",
        [
            (i / 10, int(np.abs(right[i * 800 : i * 800 + 800].astype(int)).mean()))
            for i in range(len(right) // 800)
            if i > 30
        ],
    )
    for hz, track, name in ((CALLER, left, "left"), (AGENT, right, "right"), (OURS, right, "right")):
        print(source, name, hz, [(round(a, 3), round(b, 3)) for a, b in heard(track, hz)])
        print("   told", [(round(a, 3), round(b, 3)) for a, b in told[hz]])
    assert near(heard(left, CALLER), told[CALLER])
    assert near(heard(right, AGENT), told[AGENT])
    assert near(heard(right, OURS), told[OURS])
    assert heard(left, AGENT) == heard(left, OURS) == heard(right, CALLER) == []


class Noting(LocalFileSink):
    """Keeps what it is told."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.told: list[RecordingMetadata] = []

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        self.told.append(metadata)
        await super().on_recording_complete(metadata)


@pytest.mark.proves("failure 20", "the sink fires exactly once")
@pytest.mark.parametrize("source", ["auto", "asterisk", "media"])
@pytest.mark.parametrize("first", ["caller", "other", "app"])
async def test_whoever_ends_a_bridged_call_the_sink_is_told_once(
    asterisk: PrivateAsterisk, tmp_path: Path, source: str, first: str
) -> None:
    sink = Noting(tmp_path)

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        other = await rig.app.originate("PJSIP/phone2")
        await call.bridge_with(other)
        assert await call.record_start("once", source=source, sink=sink) == "once"  # bridged already
        rig.results.append(True)
        await call.bridged()
        if first == "other":
            await asyncio.sleep(0.5)  # back, alone
            await call.hangup()

    async with running(asterisk, handler) as rig:
        async with Phone(
            (asterisk.sip_host, asterisk.sip_port), user="phone2", password=asterisk.phones["phone2"]
        ) as agent:
            await agent.register()
            async with rig.dialled() as caller:
                theirs = await agent.incoming()
                theirs.answer()
                while not rig.results:
                    await asyncio.sleep(0.02)
                await asyncio.sleep(0.2)
                caller.play(tone(CALLER, 0.8))
                theirs.play(tone(AGENT, 0.8))
                await asyncio.sleep(1.2)
                if first == "app":
                    await rig.calls[0].hangup()
                else:
                    await (caller if first == "caller" else theirs).hangup()
                await caller.ended(10)
        await rig.nothing_left()
        assert [e for e in await rig.app.ari.recordings.list_stored() if e.name.startswith("vx-")] == []
    (told,) = sink.told
    assert told.file_path == str(tmp_path / "once.wav")
    assert "error" not in told.extra
    left, right = read(tmp_path / "once.wav")
    assert told.duration_seconds == pytest.approx(len(left) / RATE, abs=0.01)
    expected = 0 if source == "media" else 1
    assert len(heard(left, CALLER)) == len(heard(right, AGENT)) == expected
    assert heard(left, AGENT) == heard(right, CALLER) == []
    if expected:
        (mine,), (its,) = heard(left, CALLER), heard(right, AGENT)
        assert mine[1] - mine[0] == pytest.approx(0.8, abs=0.06)
        assert its[1] - its[0] == pytest.approx(0.8, abs=0.06)
        assert abs(mine[0] - its[0]) < 0.06  # both were sent at once


@pytest.mark.parametrize("source", ["auto", "asterisk"])
async def test_a_card_number_keyed_and_spoken_in_a_pause_is_nowhere(
    asterisk: PrivateAsterisk, tmp_path: Path, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bodies: list[bytes] = []

    async def receive(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return web.Response(
            status=503 if b"call.ended" in bodies[-1] else 200
        )  # what is left stays in the spool

    receiver = web.Application()
    receiver.router.add_post("/voxtra", receive)
    runner = web.AppRunner(receiver, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook = WebhookConfig(
        f"http://127.0.0.1:{runner.addresses[0][1]}/voxtra",
        private_urls=True,
        spool=tmp_path / "news",
        signing_secret="a secret of some length",
    )

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.record_start("card", fmt="flac", source=source)
        rig.results.append(await call.listen_dtmf(timeout=10))
        if source == "auto":
            await asyncio.sleep(0.5)  # a re-INVITE within a key's last packets makes it several keys
            await call.hold()  # Asterisk records now; and no more from the next line on
            await call.unhold()
        await call.record_pause()
        rig.results.append("paused")
        rig.results.append(await call.listen_dtmf(max_digits=16, timeout=15))
        await asyncio.sleep(1)
        await call.record_resume()
        rig.results.append("resumed")
        await call.play_file("beep")
        await call.listen_dtmf(max_digits=3, timeout=10)

    sink = SpooledSink(Noting(tmp_path / "done"), tmp_path / "spool")
    try:
        async with running(
            asterisk, handler, webhook=hook, recording_sink=sink, call_records=str(tmp_path / "records")
        ) as rig:
            async with rig.dialled() as caller:
                await asyncio.sleep(0.3)
                await caller.send_dtmf("7")
                while "paused" not in rig.results:
                    await asyncio.sleep(0.02)
                caller.play(tone(CALLER, 1.0))  # stands for the number being spoken
                await caller.played()
                await caller.send_dtmf(CARD)
                while "resumed" not in rig.results:
                    await asyncio.sleep(0.02)
                await asyncio.sleep(0.6)
                caller.play(tone(AGENT, 1.0))
                await caller.played()
                await caller.send_dtmf("9")
                await asyncio.sleep(0.3)
                await caller.hangup()
            await rig.nothing_left()
    finally:
        await runner.cleanup()
    assert [str(each) for each in rig.results] == ["7", "paused", CARD, "resumed"]
    news = [json.loads(body) for body in bodies]
    keyed = [event["data"]["digit"] for event in news if event["type"] == "dtmf.received"]
    assert keyed == ["7", "9"]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()).decode("latin-1")
    log = caplog.text + repr([record.__dict__ for record in caplog.records])
    for where, text in (("files", kept), ("log", log), ("news", repr(bodies)), ("events", repr(rig.events))):
        assert CARD not in text, where
        assert "4', '1', '1" not in text, where
    assert "recording.paused" in kept  # what is searched is not empty
    (path,) = (tmp_path / "done").rglob("*.flac")
    both, rate = soundfile.read(path, dtype="int16", always_2d=True)
    assert rate == RATE
    assert heard(both[:, 0], CALLER) == []
    (after,) = heard(both[:, 0], AGENT)
    assert after[1] - after[0] == pytest.approx(1.0, abs=0.1)


@pytest.mark.proves("field 12")
async def test_a_caller_who_speaks_on_is_recorded_without_a_hole_over_every_move(
    asterisk: PrivateAsterisk, tmp_path: Path
) -> None:
    """Noise that is like nothing else: every 100 ms of it is looked for in the recording, and where it is."""
    said = (np.random.default_rng(7).integers(0, 2, 6 * RATE) * 2 - 1).astype("<i2") * 6000

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        other = await rig.app.originate("PJSIP/phone2")
        third = await rig.app.originate("PJSIP/phone2")
        await call.record_start("speech", sink=LocalFileSink(tmp_path))
        rig.results.append(call)
        await asyncio.sleep(1)
        await call.bridge_with(other)
        await asyncio.sleep(1)
        await third.bridge_with(call)  # a conference
        await asyncio.sleep(1)
        await call.unbridge()
        await asyncio.sleep(1)
        await call.bridge_with(other)
        await asyncio.sleep(1)
        await call.unbridge()
        await asyncio.sleep(1.5)
        await call.record_stop()
        await asyncio.gather(other.hangup(), third.hangup())

    async with running(asterisk, handler) as rig, contextlib.AsyncExitStack() as stack:
        phone = await stack.enter_async_context(
            Phone(
                (asterisk.sip_host, asterisk.sip_port),
                user="phone2",
                password=asterisk.phones["phone2"],
                register=True,
            )
        )
        stack.push_async_callback(answer(phone))
        async with rig.dialled() as caller:
            while not rig.results:
                await asyncio.sleep(0.02)
            caller.play(said.tobytes())
            await caller.ended(20)
        await rig.nothing_left()
    left, _ = read(tmp_path / "speech.wav")
    piece = RATE // 10
    places = []
    for at in range(0, len(said) - piece, piece):
        match = np.correlate(left.astype(float), said[at : at + piece].astype(float), "valid")
        best = int(match.argmax())
        whole = match[best] / (6000.0 * 6000 * piece)
        places.append(((best - at) * 1000 / RATE, whole))
    late = [place for place, whole in places if whole > 0.4]
    cut = sum(whole <= 0.8 for _, whole in places)
    print("late", sorted({round(place) for place in late}), "ms; cut", cut, "of", len(places))
    usual = float(np.median(late))
    assert len(late) >= len(places) - 2  # by 4 moves no more than 2 pieces can't be found again
    assert cut <= 8  # a move falls into one piece, at most two
    assert max(abs(place - usual) for place in late) <= 60


def answer(phone: Phone) -> Callable[[], Awaitable[None]]:
    """Answers the calls of a phone; gives what ends that."""

    async def take() -> None:
        while True:
            (await phone.incoming(30)).answer()

    task = asyncio.ensure_future(take())

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    return end


async def test_a_call_in_a_queue_is_recorded_with_its_agent(
    asterisk: PrivateAsterisk, tmp_path: Path
) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await call.record_start("queue", sink=LocalFileSink(tmp_path))
        rig.results.append(await call.transfer_to_queue("support", timeout=20))

    await asterisk.rx("queue add member PJSIP/phone2 to support")
    try:
        async with running(asterisk, handler) as rig:
            async with Phone(
                (asterisk.sip_host, asterisk.sip_port), user="phone2", password=asterisk.phones["phone2"]
            ) as agent:
                await agent.register()
                async with rig.dialled() as caller:
                    theirs = await agent.incoming(10)
                    theirs.answer()
                    while not rig.results:
                        await asyncio.sleep(0.02)
                    await asyncio.sleep(0.5)
                    caller.play(tone(CALLER, 0.8))
                    theirs.play(tone(AGENT, 0.8))
                    await asyncio.sleep(1.2)
                    await theirs.hangup()
                    await caller.ended(10)
            await rig.nothing_left()
    finally:
        await asterisk.rx("queue remove member PJSIP/phone2 from support")
    left, right = read(tmp_path / "queue.wav")
    (mine,), (its,) = heard(left, CALLER), heard(right, AGENT)
    assert mine[1] - mine[0] == pytest.approx(0.8, abs=0.06)
    assert its[1] - its[0] == pytest.approx(0.8, abs=0.06)
    assert abs(mine[0] - its[0]) < 0.06
    assert heard(left, AGENT) == heard(right, CALLER) == []
