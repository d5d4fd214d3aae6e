"""The life of one call, and the order in which it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fake_app import running
from fake_calls import breathe

from voxtra import CallSession, CallState
from voxtra.calls.leg import Leg, LegEnd
from voxtra.errors import (
    ARIConnectionLostError,
    ARIServerError,
    CallEndedError,
    MediaError,
    TelephonyConnectionError,
)
from voxtra.events import DTMFEvent
from voxtra.live import LiveCall
from voxtra.session import MAX_DIGITS_AHEAD, MAX_EVENTS
from voxtra.speech.base import STT, STTStream
from voxtra.types import AudioChunk

Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def quick(monkeypatch: Patch) -> None:
    monkeypatch.setattr("voxtra.live.AGAIN_S", 0.002)
    monkeypatch.setattr("voxtra.live.HANDLER_GRACE_S", 0.05)
    monkeypatch.setattr("voxtra.live.STOP_GRACE_S", 0.02)
    monkeypatch.setattr("voxtra.live.CALLBACK_S", 0.3)
    monkeypatch.setattr("voxtra.session.ASKED_AGAIN_S", 0.002)
    monkeypatch.setattr("voxtra.exchange.FORCE_S", 0.3)
    monkeypatch.setattr("voxtra.calls.leg.CAUSE_WAIT_S", 0.05)


@pytest.mark.proves("failure 17", "failure 18")
async def test_the_order_of_ending(monkeypatch: Patch) -> None:
    order: list[str] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        for name in ("first", "second"):

            @call.on_hangup
            async def ended(name: str = name) -> None:
                await asyncio.sleep(0)
                order.append(name)

        chunks = [chunk async for chunk in call.audio_stream()]
        order.append(f"verb ended, {len(chunks)} chunks")
        try:
            await asyncio.sleep(60)
        finally:
            order.append("handler cancelled")

    async with running(monkeypatch, handler) as world:
        session = world.call()
        await breathe(40)
        world.transport.lines[0].hear(3)
        world.ari.hang_up("caller", 16)
        await world.over()
    assert order == ["verb ended, 3 chunks", "first", "second", "handler cancelled"]
    assert session.state is CallState.COMPLETED
    assert session.end is not None
    assert (session.end.reason, session.end.cause) == ("hangup", 16)
    duration = session.duration
    await asyncio.sleep(0.01)
    assert session.duration == duration
    assert world.types() == [
        "session.created",
        "call.started",
        "call.ringing",
        "call.answered",
        "media.started",
        "media.stopped",
        "call.ended",
        "session.destroyed",
    ]


@pytest.mark.proves("failure 18", "call.state", "call.duration")
@pytest.mark.parametrize("who", ["handler", "caller"])
async def test_the_end_shows_at_once(monkeypatch: Patch, who: str) -> None:
    """Not only when the call's sound is closed and its cause known: a handler may look before."""
    seen: list[object] = []
    known = Leg.cause_known

    async def late(leg: Leg) -> LegEnd:
        await asyncio.sleep(0.1)
        return await known(leg)

    monkeypatch.setattr(Leg, "cause_known", late)
    monkeypatch.setattr("voxtra.live.HANDLER_GRACE_S", 1)

    async def handler(call: CallSession) -> None:
        await call.answer()
        await asyncio.sleep(0.01)
        if who == "handler":
            await call.hangup()
        else:
            assert await call.listen_dtmf(timeout=None) is None
        seen.append(call.state)
        lasted = call.duration
        await asyncio.sleep(0.02)
        seen.append(call.duration == lasted > 0)

    async with running(monkeypatch, handler) as world:
        session = world.call()
        await asyncio.sleep(0.02)
        if who == "caller":
            world.ari.hang_up("caller", 16)
        await world.over()
    assert seen == [CallState.COMPLETED, True]
    assert session.state is CallState.COMPLETED


