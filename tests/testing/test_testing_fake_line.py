"""The line on virtual time does what a line does, and no more work than it must."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from voxtra.errors import LineClosedError
from voxtra.media.line import Frame
from voxtra.testing import run_virtual
from voxtra.testing.fake_line import FakeLine
from voxtra.testing.fake_sound import FRAME_BYTES, hum

Check = Callable[[FakeLine, list[tuple[float, bytes]]], Awaitable[None]]


def on_a_line(check: Check, tail_s: float = 1.0) -> None:
    async def main() -> None:
        out: list[tuple[float, bytes]] = []
        loop = asyncio.get_running_loop()
        began = loop.time()
        line = FakeLine(lambda pcm: out.append((round(loop.time() - began, 3), pcm)), tail_s=tail_s)
        await check(line, out)
        await line.close()
        before = len(out)
        await asyncio.sleep(10)
        assert len(out) == before, "it plays on after its end"

    run_virtual(main())


def test_sound_is_heard_at_its_pace_and_marks_come_when_it_was() -> None:
    async def check(line: FakeLine, out: list[tuple[float, bytes]]) -> None:
        line.play(hum(1.0))
        mark = line.mark()
        await asyncio.sleep(0.5)
        assert mark.outcome is None
        assert line.ms(line.heard) in (480, 500)
        assert await mark == "heard"
        assert [at for at, _ in out] == pytest.approx([0.02 * n for n in range(1, 51)])
        assert line.heard == line.queued == 8000

    on_a_line(check)


def test_pause_resume_and_flush() -> None:
    async def check(line: FakeLine, out: list[tuple[float, bytes]]) -> None:
        line.play(hum(1.0))
        mark = line.mark()
        await asyncio.sleep(0.31)
        line.pause()
        await asyncio.sleep(5)
        assert len(out) == 15
        line.resume()
        await asyncio.sleep(0.11)
        assert len(out) == 20
        assert await line.flush() == 20 * 160 == line.queued
        assert mark.outcome == "flushed"
        await asyncio.sleep(1)
        assert len(out) == 20
        line.play(hum(0.1))
        assert await line.drained() == "heard"

    on_a_line(check)


def test_silence_follows_sound_only_as_long_as_somebody_needs_it() -> None:
    async def check(line: FakeLine, out: list[tuple[float, bytes]]) -> None:
        frames: list[Frame] = []
        off = line.listen(frames.append)
        await asyncio.sleep(100)
        assert len(frames) <= 1
        line.receive(hum(0.02))
        await asyncio.sleep(100)
        assert 50 <= len(frames) <= 53
        assert frames[-1].sequence == pytest.approx(5051, abs=2)
        another: list[Frame] = []
        line.listen(another.append)
        await asyncio.sleep(1)
        assert 49 <= len(another) <= 50
        numbers = [frame.sequence for frame in another]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        off()
        await asyncio.sleep(100)
        assert len(another) <= 52

    on_a_line(check)


def test_frames_arrive_in_order_20_ms_apart() -> None:
    async def check(line: FakeLine, out: list[tuple[float, bytes]]) -> None:
        frames: list[Frame] = []
        line.listen(frames.append)
        for number in range(1, 51):
            line.receive(bytes([number]) * FRAME_BYTES)
        await asyncio.sleep(2)
        voiced = [frame for frame in frames if any(frame.pcm)]
        assert [frame.pcm[0] for frame in voiced] == list(range(1, 51))
        assert voiced[-1].time - voiced[0].time == pytest.approx(0.98)

    on_a_line(check)


def test_a_closed_line_says_so() -> None:
    async def check(line: FakeLine, out: list[tuple[float, bytes]]) -> None:
        line.play(hum(1.0))
        mark = line.mark()
        line.lose("gone")
        assert mark.outcome == "closed"
        assert line.closed.result() == "gone"
        with pytest.raises(LineClosedError, match="gone"):
            line.play(hum(0.02))

    on_a_line(check)
