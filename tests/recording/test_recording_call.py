"""From record_start to the sink, exactly once."""
# ruff: noqa: ASYNC240 - small files of a test

import asyncio
import wave
from pathlib import Path

import pytest
from recording_wire import FRAME, PacedWire, samples

from voxtra.errors import ConfigurationError, SessionError
from voxtra.recording import CallRecorder, LocalFileSink, RecordingSink


class Noting(RecordingSink):
    def __init__(self, fails=False, hangs=False):
        self.seen = []
        self.fails, self.hangs = fails, hangs

    async def on_recording_complete(self, metadata):
        self.seen.append(metadata)
        if self.hangs:
            await asyncio.sleep(60)
        if self.fails:
            raise ValueError("no room")


@pytest.fixture
async def line():
    line = PacedWire()
    yield line
    await line.close()


async def test_the_sink_gets_a_whole_file_once_however_often_it_is_stopped(line, tmp_path):
    sink = LocalFileSink(tmp_path)
    recorder = await CallRecorder.start(line, "vx-1", "acme/call-001", sink=sink)
    line._receive(samples(0, FRAME))
    await asyncio.sleep(0.05)
    assert await asyncio.gather(recorder.stop(), recorder.stop()) == ["acme/call-001"] * 2
    assert await recorder.stop() == "acme/call-001"
    goal = tmp_path / "acme" / "call-001.wav"
    assert recorder.metadata.file_path == str(goal)
    with wave.open(str(goal)) as file:
        assert file.getnframes() / file.getframerate() == recorder.metadata.duration_seconds > 0.04
    assert list(tmp_path.rglob("*.wav")) == [goal]


@pytest.mark.proves("the sink fires exactly once", "failure 20")
async def test_the_line_ends_first_and_the_sink_still_fires_once(line, tmp_path):
    sink = Noting()
    recorder = await CallRecorder.start(line, "vx-1", sink=sink)
    await line.close()
    await asyncio.sleep(0)
    await recorder.stop()
    await recorder.stop()
    assert len(sink.seen) == 1
    assert sink.seen[0].session_id == "vx-1"
    Path(sink.seen[0].file_path).unlink()


async def test_a_stop_that_is_cancelled_does_not_cancel_the_sink(line, tmp_path):
    sink = LocalFileSink(tmp_path)
    recorder = await CallRecorder.start(line, "vx-1", "call", sink=sink)
    stopping = asyncio.ensure_future(recorder.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    await recorder.stop()
    assert (tmp_path / "call.wav").exists()


async def test_a_sink_need_be_no_more_than_who_takes_recordings(line):
    class Cabinet:
        def __init__(self):
            self.seen = []

        async def on_recording_complete(self, metadata):
            self.seen.append(metadata)

    sink = Cabinet()
    recorder = await CallRecorder.start(line, "vx-1", "call", sink=sink)
    await recorder.stop()
    assert [each.name for each in sink.seen] == ["call"]
    Path(sink.seen[0].file_path).unlink()


@pytest.mark.proves("failure 19")
@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_a_sink_that_fails_or_hangs_is_logged_and_the_file_kept(line, how, caplog, monkeypatch):
    monkeypatch.setattr("voxtra.recording.call.SINK_DEADLINE_S", 0.1)
    sink = Noting(**{how: True})
    recorder = await CallRecorder.start(line, "vx-1", "call", sink=sink)
    assert await recorder.stop() == "call"
    path = Path(recorder.metadata.file_path)
    assert str(path) in caplog.text
    assert path.exists()
    path.unlink()


async def test_made_names_differ_and_are_fit_for_files(line, tmp_path):
    sink = LocalFileSink(tmp_path)
    names = set()
    for _ in range(3):
        recorder = await CallRecorder.start(line, "vx/../1 x", sink=sink)
        names.add(await recorder.stop())
    assert len(names) == 3
    assert len(list(tmp_path.glob("*.wav"))) == 3


async def test_what_cannot_be_is_refused_before_anything_is_written(line, tmp_path):
    sink = LocalFileSink(tmp_path)
    with pytest.raises(ConfigurationError, match="'mp3'"):
        await CallRecorder.start(line, "vx-1", "call", "mp3", sink)
    with pytest.raises(ConfigurationError, match="recording's name"):
        await CallRecorder.start(line, "vx-1", "../call", sink=sink)
    first = await CallRecorder.start(line, "vx-1", "first", sink=sink)
    with pytest.raises(SessionError, match="'first'"):
        await CallRecorder.start(line, "vx-1", "second", sink=sink, under_way=first)
    await first.stop()
    assert [path.name for path in tmp_path.rglob("*.wav")] == ["first.wav"]
