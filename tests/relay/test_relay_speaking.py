"""Speakers and feeds on lines that close and come back."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_fakes import FakeLine, FakeSession

from voxtra.errors import ARIServerError, CodecError, MediaError
from voxtra.relay.feed import Feed
from voxtra.relay.lateness import HOLD_S
from voxtra.relay.sound import SeatSound, Sound
from voxtra.relay.speaker import Speaker, Waiting
from voxtra.wire import AudioFormat, SoundFrame

LAW = AudioFormat(codec="g711_ulaw")
FRAME = bytes(160)


def frame(number: int, payload: bytes = FRAME) -> SoundFrame:
    return SoundFrame(number * 20_000, payload)


async def test_a_flood_is_bounded_and_others_play_on() -> None:
    line = FakeLine()
    flooder, other = (Speaker(LAW, lambda: line, max_waiting_s=1.0) for _ in range(2))  # type: ignore[arg-type, return-value]
    for number in range(200):
        flooder.push(frame(number))
    assert (flooder.stats.played, flooder.stats.dropped, flooder.full) == (50, 150, True)
    other.push(frame(0))
    assert (other.stats.played, other.full) == (1, False)
    line.heard = 8000  # all of the flooder's second, nothing of the other's 20 ms
    assert not flooder.full
    flooder.push(frame(300))
    assert flooder.stats.played == 51


async def test_a_flush_empties_what_waits() -> None:
    line = FakeLine()
    speaker = Speaker(LAW, lambda: line, max_waiting_s=1.0)  # type: ignore[arg-type, return-value]
    for number in range(60):
        speaker.push(frame(number))
    assert speaker.full
    line.flush()
    assert not speaker.full
    speaker.push(frame(100))
    assert speaker.stats.played == 51
    speaker.close()
    assert line.observers == []
    speaker.push(frame(101))
    assert speaker.stats.played == 51


async def test_how_soon_new_sound_is_heard() -> None:
    line, now = FakeLine(), 100.0
    line.paused = True
    waiting = Waiting(line, lambda: now)  # type: ignore[arg-type]
    line.play(bytes(16000))
    now = 107.0
    assert waiting.ahead_s == 1.0, "paused since before"
    waiting.resumed()
    now = 107.4
    assert waiting.ahead_s == pytest.approx(0.6)
    waiting.paused()
    now = 109.0
    waiting.paused()
    line.play(bytes(3200))
    assert waiting.ahead_s == pytest.approx(0.8)
    waiting.resumed()
    now = 110.0
    assert waiting.ahead_s == 0.0
    line.play(bytes(3200))
    assert waiting.ahead_s == pytest.approx(0.2)
    line.flush()
    assert waiting.ahead_s == 0.0
    waiting.close()
    assert line.observers == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["push", "push", "push", "hear", "flush", "close"]), max_size=120))
def test_whatever_the_line_does_a_speaker_keeps_its_bound(steps: list[str]) -> None:
    async def run() -> None:
        lines = [FakeLine()]
        speaker = Speaker(LAW, lambda: lines[-1], max_waiting_s=0.2)  # type: ignore[arg-type, return-value]
        pushed = 0
        for step in steps:
            line = lines[-1]
            if step == "push":
                speaker.push(frame(0))
                pushed += 1
            elif step == "hear":
                line.heard = min(line.queued, line.heard + 160)
            elif step == "flush":
                line.flush()
            else:
                line.closed.set_result("x")
                lines.append(FakeLine(16000 if len(lines) % 2 else 8000))
            assert lines[-1].queued - lines[-1].heard <= 0.22 * lines[-1].rate
        assert speaker.stats.played + speaker.stats.dropped == pushed
        speaker.close()

    asyncio.run(run())


async def test_no_line_a_closed_one_a_full_one() -> None:
    lines: list[Any] = [None]
    speaker = Speaker(LAW, lambda: lines[-1])
    speaker.push(frame(0))
    lines.append(FakeLine())
    lines[-1].closed.set_result("gone")
    speaker.push(frame(0))
    lines.append(FakeLine(limit_s=0.01))
    speaker.push(frame(0))
    assert (speaker.stats.played, speaker.stats.dropped) == (0, 3)
    lines.append(FakeLine())
    speaker.push(frame(0))
    assert speaker.stats.played == 1
    with pytest.raises(CodecError):
        speaker.push(frame(1, b""))


async def test_what_waited_for_something_in_time_is_played_by_itself() -> None:
    line = FakeLine()
    speaker = Speaker(LAW, lambda: line)  # type: ignore[arg-type, return-value]
    now = asyncio.get_running_loop().time()
    speaker.push(SoundFrame(10_000_000, FRAME))
    speaker._lateness._offset_s = now - 12  # two seconds late from here on
    speaker.push(SoundFrame(10_020_000, FRAME))
    speaker.push(SoundFrame(10_040_000, b""))  # no frame, but nobody is there to be told
    assert speaker.stats.played == 1
    await asyncio.sleep(HOLD_S * 3)
    assert (speaker.stats.played, speaker.stats.dropped, speaker.stats.late) == (2, 1, 0)


async def test_one_encoder_a_format_and_none_when_nobody_listens() -> None:
    feed, line = Feed(), FakeLine()
    feed.follow(line)  # type: ignore[arg-type]
    got: dict[str, list[SoundFrame]] = {"a": [], "b": [], "c": []}
    offs = [
        feed.subscribe(LAW, got["a"].append),
        feed.subscribe(LAW, got["b"].append),
        feed.subscribe(AudioFormat(codec="pcm16", sample_rate=16000, frame_ms=40), got["c"].append),
    ]
    assert feed.encoders == 2
    for _ in range(4):
        line.receive()
    assert [len(each) for each in got.values()] == [4, 4, 2]
    offs[0]()
    offs[0]()
    assert feed.encoders == 2
    offs[1]()
    assert feed.encoders == 1
    line.receive()
    assert len(got["a"]) == 4
    again = FakeLine(16000)
    feed.follow(again)  # type: ignore[arg-type]
    assert line.sinks == []
    for _ in range(4):
        again.receive()
    assert [f.timestamp_us for f in got["c"]] == sorted(f.timestamp_us for f in got["c"])
    assert len(got["c"]) == 4
    assert len(got["c"][-1].payload) == 1280
    feed.close()
    assert again.sinks == []
    assert feed.encoders == 0


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_line_is_kept_open_until_the_call_ends() -> None:
    call = FakeSession()
    call.errors = [MediaError("not yet"), ARIServerError("POST", "/x", 500)]
    sound = Sound(call, call.open_line)  # type: ignore[arg-type]
    await sound.opened()
    assert call.opened == 3
    assert sound.line is call.lines[0]
    call.lines[0].closed.set_result("lost")
    await until(lambda: len(call.lines) == 2 and sound.line is call.lines[1])
    tries = call.opened
    call.answer()
    await until(lambda: call.opened == tries + 1)  # it is joined to the call now
    assert sound.line is call.lines[1]
    call.end()
    assert await asyncio.wait_for(sound.ended, 1) == "the call ended"
    await sound.close()
    await sound.close()
    assert call.lines[1].sinks == []


async def test_closing_lets_go_of_the_line_and_leaves_it_open() -> None:
    call = FakeSession()
    sound = Sound(call, call.open_line)  # type: ignore[arg-type]
    await sound.opened()
    await sound.close()
    assert call.watched == 0
    assert call.lines[0].sinks == []
    assert not call.lines[0].closed.done()
    assert sound.ended.result() == "nobody is attached"


async def test_a_call_that_is_over_already() -> None:
    call = FakeSession()
    call.is_active = False
    sound = Sound(call, call.open_line)  # type: ignore[arg-type]
    await sound.opened()
    assert sound.ended.result() == "the call ended"
    await sound.close()


@pytest.mark.parametrize(("kind", "hears"), [(Sound, False), (SeatSound, True)])
async def test_in_a_pause_programs_hear_silence_and_people_the_caller(kind: type[Sound], hears: bool) -> None:
    call, line = FakeSession(), FakeLine()

    async def take_seat() -> Any:
        return SimpleNamespace(line=line, close=AsyncMock())

    call.lines = [line]
    call.take_seat = take_seat  # type: ignore[attr-defined]
    sound = SeatSound(call) if kind is SeatSound else Sound(call, call.open_line)  # type: ignore[arg-type]
    await sound.opened()
    got: list[SoundFrame] = []
    sound.feed.subscribe(AudioFormat(codec="pcm16", sample_rate=8000), got.append)
    for paused in (False, True, False):
        call.record_paused = paused
        line.receive(b"\x10\x20" * 160)
    assert [any(frame.payload) for frame in got] == [True, hears, True]
    assert len({len(frame.payload) for frame in got}) == 1
    await sound.close()
