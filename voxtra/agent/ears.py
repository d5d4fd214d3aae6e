"""The agent's ears: each frame of the caller to the detector, the turn machine and the recogniser."""

from __future__ import annotations

import asyncio
import math
import warnings
from collections import deque
from collections.abc import Callable, Sequence

from voxtra.agent.hearing_out import HearingOut
from voxtra.errors import PipelineError
from voxtra.media.line import FRAME_MS, Frame, Line
from voxtra.speech.base import STT, VAD, EndOfTurnModel, STTStream, Transcript
from voxtra.turns import (
    Decision,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    TurnDetection,
    TurnDropped,
    TurnEnded,
    TurnMachine,
)
from voxtra.turns.echo import SILENT, EchoGuard, levels_of
from voxtra.turns.foreground import Foreground

with warnings.catch_warnings():
    # Deprecated in the standard library since 3.11; from 3.13 the audioop-lts package gives the same module.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

TICK_S = 0.2
"""How often time is told to a turn under way when no frames come."""


def level(pcm: bytes) -> float:
    """RMS of 16-bit PCM, dB relative to full scale."""
    loudness = audioop.rms(pcm, 2)
    return 20 * math.log10(loudness / 32768) if loudness else SILENT


class _Played:
    """Tells the echo guard how loud what is played is."""

    def __init__(self, guard: EchoGuard, frame_samples: int) -> None:
        self._guard = guard
        self._frame_bytes = frame_samples * 2
        self._rest = b""

    def played(self, pcm: bytes) -> None:
        pcm = self._rest + pcm if self._rest else pcm
        whole = len(pcm) // self._frame_bytes * self._frame_bytes
        self._rest = pcm[whole:]
        if whole == self._frame_bytes:  # who sends frame by frame pays for no array
            self._guard.played((max(level(pcm[:whole]), SILENT),))
        else:
            self._guard.played(levels_of(pcm, self._frame_bytes))

    def paused(self) -> None:
        self._guard.paused()

    def resumed(self) -> None:
        self._guard.resumed()

    def flushed(self, heard: int) -> None:
        self._rest = b""
        self._guard.flushed()


