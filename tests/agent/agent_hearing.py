"""What the ears need, driven by scripted frames: a detector that reads the sound's level, a recogniser that
says what it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agent_fakes import HandLine

from voxtra.media.line import Frame
from voxtra.speech.base import STT, VAD, STTStream, Transcript, VADStream

SPEECH = b"\x01\x40" * 320
SILENCE = bytes(640)


class FakeVAD(VAD):
    """Speech is what is not silence; from ``fails_at`` on it fails."""

    name = "fake"

    def __init__(self) -> None:
        self.fails = False

    def open(self, *, rate: int) -> VADStream:
        return FakeVADStream(self)


class FakeVADStream(VADStream):
    def __init__(self, vad: FakeVAD) -> None:
        self._vad = vad

    def push(self, pcm: bytes) -> float:
        if self._vad.fails:
            raise ValueError("a flaw in the detector")
        return 1.0 if any(pcm) else 0.0


class FakeSTT(STT):
    """Answers ``speech_stopped`` with the next of ``words`` at once, or when told (``slow``)."""

    name = "fake"

    def __init__(self, *words: str, slow: bool = False) -> None:
        self.words = list(words)
        self.slow = slow
        self.streams: list[FakeSTTStream] = []

    def open(
        self,
        *,
        rate: int,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[Exception], None],
        language: str | None = None,
        hints: Sequence[str] = (),
    ) -> STTStream:
        stream = FakeSTTStream(self, on_transcript, on_error)
        self.streams.append(stream)
        return stream


class FakeSTTStream(STTStream):
    def __init__(
        self,
        stt: FakeSTT,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.stt = stt
        self.on_transcript = on_transcript
        self.on_error = on_error
        self.log: list[str] = []
        self.pushed = 0
        self.kept: list[int] = []
        self.closed = 0

    def push(self, pcm: bytes) -> None:
        self.pushed += len(pcm)

    def keep_before(self, ms: int) -> None:
        self.kept.append(ms)

    def speech_started(self) -> None:
        self.log.append("started")

    def speech_stopped(self) -> None:
        self.log.append("stopped")
        if not self.stt.slow and self.stt.words:
            self.on_transcript(Transcript(self.stt.words[0], is_final=True, confidence=0.9))

    def next_turn(self) -> None:
        self.log.append("next")
        if self.stt.words:
            self.stt.words.pop(0)

    async def close(self) -> None:
        self.closed += 1


class Caller:
    """Speaks into a line frame by frame, on a clock of its own that begins at the loop's."""

    def __init__(self, line: HandLine) -> None:
        self.line = line
        self.now = line._loop.time()
        self._sequence = 0

    def sound(self, pcm: bytes, ms: int) -> None:
        for _ in range(ms // 20):
            frame = Frame(pcm, self._sequence, self.now)
            self._sequence += 1
            self.now += 0.02
            for sink in self.line._sinks:
                sink(frame)

    def speak(self, ms: int = 400) -> None:
        self.sound(SPEECH, ms)

    def quiet(self, ms: int = 700) -> None:
        self.sound(SILENCE, ms)

    def say(self, ms: int = 400) -> None:
        """A whole turn: speech, then silence enough to end it."""
        self.speak(ms)
        self.quiet()
