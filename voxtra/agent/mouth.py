"""The agent's mouth: text to clauses to speech to the line, and the stop at once when interrupted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass, field

from voxtra.agent.clauses import clauses
from voxtra.agent.ledger import Ledger
from voxtra.agent.times import TurnTimes
from voxtra.errors import LineClosedError, TTSError
from voxtra.media.line import Line
from voxtra.media.resample import Resampler
from voxtra.speech.base import TTS
from voxtra.types import EndReason

FIRST_SPEECH_S = 10.0
"""A TTS that gives no sound within this many seconds has failed."""
STALL_S = 10.0
"""Grace, beyond its length, after which sound that is not reported as heard is given up."""


@dataclass(slots=True, frozen=True)
class SayResult:
    """How a ``say`` ended.

    Attributes:
        reason: ``finished`` (heard to the end), ``interrupted``, ``hangup``, ``failed``.
        heard: the words the caller heard.
        text: all words that were to be said.
    """

    reason: EndReason
    heard: str
    text: str


@dataclass(slots=True)
class Utterance:
    """One ``say`` under way."""

    start: int
    interruptible: bool
    ledger: Ledger = field(default_factory=Ledger)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    started_at: float | None = None
    heard_position: int | None = None


class Mouth:
    """Speaks one utterance at a time on one call's line.

    Args:
        on_audible: called with True when the first sound of an utterance is sent, False at its end.
    """

    def __init__(self, line: Line, tts: TTS | None, on_audible: Callable[[bool, Utterance], None]) -> None:
        self._line = line
        self._tts = tts
        self._on_audible = on_audible
        self._turn = asyncio.Lock()
        self._flushing: asyncio.Task[int] | None = None
        self.current: Utterance | None = None

    async def say(
        self,
        text: str | AsyncIterable[str],
        *,
        interruptible: bool = True,
        voice: str | None = None,
        times: TurnTimes | None = None,
    ) -> SayResult:
        """Speak and return when the last word was heard, the caller interrupted, or the call ended.

        Raises:
            TTSError: the provider failed or gave no sound in time.
        """
        async with self._turn:
            utterance = Utterance(self._line.queued, interruptible)
            self.current = utterance
            producer = asyncio.ensure_future(self._produce(text, utterance, voice, times or TurnTimes()))
            stopper = asyncio.ensure_future(utterance.stopped.wait())
            try:
                await asyncio.wait({producer, stopper}, return_when=asyncio.FIRST_COMPLETED)
                if producer.done():
                    return self._result(producer.result(), utterance)
                await self._settle(utterance)
                return self._result("interrupted", utterance)
            finally:
                await self._end(utterance, producer, stopper)

    async def _end(self, utterance: Utterance, *tasks: asyncio.Future[object]) -> None:
        unfinished = not all(task.done() for task in tasks[:1])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if unfinished and not utterance.stopped.is_set() and not self._line.closed.done():
            await self._line.flush()  # our caller was cancelled: its sound must not go on
        if utterance.started_at is not None:
            self._on_audible(False, utterance)
        self.current = None

    async def _produce(
        self, text: str | AsyncIterable[str], utterance: Utterance, voice: str | None, times: TurnTimes
    ) -> EndReason:
        try:
            async for clause in clauses(text):
                await self._speak_clause(clause, utterance, voice, times)
        except LineClosedError:
            return "hangup"
        return await self._until_heard()

    async def _speak_clause(
        self, clause: str, utterance: Utterance, voice: str | None, times: TurnTimes
    ) -> None:
        assert self._tts is not None
        times.tts_started()
        span = utterance.ledger.add(clause, self._line.queued - utterance.start)
        resampler: Resampler | None = None
        stream = self._tts.synthesize(clause, voice=voice)
        async with contextlib.aclosing(stream):  # type: ignore[type-var]
            while True:
                try:
                    async with asyncio.timeout(FIRST_SPEECH_S):
                        speech = await anext(stream)
                except StopAsyncIteration:
                    break
                except TimeoutError:
                    raise TTSError(f"{self._tts.name}: no sound within {FIRST_SPEECH_S:g} s") from None
                times.tts_first()
                resampler = resampler or Resampler(speech.rate, self._line.rate)
                span.words += [
                    (word, self._line.samples(at) - (self._line.queued - utterance.start - span.start))
                    for word, at in speech.words
                ]
                self._play(resampler.process(speech.pcm), utterance, times)
                span.end = self._line.queued - utterance.start
        if resampler is not None:
            self._play(resampler.flush(), utterance, times)
            span.end = self._line.queued - utterance.start

    def _play(self, pcm: bytes, utterance: Utterance, times: TurnTimes) -> None:
        if not pcm:
            return
        self._line.play(pcm)
        if utterance.started_at is None:
            utterance.started_at = asyncio.get_running_loop().time()
            times.played()
            self._on_audible(True, utterance)

    async def _until_heard(self) -> EndReason:
        mark = self._line.mark()
        while True:
            before = self._line.heard
            waiting = self._line.ms(self._line.queued - before) / 1000 + STALL_S
            try:
                async with asyncio.timeout(waiting):
                    outcome = await mark
            except TimeoutError:
                if self._line.heard > before or self._line.paused:
                    continue
                return "failed"
            return {"heard": "finished", "flushed": "interrupted", "closed": "hangup"}[outcome]  # type: ignore[return-value]

    def stop(self) -> None:
        """Interrupt what is being said: silence within a frame, the words unheard are forgotten."""
        utterance = self.current
        if utterance is None or utterance.stopped.is_set():
            return
        self._flushing = asyncio.ensure_future(self._line.flush())
        utterance.stopped.set()

    async def _settle(self, utterance: Utterance) -> None:
        if self._flushing is not None:
            with contextlib.suppress(LineClosedError):
                utterance.heard_position = await self._flushing
            self._flushing = None

    def _result(self, reason: EndReason, utterance: Utterance) -> SayResult:
        ledger = utterance.ledger
        if reason == "finished":
            return SayResult(reason, ledger.text, ledger.text)
        position = self._line.heard if utterance.heard_position is None else utterance.heard_position
        return SayResult(reason, ledger.heard(position - utterance.start), ledger.text)
