"""Several recognisers as one: the turn's sound is kept, and heard again by the next when one fails."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from voxtra.errors import ConfigurationError, ProviderError, STTError, VoxtraError
from voxtra.speech.base import STT, STTStream, Transcript
from voxtra.speech.standbys import Several, Standby, all_failed

PREROLL_MS = 500
"""Sound kept from before speech, where nobody says how much."""
REPLAY_S = 30.0
"""Most sound of a turn that is kept; policy when full: the oldest is forgotten."""
PROBE_S = 3.0


class FallbackSTT(Several[STT], STT):
    """Several recognisers as one; made by :func:`voxtra.speech.fallback.Fallback`.

    Attributes:
        failures: how often each provider failed, by name.
    """

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
            ConfigurationError: no provider takes the rate and the language.
        """
        return FallbackSTTStream(
            self, rate=rate, on_transcript=on_transcript, on_error=on_error, language=language, hints=hints
        )

    async def _probe(self, provider: STT) -> None:
        """A pause after a little silence is answered, with nothing."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(problem: Exception | None = None) -> None:
            if not answer.done():
                answer.set_result(None) if problem is None else answer.set_exception(problem)

        stream = provider.open(
            rate=8000, on_transcript=lambda heard: done() if heard.is_final else None, on_error=done
        )
        try:
            stream.speech_started()
            for _ in range(15):
                stream.push(bytes(320))
            stream.speech_stopped()
            async with asyncio.timeout(max(PROBE_S, self.first_result_s)):
                await answer
        except TimeoutError:
            raise STTError(f"{provider.name}: no final transcript of silence") from None
        finally:
            await stream.close()


class FallbackSTTStream(STTStream):
    """One call's recogniser on several.

    A recogniser that reports an error, or leaves a pause unanswered for ``first_result_s``, is closed, and
    the next hears the turn from its begin. Only when each had its try is the call told. Once the wanted one
    works again, it takes the next turn.

    Attributes:
        current: who listens now.
        switches: how often another took over.
    """

    def __init__(
        self,
        engine: FallbackSTT,
        *,
        rate: int,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[Exception], None],
        language: str | None,
        hints: Sequence[str],
    ) -> None:
        self._engine = engine
        self._rate = rate
        self._on_transcript = on_transcript
        self._on_error = on_error
        self._language = language
        self._hints = tuple(hints)
        self._loop = asyncio.get_running_loop()
        self._sound: deque[bytes] = deque()
        self._sound_bytes = 0
        self._before_ms: int | None = None
        self._in_turn = False
        self._speaking = False
        self._unanswered = False
        self._tried: list[tuple[str, Exception]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._generation = 0
        self._stream: STTStream | None = None
        self.current: Standby[STT] = engine.standbys.all[0]
        self.switches = 0
        problem = self._open_next()
        if problem is not None:
            raise problem

    # what the call says

    def keep_before(self, ms: int) -> None:
        """As the call's; also for those who listen later."""
        self._before_ms = ms
        self._tell(lambda stream: stream.keep_before(ms))

    def push(self, pcm: bytes) -> None:
        """The next frame, to who listens now and to what is kept."""
        if self._closed:
            return
        self._sound.append(pcm)
        self._sound_bytes += len(pcm)
        before_ms = PREROLL_MS if self._before_ms is None else self._before_ms
        limit = REPLAY_S if self._in_turn else before_ms / 1000
        while self._sound_bytes > limit * self._rate * 2:
            self._sound_bytes -= len(self._sound.popleft())
        self._tell(lambda stream: stream.push(pcm))

    def speech_started(self) -> None:
        """As the call's."""
        self._speaking = self._in_turn = True
        self._unanswered = False
        self._stop_timer()
        self._tell(lambda stream: stream.speech_started())

    def speech_stopped(self) -> None:
        """As the call's; an answer is due."""
        if self._closed:
            return
        self._speaking = False
        self._unanswered = True
        self._start_timer()
        self._tell(lambda stream: stream.speech_stopped())

    def next_turn(self) -> None:
        """As the call's; and whoever is wanted more, and works again, takes over."""
        self._stop_timer()
        self._unanswered = False
        self._in_turn = self._speaking
        self._sound.clear()
        self._sound_bytes = 0
        self._tried.clear()
        self._tell(lambda stream: stream.next_turn())
        best = self._engine.standbys.order()[0]
        if not self._closed and best is not self.current and not best.down and not self._speaking:
            self._open_next()

    async def close(self) -> None:
        """Close who listens."""
        self._closed = True
        self._stop_timer()
        self._retire()
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._sound.clear()

    # who listens

    def _tell(self, what: Callable[[STTStream], None]) -> None:
        if self._stream is not None and not self._closed:
            what(self._stream)

    def _retire(self) -> None:
        stream, self._stream = self._stream, None
        self._generation += 1
        if stream is not None:
            self._spawn(stream.close())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _open_next(self) -> ProviderError | ConfigurationError | None:
        """The first that was not tried in this turn listens, to all of the turn. Returns why nobody does."""
        refused = [name for name, _ in self._tried]
        for standby in self._engine.standbys.order():
            if standby.name in refused:
                continue
            generation = self._generation + 1
            try:
                stream = self._open(standby, generation)
            except VoxtraError as problem:
                self._engine.standbys.failed(standby, problem)
                self._tried.append((standby.name, problem))
                continue
            self._retire()
            self._stream = stream
            if standby is not self.current:
                self.switches += 1
            self.current = standby
            self._replay(stream)
            return None
        nobody = all_failed(STTError, self._tried)
        if self._stream is None and all(isinstance(why, ConfigurationError) for _, why in self._tried):
            return ConfigurationError(str(nobody))
        return nobody

    def _open(self, standby: Standby[STT], generation: int) -> STTStream:
        stream = standby.provider.open(
            rate=self._rate,
            on_transcript=lambda heard: self._heard(heard, generation),
            on_error=lambda problem: self._failed(problem, generation),
            language=self._language,
            hints=self._hints,
        )
        if self._before_ms is not None:
            stream.keep_before(self._before_ms)
        return stream

    def _replay(self, stream: STTStream) -> None:
        if self._in_turn:
            stream.speech_started()
        for pcm in self._sound:
            stream.push(pcm)
        if self._unanswered:
            stream.speech_stopped()
            self._start_timer()

    # what the call is told

    def _heard(self, transcript: Transcript, generation: int) -> None:
        if self._closed or generation != self._generation:
            return
        if transcript.is_final:
            self._unanswered = False
            self._stop_timer()
            self._engine.standbys.worked(self.current)
        self._on_transcript(transcript)

    def _failed(self, problem: Exception, generation: int) -> None:
        if self._closed or generation != self._generation:
            return
        self._stop_timer()
        self._engine.standbys.failed(self.current, problem)
        self._tried.append((self.current.name, problem))
        nobody = self._open_next()
        if nobody is None:
            return
        self._tried.clear()  # with the next pause each has its try again
        self._unanswered = False
        self._on_error(nobody)

    def _start_timer(self) -> None:
        self._stop_timer()
        generation = self._generation
        limit = self._engine.first_result_s

        def late() -> None:
            self._failed(STTError(f"{self.current.name}: no final transcript within {limit:g} s"), generation)

        self._timer = self._loop.call_later(limit, late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