@pytest.mark.proves("failure 12", "call._event_queue", "call._dtmf_queue")
async def test_what_nobody_fetches_is_bounded_and_the_oldest_goes_first(monkeypatch: Patch) -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        await asyncio.sleep(60)

    async with running(monkeypatch, handler) as world:
        session = world.call()
        await breathe()
        for number in range(2 * MAX_EVENTS):
            session._digit(str(number % 10), number)
        assert session._event_queue.qsize() == MAX_EVENTS
        newest = [session._event_queue.get_nowait() for _ in range(MAX_EVENTS)][-1]
        assert isinstance(newest, DTMFEvent)
        assert newest.duration_ms == 2 * MAX_EVENTS - 1
        assert session._dtmf_queue.qsize() == MAX_DIGITS_AHEAD
        world.ari.hang_up("caller", 16)
        await world.over()


async def test_a_call_that_the_dialplan_answered(monkeypatch: Patch) -> None:
    async def handler(call: CallSession) -> None:
        assert call.state is CallState.IN_PROGRESS
        await call.answer()

    async with running(monkeypatch, handler) as world:
        world.call(state="Up")
        await world.over()
    assert "channels.answer" not in world.ari.names()
    assert world.types()[:3] == ["session.created", "call.started", "call.answered"]


@pytest.mark.parametrize("who", ["handler", "returns", "fails"])
async def test_on_hangup_comes_once_whoever_ends_it(monkeypatch: Patch, who: str) -> None:
    ended: list[str] = []

    async def handler(call: CallSession) -> None:
        @call.on_hangup
        def plain() -> None:  # type: ignore[misc]
            ended.append("plain")

        @call.on_hangup
        async def fails() -> None:
            ended.append("fails")
            raise ValueError("the user's own")

        @call.on_hangup
        async def after() -> None:
            ended.append("after")

        if who == "handler":
            await call.hangup()
            await call.hangup()
        elif who == "fails":
            raise KeyError("handler")

    async with running(monkeypatch, handler) as world:
        session = world.call()
        await world.over()
    assert ended == ["plain", "fails", "after"]
    assert session.end is not None
    assert session.end.reason == "local"
    assert world.types().count("call.ended") == 1
    assert world.types().count("error") == (who == "fails")


async def test_a_callback_that_hangs_is_cut_short(monkeypatch: Patch) -> None:
    order: list[str] = []

    async def handler(call: CallSession) -> None:
        @call.on_hangup
        async def hangs() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                order.append("cut short")

        @call.on_hangup
        async def after() -> None:
            order.append("after")

    async with running(monkeypatch, handler) as world:
        world.call()
        await world.over()
    assert order == ["cut short", "after"]


async def test_callbacks_under_way_have_the_handlers_grace(monkeypatch: Patch) -> None:
    order: list[str] = []

    async def handler(call: CallSession) -> None:
        @call.on_dtmf
        async def key(digit: str) -> None:
            try:
                await asyncio.sleep(0.02 if digit == "1" else 60)
                order.append(f"done {digit}")
            except asyncio.CancelledError:
                order.append(f"cut {digit}")
                raise

        await asyncio.sleep(60)

    async with running(monkeypatch, handler) as world:
        world.call()
        await breathe()
        world.ari.press("caller", "12")
        await breathe()
        world.ari.hang_up("caller")
        await world.over()
    assert order == ["done 1", "cut 2"]


async def test_async_listeners_hear_the_first_event_and_the_last(monkeypatch: Patch) -> None:
    heard: list[str] = []

    async def handler(call: CallSession) -> None:
        await call.answer()

    async with running(monkeypatch, handler) as world:

        @world.app.on()
        async def slowly(event: Any) -> None:
            await asyncio.sleep(0.01)
            heard.append(str(event.type))

        @world.app.on("call.started")
        def fails(event: Any) -> None:
            raise ValueError("a listener's own fault")

        @world.app.on("call.started")
        def after(event: Any) -> None:
            heard.append("after the one that failed")

        world.call()
        await world.over()
    assert heard[0] == "after the one that failed"
    assert sorted(heard[1:]) == sorted(world.types())


# ---- handlers that do not notice


