"""OpenAI's voices and transcription, and servers that speak the same protocol (extra ``voxtra[openai]``).

The protocol: https://platform.openai.com/docs/api-reference/audio
"""

from __future__ import annotations

import io
import os
import wave
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field, SecretStr

from voxtra.errors import ConfigurationError, STTError
from voxtra.speech.base import Transcript
from voxtra.speech.batch import BatchSTT
from voxtra.speech.sdk import as_error, check_url, import_sdk
from voxtra.speech.settings import ProviderSettings, read_settings
from voxtra.speech.voices import HTTPVoice, RemoteTTS, VoiceSettings, VoiceStream

RATE = 24000
"""Hz of the ``pcm`` format."""


class OpenAIAccount(ProviderSettings):
    """How to reach OpenAI or a server like it.

    Attributes:
        api_key: key; None = the environment's OPENAI_API_KEY. A server of one's own may need none.
        base_url: address of the API with ``/v1``; None = the environment's OPENAI_BASE_URL, else OpenAI.
    """

    api_key: SecretStr | None = None
    base_url: str | None = None


def make_client(account: OpenAIAccount, *, of: str, websocket_url: str | None = None) -> Any:
    """An ``AsyncOpenAI`` that asks once. Raises ConfigurationError, MissingExtraError."""
    key = account.api_key.get_secret_value() if account.api_key else os.environ.get("OPENAI_API_KEY")
    url = account.base_url or os.environ.get("OPENAI_BASE_URL") or None
    if not key and not url:
        raise ConfigurationError(
            f"{of} has no key: set OPENAI_API_KEY or api_key=, or base_url= for a server of your own"
        )
    check_url(url, "base_url", ("http", "https"), of=of)
    sdk = import_sdk("openai", what="the OpenAI client", extra="openai")
    return sdk.AsyncOpenAI(
        api_key=key or "none", base_url=url, websocket_base_url=websocket_url, max_retries=0
    )


class OpenAIVoiceSettings(VoiceSettings, OpenAIAccount):
    """Settings of :class:`OpenAITTS`.

    Attributes:
        model: e.g. ``gpt-4o-mini-tts``, ``tts-1``.
        voice: e.g. ``alloy``, ``marin``.
        language: not sent: the voices speak the language of the text.
        instructions: how to speak, for models that take it.
        speed: 0.25..4; None = not sent.
    """

    model: str = Field("gpt-4o-mini-tts", min_length=1)
    voice: str = Field("alloy", min_length=1)
    language: str | None = None
    instructions: str | None = None
    speed: float | None = Field(None, ge=0.25, le=4)


class OpenAITTS(RemoteTTS):
    """OpenAI's voices: 24 kHz PCM as it is made.

    Args:
        config: :class:`OpenAIVoiceSettings`, a mapping or a model with the same fields.
        options: the fields of :class:`OpenAIVoiceSettings`.

    Raises:
        ConfigurationError: a setting is wrong, or there is neither a key nor a base_url.
        MissingExtraError: ``voxtra[openai]`` is not installed.
    """

    rate = RATE
    settings: OpenAIVoiceSettings

    def __init__(self, config: BaseModel | Mapping[str, Any] | None = None, **options: Any) -> None:
        self.settings = read_settings(OpenAIVoiceSettings, config, options, of="OpenAITTS")
        self.name = f"openai ({self.settings.model})"
        self._client = make_client(self.settings, of="OpenAITTS")

    async def close(self) -> None:
        """Close the connections to the server. Idempotent."""
        await self._client.close()

    async def request(self, text: str, voice: str | None, language: str | None) -> VoiceStream:
        """``POST /audio/speech``."""
        settings = self.settings
        more = {"instructions": settings.instructions, "speed": settings.speed}
        manager = self._client.audio.speech.with_streaming_response.create(
            input=text,
            model=settings.model,
            voice=voice or settings.voice,
            response_format="pcm",
            timeout=60,
            **{name: value for name, value in more.items() if value is not None},
        )
        return await _Voice(manager, self.rate, self.name).open()


class _Voice(HTTPVoice):
    """The SDK's streamed response."""

    def data(self) -> AsyncGenerator[bytes, None]:
        pieces: AsyncGenerator[bytes, None] = self.response.iter_bytes()
        return pieces


class OpenAITranscriptionSettings(OpenAIAccount):
    """Settings of :class:`OpenAISTT`.

    Attributes:
        model: e.g. ``gpt-4o-mini-transcribe``, ``gpt-4o-transcribe``, ``whisper-1``.
        language: BCP 47 of what is spoken; None = found out by the model.
        timeout_s: longest wait for a transcript, in s.
        max_retries: how often a busy server is asked again.
    """

    model: str = Field("gpt-4o-mini-transcribe", min_length=1)
    language: str | None = None
    timeout_s: float = Field(5.0, gt=0)
    max_retries: int = Field(1, ge=0, le=5)


class OpenAISTT(BatchSTT):
    """OpenAI's transcription of whole utterances: the turn's sound goes up at each pause.

    Args:
        config: :class:`OpenAITranscriptionSettings`, a mapping or a model with the same fields.
        options: the fields of :class:`OpenAITranscriptionSettings`.

    Raises:
        ConfigurationError: a setting is wrong, or there is neither a key nor a base_url.
        MissingExtraError: ``voxtra[openai]`` is not installed.
    """

    settings: OpenAITranscriptionSettings

    def __init__(self, config: BaseModel | Mapping[str, Any] | None = None, **options: Any) -> None:
        self.settings = read_settings(OpenAITranscriptionSettings, config, options, of="OpenAISTT")
        self.name = f"openai ({self.settings.model})"
        self._client = make_client(self.settings, of="OpenAISTT").with_options(
            max_retries=self.settings.max_retries, timeout=self.settings.timeout_s
        )

    async def close(self) -> None:
        """Close the connections to the server. Idempotent."""
        await self._client.close()

    async def transcribe(
        self, pcm: bytes, *, rate: int, language: str | None = None, hints: Sequence[str] = ()
    ) -> Transcript:
        """``POST /audio/transcriptions`` with a WAV file; hints go into its prompt.

        Raises:
            STTError: the server refused (with its words), sent no text, or was too slow.
        """
        spoken = language or self.settings.language
        more: dict[str, Any] = {"prompt": ", ".join(hints)} if hints else {}
        if spoken:
            more["language"] = spoken.replace("_", "-").split("-")[0].lower()
        try:
            answer = await self._client.audio.transcriptions.create(
                file=("speech.wav", wav(pcm, rate), "audio/wav"),
                model=self.settings.model,
                response_format="json",
                **more,
            )
        except Exception as problem:  # the SDK lets errors of its transport and of json through as they are
            raise as_error(STTError, self.name, problem) from problem
        text = getattr(answer, "text", None)
        if not isinstance(text, str):
            raise STTError(f"{self.name} sent what is no transcript: {answer!s:.120}")
        return Transcript(text.strip(), is_final=True)


def wav(pcm: bytes, rate: int) -> bytes:
    """A WAV file of 16-bit mono PCM."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm)
    return data.getvalue()
