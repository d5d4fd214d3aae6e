"""A line whose time is driven by hand, and speech providers that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, TypeVar

from voxtra.agent.mouth import Utterance
from voxtra.errors import LLMError, TTSError
from voxtra.media.clock import Clock
from voxtra.media.codecs import make_codec
from voxtra.media.paced_line import PacedLine
from voxtra.speech.base import LLM, TTS, LLMEvent, Speech, TextDelta

T = TypeVar("T")
RATE = 16000
WORD_MS = 100
"""How long a FakeTTS takes for a word."""


class HandLine(PacedLine):
    """A paced line without a transport: ``tick`` plays 20 ms into ``wire``."""

    transport = "hand"

    def __init__(self, *, slow_flush: bool = False) -> None:
        super().__init__(make_codec("slin16"), Clock(), max_queue_ms=60_000)
        self.wire: list[bytes] = []
        self.flushes = 0
        self._slow_flush = slow_flush

    def _can_send(self) -> bool:
        return not self._closed.done()

    def _send_frame(self, data: bytes) -> None:
        self.wire.append(bytes(data))

    async def flush(self) -> int:
        self.flushes += 1
        heard = await super().flush()
        if self._slow_flush:  # as over the WebSocket, where Asterisk confirms it
            await asyncio.sleep(0.02)
        return heard

    async def close(self) -> None:
        self.lose("closed here")

    def lose(self, reason: str) -> None:
        """The far end hangs up."""
        self._finish(reason)

    def tick(self, frames: int = 1) -> None:
        for _ in range(frames):
            self._tick()

    @property
    def voiced(self) -> int:
        """Frames of sound on the wire so far."""
        return sum(any(frame) for frame in self.wire)

    @property
    def voiced_ms(self) -> int:
        return self.voiced * 20

    async def play_ms(self, ms: int) -> None:
        """Let ``ms`` of sound be heard; fails when none comes."""
        until = self.voiced + ms // 20
        for _ in range(2000):
            if self.voiced >= until:
                return
            self.tick()
            await breathe()
        raise AssertionError(f"{self.voiced} frames heard, not {until}")

    async def until(self, waiting: Awaitable[T]) -> T:
        """Let time go on until ``waiting`` is done."""
        task = asyncio.ensure_future(waiting)
        for _ in range(20_000):
            if task.done():
                return task.result()
            self.tick()
            await breathe()
        task.cancel()
        raise AssertionError("it never came to an end")


async def breathe(turns: int = 4) -> None:
    """Let the loop go round."""
    for _ in range(turns):
        await asyncio.sleep(0)


class FakeTTS(TTS):
    """Each word is 100 ms of sound, a chunk a word."""

    name = "fake"

    def __init__(
        self,
        *,
        rate: int = RATE,
        fail_after: int | None = None,
        first_s: float = 0.0,
        chunk_s: float = 0.0,
        timed: bool = False,
        whole: bool = False,
        close_s: float = 0.0,
    ) -> None:
        self.rate = rate
        self.asked: list[str] = []
        self.voices: list[str | None] = []
        self.ended = 0
        self._fail_after = fail_after
        self._first_s = first_s
        self._chunk_s = chunk_s
        self._timed = timed
        self._whole = whole
        self._close_s = close_s

    async def synthesize(
        self, text: str, *, voice: str | None = None, language: str | None = None
    ) -> AsyncIterator[Speech]:
        self.asked.append(text)
        self.voices.append(voice)
        words = text.split()
        try:
            if self._first_s:
                await asyncio.sleep(self._first_s)
            if self._whole:
                yield Speech(self.sound(WORD_MS * len(words)), self.rate)
                return
            for number, word in enumerate(words):
                if number and self._chunk_s:
                    await asyncio.sleep(self._chunk_s)
                if self._fail_after is not None and number >= self._fail_after:
                    raise TTSError("fake: 503 no more voice")
                timing = ((word, number * WORD_MS),) if self._timed else ()
                yield Speech(self.sound(WORD_MS), self.rate, timing)
        finally:
            if self._close_s:
                await asyncio.sleep(self._close_s)  # a goodbye to the server
            self.ended += 1

    def sound(self, ms: int) -> bytes:
        return b"\x10\x10" * (self.rate * ms // 1000)


class FakeLLM(LLM):
    """Answers with the events it was given, one list a request."""

    name = "fake"

    def __init__(self, *replies: Sequence[LLMEvent | str], pace_s: float = 0.0, close_s: float = 0.0) -> None:
        self.requests: list[list[dict[str, Any]]] = []
        self.tools: list[Sequence[dict[str, Any]]] = []
        self.ended = 0
        self._replies = list(replies)
        self._pace_s = pace_s
        self._close_s = close_s

    async def stream(
        self, messages: Sequence[dict[str, Any]], *, tools: Sequence[dict[str, Any]] = ()
    ) -> AsyncIterator[LLMEvent]:
        self.requests.append([dict(message) for message in messages])
        self.tools.append(tools)
        try:
            for event in self._replies.pop(0):
                await asyncio.sleep(self._pace_s)
                if event == "fail":
                    raise LLMError("fake: 500 out of thoughts")
                if event == "hang":
                    await asyncio.Event().wait()
                yield TextDelta(event) if isinstance(event, str) else event
        finally:
            if self._close_s:
                await asyncio.sleep(self._close_s)  # a goodbye to the server
            self.ended += 1


class Audible:
    """What the mouth reports."""

    def __init__(self) -> None:
        self.calls: list[bool] = []
        self.texts: list[str] = []

    def __call__(self, audible: bool, utterance: Utterance) -> None:
        self.calls.append(audible)
        self.texts.append(utterance.ledger.text)
