import numpy as np
import pytest

from voxtra.speech.decimate import Decimator, decimator_to
from voxtra.speech.features import (
    hertz,
    log_mel,
    loudness_dbfs,
    mel_filters,
    mel_frequency,
    resample_whole,
    to_float,
)


def tone(hz, rate, seconds=1.0, level=0.5):
    return (level * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def test_the_mel_scale_is_slaneys():
    assert mel_frequency(np.array([0.0, 1000.0, 6400.0])) == pytest.approx([0.0, 15.0, 42.0])
    assert hertz(mel_frequency(np.array([60.0, 3000.0, 8000.0]))) == pytest.approx([60.0, 3000.0, 8000.0])


def test_the_filters_cover_the_spectrum_with_equal_area():
    filters = mel_filters()
    assert filters.shape == (80, 201)
    # the first bands are narrower than the bins of the spectrum; from there on each has area 1
    assert filters[40:].sum(axis=1) * 40.0 == pytest.approx(np.ones(40), abs=0.08)
    assert np.all(np.diff(filters.argmax(axis=1)) >= 0)


def test_a_tone_shows_in_its_band_only_and_the_padding_is_the_floor():
    features = log_mel(tone(1000, 16000), 1500)
    assert features.shape == (1, 80, 1500)
    assert features.dtype == np.float32
    band = int(np.argmax(mel_filters()[:, 25]))  # 1 kHz is bin 25
    assert abs(int(features[0, :, 50].argmax()) - band) <= 1
    assert features.max() - features.min() == pytest.approx(2.0)
    assert np.all(features[0, :, 110:] == features.min())


def test_padding_changes_nothing_that_was_computed():
    sound = tone(440, 16000, 2.0)
    whole = np.concatenate([sound, np.zeros(16000 * 13, np.float32)])
    assert log_mel(sound, 1500) == pytest.approx(log_mel(whole, 1500), abs=1e-5)


@pytest.mark.parametrize("length", [0, 1, 159, 200, 400, 16001])
def test_any_length_has_features(length):
    features = log_mel(np.ones(length, np.float32) * 0.1, 1500)
    assert features.shape == (1, 80, 1500)
    assert np.all(np.isfinite(features))


@pytest.mark.parametrize("rate", [8000, 11000, 22100, 24000, 44100, 48000])
def test_an_utterance_keeps_its_tone_and_length_at_another_rate(rate):
    there = resample_whole(tone(1000, rate), rate)
    assert abs(len(there) - 16000) <= 1
    middle = slice(2000, 14000)
    assert there[middle] == pytest.approx(tone(1000, 16000)[: len(there)][middle], abs=0.02)


def test_levels():
    assert loudness_dbfs(np.zeros(100, np.float32)) == -120
    assert loudness_dbfs(tone(1000, 16000, level=1.0)) == pytest.approx(-3.01, abs=0.05)
    assert to_float(b"\x00\x80\xff\x7f").tolist() == [-1.0, pytest.approx(32767 / 32768)]


def test_the_decimator_keeps_speech_stops_aliases_and_does_not_care_for_frames():
    speech, alias = tone(1000, 24000), tone(5500, 24000)
    assert np.abs(Decimator(3).push(speech)[100:]).max() == pytest.approx(0.5, abs=0.01)
    assert np.abs(Decimator(3).push(alias)[100:]).max() < 0.5 * 10 ** (-40 / 20)
    pieces = Decimator(3)
    joined = np.concatenate([pieces.push(part) for part in np.array_split(speech, 171)])
    assert joined == pytest.approx(Decimator(3).push(speech)[: len(joined)], abs=1e-6)
    assert decimator_to(44100, (8000,)) is None
    assert decimator_to(8000, (8000, 16000)) == (8000, None)
    assert decimator_to(48000, (8000, 16000))[0] == 16000
