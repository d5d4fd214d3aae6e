"""Engines that answer on the spot, in the process of the app: what is measured with them is everything else."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from benchmarks.sound import RATE, voice
from voxtra.agent.ears import level
from voxtra.speech.base import (
    LLM,
    STT,
    TTS,
    VAD,
    LLMEvent,
    Speech,
    STTStream,
    TextDelta,
    Transcript,
    VADStream,
)
from voxtra.speech.webrtc import WebRTCVAD
from voxtra.types import Message

WORDS = "I would like to know your opening hours."
REPLY = "We are open until five."
REPLY_S = 0.3
LOUD_DB = -36.0
"""Level of a frame in which the caller speaks; the callers here are far louder, or silent."""


class MockSTT(STT):
    """Knows the words the moment it is asked."""

    name = "mock"

    def open(
        self,
        *,
        rate: int,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[Exception], None],
        language: str | None = None,
        hints: Sequence[str] = (),
    ) -> STTStream:
        """One call's."""
        return _MockStream(on_transcript)


class _MockStream(STTStream):
    def __init__(self, tell: Callable[[Transcript], None]) -> None:
        self._tell = tell

    def push(self, pcm: bytes) -> None:
        pass

    def speech_started(self) -> None:
        pass

    def speech_stopped(self) -> None:
        self._tell(Transcript(WORDS, is_final=True, confidence=1.0))

    def next_turn(self) -> None:
        pass

    async def close(self) -> None:
        pass


class MockLLM(LLM):
    """One sentence, at once."""

    name = "mock"

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[dict[str, Any]] = ()
    ) -> AsyncIterator[LLMEvent]:
        """The same to whatever was said."""
        yield TextDelta(REPLY)


class MockTTS(TTS):
    """A buzz, at once, at the line's own rate."""

    name = "mock"
    rate = RATE

    def __init__(self) -> None:
        self._pcm = voice(REPLY_S)

    async def synthesize(
        self, text: str, *, voice: str | None = None, language: str | None = None
    ) -> AsyncIterator[Speech]:
        """0.3 s."""
        yield Speech(self._pcm, RATE)


class Ear(VADStream):
    """The light detector, and a note of when each frame came and how many had been silent by then."""

    def __init__(self, inner: VADStream) -> None:
        self._push = inner.push
        self.at = 0.0
        self.quiet = 0

    def push(self, pcm: bytes) -> float:
        """20 ms."""
        self.at = time.monotonic()
        self.quiet = 0 if level(pcm) > LOUD_DB else self.quiet + 1
        return self._push(pcm)


class WatchedVAD(VAD):
    """WebRTC's detector.

    Attributes:
        newest: the detector of the call that was opened last.
    """

    name = "watched"

    def __init__(self) -> None:
        self._inner = WebRTCVAD()
        self.newest: Ear | None = None

    def open(self, *, rate: int) -> VADStream:
        """One call's."""
        self.newest = Ear(self._inner.open(rate=rate))
        return self.newest
