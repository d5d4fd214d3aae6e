"""OpenAI's Realtime models: they hear and speak themselves. By the official ``openai`` package.

Also servers of others that speak the protocol: set ``websocket_base_url``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr

from voxtra.errors import ConfigurationError, LLMError
from voxtra.speech.base import SpeechEvent, SpeechStream, SpeechToSpeech
from voxtra.speech.messages import function_of
from voxtra.speech.realtime_protocol import ALAW, PCM24, ULAW, Format, RealtimeProtocol
from voxtra.speech.realtime_stream import CLOSE_S, RealtimeStream
from voxtra.speech.sdk import as_error, check_url, import_sdk
from voxtra.speech.settings import ProviderSettings, read_settings
from voxtra.types import Message

MAX_MESSAGE = 16 << 20
"""Bytes of one message of the server; the SDK alone would take any length."""


class OpenAIRealtimeSettings(ProviderSettings):
    """Settings of :class:`OpenAIRealtime`.

    Attributes:
        model: name of the model.
        api_key: key; None = the environment's OPENAI_API_KEY.
        base_url: address of the API with ``/v1``; None = the environment's OPENAI_BASE_URL, else OpenAI.
        websocket_base_url: address of the WebSocket without ``/realtime``, where ``base_url`` isn't it.
        voice: the model's voice.
        speed: 0.25..1.5.
        turn_detection: who decides that the caller is done: ``local``, the turn machine of voxtra with its
            settings (only the caller's turns are sent then, and paid for), or the provider's ``server_vad``
            or ``semantic_vad``. Who interrupts is always decided here.
        transcription: the model that writes down what the caller says, for history and events; None = not.
        audio_format: ``ulaw``, ``alaw`` (8 kHz), ``pcm`` (24 kHz); ``auto`` = the line's where it is one.
        max_tokens: longest reply, None = no limit.
        connect_timeout_s: longest wait for the connection, and for the session after it, in s.
        first_timeout_s: longest wait for the first piece of a reply, in s.
        idle_timeout_s: longest wait for each further piece, in s.
        max_retries: how often a connection that failed is tried again at once.
        extra: further fields of the session, e.g. ``{"reasoning": {"effort": "low"}}``.
    """

    model: str = Field("gpt-realtime-2.1", min_length=1)
    api_key: SecretStr | None = None
    base_url: str | None = None
    websocket_base_url: str | None = None
    voice: str = Field("marin", min_length=1)
    speed: float | None = Field(None, ge=0.25, le=1.5)
    turn_detection: Literal["local", "server_vad", "semantic_vad"] = "local"
    transcription: str | None = "gpt-4o-mini-transcribe"
    audio_format: Literal["auto", "pcm", "ulaw", "alaw"] = "auto"
    max_tokens: int | None = Field(None, ge=1, le=4096)
    connect_timeout_s: float = Field(10.0, gt=0)
    first_timeout_s: float = Field(10.0, gt=0)
    idle_timeout_s: float = Field(10.0, gt=0)
    max_retries: int = Field(1, ge=0, le=5)
    extra: dict[str, Any] = Field(default_factory=dict)


class OpenAIRealtime(SpeechToSpeech):
    """A Realtime model.

    Args:
        config: :class:`OpenAIRealtimeSettings`, a mapping or a model with the same fields.
        options: the fields of :class:`OpenAIRealtimeSettings`.

    Raises:
        ConfigurationError: a setting is wrong, or there is neither a key nor an address.
        MissingExtraError: ``voxtra[openai]`` is not installed.
    """

    def __init__(self, config: BaseModel | Mapping[str, Any] | None = None, **options: Any) -> None:
        self.settings = settings = read_settings(OpenAIRealtimeSettings, config, options, of="OpenAIRealtime")
        self.name = f"openai realtime ({settings.model})"
        self.ends_turns = settings.turn_detection != "local"
        library = import_sdk("openai", "websockets", what="the OpenAI client", extra="openai")
        key = settings.api_key.get_secret_value() if settings.api_key else None
        key = key or os.environ.get("OPENAI_API_KEY")
        url = settings.base_url or os.environ.get("OPENAI_BASE_URL") or None
        url = check_url(url, "base_url", ("http", "https"), of="OpenAIRealtime")
        socket = check_url(
            settings.websocket_base_url, "websocket_base_url", ("ws", "wss"), of="OpenAIRealtime"
        )
        if not key and not url and not socket:
            raise ConfigurationError(
                "OpenAIRealtime has no key: set OPENAI_API_KEY or api_key=, "
                "or websocket_base_url= for a server of your own"
            )
        self._client: Any = library.AsyncOpenAI(
            api_key=key or "none", base_url=url, websocket_base_url=socket
        )

    async def close(self) -> None:
        """Close what the provider holds. Conversations under way are closed by whoever opened them."""
        await self._client.close()

    async def open(
        self,
        *,
        rate: int,
        codec: str,
        on_event: Callable[[SpeechEvent], None],
        instructions: str = "",
        tools: Sequence[dict[str, Any]] = (),
        history: Sequence[Message] = (),
        language: str | None = None,
    ) -> SpeechStream:
        """A conversation for one call; see :meth:`voxtra.speech.base.SpeechToSpeech.open`."""
        sound = self._format(codec)
        settings = self.settings
        protocol = RealtimeProtocol(self.name, sound, begins=self.ends_turns)
        protocol.begin(self._session(sound, instructions, tools, language), history)
        stream = RealtimeStream(
            await self._connect(),
            protocol,
            name=self.name,
            rate=sound.rate,
            on_event=on_event,
            first_s=settings.first_timeout_s,
            idle_s=settings.idle_timeout_s,
        )
        try:
            await stream.settled(settings.connect_timeout_s)
        except BaseException:
            await stream.close()
            raise
        return stream

    def _format(self, codec: str) -> Format:
        wanted = self.settings.audio_format
        return {"ulaw": ULAW, "alaw": ALAW}.get(codec if wanted == "auto" else wanted, PCM24)

    async def _connect(self) -> Any:
        settings = self.settings
        for left in range(settings.max_retries, -1, -1):
            manager = self._client.realtime.connect(
                model=settings.model,
                websocket_connection_options={
                    "max_size": MAX_MESSAGE,
                    "compression": None,
                    "open_timeout": settings.connect_timeout_s,
                    "close_timeout": CLOSE_S,
                },
            )
            try:
                async with asyncio.timeout(settings.connect_timeout_s):
                    return await manager.enter()
            except TimeoutError:
                error = LLMError(f"{self.name}: no connection within {settings.connect_timeout_s:g} s")
            except Exception as problem:
                made = as_error(LLMError, self.name, problem)
                assert isinstance(made, LLMError)
                error = made
                if 400 <= getattr(made, "status", 0) < 500 and getattr(made, "status", 0) != 429:
                    raise error from problem  # asking again changes nothing
            if not left:
                raise error
        raise AssertionError("unreachable")

    def _session(
        self, sound: Format, instructions: str, tools: Sequence[Mapping[str, Any]], language: str | None
    ) -> dict[str, Any]:
        settings = self.settings
        hears: dict[str, Any] = {"format": sound.described, "turn_detection": None}
        if self.ends_turns:
            # it may begin a reply, but whether one is broken off is decided by who knows what was heard
            hears["turn_detection"] = {
                "type": settings.turn_detection,
                "create_response": True,
                "interrupt_response": False,
            }
        if settings.transcription:
            hears["transcription"] = {"model": settings.transcription}
            if language:
                hears["transcription"]["language"] = language.replace("_", "-").split("-")[0].lower()
        speaks: dict[str, Any] = {"format": sound.described, "voice": settings.voice}
        if settings.speed is not None:
            speaks["speed"] = settings.speed
        session: dict[str, Any] = {
            "type": "realtime",
            "output_modalities": ["audio"],
            "audio": {"input": hears, "output": speaks},
        }
        if instructions:
            session["instructions"] = instructions
        if tools:
            session["tools"] = [tool_of(tool) for tool in tools]
            session["tool_choice"] = "auto"
        if settings.max_tokens is not None:
            session["max_output_tokens"] = settings.max_tokens
        return session | settings.extra


def tool_of(tool: Mapping[str, Any]) -> dict[str, Any]:
    """An OpenAI function schema as a Realtime session writes it: without the wrapping."""
    function = function_of(tool)
    return {
        "type": "function",
        "name": function["name"],
        "description": function.get("description") or "",
        "parameters": function.get("parameters") or {"type": "object", "properties": {}},
    }