@pytest.mark.parametrize(
    "verb",
    [
        lambda call: call.play_file("beep"),
        lambda call: call.listen_dtmf(),
        lambda call: call.send_audio(AudioChunk(bytes(160))),
        lambda call: anext(call.audio_stream()),
    ],
)
async def test_a_handler_that_swallows_the_end_holds_nobody_up(
    monkeypatch: Patch, verb: Callable[[CallSession], Awaitable[Any]]
) -> None:
    """Such a loop never lets go of the event loop unless the verbs do."""
    tries = 0

    async def handler(call: CallSession) -> None:
        nonlocal tries
        await call.answer()
        await asyncio.wait([call._leg.ended])
        while True:
            tries += 1
            try:
                await verb(call)
            except CallEndedError:
                continue

    async with running(monkeypatch, handler) as world:
        world.call()
        await breathe()
        world.ari.hang_up("caller")
        await world.over()
    assert 1 < tries < 100


# ---- hanging up without Asterisk


async def test_a_hang_up_is_tried_until_asterisk_is_back(monkeypatch: Patch) -> None:
    async with running(monkeypatch, lambda_answer) as world:
        lost = ARIConnectionLostError("DELETE", "/channels/caller")
        answers: list[Any] = [lost, lost, lost, None]
        world.ari.answers["channels.hangup"] = lambda **_: answers.pop(0)
        session = world.call()
        await world.over()
        assert answers == []
        assert world.ari.names().count("wait_ready") == 3
    assert session.end is not None
    assert session.end.reason == "local"


async def lambda_answer(call: CallSession) -> None:
    await call.answer()


async def test_a_hang_up_given_up_still_ends_the_session(monkeypatch: Patch) -> None:
    ended: list[str] = []

    async def handler(call: CallSession) -> None:
        call.on_hangup(note)

    async def note() -> None:
        ended.append("on_hangup")

    async with running(monkeypatch, handler) as world:
        world.ari.answers["channels.hangup"] = ARIConnectionLostError("DELETE", "/x")
        world.ari.answers["wait_ready"] = TelephonyConnectionError("name taken over")
        session = world.call()
        await world.over()
        world.ari.answers.clear()
        assert not world.app._shared.switchboard._mailboxes  # type: ignore[union-attr]
    assert ended == ["on_hangup"]
    assert session.end is not None
    assert session.end.reason == "lost"
    assert world.types()[-2:] == ["call.ended", "session.destroyed"]


async def test_asterisk_restarts_and_forgets_the_call(monkeypatch: Patch) -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        assert await call.listen_dtmf(timeout=60) is None

    async with running(monkeypatch, handler) as world:
        session = world.call()
        await breathe()
        world.ari.channels_there.clear()
        world.ari.resync()
        await world.over()
    assert session.end is not None
    assert session.end.reason == "lost"


# ---- sound


async def test_media_that_does_not_open_is_told_and_tried_again(monkeypatch: Patch) -> None:
    tried: list[str] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        for _ in range(2):
            try:
                await call.send_audio_bytes(bytes(160))
                tried.append("sent")
            except MediaError as error:
                tried.append(str(error))
                world.transport.error = None

    async with running(monkeypatch, handler) as world:
        world.transport.error = MediaError("nobody came")
        world.call()
        await world.over()
    assert tried == ["nobody came", "sent"]


async def test_a_line_that_is_lost_is_opened_again(monkeypatch: Patch) -> None:
    async def handler(call: CallSession) -> None:
        await call.send_audio_bytes(bytes(160))
        world.transport.lines[0].lose()
        await call.send_audio_bytes(bytes(160))
        assert not world.transport.lines[1].paused

    async with running(monkeypatch, handler) as world:
        world.call()
        await world.over()
        assert len(world.transport.lines) == 2
        assert world.types().count("media.started") == 2
        assert "error" not in world.types()


class Speechless(STT):
    """Never hears a word."""

    def open(self, **_: Any) -> STTStream:
        return SpeechlessStream()


class SpeechlessStream(STTStream):
    def push(self, pcm: bytes) -> None: ...
    def speech_started(self) -> None: ...
    def speech_stopped(self) -> None: ...
    def next_turn(self) -> None: ...
    async def close(self) -> None: ...


