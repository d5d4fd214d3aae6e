"""Deepgram's voices (Aura), streamed over HTTP, with the official ``deepgram-sdk``.

The protocol: https://developers.deepgram.com/reference/text-to-speech/speak-request
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from voxtra.speech.deepgram_client import Client, DeepgramAccount
from voxtra.speech.settings import read_settings
from voxtra.speech.voices import HTTPVoice, RemoteTTS, VoiceSettings, VoiceStream


class DeepgramVoiceSettings(VoiceSettings, DeepgramAccount):
    """Settings of :class:`DeepgramTTS`.

    Attributes:
        voice: a model with its voice and language, e.g. ``aura-2-thalia-en``.
        model: the same, under Deepgram's name for it; ``voice`` comes before it.
        language: not asked for: Deepgram's voices each have theirs.
        rate: Hz of the sound.
        speed: 1 = as the voice is made; None = not sent.
    """

    voice: str | None = None
    model: str = Field("aura-2-thalia-en", min_length=1)
    language: str | None = None
    rate: Literal[8000, 16000, 24000, 32000, 48000] = 8000
    speed: float | None = Field(None, ge=0.5, le=2)


class DeepgramTTS(RemoteTTS):
    """Deepgram's voices.

    Args:
        config: :class:`DeepgramVoiceSettings`, a mapping or a model with the same fields.
        options: the fields of :class:`DeepgramVoiceSettings`.

    Raises:
        ConfigurationError: a setting is wrong, or there is no key.
        MissingExtraError: ``voxtra[deepgram]`` is not installed.
    """

    settings: DeepgramVoiceSettings

    def __init__(self, config: BaseModel | Mapping[str, Any] | None = None, **options: Any) -> None:
        self.settings = read_settings(DeepgramVoiceSettings, config, options, of="DeepgramTTS")
        self.voice = self.settings.voice or self.settings.model
        self.name = f"deepgram ({self.voice})"
        self.rate = self.settings.rate
        self._client = Client(self.settings, of="DeepgramTTS")

    async def close(self) -> None:
        """Close the connections to the server. Idempotent."""
        await self._client.close()

    async def request(self, text: str, voice: str | None, language: str | None) -> VoiceStream:
        """``POST /v1/speak``. A voice has its language in its name: ``language`` is not sent."""
        options: dict[str, Any] = {"speed": self.settings.speed} if self.settings.speed else {}
        manager = self._client.sdk.speak.v1.audio.with_raw_response.generate(
            text=text,
            model=voice or self.voice,
            encoding="linear16",
            sample_rate=self.rate,
            container="none",
            request_options={"timeout_in_seconds": 60},
            **options,
        )
        return await HTTPVoice(manager, self.rate, self.name).open()
