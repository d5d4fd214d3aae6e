"""hibari on this machine: English text to speech with no key, no account and no download.

A 14 MB package (Apache-2.0) with one voice inside, ``heart``; 24 kHz, about 130 times real time on a core.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from voxtra.errors import ConfigurationError, MissingExtraError, TTSError
from voxtra.speech.base import TTS, Speech
from voxtra.speech.pool import InferencePool, shared_pool
from voxtra.speech.settings import ProviderSettings, did_you_mean, is_english, read_settings
from voxtra.speech.spoken import spoken

SILENT = 0.004
"""Amplitude below which the engine's sound counts as silence: it begins with 300 ms of it."""
LEAD_MS = 15
TAIL_MS = 120
BETWEEN_MS = 260
MAX_TEXT = 20_000
"""Longest text, characters."""


class HibariSettings(ProviderSettings):
    """Settings of :class:`HibariTTS`.

    Attributes:
        voice: ``heart`` is in the package; ``fenrir, emma, fable, kore`` only where they have been
            downloaded to hibari's cache folder already.
        language: what is spoken, BCP 47: English only.
        speed: 0.5 (slow) .. 2.0 (fast).
        gain_db: the engine speaks at about -27 dBFS; the default brings it to the level of prompts.
        seed: of the noise in the voice; with a number the same text gives the same sound, None = random.
    """

    voice: str = "heart"
    language: str = "en"
    speed: float = Field(1.0, ge=0.5, le=2.0)
    gain_db: float = Field(6.0, ge=-20, le=20)
    seed: int | None = 0


class _Voices:
    """Loaded voices, shared by all providers of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(name)
            return self._loaded[name]

    @staticmethod
    def _load(name: str) -> Any:
        check_voice(name)
        from hibari import Hibari

        try:
            return Hibari(voice=name, threads=1)
        except Exception as problem:  # onnxruntime's errors share no base but Exception
            raise ConfigurationError(f"HibariTTS: voice {name!r} can't be loaded: {problem}") from problem


_voices = _Voices()


def check_voice(name: str) -> None:
    """Make sure that a voice is on this machine: nothing is downloaded here.

    Raises:
        MissingExtraError: hibari is not installed.
        ConfigurationError: it has no such voice, or the voice is not on this machine.
    """
    try:
        from hibari.voices import VOICES, cache_dir, voice_path
    except ImportError as missing:
        raise MissingExtraError(f"local speech ({missing.name})", "local") from None
    if name not in VOICES:
        raise ConfigurationError(f"HibariTTS has no voice {name!r}{did_you_mean(name, VOICES)}")
    try:
        voice_path(name, download_missing=False)
    except FileNotFoundError:
        raise ConfigurationError(
            f"HibariTTS: voice {name!r} is not on this machine and nothing is downloaded: use voice 'heart', "
            f"or run  hibari --voice {name} Hello  once to put it into {cache_dir()}"
        ) from None


class HibariTTS(TTS):
    """hibari on the CPU, in the pool that all calls share: a chunk a sentence.

    Args:
        config: :class:`HibariSettings`, a mapping or a model with the same fields.
        pool: where it runs; None = the process's own.
        options: the fields of :class:`HibariSettings`.

    Raises:
        ConfigurationError: a setting is unknown or wrong. The voice is looked for by ``warm_up`` or by
            the first synthesis.
    """

    name = "hibari"
    rate = 24000

    def __init__(
        self,
        config: BaseModel | Mapping[str, Any] | None = None,
        *,
        pool: InferencePool | None = None,
        **options: Any,
    ) -> None:
        self.settings = read_settings(HibariSettings, config, options, of="HibariTTS")
        self._given_pool = pool
        if not is_english(self.settings.language):
            raise ConfigurationError(
                f"HibariTTS: language = {self.settings.language!r}: it speaks English only"
            )

    @property
    def pool(self) -> InferencePool:
        """The pool it runs in."""
        return self._given_pool or shared_pool()

    async def warm_up(self) -> None:
        """Load the voice and its dictionaries and speak a word: about 0.5 s. Idempotent.

        Raises:
            MissingExtraError: ``voxtra[local]`` is not installed.
            ConfigurationError: the voice is not on this machine.
        """
        voice = self.settings.voice
        await self.pool.run(_warm_up, voice, error=TTSError, deadline_s=60.0)

    async def synthesize(
        self, text: str, *, voice: str | None = None, language: str | None = None
    ) -> AsyncIterator[Speech]:
        """Speak ``text``, a chunk a sentence. Closing the generator stops after the sentence under way.

        Raises:
            TTSError: overloaded, too slow, a text that is too long, a language that is not English.
            ConfigurationError: the voice is not on this machine.
        """
        if language is not None and not is_english(language):
            raise TTSError(f"hibari speaks English only, not {language!r}: use another TTS provider for it")
        if len(text) > MAX_TEXT:
            raise TTSError(f"hibari: a text of {len(text)} characters; the limit is {MAX_TEXT}")
        name = voice or self.settings.voice
        sentences = await self.pool.run(_sentences, name, text, error=TTSError)
        for number, phonemes in enumerate(sentences, 1):
            pcm = await self.pool.run(
                _speak, name, phonemes, self.settings, number == len(sentences), error=TTSError
            )
            if pcm:
                yield Speech(pcm, self.rate)


def _warm_up(voice: str) -> None:
    engine = _voices.get(voice)
    for phonemes in engine.phonemize("Hello, zzyxq 1.") * 2:
        engine.from_phonemes(phonemes, seed=0)


def _sentences(voice: str, text: str) -> list[str]:
    engine = _voices.get(voice)
    try:
        phonemes = engine.phonemize(spoken(text))
    except Exception as problem:  # a text its rules can't read may raise anything
        raise TTSError(f"hibari can't read {text[:40]!r}: {problem}") from problem
    return [part for part in phonemes if any(sound.isalpha() for sound in part)]


def _speak(voice: str, phonemes: str, settings: HibariSettings, last: bool) -> bytes:
    engine = _voices.get(voice)
    try:
        sound = engine.from_phonemes(phonemes, speed=settings.speed, seed=settings.seed)
    except Exception as problem:  # onnxruntime's errors share no base but Exception
        raise TTSError(f"hibari: {problem}") from problem
    return _to_pcm(_trim(sound, TAIL_MS if last else BETWEEN_MS), settings.gain_db)


def _trim(sound: NDArray[np.float32], tail_ms: int) -> NDArray[np.float32]:
    # a reply begins when its first sound is heard: 300 ms of the engine's own silence would be lost time
    loud = np.flatnonzero(np.abs(sound) > SILENT)
    if not len(loud):
        return sound[:0]
    begin = max(0, int(loud[0]) - LEAD_MS * 24)
    return sound[begin : int(loud[-1]) + tail_ms * 24]


def _to_pcm(sound: NDArray[np.float32], gain_db: float) -> bytes:
    level = sound * 10 ** (gain_db / 20)
    # above -3 dBFS bend instead of clip
    over = np.abs(level) > 0.7
    bent = np.sign(level) * (0.7 + 0.3 * np.tanh((np.abs(level) - 0.7) / 0.3))
    return bytes((np.where(over, bent, level) * 32767).astype("<i2").tobytes())
