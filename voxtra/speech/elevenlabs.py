"""ElevenLabs' voices, streamed over HTTP, with the official ``elevenlabs`` (extra ``voxtra[elevenlabs]``).

The protocol: https://elevenlabs.io/docs/api-reference/text-to-speech/stream and .../stream-with-timestamps
"""

from __future__ import annotations

import base64
import binascii
import warnings
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr

from voxtra.errors import TTSError
from voxtra.speech.base import Speech
from voxtra.speech.sdk import check_url, http_client, import_sdk, read_key
from voxtra.speech.settings import read_settings
from voxtra.speech.voices import HTTPVoice, RemoteTTS, VoiceSettings, VoiceStream

with warnings.catch_warnings():
    # Deprecated in the standard library since 3.11; from 3.13 the audioop-lts package gives the same module.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop


class ElevenLabsSettings(VoiceSettings):
    """Settings of :class:`ElevenLabsTTS`.

    Attributes:
        api_key: key; None = the environment's ELEVENLABS_API_KEY.
        base_url: another address of the API, e.g. ``https://api.eu.residency.elevenlabs.io``.
        voice: id of the voice.
        model: e.g. ``eleven_flash_v2_5`` (fastest), ``eleven_multilingual_v2``.
        language: ISO 639-1 of what is spoken, for models that take it; None = by the text.
        rate: Hz of the sound; 8000 comes as μ-law, everything else as PCM.
        words: ask for the time of each word. A few ms more for the first sound.
        voice_settings: stability, similarity_boost, style, speed ...
    """

    api_key: SecretStr | None = None
    base_url: str | None = None
    voice: str = Field("21m00Tcm4TlvDq8ikWAM", min_length=1)
    model: str = Field("eleven_flash_v2_5", min_length=1)
    language: str | None = None
    rate: Literal[8000, 16000, 22050, 24000, 44100, 48000] = 8000
    words: bool = True
    voice_settings: dict[str, Any] = Field(default_factory=dict)


class ElevenLabsTTS(RemoteTTS):
    """ElevenLabs' voices.

    Args:
        config: :class:`ElevenLabsSettings`, a mapping or a model with the same fields.
        options: the fields of :class:`ElevenLabsSettings`.

    Raises:
        ConfigurationError: a setting is wrong, or there is no key.
        MissingExtraError: ``voxtra[elevenlabs]`` is not installed.
    """

    settings: ElevenLabsSettings

    def __init__(self, config: BaseModel | Mapping[str, Any] | None = None, **options: Any) -> None:
        self.settings = read_settings(ElevenLabsSettings, config, options, of="ElevenLabsTTS")
        self.name = f"elevenlabs ({self.settings.model})"
        self.rate = self.settings.rate
        key = read_key(self.settings.api_key, "ELEVENLABS_API_KEY", of="ElevenLabsTTS")
        url = check_url(self.settings.base_url, "base_url", ("http", "https"), of="ElevenLabsTTS")
        sdk = import_sdk("elevenlabs.client", what="the ElevenLabs client", extra="elevenlabs")
        self._http = http_client()
        self._client: Any = sdk.AsyncElevenLabs(api_key=key, base_url=url, httpx_client=self._http)

    async def close(self) -> None:
        """Close the connections to the server. Idempotent."""
        await self._http.aclose()

    async def request(self, text: str, voice: str | None, language: str | None) -> VoiceStream:
        """``POST /v1/text-to-speech/{voice}/stream``, with or without timestamps."""
        settings = self.settings
        spoken = language or settings.language
        options: dict[str, Any] = {
            "voice_id": voice or settings.voice,
            "text": text,
            "model_id": settings.model,
            "output_format": "ulaw_8000" if self.rate == 8000 else f"pcm_{self.rate}",
            "request_options": {"chunk_size": None, "timeout_in_seconds": 60},
        }
        if spoken:
            options["language_code"] = spoken.replace("_", "-").split("-")[0].lower()
        if settings.voice_settings:
            options["voice_settings"] = settings.voice_settings
        api = self._client.text_to_speech.with_raw_response
        if settings.words:
            return await _TimedVoice(api.stream_with_timestamps(**options), self.rate, self.name).open()
        return await _Voice(api.stream(**options), self.rate, self.name).open()


def decode(sound: bytes, rate: int) -> bytes:
    """ElevenLabs' sound as PCM."""
    return audioop.ulaw2lin(sound, 2) if rate == 8000 else sound


class _Voice(HTTPVoice):
    """Raw sound."""

    def read(self, piece: bytes) -> Speech:
        return Speech(decode(piece, self.rate), self.rate)


class _TimedVoice(HTTPVoice):
    """JSON with sound and the time of each character, which become words."""

    def __init__(self, manager: AbstractAsyncContextManager[Any], rate: int, name: str) -> None:
        super().__init__(manager, rate, name)
        self._word = ""
        self._word_ms = 0
        self._given_ms = 0.0
        self._last_ms = -1.0
        self._base_ms = 0.0

    def takes(self, kind: str) -> bool:
        return "html" not in kind

    def read(self, piece: Any) -> Speech:
        try:
            pcm = decode(base64.b64decode(piece.audio_base_64 or "", validate=True), self.rate)
            words = self._words(piece.alignment)
        except (AttributeError, TypeError, ValueError, binascii.Error) as problem:
            raise TTSError(f"{self._name} sent what is no piece of sound: {piece!s:.120}") from problem
        self._given_ms += len(pcm) * 500 / self.rate
        return Speech(pcm, self.rate, tuple(words))

    def _words(self, alignment: Any) -> list[tuple[str, int]]:
        """The words that are complete. A word is told with the piece of sound in which it ends."""
        found: list[tuple[str, int]] = []
        if alignment is None:
            return found
        letters = list(alignment.characters)
        starts = [float(start) * 1000 for start in alignment.character_start_times_seconds]
        # times count from the begin of the utterance; where a server counts each piece anew, they step back
        if starts and starts[0] + self._base_ms < self._last_ms:
            self._base_ms = self._given_ms
        for letter, start in zip(letters, starts, strict=True):
            if letter.isspace():
                if self._word:
                    found.append((self._word, self._word_ms))
                self._word = ""
                continue
            if not self._word:
                self._word_ms = round(self._base_ms + start)
            self._word += letter
            self._last_ms = self._base_ms + start
        return found

    async def speech(self) -> AsyncGenerator[Speech, None]:
        async with aclosing(super().speech()) as pieces:
            async for piece in pieces:
                yield piece
        if self._word:
            yield Speech(b"", self.rate, ((self._word, self._word_ms),))
