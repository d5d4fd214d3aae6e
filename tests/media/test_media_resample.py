"""Delay, rejection and continuity of the live resampler."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.errors import CodecError
from voxtra.media.resample import Resampler, resample

RATES = (8000, 16000, 24000, 32000, 44100, 48000)
PAIRS = [(a, b) for a, b in itertools.product(RATES, RATES) if a != b]


def tone(frequency, rate, seconds=0.4):
    wave = 12000 * np.sin(2 * math.pi * frequency * np.arange(int(rate * seconds)) / rate)
    return wave.astype("<i2").tobytes()


def live(source, target, pcm):
    """Through the resampler in frames of 20 ms; the begin, where the filter fills, is cut off."""
    converter = Resampler(source, target)
    size = source // 50 * 2
    out = b"".join(converter.process(pcm[at : at + size]) for at in range(0, len(pcm), size))
    return np.frombuffer(out, "<i2").astype(float)[target // 20 :]


def decibel(wave):
    return 20 * math.log10(wave.std() / (12000 / math.sqrt(2)) + 1e-9)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_delay_is_what_it_says_and_no_more_than_5_ms(source, target):
    converter = Resampler(source, target)
    assert converter.delay_ms <= 5
    # A click, band-limited by the filter: the peak of the output is its moment plus the delay.
    at = source // 10
    click = np.zeros(source // 4, "<i2")
    click[at] = 30000
    out = np.frombuffer(converter.process(click.tobytes()), "<i2")
    seen_ms = (np.argmax(np.abs(out.astype(int))) / target - at / source) * 1000
    assert seen_ms == pytest.approx(converter.delay_ms, abs=1000 / target + 1000 / source)


@pytest.mark.parametrize(("source", "target"), [pair for pair in PAIRS if pair[0] > pair[1]])
def test_what_does_not_fit_is_rejected_by_60_db(source, target):
    for frequency in np.linspace(target / 2, source * 0.495, 9):
        assert decibel(live(source, target, tone(frequency, source))) <= -60, frequency


@pytest.mark.parametrize(("source", "target"), [pair for pair in PAIRS if pair[0] < pair[1]])
def test_images_are_rejected_by_60_db(source, target):
    for frequency in np.linspace(source * 0.03, source * 0.43, 6):
        wave = live(source, target, tone(frequency, source))
        spectrum = np.abs(np.fft.rfft(wave * np.blackman(len(wave))))
        above = np.fft.rfftfreq(len(wave), 1 / target) > source / 2
        assert 20 * math.log10(spectrum[above].max() / spectrum.max()) <= -60, frequency


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_speech_band_passes_flat(source, target):
    lower = min(source, target)
    for frequency in (0.01 * lower, 0.2 * lower, 0.43 * lower):  # 80 Hz to 3440 Hz at 8 kHz
        assert abs(decibel(live(source, target, tone(frequency, source)))) < 0.3


@settings(max_examples=30, deadline=None)
@given(
    pair=st.sampled_from([(8000, 16000), (16000, 8000), (24000, 8000), (44100, 8000), (8000, 44100)]),
    cuts=st.lists(st.integers(0, 700), max_size=30),
)
def test_any_split_gives_the_same_samples(pair, cuts):
    source, target = pair
    pcm = tone(700, source, 0.2)
    whole = Resampler(source, target).process(pcm)
    converter = Resampler(source, target)
    out, at = b"", 0
    for cut in cuts:
        out += converter.process(pcm[at : at + cut * 2])
        at += cut * 2
    out += converter.process(pcm[at:])
    assert len(out) == len(whole)
    # Single-precision sums may differ by one step of the last bit with the order of adding.
    difference = np.frombuffer(out, "<i2").astype(int) - np.frombuffer(whole, "<i2")
    assert np.abs(difference).max() <= 1


def test_loud_sound_is_clipped_and_does_not_wrap():
    square = np.tile(np.repeat(np.array([32767, -32768], "<i2"), 20), 200).tobytes()
    out = np.frombuffer(Resampler(8000, 16000).process(square), "<i2").reshape(-1)
    aligned = out[72:]
    upper = aligned[np.arange(len(aligned)) % 80 < 40]
    assert (upper[5:35] > 0).all()


@pytest.mark.parametrize(("source", "target"), [(24000, 8000), (8000, 16000), (44100, 8000), (8000, 8000)])
def test_a_whole_piece_keeps_its_length_and_place(source, target):
    pcm = tone(400, source, 0.5)
    out = np.frombuffer(resample(pcm, source, target), "<i2").astype(float)
    assert len(out) == len(pcm) // 2 * target // source
    should = np.frombuffer(tone(400, target, 0.5), "<i2").astype(float)[: len(out)]
    middle = slice(target // 50, -target // 50)
    assert np.abs(out[middle] - should[middle]).max() < 60


def test_flush_gives_the_tail_and_begins_anew():
    converter = Resampler(16000, 8000)
    first = converter.process(tone(500, 16000, 0.1)) + converter.flush()
    second = converter.process(tone(500, 16000, 0.1)) + converter.flush()
    assert first == second
    assert len(first) // 2 == 800 + 36


def test_wrong_input_is_named():
    with pytest.raises(CodecError, match="0 to 8000"):
        Resampler(0, 8000)
    with pytest.raises(CodecError, match="3 bytes"):
        Resampler(8000, 16000).process(b"abc")
