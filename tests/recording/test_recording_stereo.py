"""The stereo recording against the truth of a simulated wire: every sample in its place."""

import asyncio
import tempfile
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_wire import FRAME, RATE, SLOT_S, PacedWire, WebSocketWire, lane, run, samples, settle

from voxtra.errors import MediaError
from voxtra.recording.stereo import StereoRecorder

WIRES = {"paced": PacedWire, "websocket": WebSocketWire}


def read(path):
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, RATE)
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    return both[:, 0], both[:, 1]


class Call:
    """A recorded call on a simulated wire. Slot k of the caller arrives at the slot's end."""

    def __init__(self, wire, path, phase=0.0):
        self.loop = asyncio.get_running_loop()
        self.line = WIRES[wire]()
        self.start = self.loop.now
        self.recorder = StereoRecorder(self.line, path)
        self.phase = phase
        self.said = 0
        self.tasks = []

    async def run(self, slots, frames=(), ops=()):
        """Frames are (arrival in slots, pcm), ops (time in slots, name, argument)."""
        steps = [(k + self.phase, 1, "tick", None) for k in range(slots)]
        steps += [(at, 2, "frame", pcm) for at, pcm in frames]
        steps += [(at, 3, name, argument) for at, name, argument in ops]
        # Asterisk's words are on their way for a while.
        steps += [(k + self.phase + 0.1, 0, "answer", None) for k in range(slots)]
        for at, _, name, argument in sorted(steps, key=lambda step: step[:2]):
            self.loop.now = self.start + at * SLOT_S
            getattr(self, name)(argument)
            await settle()
        self.loop.now = self.start + slots * SLOT_S
        await settle()

    def tick(self, _):
        self.line.tick()

    def answer(self, _):
        self.line.answer()

    def frame(self, pcm):
        self.line._receive(pcm)

    def play(self, count):
        self.line.play(samples(self.said, count))
        self.said += count

    def mark(self, _):
        self.line.mark()

    def pause(self, _):
        self.line.pause()

    def resume(self, _):
        self.line.resume()

    def flush(self, _):
        self.tasks.append(self.loop.create_task(self.line.flush()))

    def mute(self, _):
        self.recorder.pause()

    def unmute(self, _):
        self.recorder.resume()

    async def written(self):
        """A disk is not as fast as a clock that jumps."""
        while (job := self.recorder._file._job) is not None:
            await asyncio.wait((job,))
            await settle()

    async def end(self):
        duration = await self.recorder.close()
        await asyncio.gather(*self.tasks)
        await self.line.close()
        await settle()
        return duration


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "call.wav"


SLOTS = 300
operation = st.tuples(
    st.integers(1, SLOTS - 40).map(lambda at: at + 0.5),
    st.sampled_from(["play", "play", "play", "mark", "pause", "resume", "flush"]),
    st.integers(1, 4000),
)


@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=40, deadline=None)
@pytest.mark.proves("field 12")
@given(ops=st.lists(operation, max_size=14))
def test_the_agent_lane_is_what_was_on_the_wire(wire, ops):
    async def call(path):
        call = Call(wire, path)
        await call.run(SLOTS, ops=ops)
        assert await call.end() == SLOTS * SLOT_S
        return lane(call.line.wire)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "call.wav"
        truth = run(call, path)
        left, right = read(path)
    assert not left.any()
    np.testing.assert_array_equal(right, truth)


@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=40, deadline=None)
@given(
    ops=st.lists(
        st.tuples(
            st.floats(0.01, SLOTS - 40.01).map(lambda at: int(at) + 0.05 + (at % 1) * 0.9),
            st.sampled_from(["play", "play", "play", "mark", "pause", "resume", "flush"]),
            st.integers(1, 3000),
        ),
        max_size=10,
    ),
    phase=st.floats(0.0, 0.99),
)
def test_whatever_the_far_ends_clock_every_heard_sample_is_there_once_within_two_slots(wire, ops, phase):
    async def call(path):
        call = Call(wire, path, phase)
        await call.run(SLOTS, ops=ops)
        busy = call.line.queued > call.line.heard
        await call.end()
        return lane(call.line.wire), busy

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "call.wav"
        truth, busy = run(call, path)
        _, right = read(path)
    heard, there = np.flatnonzero(truth), np.flatnonzero(right)
    # Cut off in mid-sentence, or in a pause that nothing ended: nobody can tell the last frame.
    assert abs(len(heard) - len(there)) <= (FRAME if busy else 0)
    heard, there = heard[: len(there)], there[: len(heard)]
    np.testing.assert_array_equal(right[there], truth[heard])
    # A pause may come a moment before or after the far end's tick, which nobody tells of: then one frame
    # is on the wrong side of it.
    pauses = sum(name == "pause" for _, name, _ in ops)
    assert (np.abs(there - heard) > 2 * FRAME).sum() <= pauses * FRAME


