"""OpenAI's transcription as the caller speaks, over the Realtime API's WebSocket (extra ``voxtra[openai]``).

The protocol: https://platform.openai.com/docs/guides/realtime-transcription. Turns are voxtra's: the server's
own detection is off, and each pause commits what was said.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from voxtra.errors import ConfigurationError, STTError
from voxtra.speech.openai_speech import OpenAIAccount, make_client
from voxtra.speech.sdk import as_error, check_url, close_within, import_sdk, websocket_url
from voxtra.speech.settings import read_settings
from voxtra.speech.streaming import SocketSettings, SocketSTT, STTConnection
from voxtra.speech.tape import Heard

with warnings.catch_warnings():
    # Deprecated in the standard library since 3.11; from 3.13 the audioop-lts package gives the same module.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

logger = logging.getLogger(__name__)

PCM_RATE = 24000
RATES = (8000, 12000, 16000, 24000, 48000)
LEAST_MS = 100
"""Less than this can't be committed: silence fills it up."""
NOTHING = "input_audio_buffer_commit_empty"
CLOSE_S = 1.0


class OpenAILiveSettings(SocketSettings, OpenAIAccount):
    """Settings of :class:`OpenAILiveSTT`; those of a connection and of the account are here too.

    Attributes:
        model: e.g. ``gpt-4o-mini-transcribe``, ``gpt-4o-transcribe``, ``gpt-realtime-whisper``.
        language: BCP 47 of what is spoken; None = found out by the model.
        websocket_base_url: address of the WebSocket without ``/realtime``; None: where ``base_url`` is.
    """

    model: str = Field("gpt-4o-mini-transcribe", min_length=1)
    language: str | None = None
    websocket_base_url: str | None = None