async def test_listening_goes_on_over_a_line_that_is_lost(monkeypatch: Patch) -> None:
    """Nothing was said, but the call is not over: a loop of listen() must not end by it."""
    monkeypatch.setattr("voxtra.session.LINE_BACK_S", 0.01)
    ended: list[float] = []

    async def handler(call: CallSession) -> None:
        assert await call.listen(timeout=0.2) is None
        ended.append(asyncio.get_running_loop().time())
        assert await call.listen(timeout=60) is None

    async with running(monkeypatch, handler, stt=Speechless(), tts=None) as world:
        began = asyncio.get_running_loop().time()
        session = world.call()
        await asyncio.sleep(0.03)
        world.transport.lines[0].lose()
        await asyncio.sleep(0.25)
        assert session.is_active
        assert len(world.transport.lines) == 2
        assert not world.transport.lines[1].paused
        world.ari.hang_up("caller")
        await world.over()
    assert ended[0] - began >= 0.2


@pytest.mark.parametrize("step", ["channels.external_media", "bridges.create_with_id", "bridges.add_channel"])
async def test_hung_up_while_the_sound_is_being_made(monkeypatch: Patch, step: str) -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        with pytest.raises(CallEndedError):
            await call.send_audio_bytes(bytes(160))

    async with running(monkeypatch, handler) as world:
        gate = world.ari.gates[step] = asyncio.Event()
        world.call()
        await breathe(40)
        assert world.ari.names()[-1] == step
        world.ari.hang_up("caller")
        await breathe()
        gate.set()
        await world.over()
        assert "error" not in world.types()


async def test_a_failure_because_of_the_end_is_the_end(monkeypatch: Patch) -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        with pytest.raises(CallEndedError):
            await call.send_audio_bytes(bytes(160))

    def refuse(**_: Any) -> Exception:
        world.ari.hang_up("caller")
        return ARIServerError("POST", "/bridges", 500, "no such channel, somehow")

    async with running(monkeypatch, handler) as world:
        world.ari.answers["bridges.create_with_id"] = refuse
        world.call()
        await world.over()
        world.ari.answers.clear()
        assert "error" not in world.types()


async def test_two_verbs_at_once_share_one_line_and_one_answer(monkeypatch: Patch) -> None:
    async def handler(call: CallSession) -> None:
        async def listen() -> int:
            return len([chunk async for chunk in call.audio_stream()])

        async def press() -> Any:
            return await call.listen_dtmf(timeout=5)

        listening, pressing = asyncio.ensure_future(listen()), asyncio.ensure_future(press())
        await call.send_audio_bytes(bytes(160))
        assert await pressing == "5"
        await call.hangup()
        assert await listening == 2

    async with running(monkeypatch, handler) as world:
        world.call()
        await breathe(60)
        world.transport.lines[0].hear(2)
        world.ari.press("caller", "5")
        world.transport.lines[0].tick(3)
        await world.over()
        assert len(world.transport.lines) == 1
        assert "error" not in world.types()


async def test_what_was_sent_is_heard_before_the_hang_up(monkeypatch: Patch) -> None:
    async def handler(call: CallSession) -> None:
        await call.send_audio_bytes(bytes(1600))
        await call.hangup()

    async with running(monkeypatch, handler) as world:
        session = world.call()
        await breathe(60)
        assert session.is_active
        world.transport.lines[0].tick(11)
        await world.over()


async def test_keys_pressed_ahead_are_bounded(monkeypatch: Patch) -> None:
    got: list[Any] = []

    async def handler(call: CallSession) -> None:
        await asyncio.sleep(0.01)
        got.append(await call.listen_dtmf(max_digits=64))
        got.append(await call.listen_dtmf(timeout=0))
        await call.hangup()

    async with running(monkeypatch, handler) as world:
        session = world.call()
        world.ari.press("caller", "9" * 40 + "1" * 60)
        await world.over()
    assert got == ["9" * 4 + "1" * 60, None]
    assert session._event_queue.qsize() <= 1000


async def test_what_the_end_cuts_short_clears_up_though_who_waited_is_cancelled_too() -> None:
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    began, cleared = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            began.set()
            await asyncio.sleep(0.05)  # a request to Asterisk
            cleared.set()

    call: Any = SimpleNamespace(leg=SimpleNamespace(ended=ended, check=lambda: None))
    waiting = asyncio.ensure_future(LiveCall.until_end(call, work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ended.set_result(None)
    await began.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(5):
        await cleared.wait()
