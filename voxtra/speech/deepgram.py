"""Deepgram: live transcription (Nova), Flux, with the official ``deepgram-sdk`` (extra ``voxtra[deepgram]``).

The protocols: https://developers.deepgram.com/reference/speech-to-text/listen-streaming (v1) and
https://developers.deepgram.com/docs/flux (v2).
"""

from __future__ import annotations

import json
import logging
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from voxtra.errors import ConfigurationError, STTError
from voxtra.speech.deepgram_client import Client, DeepgramAccount, Socket
from voxtra.speech.settings import read_settings
from voxtra.speech.streaming import SocketSettings, SocketSTT, STTConnection
from voxtra.speech.tape import Heard

with warnings.catch_warnings():
    # Deprecated in the standard library since 3.11; from 3.13 the audioop-lts package gives the same module.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

logger = logging.getLogger(__name__)


class DeepgramSettings(SocketSettings, DeepgramAccount):
    """Settings of :class:`DeepgramSTT`; those of a connection and of the account are here too.

    Attributes:
        model: e.g. ``nova-3``, ``nova-2-phonecall``.
        language: BCP 47, or ``multi``; what a call asks for comes before it.
        smart_format: numbers, dates and the like as they are written.
        endpointing_ms: a pause after which words become final on their own.
        extra: further parameters of the address, e.g. ``{"profanity_filter": "true"}``.
    """

    model: str = Field("nova-3", min_length=1)
    language: str | None = None
    smart_format: bool = True
    endpointing_ms: int = Field(300, ge=10, le=5000)
    extra: dict[str, Any] = Field(default_factory=dict)


class FluxSettings(SocketSettings, DeepgramAccount):
    """Settings of :class:`DeepgramFluxSTT`. Flux listens to the silence too: all of the call is sent.

    Attributes:
        model: ``flux-general-en`` or ``flux-general-multi``.
        language: BCP 47: a hint for ``flux-general-multi``.
        eot_threshold: how sure Flux must be that a turn ended, 0.5..0.9; None = its default.
        eot_timeout_ms: it ends a turn after so long a silence in any case; None = its default.
        extra: further parameters of the address.
    """

    model: str = Field("flux-general-en", min_length=1)
    language: str | None = None
    eot_threshold: float | None = Field(None, ge=0.5, le=0.9)
    eot_timeout_ms: int | None = Field(None, ge=500, le=60_000)
    send_silence: bool = True
    extra: dict[str, Any] = Field(default_factory=dict)


class _Deepgram(SocketSTT):
    """What both have in common: μ-law on telephone lines, linear PCM else."""

    _client: Client

    async def close(self) -> None:
        """Close the connections to the server. Idempotent."""
        await self._client.close()

    def encode(self, pcm: bytes, rate: int) -> bytes:
        """μ-law at 8 kHz, half the bytes and all there was on the line; linear else."""
        return audioop.lin2ulaw(pcm, 2) if rate == 8000 else pcm

    def sample_bytes(self, rate: int) -> int:
        """1 for μ-law, 2 for linear PCM."""
        return 1 if rate == 8000 else 2

    def _options(self, rate: int, extra: Mapping[str, Any], **known: Any) -> dict[str, Any]:
        query = {name: str(value) for name, value in extra.items()}
        return {
            "encoding": "mulaw" if rate == 8000 else "linear16",
            "sample_rate": rate,
            "request_options": {"additional_query_parameters": query} if query else None,
        } | {name: value for name, value in known.items() if value is not None}


class DeepgramSTT(_Deepgram):
    """Deepgram's live transcription.

    Args:
        config: :class:`DeepgramSettings`, a mapping or a model with the same fields.
        options: the fields of :class:`DeepgramSettings`.

    Raises:
        ConfigurationError: a setting is wrong, or there is no key.
        MissingExtraError: ``voxtra[deepgram]`` is not installed.
    """

    settings: DeepgramSettings

    def __init__(self, config: BaseModel | Mapping[str, Any] | None = None, **options: Any) -> None:
        self.settings = read_settings(DeepgramSettings, config, options, of="DeepgramSTT")
        self.name = f"deepgram ({self.settings.model})"
        self._client = Client(self.settings, of="DeepgramSTT")

    async def connect(self, *, rate: int, language: str | None, hints: Sequence[str]) -> STTConnection:
        """A ``/v1/listen`` socket. Hints are key terms for Nova-3, keywords for older models."""
        settings = self.settings
        terms = "keyterm" if settings.model.startswith("nova-3") else "keywords"
        options = self._options(
            rate,
            settings.extra,
            model=settings.model,
            language=language or settings.language,
            interim_results="true",
            punctuate="true",
            smart_format="true" if settings.smart_format else None,
            endpointing=str(settings.endpointing_ms),
        )
        if hints:
            options[terms] = list(hints)
        manager = self._client.sdk.listen.v1.connect(**options)
        return _Listen(await Socket(manager, STTError, self.name).open(), self.name)


