"""Speech without models: hears and speaks the text that :mod:`voxtra.testing.fake_sound` puts in sound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from voxtra.speech.base import STT, TTS, VAD, Speech, STTStream, Transcript, VADStream
from voxtra.testing.fake_sound import RATE, read, spoken

STT_S = 0.1
"""How long the fake recogniser takes for its final transcript, s of virtual time."""
TTS_S = 0.05
"""How long the fake voice takes to begin, s of virtual time."""


class FakeSTT(STT):
    """Hears what the fake caller says, exactly, word by word, and the final text 0.1 s after a pause."""

    name = "fake"

    def open(
        self,
        *,
        rate: int,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[Exception], None],
        language: str | None = None,
        hints: Sequence[str] = (),
    ) -> STTStream:
        """A recogniser for one call."""
        return _FakeSTTStream(on_transcript)


class _FakeSTTStream(STTStream):
    def __init__(self, on_transcript: Callable[[Transcript], None]) -> None:
        self._tell = on_transcript
        self._loop = asyncio.get_running_loop()
        self._text = ""
        self._confidence = 1.0
        self._final: asyncio.TimerHandle | None = None

    def push(self, pcm: bytes) -> None:
        heard = read(pcm)
        if heard.confidence is not None:
            self._confidence = min(self._confidence, heard.confidence)
        if heard.text:
            self._text += heard.text
            if heard.text[-1] == " ":
                self._tell(Transcript(" ".join(self._text.split()), confidence=self._confidence))

    def speech_started(self) -> None:
        self._stop()

    def speech_stopped(self) -> None:
        self._stop()
        self._text += " "  # should the turn go on, then with another word
        self._final = self._loop.call_later(STT_S, self._finish)

    def _finish(self) -> None:
        self._final = None
        self._tell(Transcript(" ".join(self._text.split()), is_final=True, confidence=self._confidence))

    def _stop(self) -> None:
        if self._final is not None:
            self._final.cancel()
            self._final = None

    def next_turn(self) -> None:
        self._stop()
        self._text = ""
        self._confidence = 1.0

    async def close(self) -> None:
        self._stop()


class FakeTTS(TTS):
    """Speaks 60 ms a character, after 0.05 s.

    Attributes:
        spoken: every text that was asked for, and the voice.
    """

    name = "fake"
    rate = RATE

    def __init__(self) -> None:
        self.spoken: list[tuple[str, str | None]] = []

    async def synthesize(
        self, text: str, *, voice: str | None = None, language: str | None = None
    ) -> AsyncIterator[Speech]:
        """``text`` and the breath after it."""
        self.spoken.append((text, voice))
        await asyncio.sleep(TTS_S)
        yield Speech(spoken(f"{text} "), RATE)


class FakeVAD(VAD):
    """Sure of itself: any sound of the fake caller is speech, silence is none."""

    name = "fake"

    def open(self, *, rate: int) -> VADStream:
        """A detector for one call."""
        return _FakeVADStream()


class _FakeVADStream(VADStream):
    def push(self, pcm: bytes) -> float:
        return 1.0 if any(pcm) else 0.0
