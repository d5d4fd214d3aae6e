"""From a batch engine (sound in, text out) to a recogniser of one call.

:class:`BatchSTT` is the provider: implement ``transcribe`` and it streams. :class:`BatchSTTStream` collects
the turn's sound and transcribes it at each pause, before anyone has decided that the turn is over, so that
the text is there when it is decided.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np

from voxtra.errors import ConfigurationError, STTError, VoxtraError
from voxtra.speech.base import STT, STTStream, Transcript

PREROLL_MS = 300
SEGMENT_MS = 28_000
SETTLED_MS = 13_000
"""A pause after this much speech closes the segment: transcribing it again would cost more each time."""
MAX_WAITING = 4
"""Closed segments that may wait for the engine; beyond it the oldest is given up."""
MAX_SEGMENTS = 64
"""Closed segments of one turn that are kept, the newest: about half an hour."""


class BatchSTT(STT):
    """A provider whose engine takes a whole utterance. Subclasses implement ``transcribe``."""

    partial_interval_ms: int = 0
    """A partial after each so many ms of speech; 0 = none."""
    preroll_ms: int = PREROLL_MS
    """Sound kept from before ``speech_started``, ms."""

    @abstractmethod
    async def transcribe(
        self, pcm: bytes, *, rate: int, language: str | None = None, hints: Sequence[str] = ()
    ) -> Transcript:
        """What is said in ``pcm`` (16-bit mono at ``rate`` Hz). Raises STTError; may be cancelled."""

    @property
    def busy(self) -> bool:
        """True when the engine has no time for partials."""
        return False

    def check_language(self, language: str | None) -> None:
        """Raise ConfigurationError if the engine does not know ``language``. Called by ``open``."""

    def open(
        self,
        *,
        rate: int,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[Exception], None],
        language: str | None = None,
        hints: Sequence[str] = (),
    ) -> STTStream:
        """A recogniser for one call; see :meth:`voxtra.speech.base.STT.open`.

        Raises:
            ConfigurationError: the rate or the language is not one this provider takes.
        """
        if rate < 8000 or rate % 100:
            raise ConfigurationError(
                f"{self.name}: rate = {rate}: it must be 8000 Hz or more, a multiple of 100"
            )
        self.check_language(language)
        return BatchSTTStream(
            self, rate=rate, on_transcript=on_transcript, on_error=on_error, language=language, hints=hints
        )


class _Segment:
    """A part of a turn that is closed: its sound until it is transcribed, its text from then on."""

    __slots__ = ("pcm", "transcript")

    def __init__(self, pcm: bytes) -> None:
        self.pcm = pcm
        self.transcript: Transcript | None = None


def join(parts: Sequence[Transcript], *, is_final: bool) -> Transcript:
    """One transcript of several; its confidence is the mean over the words."""
    said = [(part.text.strip(), part.confidence) for part in parts if part.text.strip()]
    if not said:
        return Transcript("", is_final=is_final, confidence=min((p.confidence for p in parts), default=1.0))
    words = [len(text.split()) for text, _ in said]
    mean = sum(sure * count for (_, sure), count in zip(said, words, strict=True)) / sum(words)
    return Transcript(" ".join(text for text, _ in said), is_final=is_final, confidence=mean)


def quietest_cut(pcm: bytes, rate: int, *, within_ms: int = 8000) -> int:
    """Byte offset of the middle of the quietest 200 ms in the last ``within_ms``: where to cut a segment."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float32)
    block = rate // 50
    begin = max(0, len(samples) - within_ms * rate // 1000) // block * block
    tail = samples[begin : begin + (len(samples) - begin) // block * block]
    power = np.square(tail).reshape(-1, block).mean(axis=1)
    if len(power) < 10:
        return len(pcm)
    quiet = int(np.argmin(np.convolve(power, np.ones(10), "valid")))
    return (begin + (quiet + 5) * block) * 2


class BatchSTTStream(STTStream):
    """One call's recogniser on a batch engine.

    Sound is kept from ``preroll_ms`` before speech was noticed to the pause; a pause is answered with the
    transcript of the whole turn. When the caller goes on, that answer is superseded: work under way is
    cancelled, and an answer that still comes is none. Bounds: a segment is at most 28 s (longer ones are cut
    at their quietest place), 4 segments may wait for the engine, 64 are kept; what goes beyond is given up
    with an STTError to ``on_error``.
    """

    def __init__(
        self,
        engine: BatchSTT,
        *,
        rate: int,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[Exception], None],
        language: str | None = None,
        hints: Sequence[str] = (),
    ) -> None:
        self._engine = engine
        self._rate = rate
        self._on_transcript = on_transcript
        self._on_error = on_error
        self._language = language
        self._hints = tuple(hints)
        self._preroll: deque[bytes] = deque()
        self._preroll_bytes = 0
        self._preroll_limit = self._bytes(engine.preroll_ms)
        self._segment_limit = self._bytes(SEGMENT_MS)
        self._settled = self._bytes(SETTLED_MS)
        self._partial_step = self._bytes(engine.partial_interval_ms)
        self._partial_at = 0
        self._sound = bytearray()
        self._segments: deque[_Segment] = deque(maxlen=MAX_SEGMENTS)
        self._speaking = False
        self._closed = False
        self._turn = 0
        self._open_text: Transcript | None = None
        self._answer: asyncio.Task[None] | None = None
        self._partial: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def keep_before(self, ms: int) -> None:
        """Keep so much from before ``speech_started`` instead of the provider's ``preroll_ms``."""
        self._preroll_limit = self._bytes(ms)

    def _bytes(self, ms: int) -> int:
        return ms * self._rate // 1000 * 2

    @property
    def buffered(self) -> int:
        """Bytes of sound held."""
        waiting = sum(len(segment.pcm) for segment in self._segments)
        return len(self._sound) + self._preroll_bytes + waiting

    def push(self, pcm: bytes) -> None:
        """The next frame; outside speech only the pre-roll is kept."""
        if self._closed:
            return
        if not self._speaking:
            self._preroll.append(pcm)
            self._preroll_bytes += len(pcm)
            while self._preroll_bytes > self._preroll_limit:
                self._preroll_bytes -= len(self._preroll.popleft())
            return
        self._sound += pcm
        if len(self._sound) >= self._segment_limit:
            self._close_segment(quietest_cut(bytes(self._sound), self._rate))
        elif self._partial_step and len(self._sound) >= self._partial_at:
            self._start_partial()

    def speech_started(self) -> None:
        """Collect from the pre-roll on; an answer under way is superseded."""
        if self._closed or self._speaking:
            return
        self._speaking = True
        self._drop(self._answer)
        self._answer = None
        if len(self._sound) >= self._settled:
            self._close_segment(len(self._sound))
        self._open_text = None
        for pcm in self._preroll:
            self._sound += pcm
        self._forget_preroll()
        self._partial_at = len(self._sound) + self._partial_step

    def speech_stopped(self) -> None:
        """Transcribe the turn so far, now."""
        if self._closed:
            return
        self._speaking = False
        self._drop(self._partial)
        self._drop(self._answer)
        self._partial = None
        self._answer = self._spawn(self._transcribe_turn)

    def next_turn(self) -> None:
        """Forget the turn. Speech under way goes on into the next one."""
        self._drop(self._answer)
        self._drop(self._partial)
        self._drop(self._closing)
        self._answer = self._partial = self._closing = None
        self._turn += 1
        self._sound.clear()
        self._segments.clear()
        self._open_text = None
        self._partial_at = self._partial_step

    async def close(self) -> None:
        """End the stream and wait for its tasks."""
        self._closed = True
        self.next_turn()
        self._forget_preroll()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _forget_preroll(self) -> None:
        self._preroll.clear()
        self._preroll_bytes = 0

    def _spawn(self, work: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._work(work, *args))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @staticmethod
    def _drop(task: asyncio.Task[None] | None) -> None:
        if task is not None:
            task.cancel()

    async def _work(self, work: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        turn = self._turn
        try:
            await work(*args)
        except VoxtraError as problem:
            failure = problem if isinstance(problem, STTError) else STTError(str(problem))
            if turn == self._turn:
                self._on_error(failure)

    async def _transcribe_turn(self) -> None:
        if self._closing is not None:
            await asyncio.wait([self._closing])
        if self._sound and self._open_text is None:
            turn = self._turn
            heard = await self._transcribe(bytes(self._sound))
            if turn != self._turn:  # an engine that does not let itself be cancelled
                return
            self._open_text = heard
        self._deliver(is_final=True)

    def _deliver(self, *, is_final: bool, last: Transcript | None = None) -> None:
        parts = [segment.transcript for segment in self._segments if segment.transcript is not None]
        last = last or self._open_text
        self._on_transcript(join([*parts, last] if last else parts, is_final=is_final))

    async def _transcribe(self, pcm: bytes) -> Transcript:
        try:
            return await self._engine.transcribe(
                pcm, rate=self._rate, language=self._language, hints=self._hints
            )
        except VoxtraError:
            raise
        except Exception as problem:  # somebody else's engine: its error must reach the call, whatever it is
            raise STTError(f"{self._engine.name}: {type(problem).__name__}: {problem}") from problem

    def _start_partial(self) -> None:
        self._partial_at = len(self._sound) + self._partial_step
        if self._engine.busy or (self._partial is not None and not self._partial.done()):
            return
        self._partial = self._spawn(self._transcribe_partial, bytes(self._sound))

    async def _transcribe_partial(self, pcm: bytes) -> None:
        turn = self._turn
        heard = await self._transcribe(pcm)
        if heard.text and turn == self._turn and self._speaking:
            self._deliver(is_final=False, last=heard)

    def _close_segment(self, length: int) -> None:
        # the text of this sound is there already when a pause was transcribed and nothing came after it
        segment = _Segment(bytes(self._sound[:length]))
        if self._open_text is not None and length == len(self._sound):
            segment.transcript, segment.pcm = self._open_text, b""
        del self._sound[:length]
        self._partial_at = len(self._sound) + self._partial_step
        self._drop(self._partial)
        self._partial = None
        self._segments.append(segment)
        waiting = [part for part in self._segments if part.pcm]
        if len(waiting) > MAX_WAITING:
            waiting[0].pcm = b""
            self._on_error(STTError(f"{self._engine.name} can't keep up: 28 s of speech are lost"))
        if waiting and (self._closing is None or self._closing.done()):
            self._closing = self._spawn(self._transcribe_segments)

    async def _transcribe_segments(self) -> None:
        while waiting := [part for part in self._segments if part.pcm]:
            segment = waiting[0]
            try:
                segment.transcript = await self._transcribe(segment.pcm)
            finally:
                segment.pcm = b""
