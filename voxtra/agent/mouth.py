"""The agent's mouth: text to clauses to speech to the line, and the stop at once when interrupted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass, field
from typing import Any

from voxtra.agent.clauses import clauses
from voxtra.agent.ledger import Ledger, Span
from voxtra.agent.streams import closing
from voxtra.agent.times import TurnTimes
from voxtra.errors import LineClosedError, LLMError, PipelineNotConfiguredError, TTSError
from voxtra.media.line import FRAME_MS, Line
from voxtra.media.resample import Resampler
from voxtra.speech.base import TTS, Speech
from voxtra.types import EndReason

log = logging.getLogger("voxtra.agent")

FIRST_SPEECH_S = 10.0
"""A TTS that gives no (further) sound within this many seconds has failed."""
STALL_S = 10.0
"""Grace, beyond its length, after which sound that is not reported as heard is given up."""
WATCH_S = 0.1
"""How often it is looked whether a text has halted."""
CLEANUP_S = 2.0
"""How long a provider may take to end a request that nobody wants any more."""
SLICE_MS = 200
"""Sound is converted in pieces of this length, so that no other call waits for a whole sentence."""
MS_PER_CHARACTER = 65
"""Rough pace of speech, for how much of a clause was heard while the rest of it isn't made yet."""


@dataclass(slots=True, frozen=True)
class SayResult:
    """How a ``say`` ended.

    Attributes:
        reason: ``finished`` (heard to the end), ``interrupted``, ``hangup``, ``failed``.
        heard: the words the caller heard.
        text: all words that were given to the TTS.
    """

    reason: EndReason
    heard: str
    text: str


@dataclass(slots=True, frozen=True)
class Patience:
    """What is done for a text that halts in the middle while nothing is left to be heard.

    Attributes:
        filler: gives words to say meanwhile, "" for none.
        filler_after_s: when they are said.
        limit_s: when it is given up.
    """

    filler: Callable[[], str]
    filler_after_s: float
    limit_s: float


@dataclass(slots=True)
class Utterance:
    """One ``say`` under way.

    Attributes:
        start: position of its first sample on the line.
        stopped: set once no more sound of it may be played.
        started_at: ``loop.time()`` of its first sound, None before.
        flushing: the flush that cut it off, None while nothing did.
        waiting: True while the next clause is not there yet.
    """

    start: int
    interruptible: bool
    ledger: Ledger = field(default_factory=Ledger)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    started_at: float | None = None
    flushing: asyncio.Task[int] | None = None
    waiting: bool = False