@st.composite
def arrivals(draw):
    """(slot, arrival in slots) of the caller's frames: gaps of any length, jitter, and stalls with bursts."""
    found, slot, latest = [], 0, 0.0
    for _ in range(draw(st.integers(1, 5))):
        slot += draw(st.integers(0, 40))
        # A stretch is long enough to show its own pace after a stall.
        length, begin = draw(st.integers(60, 90)), slot
        stall = draw(st.integers(0, 30)), draw(st.integers(0, 15))
        for index in range(length):
            held = stall[0] <= index < stall[0] + stall[1]
            due = begin + sum(stall) if held else slot
            latest = max(latest, due + 1 + draw(st.sampled_from([0, 0, 0, 0.1, 0.3])))
            found.append((slot, latest))
            slot += 1
    return found


@settings(max_examples=40, deadline=None)
@given(frames=arrivals(), rest=st.integers(0, 60))
def test_the_callers_frames_are_in_their_slots_over_gaps_jitter_and_bursts(frames, rest):
    slots = frames[-1][0] + 2 + rest
    truth = [None] * slots
    for number, (slot, _) in enumerate(frames):
        truth[slot] = samples(number * FRAME, FRAME)

    async def call(path):
        call = Call("paced", path)
        await call.run(slots, [(at, truth[slot]) for slot, at in frames], [(3.5, "play", FRAME * 20)])
        await call.end()
        return lane(call.line.wire)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "call.wav"
        wire = run(call, path)
        left, right = read(path)
    np.testing.assert_array_equal(left, lane(truth))
    np.testing.assert_array_equal(right, wire)


@pytest.mark.parametrize("drift", [-200e-6, 200e-6])
def test_clocks_that_drift_make_no_holes(path, drift):
    slots = 30_000  # ten minutes

    async def call():
        call = Call("paced", path)
        frames = [(k * (1 + drift) + 1.2, samples(k * FRAME, FRAME)) for k in range(slots)]
        for at, pcm in frames:
            call.loop.now = call.start + at * SLOT_S
            call.frame(pcm)
            if int(at) % 50 == 0:
                await settle(1)
                await call.written()
        drifted = call.recorder.now_ms - (call.loop.now - call.start) * 1000
        assert abs(drifted + slots * 20 * drift) < 45  # media time follows the caller's clock
        await call.end()

    run(call)
    left, _ = read(path)
    holes = int((left == 0).sum()) // FRAME
    assert holes <= 3  # before the first frame, and after the last
    np.testing.assert_array_equal(left[left != 0], np.frombuffer(samples(0, slots * FRAME), "<i2"))


def test_a_stall_longer_than_memory_is_mended_on_disk(path):
    async def call():
        call = Call("paced", path)
        early = [(k + 1, samples(k * FRAME, FRAME)) for k in range(50)]
        late = [(700 + 1, samples(k * FRAME, FRAME)) for k in range(50, 700)]
        after = [(k + 1, samples(k * FRAME, FRAME)) for k in range(700, 750)]
        await call.run(752, early + late + after, [(100.5, "play", FRAME * 100)])
        await call.end()
        return lane(call.line.wire)

    truth = run(call)
    left, right = read(path)
    np.testing.assert_array_equal(left[: 750 * FRAME], np.frombuffer(samples(0, 750 * FRAME), "<i2"))
    np.testing.assert_array_equal(right, truth)


def test_pause_keeps_both_lanes_silent_and_time_aligned_even_for_late_frames(path):
    async def call():
        call = Call("paced", path)
        # What is spoken in slots 90 to 109 arrives only after the recording goes on again.
        frames = [(110.2 if 90 <= k < 110 else k + 1, samples(k * FRAME, FRAME)) for k in range(200)]
        await call.run(
            200, frames, [(10.5, "play", FRAME * 180), (50.5, "mute", None), (100.5, "unmute", None)]
        )
        assert not call.recorder.paused
        await call.end()

    run(call)
    left, right = read(path)
    spoken = np.frombuffer(samples(0, 200 * FRAME), "<i2")
    assert not left[50 * FRAME : 101 * FRAME].any()
    np.testing.assert_array_equal(left[: 50 * FRAME], spoken[: 50 * FRAME])
    np.testing.assert_array_equal(left[101 * FRAME :][: 98 * FRAME], spoken[101 * FRAME : 199 * FRAME])
    said = np.frombuffer(samples(0, 180 * FRAME), "<i2")
    assert not right[51 * FRAME : 101 * FRAME].any()
    np.testing.assert_array_equal(right[101 * FRAME : 191 * FRAME], said[90 * FRAME :])