class OpenAILiveSTT(SocketSTT):
    """OpenAI's streamed transcription.

    Args:
        config: :class:`OpenAILiveSettings`, a mapping or a model with the same fields.
        options: the fields of :class:`OpenAILiveSettings`.

    Raises:
        ConfigurationError: a setting is wrong, or there is neither a key nor a base_url.
        MissingExtraError: ``voxtra[openai]`` is not installed.
    """

    settings: OpenAILiveSettings

    def __init__(self, config: BaseModel | Mapping[str, Any] | None = None, **options: Any) -> None:
        of = "OpenAILiveSTT"
        self.settings = read_settings(OpenAILiveSettings, config, options, of=of)
        self.name = f"openai ({self.settings.model}, live)"
        url = check_url(self.settings.websocket_base_url, "websocket_base_url", ("ws", "wss"), of=of)
        base = self.settings.base_url or os.environ.get("OPENAI_BASE_URL")
        if url is None and base:
            url = websocket_url(base)  # the SDK itself would make wss:// of any address
        import_sdk("openai", "websockets", what="the OpenAI client", extra="openai")
        self._client = make_client(self.settings, of=of, websocket_url=url)

    async def close(self) -> None:
        """Close the connections to the server. Idempotent."""
        await self._client.close()

    def check(self, rate: int, language: str | None) -> None:
        """Raise ConfigurationError for a rate that can't be."""
        if rate not in RATES:
            known = ", ".join(map(str, RATES))
            raise ConfigurationError(f"{self.name}: rate = {rate}: it must be one of {known}")

    def encode(self, pcm: bytes, rate: int) -> bytes:
        """μ-law at 8 kHz; else 24 kHz PCM, by straight lines between the samples: enough for a recogniser."""
        if rate == 8000:
            return audioop.lin2ulaw(pcm, 2)
        if rate == PCM_RATE:
            return pcm
        samples = np.frombuffer(pcm, "<i2")
        at = np.arange(len(samples) * PCM_RATE // rate) * (rate / PCM_RATE)
        sound: bytes = np.interp(at, np.arange(len(samples)), samples).astype("<i2").tobytes()
        return sound

    def sample_bytes(self, rate: int) -> int:
        """Bytes for each sample of the call."""
        return 1 if rate == 8000 else 2 * PCM_RATE // rate

    async def connect(self, *, rate: int, language: str | None, hints: Sequence[str]) -> STTConnection:
        """A transcription session."""
        spoken = language or self.settings.language
        transcription: dict[str, Any] = {"model": self.settings.model}
        if spoken:
            transcription["language"] = spoken.replace("_", "-").split("-")[0].lower()
        if hints:
            transcription["prompt"] = ", ".join(hints)
        wire = {"type": "audio/pcmu"} if rate == 8000 else {"type": "audio/pcm", "rate": PCM_RATE}
        session = {
            "type": "transcription",
            "audio": {"input": {"format": wire, "transcription": transcription, "turn_detection": None}},
        }
        connection: Any = None
        try:
            connection = await self._client.realtime.connect(
                extra_query={"intent": "transcription"},
                websocket_connection_options={"compression": None},  # sound does not get smaller by it
            ).enter()
            await connection.send({"type": "session.update", "session": session})
        except Exception as problem:  # the SDK lets errors of its WebSocket through as they are
            if connection is not None:
                await close_within(CLOSE_S, connection.close())
            raise as_error(STTError, self.name, problem) from problem
        return _Live(
            connection, self.name, rate * self.sample_bytes(rate), silent=b"\xff" if rate == 8000 else b"\0"
        )


class _Live(STTConnection):
    """One session. Each commit becomes an item of the conversation, and its words come under the item's id."""

    def __init__(self, connection: Any, name: str, a_second: int, *, silent: bytes) -> None:
        self._connection = connection
        self._name = name
        self._a_second = a_second
        self._silent = silent
        self._sent = self._committed = 0
        self._waiting: deque[tuple[float, float]] = deque()  # commits whose item is not known yet
        self._items: dict[str, tuple[float, float]] = {}
        self._words: dict[str, str] = {}

    async def _say(self, event: dict[str, Any]) -> None:
        try:
            await self._connection.send(event)
        except Exception as problem:
            raise as_error(STTError, self._name, problem) from problem

    async def send(self, sound: bytes) -> None:
        self._sent += len(sound)
        await self._append(sound)

    async def _append(self, sound: bytes) -> None:
        await self._say({"type": "input_audio_buffer.append", "audio": base64.b64encode(sound).decode()})

    async def finish(self) -> None:
        begin, end = self._committed, self._sent
        least = LEAST_MS * self._a_second // 1000
        if end - begin < least:
            await self._append(self._silent * (least - (end - begin)))
        self._committed = end
        self._waiting.append((begin * 1000 / self._a_second, end * 1000 / self._a_second))
        await self._say({"type": "input_audio_buffer.commit"})

    async def keep_alive(self) -> None:
        """Nothing: the WebSocket has its own pings."""

    async def receive(self) -> Heard | None:
        try:
            event = await self._connection.recv()
        except (json.JSONDecodeError, UnicodeDecodeError):
            logger.warning("%s sent what is no JSON", self._name)
            return None
        except Exception as problem:
            raise as_error(STTError, self._name, problem) from problem
        try:
            return self._read(event)
        except (AttributeError, TypeError, KeyError):  # the SDK does not check what it decodes
            logger.warning("%s sent what is no event: %.120s", self._name, event)
            return None

    def _read(self, event: Any) -> Heard | None:
        kind = event.type
        if kind == "error":
            if event.error.code == NOTHING and self._waiting:
                return Heard("", *self._waiting.popleft(), is_final=True, answers=True)
            raise STTError(f"{self._name}: {event.error.message}")
        if kind == "input_audio_buffer.committed" and self._waiting:
            self._items[event.item_id] = self._waiting.popleft()
            return None
        item = "conversation.item.input_audio_transcription."
        if not kind.startswith(item) or event.item_id not in self._items:
            return None
        if kind == item + "delta":
            self._words[event.item_id] = self._words.get(event.item_id, "") + event.delta
            return Heard(self._words[event.item_id], *self._items[event.item_id])
        if kind == item + "completed":
            if not isinstance(event.transcript, str):
                raise TypeError("transcript")
            self._words.pop(event.item_id, None)
            return Heard(event.transcript, *self._items.pop(event.item_id), is_final=True, answers=True)
        if kind == item + "failed":
            raise STTError(f"{self._name}: {event.error.message}")
        return None

    async def close(self) -> None:
        await close_within(CLOSE_S, self._connection.close())
