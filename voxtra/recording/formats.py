"""What a recording may be kept as: WAV as it grows, FLAC or Ogg Opus made of it when it is complete."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from voxtra.errors import ConfigurationError, MediaError, MissingExtraError
from voxtra.recording.wav_file import recording_threads

_KINDS = {"flac": ("FLAC", "PCM_16"), "opus": ("OGG", "OPUS")}
FORMATS = ("wav", *_KINDS)
"""What ``record_start(fmt=)`` takes. ``opus`` is Ogg Opus (RFC 7845)."""
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
CONVERT_S = 300.0
"""How long making another format may take; the WAV is kept when it takes longer."""
_BLOCK = 65_536


def _library() -> Any:
    try:
        import soundfile
    except (ImportError, OSError):
        return None
    return soundfile


def check_format(fmt: str, rate: int = 8000) -> str:
    """``fmt``, proven to be one that can be made at ``rate`` Hz, here and now.

    Raises:
        ConfigurationError: there is no such format, or not at this rate.
        MissingExtraError: what makes it is not installed.
    """
    if fmt not in FORMATS:
        raise ConfigurationError(
            f"a recording can't be made as {fmt!r}: use {', '.join(map(repr, FORMATS[:-1]))} or {FORMATS[-1]!r}"
        )
    if fmt == "opus" and rate not in OPUS_RATES:
        raise ConfigurationError(f"fmt='opus': Opus has no {rate} Hz, as this call's sound has: use 'flac'")
    if fmt in _KINDS and _library() is None:
        raise MissingExtraError(f"fmt={fmt!r}", "sounds")
    return fmt


async def convert(wav: Path, fmt: str) -> Path:
    """Make ``fmt`` of a finished WAV file, beside it, and remove the WAV. Returns the new file.

    Raises:
        MediaError: it can't be; the WAV is where it was.
    """
    if fmt == "wav":
        return wav
    deadline = time.monotonic() + CONVERT_S
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(recording_threads(), _convert, wav, fmt, deadline)


def _convert(wav: Path, fmt: str, deadline: float) -> Path:
    soundfile = _library()
    kind, subtype = _KINDS[fmt]
    target = wav.with_suffix(f".{fmt}")
    growing = target.with_name(f".{target.name}")  # hidden: nobody takes for whole what a crash cut off
    try:
        with (
            soundfile.SoundFile(wav) as source,
            soundfile.SoundFile(
                growing, "w", source.samplerate, source.channels, subtype, format=kind
            ) as made,
        ):
            while len(block := source.read(_BLOCK, dtype="int16", always_2d=True)):
                made.write(block)
                if time.monotonic() > deadline:
                    raise MediaError(f"making {fmt} of the recording {wav} took over {CONVERT_S:g} s")
        handle = os.open(growing, os.O_RDONLY)
        try:
            os.fchmod(handle, 0o640)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(growing, target)
        wav.unlink()
    except (OSError, soundfile.SoundFileError, MediaError) as error:
        growing.unlink(missing_ok=True)
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"the recording {wav} can't be made {fmt}: {error}") from error
    return target
