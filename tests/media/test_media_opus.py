import math
import sys

import numpy as np
import pytest

from voxtra.errors import CodecError, MissingExtraError
from voxtra.media.opus import OpusDecoder, OpusEncoder

pytest.importorskip("opuslib_next")


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_a_tone_comes_back(rate):
    encoder, decoder = OpusEncoder(rate), OpusDecoder(rate)
    wave = (9000 * np.sin(2 * math.pi * 440 * np.arange(rate) / rate)).astype("<i2").tobytes()
    size = rate // 50 * 2
    packets = [encoder.encode(wave[at : at + size]) for at in range(0, len(wave), size)]
    assert max(map(len, packets)) < 200
    out = np.frombuffer(b"".join(map(decoder.decode, packets)), "<i2").astype(float)[rate // 5 :]
    spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out))))
    assert np.argmax(spectrum) * rate / len(out) == pytest.approx(440, abs=3)
    assert out.std() == pytest.approx(9000 / math.sqrt(2), rel=0.25)


def test_a_lost_packet_is_concealed_and_the_next_is_good():
    encoder, decoder = OpusEncoder(16000), OpusDecoder(16000)
    wave = (9000 * np.sin(2 * math.pi * 300 * np.arange(16000) / 16000)).astype("<i2").tobytes()
    packets = [encoder.encode(wave[at : at + 640]) for at in range(0, len(wave), 640)]
    for packet in packets[:20]:
        decoder.decode(packet)
    hidden = np.frombuffer(decoder.conceal(20), "<i2").astype(float)
    assert len(hidden) == 320
    assert hidden.std() > 1000
    assert len(decoder.decode(packets[21])) == 640


def test_other_packet_lengths():
    assert len(OpusDecoder(48000).decode(OpusEncoder(48000).encode(bytes(60 * 96)))) == 60 * 96


def test_wrong_use_is_named():
    with pytest.raises(CodecError, match="44100"):
        OpusEncoder(44100)
    with pytest.raises(CodecError, match="20, 40"):
        OpusEncoder(16000).encode(bytes(100))
    with pytest.raises(CodecError, match="no Opus packet"):
        OpusDecoder(16000).decode(b"")
    with pytest.raises(CodecError, match="no Opus packet"):
        OpusDecoder(16000).decode(b"\xff" * 5)


def test_missing_library_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "opuslib_next", None)
    with pytest.raises(MissingExtraError, match=r"voxtra\[opus\]"):
        OpusEncoder()
