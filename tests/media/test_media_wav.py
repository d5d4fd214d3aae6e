import math
import struct
import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.errors import CodecError
from voxtra.media.codecs import ALaw, ULaw
from voxtra.media.wav import decode_wav, read_sound, write_wav

TONE = (8000 * np.sin(2 * math.pi * 440 * np.arange(8000) / 8000)).astype("<i2")


def riff(kind, bits, body, *, channels=1, rate=8000, extra=b""):
    fmt = struct.pack(
        "<HHIIHH", kind, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits
    )
    fmt += extra
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"LIST\x03\0\0\0abc\0"
    chunks += b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


def test_written_file_reads_back(tmp_path):
    write_wav(tmp_path / "one.wav", 8000, TONE.tobytes())
    assert read_sound(tmp_path / "one.wav", 8000) == TONE.tobytes()


def test_stereo_is_left_and_right_and_the_shorter_is_filled(tmp_path):
    path = tmp_path / "call.wav"
    write_wav(path, 16000, b"\x01\x00\x02\x00", b"\x05\x00")
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 16000, 2)
        assert file.readframes(2) == b"\x01\x00\x05\x00\x02\x00\x00\x00"


@pytest.mark.parametrize(
    ("kind", "bits", "body", "tolerance"),
    [
        (1, 16, TONE.tobytes(), 0),
        (1, 8, ((TONE >> 8) + 128).astype(np.uint8).tobytes(), 256),
        (1, 24, (TONE.astype("<i4") << 8).tobytes(), None),
        (1, 32, (TONE.astype("<i4") << 16).tobytes(), 0),
        (3, 32, (TONE / 32768).astype("<f4").tobytes(), 1),
        (7, 8, ULaw().encode(TONE.tobytes()), 260),
        (6, 8, ALaw().encode(TONE.tobytes()), 260),
    ],
)
def test_kinds_of_wav(kind, bits, body, tolerance):
    if bits == 24:
        body = b"".join(body[at : at + 3] for at in range(0, len(body), 4))
        tolerance = 0
    pcm, rate = decode_wav(riff(kind, bits, body))
    assert rate == 8000
    assert np.abs(np.frombuffer(pcm, "<i2").astype(int) - TONE).max() <= tolerance


def test_extensible_and_channels_mixed():
    both = np.stack([TONE, -TONE], axis=1).astype("<i2").tobytes()
    extra = struct.pack("<HHIH", 22, 16, 3, 1) + bytes(14)
    pcm, _ = decode_wav(riff(0xFFFE, 16, both, channels=2, extra=extra))
    assert pcm == bytes(len(TONE) * 2)


def test_a_file_cut_off_is_taken_as_far_as_it_goes():
    whole = riff(1, 16, TONE.tobytes())
    pcm, _ = decode_wav(whole[:-1001])
    assert TONE.tobytes().startswith(pcm)
    assert len(pcm) == 2 * 8000 - 1002


def test_another_rate(tmp_path):
    write_wav(tmp_path / "one.wav", 8000, TONE.tobytes())
    assert len(read_sound(tmp_path / "one.wav", 16000)) == 32000


def test_asterisks_raw_prompts(tmp_path):
    (tmp_path / "hello.ulaw").write_bytes(ULaw().encode(TONE.tobytes()))
    assert read_sound(tmp_path / "hello.ulaw", 8000) == ULaw().decode(ULaw().encode(TONE.tobytes()))
    (tmp_path / "hello.sln16").write_bytes(TONE.tobytes())
    assert len(read_sound(tmp_path / "hello.sln16", 8000)) == 8000


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am a text file", b"RIFF\0\0\0\0WAVE", riff(85, 0, b"mp3")]
)
def test_no_audio_is_named_with_what_is_right(tmp_path, content):
    path = tmp_path / "notes.wav"
    path.write_bytes(content)
    with pytest.raises(CodecError, match=r"notes\.wav is no audio.*use a WAV"):
        read_sound(path, 8000)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(CodecError, match=r"nothing\.wav: No such file"):
        read_sound(tmp_path / "nothing.wav", 8000)
    with pytest.raises(CodecError, match="can't read"):
        read_sound(tmp_path, 8000)
    with pytest.raises(CodecError, match="can't write"):
        write_wav(tmp_path / "none" / "x.wav", 8000, b"")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 60), st.binary(min_size=1, max_size=8))
def test_garbage_is_read_or_refused(data, at, noise):
    broken = bytearray(riff(1, 16, bytes(40), channels=2))
    broken[at : at + len(noise)] = noise
    for candidate in (data, b"RIFF\0\0\0\0WAVE" + data, bytes(broken)):
        try:
            pcm, rate = decode_wav(candidate)
        except CodecError:
            continue
        assert len(pcm) % 2 == 0
        assert 8000 <= rate <= 192_000
