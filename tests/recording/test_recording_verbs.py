"""record_start and record_stop as a handler holds them."""

import asyncio
import errno
import os
import wave

import numpy as np
import pytest

from voxtra import CallSession, EventType, LocalFileSink, VoxtraApp
from voxtra.errors import ConfigurationError, MediaError, SessionError
from voxtra.recording import RecordingSink
from voxtra.testing import FakeCall, run_call


class Noting(RecordingSink):
    def __init__(self):
        self.told = []

    async def on_recording_complete(self, metadata):
        self.told.append(metadata)
        os.unlink(metadata.file_path)


def test_stop_without_start_two_starts_and_what_can_not_be():
    sink = Noting()

    async def handler(call: CallSession) -> None:
        assert await call.record_stop() is None
        assert await call.record_start("one", sink=sink) == "one"
        for name in ("one", "two"):
            with pytest.raises(SessionError, match="'one'"):
                await call.record_start(name, sink=sink)
        assert await call.record_stop() == "one"
        assert await call.record_stop() is None
        for wrong, options in (("../x", {}), ("x", {"fmt": "mp3"}), ("x", {"source": "tape"})):
            with pytest.raises(ConfigurationError):
                await call.record_start(wrong, sink=sink, **options)
        assert call.recording is None
        assert await call.record_start(sink=sink, source="asterisk") != ""
        call.metadata["done"] = True

    assert run_call(handler).metadata["done"]
    assert sink.told[0].name == "one"
    assert len(sink.told) == 2  # the second one by the call's end


def test_a_recording_goes_on_over_prompts_holds_and_bridges_of_a_fake_call():
    sink = Noting()

    async def handler(call: CallSession) -> None:
        await call.record_start("moves", sink=sink)
        await call.play_file("hello-world")
        await call.hold()
        await asyncio.sleep(2)
        await call.unhold()
        other = await call._shared.place("PJSIP/anna", called_number="anna", caller_id="", timeout=30)
        await call.bridge_with(other)
        await asyncio.sleep(2)
        await call.unbridge()
        await other.hangup()

    async def anna(call: FakeCall) -> None:
        await call.ended(timeout=60)

    run_call(handler, endpoints={"PJSIP/anna": anna})
    (metadata,) = sink.told
    assert "error" not in metadata.extra
    assert metadata.duration_seconds > 4


def test_a_pause_is_the_calls_own_and_holds_over_recordings(tmp_path):
    sink = Noting()
    app = VoxtraApp()
    events = []
    app.on()(events.append)

    @app.default()
    async def handler(call: CallSession) -> None:
        await call.answer()
        await call.record_resume()
        await call.record_pause()  # with no recording: keys are not told of all the same
        assert await call.listen_dtmf(timeout=10) == "5"
        await call.record_start("late", sink=sink)
        assert call.recording is not None
        assert call.recording.stereo.paused
        await asyncio.sleep(1)
        await call.record_resume()
        assert not call.recording.stereo.paused
        await asyncio.sleep(1)
        await call.record_stop()

    async def caller(call: FakeCall) -> None:
        await call.presses("5")
        await call.ended(timeout=60)

    run_call(app, caller)
    assert not [event for event in events if event.type is EventType.DTMF_RECEIVED]
    (metadata,) = sink.told
    ((begin, end),) = metadata.extra["pauses_ms"]
    assert (begin, round(end, -2)) == (0, 1000)


def test_a_disk_that_fills_up_ends_the_recording_and_not_the_call(tmp_path, monkeypatch):
    real, left = os.pwrite, [60_000]

    def small_disk(handle, data, offset):
        left[0] -= len(data)
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data, offset)

    async def handler(call: CallSession) -> None:
        await call.record_start("full", sink=LocalFileSink(tmp_path))
        monkeypatch.setattr(os, "pwrite", small_disk)
        for _ in range(10):
            await asyncio.sleep(1)
            while (job := call.recording.stereo._file._job) is not None:
                await asyncio.wait((job,))  # a disk takes time that the fake clock does not
        recorder = call.recording
        assert call.is_active
        await call.record_stop()
        call.metadata["told"] = recorder.metadata

    told = run_call(handler).metadata["told"]
    assert "No space left" in told.extra["error"]
    with wave.open(str(tmp_path / "full.wav")) as file:  # what was written is whole
        assert 0 < file.getnframes() <= 60_000 // 4
        np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)


class SlowTapper:
    """Asterisk takes its time, and then records nothing."""

    def __init__(self, *_):
        pass

    async def open(self, rate):
        await asyncio.sleep(1)
        raise MediaError("not today")


@pytest.mark.parametrize("first", ["start", "resume"])
def test_a_pause_holds_whatever_is_under_way(monkeypatch, first):
    """A card number is asked for by a callback while the handler begins to record, or ends a pause."""
    monkeypatch.setattr("voxtra.recorded.CallTapper", SlowTapper)
    sink = Noting()

    async def handler(call: CallSession) -> None:
        await call.answer()
        if first == "start":
            work = asyncio.ensure_future(call.record_start("x", sink=sink, source="asterisk"))
        else:
            await call.record_start("x", sink=sink, source="asterisk")
            await call.record_pause()
            work = asyncio.ensure_future(call.record_resume())
        await asyncio.sleep(0.5)
        await call.record_pause()
        assert call.record_paused
        assert call.recording is not None
        assert call.recording.stereo.paused
        await work
        assert call.recording.stereo.paused
        call.metadata["done"] = True

    assert run_call(handler).metadata["done"]
    assert len(sink.told) == 1


def test_a_recording_that_begins_as_the_call_ends_reaches_its_sink(monkeypatch):
    monkeypatch.setattr("voxtra.recorded.CallTapper", SlowTapper)
    sink, late = Noting(), []

    async def start(call: CallSession) -> None:
        try:
            await call.record_start("x", sink=sink, source="asterisk")
        except BaseException as error:
            late.append(error)
            raise

    async def handler(call: CallSession) -> None:
        await call.answer()
        call.metadata["task"] = asyncio.ensure_future(start(call))  # another's: it does not end with the call
        await asyncio.sleep(0.5)
        await call.hangup()

    async def caller(call: FakeCall) -> None:
        await call.ended(timeout=60)
        await asyncio.sleep(5)

    run_call(handler, caller)
    assert late == []
    assert len(sink.told) == 1


def test_a_start_that_is_broken_off_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("voxtra.recorded.CallTapper", SlowTapper)
    sink = LocalFileSink(tmp_path)

    async def handler(call: CallSession) -> None:
        await call.answer()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await call.record_start("x", sink=sink, source="asterisk")
        assert call.recording is None
        assert await call.record_start("y", sink=sink) == "y"
        await asyncio.sleep(3)

    run_call(handler)
    assert sorted(path.name for path in tmp_path.rglob("*.wav")) == ["y.wav"]


def test_where_there_is_no_place_to_record_the_error_is_named(monkeypatch, tmp_path):
    async def handler(call: CallSession) -> None:
        with monkeypatch.context() as here:
            here.setattr("tempfile.gettempdir", lambda: str(tmp_path / "none"))
            with pytest.raises(MediaError, match="no place to record to"):
                await call.record_start("x", sink=Noting())
        call.metadata["done"] = True

    assert run_call(handler).metadata["done"]
