"""What a recording is kept as, and what is said when it can't be."""
# ruff: noqa: ASYNC240 - small files of a test

import asyncio
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recording_wire import FRAME, PacedWire, samples

from voxtra.errors import ConfigurationError, MediaError, MissingExtraError, SessionError
from voxtra.recording import CallRecorder, LocalFileSink
from voxtra.recording.formats import check_format, convert


@pytest.fixture
async def line():
    line = PacedWire()
    yield line
    await line.close()


def make_wav(path, seconds=3.0, rate=8000):
    at = np.arange(int(seconds * rate)) / rate
    both = np.stack([9000 * np.sin(2 * np.pi * 440 * at), 9000 * np.sin(2 * np.pi * 1000 * at)], axis=1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(both.astype("<i2").tobytes())
    return both.astype("<i2")


@pytest.mark.parametrize("fmt", ["flac", "opus"])
@pytest.mark.parametrize("rate", [8000, 16000])
async def test_other_formats_hold_both_channels_and_every_sample(tmp_path, fmt, rate):
    sent = make_wav(tmp_path / "call.wav", rate=rate)
    made = await convert(tmp_path / "call.wav", fmt)
    assert made == tmp_path / f"call.{fmt}"
    assert list(tmp_path.iterdir()) == [made]
    assert made.stat().st_mode & 0o777 == 0o640
    both, _ = soundfile.read(made, dtype="int16", always_2d=True)
    assert both.shape[1] == 2
    if fmt == "flac":
        np.testing.assert_array_equal(both, sent)
        return
    info = soundfile.info(made)
    assert (info.format, info.subtype) == ("OGG", "OPUS")
    assert info.duration == pytest.approx(3.0, abs=0.03)
    assert made.stat().st_size < sent.nbytes / 3
    for lane, hz in ((0, 440), (1, 1000)):
        spectrum = np.abs(np.fft.rfft(both[:, lane].astype(float)))
        found = spectrum.argmax() * info.samplerate / len(both)
        assert found == pytest.approx(hz, abs=5)


async def test_the_sink_gets_the_format_that_was_asked_for(line, tmp_path):
    recorder = await CallRecorder.start(line, "vx-1", "call", "flac", LocalFileSink(tmp_path))
    for slot in range(20):
        line._receive(samples(slot * FRAME, FRAME))
        await asyncio.sleep(0.02)
    await recorder.stop()
    assert recorder.metadata.format == "flac"
    assert recorder.metadata.file_path == str(tmp_path / "call.flac")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "call.flac"]
    assert soundfile.info(tmp_path / "call.flac").duration == recorder.metadata.duration_seconds


async def test_what_can_not_be_made_stays_a_wav_and_is_said(line, tmp_path, monkeypatch, caplog):
    def full(self, block):
        raise soundfile.LibsndfileError(2, "No space left on device: ")

    recorder = await CallRecorder.start(line, "vx-1", "call", "opus", LocalFileSink(tmp_path))
    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    await recorder.stop()
    assert recorder.metadata.format == "wav"
    assert "can't be made opus" in recorder.metadata.extra["error"]
    assert "stays a WAV" in caplog.text
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "call.wav"]


async def test_no_wav_is_a_named_error(tmp_path):
    (tmp_path / "call.wav").write_bytes(b"nothing")
    with pytest.raises(MediaError, match="can't be made flac"):
        await convert(tmp_path / "call.wav", "flac")
    assert (tmp_path / "call.wav").exists()


def test_formats_that_are_not(monkeypatch):
    for wrong in ("mp3", "", "WAV", "../wav"):
        with pytest.raises(ConfigurationError, match=r"'wav', 'flac' or 'opus'"):
            check_format(wrong)
    with pytest.raises(ConfigurationError, match=r"no 44100 Hz.*'flac'"):
        check_format("opus", 44_100)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingExtraError, match=r"voxtra\[sounds\]"):
        check_format("flac")
    assert check_format("wav") == "wav"


@pytest.mark.parametrize(
    "name",
    ["../call", "a/../call", "/call", "a//b", ".hidden", "call/", "a\0b", "a\nb", "..", "x" * 121, "é/ü?"],
)
async def test_names_that_would_lead_astray_are_refused_before_anything_is_written(line, tmp_path, name):
    with pytest.raises(ConfigurationError, match="recording's name"):
        await CallRecorder.start(line, "vx-1", name, sink=LocalFileSink(tmp_path))
    assert list(tmp_path.rglob("*")) == []


async def test_folders_in_names_and_one_name_twice(line, tmp_path):
    sink = LocalFileSink(tmp_path)
    for _ in range(2):
        first = await CallRecorder.start(line, "vx-1", "acme/2026/call", sink=sink)
        with pytest.raises(SessionError, match="record_stop"):
            await CallRecorder.start(line, "vx-1", "acme/2026/call", sink=sink, under_way=first)
        await first.stop()
    assert sorted(path.name for path in (tmp_path / "acme" / "2026").iterdir()) == ["call-2.wav", "call.wav"]


async def test_sources_that_are_not(line, tmp_path):
    with pytest.raises(ConfigurationError, match="'auto', 'media' or 'asterisk'"):
        await CallRecorder.start(line, "vx-1", "call", sink=LocalFileSink(tmp_path), source="snoop")
    assert list(Path(tmp_path).rglob("*.wav")) == []
