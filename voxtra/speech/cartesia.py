"""Cartesia's voices over its WebSocket, with the official ``cartesia`` (extra ``voxtra[cartesia]``).

The protocol: https://docs.cartesia.ai/api-reference/tts/websocket. One socket carries all utterances of the
process; each is a context of its own, told by its id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr

from voxtra.errors import TTSError
from voxtra.speech.base import Speech
from voxtra.speech.sdk import (
    TTSRefusedError,
    as_error,
    check_url,
    close_within,
    import_sdk,
    read_key,
    websocket_url,
)
from voxtra.speech.settings import read_settings
from voxtra.speech.voices import RemoteTTS, VoiceSettings, VoiceStream

logger = logging.getLogger(__name__)

CLOSE_S = 1.0
SILENT_S = 0.5
"""A socket that says nothing for so long after a request is not asked again: it may be half dead."""
MAX_WAITING = 4096
"""Messages of an utterance that wait to be read: some minutes of speech. One that reads slower is ended."""


class CartesiaSettings(VoiceSettings):
    """Settings of :class:`CartesiaTTS`.

    Attributes:
        api_key: key; None = the environment's CARTESIA_API_KEY.
        base_url: another address of the API; its WebSocket is there too.
        voice: id of the voice.
        model: e.g. ``sonic-3``, ``sonic-turbo``.
        language: ISO 639-1; None = the model's default.
        rate: Hz of the sound.
        speed: 0.6..1.5, for ``sonic-3``; None = not sent.
    """

    api_key: SecretStr | None = None
    base_url: str | None = None
    voice: str = Field("a0e99841-438c-4a64-b679-ae501e7d6091", min_length=1)
    model: str = Field("sonic-3", min_length=1)
    language: str | None = None
    rate: Literal[8000, 16000, 22050, 24000, 44100, 48000] = 8000
    speed: float | None = Field(None, ge=0.6, le=1.5)


class CartesiaTTS(RemoteTTS):
    """Cartesia's voices, with the time of each word.

    Args:
        config: :class:`CartesiaSettings`, a mapping or a model with the same fields.
        options: the fields of :class:`CartesiaSettings`.

    Raises:
        ConfigurationError: a setting is wrong, or there is no key.
        MissingExtraError: ``voxtra[cartesia]`` is not installed.
    """

    settings: CartesiaSettings

    def __init__(self, config: BaseModel | Mapping[str, Any] | None = None, **options: Any) -> None:
        self.settings = read_settings(CartesiaSettings, config, options, of="CartesiaTTS")
        self.name = f"cartesia ({self.settings.model})"
        self.rate = self.settings.rate
        key = read_key(self.settings.api_key, "CARTESIA_API_KEY", of="CartesiaTTS")
        url = check_url(self.settings.base_url, "base_url", ("http", "https"), of="CartesiaTTS")
        sdk = import_sdk(
            "cartesia", "websockets.asyncio.client", what="the Cartesia client", extra="cartesia"
        )
        more = {"base_url": url, "websocket_base_url": websocket_url(url)} if url else {}
        self._client: Any = sdk.AsyncCartesia(api_key=key, max_retries=0, **more)
        self._socket: _Socket | None = None
        self._connecting: asyncio.Lock = asyncio.Lock()

    async def close(self) -> None:
        """Close the socket; what is being said breaks off. Idempotent."""
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()
        await self._client.close()

    async def request(self, text: str, voice: str | None, language: str | None) -> VoiceStream:
        """A context on the shared socket, which is made when there is none or it is gone."""
        settings = self.settings
        spoken = language or settings.language
        ask: dict[str, Any] = {
            "model_id": settings.model,
            "transcript": text,
            "voice": {"mode": "id", "id": voice or settings.voice},
            "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": self.rate},
            "add_timestamps": True,
            "continue": False,
        }
        if spoken:
            ask["language"] = spoken.replace("_", "-").split("-")[0].lower()
        if settings.speed is not None:
            ask["generation_config"] = {"speed": settings.speed}
        socket = await self._connected()
        stream = _Context(socket, self.name, self.rate)
        try:
            await stream.ask(ask)
        except BaseException:
            await stream.close()
            raise
        return stream

    async def _connected(self) -> _Socket:
        async with self._connecting:
            if self._socket is None or self._socket.over is not None or self._socket.retired:
                stale, self._socket = self._socket, None
                if stale is not None and not stale.contexts:
                    await stale.close()  # else whoever speaks on it last closes it
                connection = await self._client.tts.websocket_connect(
                    websocket_connection_options={"compression": None}  # sound does not get smaller by it
                ).enter()
                self._socket = _Socket(connection, self.name)
            return self._socket


class _Socket:
    """The shared WebSocket: one reader, who gives each message to the utterance it belongs to."""

    def __init__(self, connection: Any, name: str) -> None:
        self.connection = connection
        self.contexts: dict[str, asyncio.Queue[Any]] = {}
        self.over: Exception | None = None
        self.retired = False
        self.heard_at = 0.0
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._reader = self._loop.create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                try:
                    message = await self.connection.recv()
                    self.heard_at = self._loop.time()
                except ValueError:  # no JSON: it can't be told whose it was
                    logger.warning("%s sent what is no JSON", self._name)
                    continue
                self._give(message)
        except Exception as problem:  # noqa: BLE001 - told to every utterance on the socket
            self.end(problem)

    def _give(self, message: Any) -> None:
        queue = self.contexts.get(getattr(message, "context_id", None) or "")
        if queue is not None:
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:
                self.contexts.pop(message.context_id, None)
        elif getattr(message, "type", "") == "error":
            # an error that names no utterance is about the socket
            self.end(_Told(message))

    def end(self, problem: Exception) -> None:
        """The socket is of no use any more: everyone on it learns why."""
        self.over = self.over or problem
        for queue in self.contexts.values():
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(problem)
        self.contexts.clear()

    async def close(self) -> None:
        """End it, within a second."""
        self.end(TTSError(f"{self._name}: closed"))
        self._reader.cancel()
        await asyncio.wait([self._reader])
        await close_within(CLOSE_S, self.connection.close())


class _Told(Exception):
    """An error message of the server, in the form that ``explain`` reads."""

    def __init__(self, message: Any) -> None:
        status = getattr(message, "status_code", None)
        self.status_code = status if isinstance(status, int) else 400
        title, words = getattr(message, "title", None), getattr(message, "message", None)
        old = getattr(message, "__dict__", {}).get("error") or (
            getattr(message, "model_extra", None) or {}
        ).get("error")
        self.body = ": ".join(str(part) for part in (title, words) if part) or str(old or "error")
        super().__init__(self.body)


class _Context(VoiceStream):
    """One utterance on the socket."""

    def __init__(self, socket: _Socket, name: str, rate: int) -> None:
        self._socket = socket
        self._name = name
        self._rate = rate
        self._id = str(uuid.uuid4())
        self._messages: asyncio.Queue[Any] = asyncio.Queue(MAX_WAITING)
        self._over = False
        self._asked_at = asyncio.get_running_loop().time()
        socket.contexts[self._id] = self._messages

    async def ask(self, request: Mapping[str, Any]) -> None:
        """Send the request. Raises whatever the SDK raises; a socket that is gone is busy, not refused."""
        try:
            await self._socket.connection.send({**request, "context_id": self._id})
        except Exception as problem:
            self._socket.end(problem)
            error = as_error(TTSError, self._name, problem)
            again = TTSRefusedError(str(error))
            again.status = 503
            raise again from problem

    async def speech(self) -> AsyncGenerator[Speech, None]:
        words: tuple[tuple[str, int], ...] = ()
        while True:
            message = await self._messages.get()
            if isinstance(message, Exception):
                self._over = True
                raise as_error(TTSError, self._name, message) from message
            try:
                kind = message.type
                if kind == "chunk":
                    sound = message.audio or b""
                    yield Speech(sound, self._rate, words)
                    words = ()
                elif kind == "timestamps":
                    stamps = message.word_timestamps
                    starts = (round(float(start) * 1000) for start in stamps.start)
                    words += tuple(zip(map(str, stamps.words), starts, strict=True))
                elif kind == "error":
                    self._over = True
                    raise as_error(TTSError, self._name, _Told(message))
                elif kind == "done":
                    self._over = True
                    if words:
                        yield Speech(b"", self._rate, words)
                    return
            except (
                AttributeError,
                TypeError,
                ValueError,
            ) as problem:  # the SDK does not check what it decodes
                raise TTSError(f"{self._name} sent what is no piece of sound: {message!s:.120}") from problem

    async def end(self) -> None:
        """Forget the utterance; the server is told to stop when it is not done."""
        socket = self._socket
        waiting = socket.contexts.pop(self._id, None)
        if waiting is not None and not self._over and socket.over is None:
            if socket.heard_at < self._asked_at < asyncio.get_running_loop().time() - SILENT_S:
                socket.retired = True
            try:
                async with asyncio.timeout(CLOSE_S):
                    await socket.connection.send({"cancel": True, "context_id": self._id})
            except Exception as problem:  # noqa: BLE001 - whoever speaks next learns that the socket is gone
                socket.end(problem)
        if socket.retired and not socket.contexts:
            await socket.close()