def test_recording_that_begins_in_mid_sentence_knows_nothing_of_what_came_before(path):
    async def call():
        call = Call("paced", path)
        first = call.recorder
        call.play(FRAME * 30)
        await call.run(10)
        second = StereoRecorder(call.line, path.with_name("second.wav"))
        call.play(FRAME * 5)
        call.start = call.loop.now
        await call.run(40)
        await second.close()
        await call.end()
        assert first.duration_s == 1.0
        return lane(call.line.wire)

    truth = run(call)
    _, right = read(path.with_name("second.wav"))
    np.testing.assert_array_equal(right[: 20 * FRAME], 0)
    np.testing.assert_array_equal(right[20 * FRAME : 25 * FRAME], truth[30 * FRAME : 35 * FRAME])


def test_the_lines_end_is_the_recordings_end_and_close_is_idempotent(path):
    async def call():
        call = Call("paced", path)
        await call.run(
            100, [(k + 1, samples(k * FRAME, FRAME)) for k in range(100)], [(0.5, "play", FRAME * 200)]
        )
        await call.line.close()
        await settle()
        assert not call.recorder.recording
        call.loop.now += 5
        assert await call.recorder.close() == await call.recorder.close() == 2.0
        assert call.recorder.error is None
        assert call.line._sinks == ()
        assert call.line._player.observers == ()

    run(call)
    left, right = read(path)
    assert len(left) == 100 * FRAME
    assert left[-1] != 0
    assert right[-1] != 0


def test_moments_of_the_loops_clock_are_on_the_recordings_axis(path):
    async def call():
        call = Call("paced", path)
        await call.run(50, [(k + 1, samples(k * FRAME, FRAME)) for k in range(50)])
        recorder = call.recorder
        assert recorder.now_ms == pytest.approx(1000)
        assert recorder.at(recorder.started_at + 0.5) == pytest.approx(500)
        assert recorder.at(recorder.started_at - 1) == 0
        assert recorder.duration_s == pytest.approx(1.0)
        await call.end()

    run(call)


def test_at_any_moment_the_file_is_a_whole_wav(path):
    async def call():
        call = Call("paced", path)
        frames = [(k + 1, samples(k * FRAME, FRAME)) for k in range(400)]
        await call.run(400, frames)
        await call.written()
        left, right = read(path)  # as a kill at this moment would leave it
        assert RATE * 5 <= len(left) == len(right)
        np.testing.assert_array_equal(left, np.frombuffer(samples(0, len(left)), "<i2"))
        assert len(call.recorder._tape._pcm) <= 4 * RATE
        await call.end()

    run(call)


async def test_a_path_that_cannot_be_written_is_a_named_error(tmp_path):
    (tmp_path / "file").write_text("")
    line = PacedWire()
    with pytest.raises(MediaError, match=r"can't record to .*file/call\.wav: File exists"):
        StereoRecorder(line, tmp_path / "file" / "call.wav")
    assert line._sinks == ()
    await line.close()


def test_a_full_disk_ends_the_recording_and_nothing_else(path, monkeypatch, caplog):
    async def call():
        call = Call("paced", path)
        real = call.recorder._file._put

        def full(at, pcm):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(call.recorder._file, "_put", full)
        await call.run(400, [(k + 1, samples(k * FRAME, FRAME)) for k in range(400)])
        for _ in range(1000):
            if call.recorder.error is not None:
                break
            await asyncio.sleep(0)
        assert "No space left" in str(call.recorder.error)
        assert await call.end() == 8.0
        assert real is not None

    run(call)
    assert "broke off" in caplog.text


def test_a_disk_that_hangs_costs_bounded_memory(path, monkeypatch, caplog):
    monkeypatch.setattr("voxtra.recording.wav_file.MAX_PENDING_BYTES", 100_000)

    async def call():
        call = Call("paced", path)
        file = call.recorder._file
        hang = asyncio.get_running_loop().create_future()
        file._job = hang
        await call.run(500, [(k + 1, samples(k * FRAME, FRAME)) for k in range(500)])
        assert file._waiting_bytes <= 100_000
        assert file.dropped_bytes > 0
        file._job = None
        hang.cancel()
        file._start()
        await call.end()

    run(call)
    assert "disk is too slow" in caplog.text
    left, _ = read(path)
    assert len(left) == 500 * FRAME  # the time is kept; what is missing is silence
    assert left[:FRAME].all()