class Ears:
    """Listens to one line.

    Args:
        decide: called with every decision of the turn machine, on the spot, and the time in ms.
        partial: called with every transcript that is not final.
        failed: called when the recogniser reports an error.
        echo: learns what of the agent's sound comes back; None = nothing is taken for echo, or for voices in the
            background.
        end_of_turn: asked at each pause whether the caller has finished; None = words and silence tell.
    """

    def __init__(
        self,
        line: Line,
        machine: TurnMachine,
        vad: VAD,
        stt: STT | None,
        *,
        decide: Callable[[Decision, float], None],
        partial: Callable[[Transcript], None],
        failed: Callable[[Exception], None],
        language: str | None = None,
        hints: Sequence[str] = (),
        echo: EchoGuard | None = None,
        end_of_turn: EndOfTurnModel | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._echo = echo
        self._foreground = Foreground()
        self._machine = machine
        self._decide = decide
        self._partial = partial
        self._failed = failed
        self._todo: deque[Decision] = deque()
        self._acting = False
        self.broken: PipelineError | None = None
        """Why nothing is heard any more, when a detector or recogniser has a flaw."""
        self._vad = vad.open(rate=line.rate)
        self._recogniser = stt
        self._rate = line.rate
        self._hints = hints
        self._opened = self._listening = 0
        self._next: STTStream | None = None  # it takes over when the turn under way has ended
        self._closing: set[asyncio.Task[None]] = set()
        self._stt = self._open(stt, language) if stt is not None else None
        self._listening = self._opened
        self._hearing_out: HearingOut | None = None
        if end_of_turn is not None:
            self._hearing_out = HearingOut(end_of_turn, line.rate, self._sounded)
            self._hearing_out.keep_before(machine.settings.prefix_padding_ms)
        self.deaf = False
        self._last_frame = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._off = line.listen(self._hear)
        self._unobserve: Callable[[], None] | None = None
        if echo is not None:
            self._unobserve = line.observe(_Played(echo, line.samples(FRAME_MS)))

    def _open(self, stt: STT, language: str | None) -> STTStream:
        self._opened += 1
        number = self._opened

        def told(transcript: Transcript) -> None:
            if number == self._listening:
                self._transcript(transcript)

        def failed(error: Exception) -> None:
            if number == self._listening:
                self._failed(error)

        stream = stt.open(
            rate=self._rate, on_transcript=told, on_error=failed, language=language, hints=self._hints
        )
        stream.keep_before(self._machine.settings.prefix_padding_ms)
        return stream

    def use_language(self, language: str | None) -> None:
        """Another recogniser, for this language: at once, or from the end of the turn under way on.

        Raises:
            ConfigurationError: there is none; nothing has changed.
        """
        if self._stt is None or self._recogniser is None:
            return
        stream = self._open(self._recogniser, language)
        if self._next is not None:
            self._end(self._next)
        self._next = stream
        if not self._machine.speaking:
            self._take_next()

    def _take_next(self) -> None:
        before, self._stt = self._stt, self._next
        self._next = None
        self._listening = self._opened
        if before is not None:
            self._end(before)

    def _end(self, stream: STTStream) -> None:
        task = asyncio.ensure_future(stream.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _hear(self, frame: Frame) -> None:
        try:
            self._frame(frame)
        except Exception as error:
            self.broken = PipelineError(f"the caller can't be heard: {type(error).__name__}: {error}")
            self._failed(self.broken)
            raise  # the line drops us, and the loop's handler gets the rest

    def _frame(self, frame: Frame) -> None:
        now = frame.time * 1000
        self._last_frame = now
        if self.deaf:
            return
        probability = self._vad.push(frame.pcm)
        if self._echo is not None:
            loudness = level(frame.pcm)
            probability = self._echo.hear(probability, loudness, now)
            learn = not self._echo.beside_agent
            probability = self._foreground.hear(probability, loudness, learn=learn)
        decisions = self._machine.frame(probability, now)
        if self._stt is not None:
            self._stt.push(frame.pcm)
        if self._next is not None:
            self._next.push(frame.pcm)
        if self._hearing_out is not None:
            self._hearing_out.push(frame.pcm)
        if decisions:
            self.act(decisions, now)

    def _transcript(self, transcript: Transcript) -> None:
        now = self._loop.time() * 1000
        if not transcript.is_final and transcript.text:
            self._partial(transcript)
        self.act(
            self._machine.transcript(transcript.text, transcript.confidence, transcript.is_final, now), now
        )

    def _sounded(self, probability: float) -> None:
        now = self._loop.time() * 1000
        self.act(self._machine.sounded(probability, now), now)

    def act(self, decisions: Sequence[Decision], now: float) -> None:
        """Carry out what the machine decided: the recogniser first, then whoever listens."""
        self._todo += decisions
        if self._acting:
            return  # a recogniser that answers on the spot: what follows from it comes after
        self._acting = True
        try:
            while self._todo:
                self._act(self._todo.popleft(), now)
        finally:
            self._acting = False
            self._todo.clear()

    def _act(self, decision: Decision, now: float) -> None:
        if self._stt is not None:
            self._tell_stt(self._stt, decision)
            if self._next is not None and isinstance(decision, TurnEnded | TurnDropped):
                self._take_next()
        if self._hearing_out is not None:
            self._hearing_out.decided(decision)
        if isinstance(decision, SpeechStarted):
            self._keep_time()
        self._decide(decision, now)

    @staticmethod
    def _tell_stt(stt: STTStream, decision: Decision) -> None:
        if isinstance(decision, SpeechStarted | SpeechResumed):
            stt.speech_started()
        elif isinstance(decision, SpeechPaused):
            stt.speech_stopped()
        elif isinstance(decision, TurnEnded | TurnDropped):
            stt.next_turn()

    def trailing(self, key: str) -> bool:
        """Whether a key means nothing: the ``#`` after keys that were complete without it."""
        return self._machine.trailing(key, self._loop.time() * 1000)

    def key(self, key: str) -> None:
        """The caller pressed a key."""
        now = self._loop.time() * 1000
        self.act(self._machine.key(key, now), now)
        self._keep_time()

    def give_up_keys(self) -> str:
        """Keys under way that are no turn here."""
        keys = self._machine.give_up_keys()
        if self._next is not None and not self._machine.speaking:
            self._take_next()
        return keys

    def _keep_time(self) -> None:
        if self._machine.speaking and self._timer is None:
            self._timer = self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        """Frames may stop in mid-turn (the caller is on hold, Asterisk plays a prompt): time goes on."""
        self._timer = None
        if not self._machine.speaking:
            return
        now = self._loop.time() * 1000
        if now - self._last_frame > TICK_S * 500:
            self.act(self._machine.tick(now), now)
        self._keep_time()

    def use(self, settings: TurnDetection) -> None:
        """Other settings from now on."""
        self._machine.settings = settings
        for stream in (self._stt, self._next):
            if stream is not None:
                stream.keep_before(settings.prefix_padding_ms)
        if self._hearing_out is not None:
            self._hearing_out.keep_before(settings.prefix_padding_ms)

    async def close(self) -> None:
        """Stop listening. Idempotent."""
        self._off()
        if self._unobserve is not None:
            self._unobserve()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._hearing_out is not None:
            await self._hearing_out.close()
        if self._stt is not None:
            stt, self._stt = self._stt, None
            await stt.close()
        if self._next is not None:
            self._end(self._next)
            self._next = None
        if self._closing:
            await asyncio.wait(self._closing)