class DeepgramFluxSTT(_Deepgram):
    """Deepgram Flux, made for conversations. Who has the floor is decided by voxtra's turns all the same.

    Args:
        config: :class:`FluxSettings`, a mapping or a model with the same fields.
        options: the fields of :class:`FluxSettings`.

    Raises:
        ConfigurationError: a setting is wrong, or there is no key.
        MissingExtraError: ``voxtra[deepgram]`` is not installed.
    """

    settings: FluxSettings

    def __init__(self, config: BaseModel | Mapping[str, Any] | None = None, **options: Any) -> None:
        self.settings = read_settings(FluxSettings, config, options, of="DeepgramFluxSTT")
        self.name = f"deepgram ({self.settings.model})"
        if not self.settings.send_silence:
            raise ConfigurationError("DeepgramFluxSTT: send_silence = False: Flux must hear the silence too")
        self._client = Client(self.settings, of="DeepgramFluxSTT")

    async def connect(self, *, rate: int, language: str | None, hints: Sequence[str]) -> STTConnection:
        """A ``/v2/listen`` socket."""
        settings = self.settings
        spoken = language or settings.language
        options = self._options(
            rate,
            settings.extra,
            model=settings.model,
            eot_threshold=settings.eot_threshold,
            eot_timeout_ms=settings.eot_timeout_ms,
            language_hint=[spoken] if spoken and settings.model.endswith("multi") else None,
        )
        if hints:
            options["keyterm"] = list(hints)
        manager = self._client.sdk.listen.v2.connect(**options)
        return _Flux(await Socket(manager, STTError, self.name).open(), self.name)


class _Connection(STTConnection):
    """One of Deepgram's sockets."""

    def __init__(self, socket: Socket, name: str) -> None:
        self._socket = socket
        self._name = name

    async def send(self, sound: bytes) -> None:
        with self._socket.errors():
            await self._socket.sdk.send_media(sound)

    async def receive(self) -> Heard | None:
        with self._socket.errors():
            try:
                message = await self._socket.sdk.recv()
            except (json.JSONDecodeError, UnicodeDecodeError):
                logger.warning("%s sent what is no JSON", self._name)
                return None
        try:
            return self.read(message)
        except (AttributeError, TypeError, ValueError, IndexError):  # the SDK does not check what it decodes
            logger.warning("%s sent what is no result: %.120s", self._name, message)
            return None

    @abstractmethod
    def read(self, message: Any) -> Heard | None:
        """What a message says. Raises AttributeError, TypeError, ValueError, IndexError, STTError."""

    async def close(self) -> None:
        await self._socket.close()


class _Listen(_Connection):
    """``/v1/listen``."""

    async def finish(self) -> None:
        with self._socket.errors():
            await self._socket.sdk.send_finalize()

    async def keep_alive(self) -> None:
        with self._socket.errors():
            await self._socket.sdk.send_keep_alive()

    def read(self, message: Any) -> Heard | None:
        if message.type == "Error":
            raise STTError(f"{self._name}: {message.description or message.message}")
        if message.type != "Results":
            return None
        best = message.channel.alternatives[0]
        begin, length = float(message.start) * 1000, float(message.duration) * 1000
        words = tuple(
            (word.punctuated_word or word.word, (float(word.start) + float(word.end)) * 500)
            for word in best.words or ()
        )
        if not isinstance(best.transcript, str):
            raise TypeError("transcript")
        return Heard(
            best.transcript,
            begin,
            begin + length,
            is_final=bool(message.is_final),
            answers=bool(message.from_finalize),
            confidence=float(best.confidence),
            words=words,
        )


class _Flux(_Connection):
    """``/v2/listen``. A turn of Flux is a stretch; at its end its words are final."""

    def __init__(self, socket: Socket, name: str) -> None:
        super().__init__(socket, name)
        self._turn: Any = None
        self._began = 0.0
        self._ended = 0.0

    async def finish(self) -> None:
        with self._socket.errors():
            await self._socket.sdk.send_force_end_turn()

    async def keep_alive(self) -> None:
        """Nothing: Flux knows no such message, and hears all of the call anyway."""

    def read(self, message: Any) -> Heard | None:
        if message.type == "Error":
            raise STTError(f"{self._name}: {message.code} {message.description}")
        if message.type != "TurnInfo":
            return None
        end = float(message.audio_window_end) * 1000
        if not isinstance(message.transcript, str):
            raise TypeError("transcript")
        if message.turn_index != self._turn:
            self._turn, self._began = message.turn_index, self._ended
        sure = [float(word.confidence) for word in message.words or ()]
        over = message.event == "EndOfTurn"
        if over:
            self._ended = end
        words = tuple(
            (word.word, (float(word.start) + float(word.end)) * 500)
            for word in message.words or ()
            if word.start is not None and word.end is not None
        )
        return Heard(
            message.transcript,
            self._began,
            end,
            is_final=over,
            answers=over and message.trigger == "manual",
            confidence=sum(sure) / len(sure) if sure else 1.0,
            words=words if len(words) == len(sure) else (),
        )
