"""Sound files: read as mono PCM at a rate, written as WAV.

Read are WAV (16-bit and 8, 24, 32-bit PCM, 32-bit float, μ-law, A-law; any rate and channels) and the raw
files Asterisk keeps its prompts in, by their suffix: ``.ulaw .ul .alaw .al .sln .slin .sln16 .sln24 .sln48``.
"""

from __future__ import annotations

import math
import struct
import wave
from os import PathLike
from pathlib import Path

import numpy as np

from voxtra.errors import CodecError
from voxtra.media.codecs import ALaw, Linear, ULaw
from voxtra.media.resample import resample

MAX_FILE_BYTES = 512 * 1024 * 1024

_RAW = {
    ".ulaw": ULaw(),
    ".ul": ULaw(),
    ".pcm": ULaw(),
    ".alaw": ALaw(),
    ".al": ALaw(),
    ".sln": Linear(8000),
    ".slin": Linear(8000),
    ".sln16": Linear(16000),
    ".sln24": Linear(24000),
    ".sln48": Linear(48000),
}
_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_RIGHT = "use a WAV file (PCM, float, μ-law or A-law) or one of Asterisk's raw formats (.ulaw, .alaw, .sln16)"


def read_sound(path: str | PathLike[str], rate: int) -> bytes:
    """The sound of a file, as 16-bit mono PCM at ``rate`` Hz. Channels are mixed.

    Raises:
        CodecError: it can't be read, or is no audio; names the file and what is right.
    """
    file = Path(path)
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise CodecError(f"{file} is too long to be a prompt ({file.stat().st_size >> 20} MB)")
        data = file.read_bytes()
    except OSError as error:
        raise CodecError(f"can't read the sound file {file}: {error.strerror or error}") from error
    raw = _RAW.get(file.suffix.lower())
    if raw is not None and not data.startswith(b"RIFF"):
        return resample(raw.decode(data[: len(data) & ~1]), raw.rate, rate)
    try:
        pcm, source = decode_wav(data)
        return resample(pcm, source, rate)
    except CodecError as error:
        raise CodecError(f"{file} is no audio that can be played: {error}; {_RIGHT}") from None


def decode_wav(data: bytes, *, max_s: float = math.inf) -> tuple[bytes, int]:
    """A WAV file's bytes, as (16-bit mono PCM, rate in Hz).

    A data chunk that says it is longer than the file (a recording cut off, a stream) is taken to the end.

    Raises:
        CodecError: it is none, of a kind that is not known, or longer than ``max_s``.
    """
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise CodecError("it does not begin like a WAV file")
    header: bytes | None = None
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        body = data[at + 8 : at + 8 + size]
        if name == b"fmt ":
            header = body
        elif name == b"data":
            if header is None:
                raise CodecError("its data come before its format")
            return _samples(header, body, max_s)
        at += 8 + size + (size & 1)
    raise CodecError("it has no data")


def _samples(header: bytes, body: bytes, max_s: float) -> tuple[bytes, int]:
    if len(header) < 16:
        raise CodecError("its format is cut off")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", header)
    if kind == _EXTENSIBLE and len(header) >= 26:
        kind = struct.unpack_from("<H", header, 24)[0]
    if not 1 <= channels <= 32:
        raise CodecError(f"it says it has {channels} channels")
    if not 8000 <= rate <= 192_000:
        raise CodecError(f"it says it has {rate} samples a second")
    width = channels * max(1, bits // 8)
    if len(body) // width > max_s * rate:
        raise CodecError(f"it is longer than {max_s:g} s")
    body = body[: len(body) - len(body) % width]
    values = _values(kind, bits, body)
    if channels > 1:
        values = values.reshape(-1, channels).mean(axis=1)
    return np.clip(np.rint(values), -32768, 32767).astype("<i2").tobytes(), rate


def _values(kind: int, bits: int, body: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Samples of all channels on the scale of 16 bits."""
    if kind == _PCM and bits == 16:
        return np.frombuffer(body, "<i2").astype(np.float64)
    if kind == _PCM and bits == 8:
        return (np.frombuffer(body, np.uint8).astype(np.float64) - 128) * 256
    if kind == _PCM and bits == 24:
        octets = np.frombuffer(body, np.uint8).reshape(-1, 3).astype(np.int32)
        whole = octets[:, 0] | octets[:, 1] << 8 | octets[:, 2] << 16
        return ((whole << 8) >> 8).astype(np.float64) / 256
    if kind == _PCM and bits == 32:
        return np.frombuffer(body, "<i4").astype(np.float64) / 65536
    if kind == _FLOAT and bits == 32:
        return np.nan_to_num(np.frombuffer(body, "<f4").astype(np.float64), posinf=1, neginf=-1) * 32768
    if kind in (_ULAW, _ALAW) and bits == 8:
        law = ULaw() if kind == _ULAW else ALaw()
        return np.frombuffer(law.decode(body), "<i2").astype(np.float64)
    raise CodecError(f"its format ({kind}, {bits} bit) is not known here")


def write_wav(path: str | PathLike[str], rate: int, *channels: bytes) -> None:
    """Write 16-bit PCM as WAV, one channel each argument; shorter ones are filled with silence.

    Raises:
        CodecError: it can't be written, or there is half a sample.
    """
    if not channels or any(len(channel) & 1 for channel in channels):
        raise CodecError("a WAV file needs at least one channel of whole 16-bit samples")
    length = max(map(len, channels)) // 2
    mixed = np.zeros((length, len(channels)), dtype="<i2")
    for index, channel in enumerate(channels):
        mixed[: len(channel) // 2, index] = np.frombuffer(channel, "<i2")
    try:
        with Path(path).open("wb") as out, wave.open(out, "wb") as file:
            file.setnchannels(len(channels))
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(mixed.tobytes())
    except OSError as error:
        raise CodecError(f"can't write the sound file {path}: {error.strerror or error}") from error
