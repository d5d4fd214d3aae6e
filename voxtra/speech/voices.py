"""What voices behind a server have in common: deadlines, one more try for a busy server, whole samples."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from itertools import count
from typing import Any

from pydantic import Field

from voxtra.errors import TTSError
from voxtra.speech.base import TTS, Speech
from voxtra.speech.pieces import pieces
from voxtra.speech.sdk import TTSRefusedError, as_error
from voxtra.speech.settings import ProviderSettings

BUSY = frozenset({429, 502, 503, 504, 529})
"""HTTP statuses after which it is worth asking again."""
PAUSE_S = 0.2


class VoiceSettings(ProviderSettings):
    """Settings of every voice behind a server.

    Attributes:
        first_timeout_s: longest wait for the first sound, further tries included, in s.
        idle_timeout_s: longest wait for each further piece, in s.
        max_retries: how often a busy server (429, 5xx) is asked again, when its ``Retry-After`` leaves time.
    """

    first_timeout_s: float = Field(5.0, gt=0)
    idle_timeout_s: float = Field(5.0, gt=0)
    max_retries: int = Field(1, ge=0, le=5)


class VoiceStream(ABC):
    """A synthesis under way."""

    _speech: AsyncGenerator[Speech, None] | None = None

    @abstractmethod
    def speech(self) -> AsyncGenerator[Speech, None]:
        """Its pieces. Raises whatever the SDK raises."""

    @abstractmethod
    async def end(self) -> None:
        """End the request, done or not."""

    def __aiter__(self) -> AsyncIterator[Speech]:
        """Its pieces, once."""
        self._speech = self.speech()
        return self._speech

    async def close(self) -> None:
        """End it with all that reads from it."""
        if self._speech is not None:
            await self._speech.aclose()
        await self.end()


class RemoteTTS(TTS):
    """A voice behind a server."""

    settings: VoiceSettings

    @abstractmethod
    async def request(self, text: str, voice: str | None, language: str | None) -> VoiceStream:
        """Ask the server to speak ``text``. Raises whatever the SDK raises; may be cancelled."""

    async def synthesize(
        self, text: str, *, voice: str | None = None, language: str | None = None
    ) -> AsyncIterator[Speech]:
        """Speak ``text``; see :meth:`voxtra.speech.base.TTS.synthesize`.

        Raises:
            TTSError: the server refused (with its words), broke off, sent no sound, or was too slow.
        """
        if not text.strip():
            return
        clock = asyncio.get_running_loop().time
        until = clock() + self.settings.first_timeout_s
        for attempt in count(1):
            came = False
            try:
                async with aclosing(self._once(text, voice, language, until - clock())) as chunks:
                    async for speech in chunks:
                        came = True
                        yield speech
                if came:
                    return
                raise TTSError(f"{self.name} sent no sound")
            except TTSRefusedError as problem:
                pause = problem.retry_after_s or PAUSE_S
                worth = problem.status in BUSY and clock() + pause < until
                if came or attempt > self.settings.max_retries or not worth:
                    raise
            await asyncio.sleep(pause)

    async def _once(
        self, text: str, voice: str | None, language: str | None, first_s: float
    ) -> AsyncGenerator[Speech, None]:
        source = pieces(
            lambda: self.request(text, voice, language),
            of=self.name,
            first_s=first_s,
            idle_s=self.settings.idle_timeout_s,
            error=TTSError,
            failed=lambda problem: as_error(TTSError, self.name, problem),
            close=lambda stream: stream.close(),
        )
        rest, rate = b"", self.rate
        async with aclosing(source) as chunks:
            async for speech in chunks:
                pcm, rate = rest + speech.pcm, speech.rate
                whole = len(pcm) // 2 * 2
                rest = pcm[whole:]
                if whole or speech.words:
                    yield Speech(pcm[:whole], rate, speech.words)


class HTTPVoice(VoiceStream):
    """The sound of a streamed response: what the SDKs' ``with_raw_response`` gives as a context manager.

    Args:
        manager: gives a response with ``headers``.
        rate: Hz.
        name: the provider, for messages.
    """

    def __init__(self, manager: AbstractAsyncContextManager[Any], rate: int, name: str) -> None:
        self._manager = manager
        self._name = name
        self.rate = rate
        self.response: Any = None

    async def open(self) -> HTTPVoice:
        """Make the request. Raises whatever the SDK raises, and TTSError when the answer is no sound."""
        self.response = await self._manager.__aenter__()
        kind = str(self.response.headers.get("content-type", "")).lower()
        if not self.takes(kind):
            await self.end()
            raise TTSError(f"{self._name} sent {kind.split(';')[0]!r}, which is no sound")
        return self

    def takes(self, kind: str) -> bool:
        """Whether a body of this type is what was asked for. Raw sound has no type of its own."""
        return not kind.startswith(("text/", "application/json"))

    def data(self) -> AsyncGenerator[Any, None]:
        """The pieces of the body."""
        found: AsyncGenerator[Any, None] = self.response.data
        return found

    async def speech(self) -> AsyncGenerator[Speech, None]:
        """The pieces of the body that hold something."""
        async with aclosing(self.data()) as body:
            async for piece in body:
                if piece:
                    yield self.read(piece)

    def read(self, piece: Any) -> Speech:
        """One piece as sound."""
        return Speech(piece, self.rate)

    async def end(self) -> None:
        """End the request."""
        if self.response is not None:
            await self._manager.__aexit__(None, None, None)
