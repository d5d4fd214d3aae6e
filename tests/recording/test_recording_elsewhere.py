"""When Asterisk records a call, and what becomes of it: taps of a test's own on a real recorder."""

import asyncio
import wave
from dataclasses import dataclass

import numpy as np
import pytest
from recording_wire import PacedWire

from voxtra.errors import CallEndedError, MediaError
from voxtra.recording import CallRecorder, LocalFileSink

RATE = 8000


@dataclass
class Sound:
    started: float
    rate: int
    pcm: bytes


class FakeTap:
    """Records the constant ``level`` on the left, its negative on the right."""

    def __init__(self, level, rate, fails):
        self.loop = asyncio.get_running_loop()
        self.level, self.rate, self.fails = level, rate, fails
        self.started, self.stopped = self.loop.time(), None

    async def stop(self):
        self.stopped = self.loop.time()

    async def fetch(self):
        await asyncio.sleep(0.05)
        if self.fails:
            raise MediaError("the file has gone")
        count = int((self.stopped - self.started) * self.rate)
        left = np.full(count, self.level, "<i2")
        return Sound(self.started, self.rate, left.tobytes()), Sound(
            self.started, self.rate, (-left).tobytes()
        )


class FakeTapper:
    def __init__(self, rate=RATE, refuses=None, fails=False):
        self.taps, self.rate, self.refuses, self.fails = [], rate, refuses, fails

    async def open(self, rate):
        if self.refuses is not None:
            raise self.refuses
        self.taps.append(FakeTap(1000 * (len(self.taps) + 1), self.rate, self.fails))
        return self.taps[-1]

    @property
    def open_now(self):
        return sum(tap.stopped is None for tap in self.taps)


@pytest.fixture
async def line():
    line = PacedWire()
    yield line
    await line.close()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("voxtra.recording.elsewhere.LINGER_S", 0.1)


def read(path):
    with wave.open(str(path)) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
        return both.astype(int), file.getframerate()


async def start(line, tmp_path, tapper, **options):
    options = {"source": "auto"} | options
    return await CallRecorder.start(
        line, "vx-1", "call", sink=LocalFileSink(tmp_path), tapper=tapper, **options
    )


async def test_only_what_is_elsewhere_is_asterisks(line, tmp_path, quick):
    tapper = FakeTapper()
    recorder = await start(line, tmp_path, tapper)
    await asyncio.sleep(0.2)
    assert tapper.taps == []
    await recorder.depart()
    begin = recorder.stereo.now_ms
    await recorder.depart()  # held, then bridged: one tap all the time
    await asyncio.sleep(0.4)
    recorder.back()
    end = recorder.stereo.now_ms
    assert tapper.open_now == 1
    await asyncio.sleep(0.3)
    assert (len(tapper.taps), tapper.open_now) == (1, 0)
    await recorder.stop()
    both, _ = read(tmp_path / "call.wav")
    there = np.flatnonzero(both[:, 1])
    assert set(both[there, 1]) == {-1000}
    assert there[0] / 8 == pytest.approx(begin, abs=25)
    assert there[-1] / 8 == pytest.approx(end, abs=25)
    assert np.flatnonzero(both[:, 0])[-1] / 8 == pytest.approx(end + 100, abs=40)
    assert "error" not in recorder.metadata.extra


async def test_prompts_that_follow_each_other_share_a_tap(line, tmp_path):
    tapper = FakeTapper()
    recorder = await start(line, tmp_path, tapper)
    for _ in range(3):
        await recorder.depart()
        await asyncio.sleep(0.1)
        recorder.back()
        await asyncio.sleep(0.15)
    await recorder.stop()
    assert (len(tapper.taps), tapper.open_now) == (1, 0)
    both, _ = read(tmp_path / "call.wav")
    stretches = np.count_nonzero(np.diff((both[:, 1] != 0).astype(int)) == 1)
    assert stretches == 3


