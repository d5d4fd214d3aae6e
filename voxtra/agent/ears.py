"""The agent's ears: each frame of the caller to the detector, the turn machine and the recogniser."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from voxtra.errors import PipelineError
from voxtra.media.line import Frame, Line
from voxtra.speech.base import STT, VAD, STTStream, Transcript
from voxtra.turns import (
    Decision,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    TurnDropped,
    TurnEnded,
    TurnMachine,
)

TICK_S = 0.2
"""How often time is told to a turn under way when no frames come."""


class Ears:
    """Listens to one line.

    Args:
        decide: called with every decision of the turn machine, on the spot, and the time in ms.
        partial: called with every transcript that is not final.
        failed: called when the recogniser reports an error.
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
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._machine = machine
        self._decide = decide
        self._partial = partial
        self._failed = failed
        self._todo: deque[Decision] = deque()
        self._acting = False
        self.broken: PipelineError | None = None
        """Why nothing is heard any more, when a detector or recogniser has a flaw."""
        self._vad = vad.open(rate=line.rate)
        self._stt: STTStream | None = None
        if stt is not None:
            self._stt = stt.open(
                rate=line.rate,
                on_transcript=self._transcript,
                on_error=failed,
                language=language,
                hints=hints,
            )
        self.deaf = False
        self._last_frame = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._off = line.listen(self._hear)

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
        decisions = self._machine.frame(self._vad.push(frame.pcm), now)
        if self._stt is not None:
            self._stt.push(frame.pcm)
        if decisions:
            self.act(decisions, now)

    def _transcript(self, transcript: Transcript) -> None:
        now = self._loop.time() * 1000
        if not transcript.is_final and transcript.text:
            self._partial(transcript)
        self.act(
            self._machine.transcript(transcript.text, transcript.confidence, transcript.is_final, now), now
        )

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
        if isinstance(decision, SpeechStarted) and self._timer is None:
            self._timer = self._loop.call_later(TICK_S, self._tick)
        self._decide(decision, now)

    @staticmethod
    def _tell_stt(stt: STTStream, decision: Decision) -> None:
        if isinstance(decision, SpeechStarted | SpeechResumed):
            stt.speech_started()
        elif isinstance(decision, SpeechPaused):
            stt.speech_stopped()
        elif isinstance(decision, TurnEnded | TurnDropped):
            stt.next_turn()

    def _tick(self) -> None:
        """Frames may stop in mid-turn (the caller is on hold, Asterisk plays a prompt): time goes on."""
        self._timer = None
        if not self._machine.speaking:
            return
        now = self._loop.time() * 1000
        if now - self._last_frame > TICK_S * 500:
            self.act(self._machine.tick(now), now)
        if self._machine.speaking and self._timer is None:
            self._timer = self._loop.call_later(TICK_S, self._tick)

    async def close(self) -> None:
        """Stop listening. Idempotent."""
        self._off()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stt is not None:
            stt, self._stt = self._stt, None
            await stt.close()