class Mouth:
    """Speaks one utterance at a time on one call's line.

    The next clause is synthesised while the one before is played: the line's queue holds what is ahead.

    Args:
        on_audible: called with True when the first sound of an utterance is sent, False at its end.

    Attributes:
        language: BCP 47 of what is said; None = the TTS's own.
        current: what is being said, None when nothing is.
        last: how the newest ``say`` ended, one that raised or was cancelled included.
    """

    def __init__(self, line: Line, tts: TTS | None, on_audible: Callable[[bool, Utterance], None]) -> None:
        self._line = line
        self._tts = tts
        self._on_audible = on_audible
        self._turn = asyncio.Lock()
        self.language: str | None = None
        self.current: Utterance | None = None
        self.last: SayResult | None = None

    async def say(
        self,
        text: str | AsyncIterable[str],
        *,
        interruptible: bool = True,
        voice: str | None = None,
        times: TurnTimes | None = None,
        patience: Patience | None = None,
    ) -> SayResult:
        """Speak and return when the last word was heard, the caller interrupted, or the call ended.

        A second ``say`` waits for the first. When this is cancelled or fails, its sound stops; a stream
        of text is closed in any case.

        Raises:
            PipelineNotConfiguredError: there is no TTS.
            TTSError: the provider failed or gave no sound in time.
            LLMError: the stream of text failed, or halted for longer than ``patience`` allows.
        """
        if self._tts is None:
            raise PipelineNotConfiguredError("tts")
        async with self._turn:
            utterance = Utterance(self._line.queued, interruptible)
            self.current = utterance
            times = times or TurnTimes()
            work = asyncio.ensure_future(self._produce(self._tts, text, utterance, voice, times))
            stopper = asyncio.ensure_future(utterance.stopped.wait())
            tasks: set[asyncio.Task[Any]] = {work, stopper}
            if patience is not None:
                tasks.add(asyncio.ensure_future(self._watch(self._tts, utterance, voice, patience, times)))
            reason: EndReason = "failed"
            try:
                await asyncio.wait({*tasks, self._line.closed}, return_when=asyncio.FIRST_COMPLETED)
                for watch in tasks - {work, stopper}:
                    if watch.done():
                        watch.result()  # raises
                reason = self._reason(work, utterance)
            except asyncio.CancelledError:
                reason = "interrupted"
                raise
            finally:
                result = await self._end(reason, utterance, tasks)
            return result

    def _reason(self, work: asyncio.Task[EndReason], utterance: Utterance) -> EndReason:
        failure = work.exception() if work.done() else None
        if work.done() and failure is None and work.result() == "finished":
            return "finished"
        if utterance.stopped.is_set():
            return "interrupted"
        if self._line.closed.done():
            return "hangup"
        return work.result()

    async def _end(self, reason: EndReason, utterance: Utterance, tasks: set[asyncio.Task[Any]]) -> SayResult:
        """Leave nothing behind: no task, no sound, no request."""
        if reason != "finished":
            self._silence(utterance)
        for task in tasks:
            task.cancel()
        if utterance.flushing is not None:
            tasks = {*tasks, utterance.flushing}
        try:
            _, late = await asyncio.wait(tasks, timeout=CLEANUP_S)
            if late:
                log.warning(
                    "a speech or language request did not end within %g s of being cancelled", CLEANUP_S
                )
            await asyncio.gather(*(tasks - late), return_exceptions=True)  # failures were reported by then
        finally:
            self.last = self._result(reason, utterance)
            self.current = None
            if utterance.started_at is not None:
                self._on_audible(False, utterance)
        return self.last

    def stop(self) -> None:
        """Interrupt what is being said: silence within a frame, the words unheard are forgotten."""
        if self.current is not None:
            self._silence(self.current)

    def _silence(self, utterance: Utterance) -> None:
        utterance.stopped.set()
        if utterance.flushing is None and not self._line.closed.done():
            utterance.flushing = asyncio.ensure_future(self._line.flush())

    async def _produce(
        self,
        tts: TTS,
        text: str | AsyncIterable[str],
        utterance: Utterance,
        voice: str | None,
        times: TurnTimes,
    ) -> EndReason:
        try:
            async with closing(clauses(text)) as pieces:
                utterance.waiting = True
                async for clause in pieces:
                    utterance.waiting = False
                    await self._speak_clause(tts, clause, utterance, voice, times)
                    utterance.waiting = True
                utterance.waiting = False
        except LineClosedError:
            return "hangup"
        if utterance.stopped.is_set():
            return "interrupted"  # the flushed line has nothing to wait for: a mark would be heard at once
        return await self._until_heard()

    async def _watch(
        self, tts: TTS, utterance: Utterance, voice: str | None, patience: Patience, times: TurnTimes
    ) -> None:
        """Fill in where the text halts, and give it up in time. Only raises: LLMError."""
        line, silent, filled = self._line, 0.0, -1
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(WATCH_S)
            dry = line.queued - line.heard <= line.samples(FRAME_MS)
            if not (utterance.waiting and dry) or line.paused or utterance.stopped.is_set():
                silent = 0.0
                continue
            silent += WATCH_S
            if silent >= patience.limit_s:
                raise LLMError(f"a reply halted for {patience.limit_s:g} s")
            clauses_said = len(utterance.ledger.spans)
            if silent >= patience.filler_after_s and filled != clauses_said:
                filled = clauses_said
                began = now()
                if words := patience.filler():
                    try:
                        await self._fill(tts, words, utterance, voice, times)
                    except (TTSError, TimeoutError) as error:
                        silent += now() - began
                        log.warning("the filler was not said: %s", str(error) or "no sound in time")

    async def _fill(
        self, tts: TTS, words: str, utterance: Utterance, voice: str | None, times: TurnTimes
    ) -> None:
        """Say words between two clauses. The ledger knows nothing of them, nor does the history."""
        pcm = b""
        async with (
            asyncio.timeout(FIRST_SPEECH_S),
            closing(tts.synthesize(words, voice=voice, language=self.language)) as stream,
        ):
            resampler: Resampler | None = None
            async for speech in stream:
                resampler = resampler or Resampler(speech.rate, self._line.rate)
                pcm += resampler.process(speech.pcm)
        if utterance.waiting and not utterance.stopped.is_set() and not self._line.closed.done():
            times.played()
            self._audible(pcm, utterance)

    async def _speak_clause(
        self, tts: TTS, clause: str, utterance: Utterance, voice: str | None, times: TurnTimes
    ) -> None:
        times.tts_started()
        expected = self._line.samples(len(clause) * MS_PER_CHARACTER)
        span = utterance.ledger.add(clause, self._line.queued - utterance.start, expected)
        resampler: Resampler | None = None
        async with closing(tts.synthesize(clause, voice=voice, language=self.language)) as stream:
            while True:
                try:
                    async with asyncio.timeout(FIRST_SPEECH_S):
                        speech = await anext(stream)
                except StopAsyncIteration:
                    break
                except TimeoutError:
                    raise TTSError(f"{tts.name}: no sound within {FIRST_SPEECH_S:g} s") from None
                times.tts_first()
                span.words += [(word, self._line.samples(at)) for word, at in speech.words]
                if resampler is None or resampler.source != speech.rate:
                    if resampler is not None:
                        self._play(resampler.flush(), utterance, span, times)
                    resampler = Resampler(speech.rate, self._line.rate)
                await self._convert(resampler, speech, utterance, span, times)
        if resampler is not None:
            self._play(resampler.flush(), utterance, span, times)
        span.complete = True

    async def _convert(
        self, resampler: Resampler, speech: Speech, utterance: Utterance, span: Span, times: TurnTimes
    ) -> None:
        size = speech.rate * SLICE_MS // 1000 * 2
        for at in range(0, len(speech.pcm), size):
            if at:
                await asyncio.sleep(0)
            self._play(resampler.process(speech.pcm[at : at + size]), utterance, span, times)

    def _play(self, pcm: bytes, utterance: Utterance, span: Span, times: TurnTimes) -> None:
        if not pcm or utterance.stopped.is_set():
            return
        times.played()
        self._audible(pcm, utterance)
        span.end = self._line.queued - utterance.start

    def _audible(self, pcm: bytes, utterance: Utterance) -> None:
        self._line.play(pcm)
        if utterance.started_at is None:
            utterance.started_at = asyncio.get_running_loop().time()
            self._on_audible(True, utterance)

    async def _until_heard(self) -> EndReason:
        line = self._line
        mark = line.mark()
        paused = False
        while True:
            before = line.heard
            waiting = line.ms(line.queued - before) / 1000 + STALL_S
            try:
                async with asyncio.timeout(waiting):
                    outcome = await mark
            except TimeoutError:
                if line.heard == before and (paused or not line.paused):
                    return "failed"
                paused = line.paused  # the caller may be speaking; but not for ever
                continue
            if outcome == "heard":
                return "finished"
            return "interrupted" if outcome == "flushed" else "hangup"

    def _result(self, reason: EndReason, utterance: Utterance) -> SayResult:
        ledger = utterance.ledger
        if reason == "finished":
            return SayResult(reason, ledger.text, ledger.text)
        # After the flush the line knows exactly what was heard.
        return SayResult(reason, ledger.heard(self._line.heard - utterance.start), ledger.text)