async def test_asterisk_writes_nothing_in_a_pause_and_begins_anew_after_it(line, tmp_path):
    tapper = FakeTapper()
    recorder = await start(line, tmp_path, tapper, source="asterisk")
    assert tapper.open_now == 1
    await asyncio.sleep(0.2)
    await recorder.pause()
    assert tapper.open_now == 0
    paused = recorder.stereo.now_ms
    await recorder.depart()  # also a move in a pause opens none
    await asyncio.sleep(0.2)
    assert tapper.open_now == 0
    await recorder.resume()
    resumed = recorder.stereo.now_ms
    await asyncio.sleep(0.2)
    await recorder.stop()
    assert (len(tapper.taps), tapper.open_now) == (2, 0)
    both, _ = read(tmp_path / "call.wav")
    assert set(np.unique(both[:, 0])) == {0, 1000, 2000}
    assert not both[int(paused + 1) * 8 : int(resumed) * 8].any()
    ((begin, end),) = recorder.metadata.extra["pauses_ms"]
    assert begin == pytest.approx(paused, abs=30)
    assert end == pytest.approx(resumed, abs=30)


async def test_a_tap_is_exchanged_before_it_grows_old_without_a_hole(line, tmp_path, monkeypatch):
    monkeypatch.setattr("voxtra.recording.elsewhere.ROTATE_S", 0.25)
    tapper = FakeTapper()
    recorder = await start(line, tmp_path, tapper, source="asterisk")
    await asyncio.sleep(0.9)
    await recorder.stop()
    assert len(tapper.taps) >= 3
    assert tapper.open_now == 0
    both, _ = read(tmp_path / "call.wav")
    silent = np.flatnonzero(both[:, 0] == 0)
    assert len(silent) <= 2 * 160  # the last slot, and what a test's clock is late


async def test_another_rate_of_asterisks_is_fitted(line, tmp_path):
    tapper = FakeTapper(rate=16_000)
    recorder = await start(line, tmp_path, tapper, source="asterisk")
    await asyncio.sleep(0.5)
    await recorder.stop()
    both, rate = read(tmp_path / "call.wav")
    assert rate == RATE
    assert np.median(both[:, 0]) == pytest.approx(1000, abs=20)


@pytest.mark.parametrize("how", ["refused", "lost"])
async def test_what_asterisk_did_not_give_is_told_and_the_rest_is_kept(line, tmp_path, how, caplog):
    tapper = FakeTapper(refuses=MediaError("no snoop here")) if how == "refused" else FakeTapper(fails=True)
    recorder = await start(line, tmp_path, tapper)
    await recorder.depart()
    await asyncio.sleep(0.1)
    recorder.back()
    await recorder.stop()
    assert (tmp_path / "call.wav").exists()
    assert ("no snoop" if how == "refused" else "has gone") in recorder.metadata.extra["error"]
    assert "silent in part" in caplog.text


async def test_a_call_that_is_over_is_no_error(line, tmp_path):
    tapper = FakeTapper(refuses=CallEndedError("gone"))
    recorder = await start(line, tmp_path, tapper)
    await recorder.depart()
    await recorder.stop()
    assert "error" not in recorder.metadata.extra


async def test_media_alone_never_taps(line, tmp_path):
    tapper = FakeTapper()
    recorder = await start(line, tmp_path, tapper, source="media")
    await recorder.depart()
    await recorder.stop()
    assert tapper.taps == []


async def test_a_recording_goes_on_with_the_calls_next_line(line, tmp_path):
    recorder = await start(line, tmp_path, FakeTapper())
    await line.close()
    await asyncio.sleep(0.1)
    assert recorder.stereo.recording
    following = PacedWire()
    recorder.attach(following)
    await asyncio.sleep(0.1)
    following._receive(bytes(320))
    await following.close()
    silent_from = recorder.stereo.now_ms
    await asyncio.sleep(0.3)
    await recorder.stop()
    assert recorder.metadata.duration_seconds * 1000 == pytest.approx(silent_from, abs=30)
