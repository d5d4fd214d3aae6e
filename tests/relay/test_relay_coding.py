"""Reframing and transcoding: whatever goes in, in whatever pieces."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.errors import CodecError
from voxtra.relay.coding import FrameDecoder, FrameEncoder
from voxtra.wire import FRAME_MS, MAX_FRAME_BYTES, PCM_RATES, AudioFormat, pack, unpack

FORMATS = [
    *(
        AudioFormat(codec=codec, sample_rate=rate, frame_ms=ms)  # type: ignore[arg-type]
        for codec in ("opus", "pcm16")
        for rate in PCM_RATES
        for ms in FRAME_MS
    ),
    *(AudioFormat(codec=law, frame_ms=ms) for law in ("g711_ulaw", "g711_alaw") for ms in FRAME_MS),  # type: ignore[arg-type]
]
LINE_RATES = (8000, 16000, 48000)


def tone(hz: float, seconds: float, rate: int) -> bytes:
    return (np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate) * 8000).astype("<i2").tobytes()


def share(pcm: bytes, hz: float, rate: int) -> float:
    piece = np.frombuffer(pcm, "<i2").astype(float)[rate // 10 :]
    at = 2 * np.pi * hz * np.arange(len(piece)) / rate
    return float(2 * ((np.cos(at) @ piece) ** 2 + (np.sin(at) @ piece) ** 2) / len(piece) / (piece @ piece))


@pytest.mark.parametrize("form", FORMATS, ids=lambda f: f"{f.codec}-{f.sample_rate}-{f.frame_ms}")
def test_a_tone_is_a_tone_in_every_format_and_back(form: AudioFormat) -> None:
    for rate in LINE_RATES:
        encoder, decoder = FrameEncoder(form, rate), FrameDecoder(form, rate)
        frames = encoder.push(tone(600, 1.2, rate), 0)
        assert len(frames) == 1200 // form.frame_ms
        assert [frame.timestamp_us for frame in frames] == [
            n * form.frame_ms * 1000 for n in range(len(frames))
        ]
        pcm = b"".join(decoder.decode(frame.payload) for frame in frames)
        assert abs(len(pcm) / 2 / rate - 1.2) < 0.005
        assert share(pcm, 600, rate) > 0.9
        assert all(unpack(pack(frame)) == frame for frame in frames)
        assert max(len(frame.payload) for frame in frames) <= MAX_FRAME_BYTES


@settings(max_examples=60, deadline=None)
@given(
    form=st.sampled_from([f for f in FORMATS if f.codec != "opus"]),
    rate=st.sampled_from(LINE_RATES),
    cuts=st.lists(st.integers(1, 2000), max_size=30),
    start=st.integers(0, 2**40),
)
def test_how_it_is_cut_makes_no_difference(form: AudioFormat, rate: int, cuts: list[int], start: int) -> None:
    """Whole pieces of 20 ms on the media clock, as a line gives them, in any grouping."""
    frame = rate // 50
    pcm = tone(600, 0.02 * sum(cuts[:8] or [3]) / 100, rate)
    pcm = pcm[: len(pcm) // (frame * 2) * frame * 2]
    whole = FrameEncoder(form, rate).push(pcm, start)
    piecewise = FrameEncoder(form, rate)
    pieces = []
    for number in range(len(pcm) // (frame * 2)):
        at = number * frame * 2
        pieces += piecewise.push(pcm[at : at + frame * 2], start + number * 20_000)
    assert [f.timestamp_us for f in pieces] == [f.timestamp_us for f in whole]
    assert [len(f.payload) for f in pieces] == [len(f.payload) for f in whole]
    if form.sample_rate == rate:
        assert pieces == whole


@settings(max_examples=100, deadline=None)
@given(
    form=st.sampled_from([f for f in FORMATS if f.codec != "opus"]),
    gaps=st.lists(st.sampled_from([0, 0, 0, 20_000, 60_000, 1_000_000]), min_size=1, max_size=60),
)
def test_times_go_forward_and_a_gap_begins_a_new_frame(form: AudioFormat, gaps: list[int]) -> None:
    encoder = FrameEncoder(form, 8000)
    at = 0
    frames = []
    starts = {0}
    for gap in gaps:
        if gap:
            at += gap
            starts.add(at)
        frames += encoder.push(bytes(320), at)
        at += 20_000
    assert all(b.timestamp_us - a.timestamp_us >= form.frame_ms * 1000 for a, b in pairwise(frames))
    for frame in frames:
        begun = max(start for start in starts if start <= frame.timestamp_us)
        assert (frame.timestamp_us - begun) % (form.frame_ms * 1000) == 0
        assert frame.timestamp_us + form.frame_ms * 1000 <= at


@settings(max_examples=200, deadline=None)
@given(form=st.sampled_from(FORMATS), payload=st.binary(max_size=300), rate=st.sampled_from(LINE_RATES))
def test_rubbish_is_sound_or_one_error(form: AudioFormat, payload: bytes, rate: int) -> None:
    try:
        pcm = FrameDecoder(form, rate).decode(payload)
    except CodecError:
        return
    assert len(pcm) % 2 == 0
    assert len(pcm) / 2 / rate <= 0.13 or form.codec != "opus"


@pytest.mark.parametrize(("codec", "payload"), [("pcm16", b"odd"), ("g711_ulaw", b""), ("opus", b"")])
def test_what_is_no_frame(codec: str, payload: bytes) -> None:
    with pytest.raises(CodecError):
        FrameDecoder(AudioFormat(codec=codec), 8000).decode(payload)  # type: ignore[arg-type]
