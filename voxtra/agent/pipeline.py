"""One call's conversation: line, speech and turns joined, for ``say``, ``listen`` and barge-in."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass

from voxtra.agent.client import AgentClient
from voxtra.agent.ears import Ears
from voxtra.agent.hearing_out import rules_of
from voxtra.agent.mouth import Mouth, Patience, SayResult, Utterance
from voxtra.agent.times import TurnTimes
from voxtra.errors import PipelineNotConfiguredError
from voxtra.events import ErrorEvent, EventType, UserTranscriptEvent, VoxtraEvent
from voxtra.media.line import Line
from voxtra.speech.base import STT, TTS, VAD, EndOfTurnModel, Transcript
from voxtra.turns import (
    BargeIn,
    Decision,
    Duck,
    Expect,
    LikelyEnd,
    LikelyEndWithdrawn,
    Resume,
    SpeechStarted,
    TextRules,
    TurnDetection,
    TurnDropped,
    TurnEnded,
    TurnExtended,
    TurnMachine,
)
from voxtra.turns.echo import EchoGuard

log = logging.getLogger("voxtra.agent")

MAX_TURNS = 16
"""Turns that may wait for ``listen``; the oldest goes when there are more."""
STALE_MS = 10_000
"""A turn that ended longer ago than this, with nobody listening, is no answer to what is asked now."""


@dataclass(slots=True, frozen=True)
class SpeechSetup:
    """What a pipeline speaks and hears with. Providers are shared by all calls."""

    stt: STT | None = None
    tts: TTS | None = None
    vad: VAD | None = None
    language: str | None = None
    hints: Sequence[str] = ()
    end_of_turn: EndOfTurnModel | None = None


class VoicePipeline:
    """The conversation on one line.

    Everything a frame needs is done in plain calls on the line's own callback; no task, no queue and no
    thread lies between a caller's 20 ms and the decision to stop the agent.

    Args:
        line: the call's sound; it stays the call's own.
        speech: the providers.
        agent: the conversation's memory.
        turns: settings of turn-taking.
        emit: takes the events of the conversation.
    """

    def __init__(
        self,
        line: Line,
        speech: SpeechSetup,
        agent: AgentClient,
        *,
        turns: TurnDetection,
        emit: Callable[[VoxtraEvent], None],
    ) -> None:
        self.line = line
        self.agent = agent
        self._speech = speech
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._own_turns = turns
        self._echo = EchoGuard()
        language = agent.language or speech.language
        self.rules = TextRules(language, asked=self._words, echo=self._is_own)
        """What the caller's words say about the end of a turn."""
        sound = rules_of(speech.end_of_turn)
        self._machine = TurnMachine(turns, endpoint=self.rules, over_agent=self.rules.over_agent, sound=sound)
        self.foresee: Callable[[str | None], None] | None = None
        """Called with the words of a turn that is likely over, before it is; with None when it is not."""
        self._held_back = False  # the agent was paused for the sound that is listened to
        self._mouth = Mouth(line, speech.tts, self._audible)
        self._mouth.language = language
        self._unfollow = agent.follow_language(self._use_language)
        self._saying: TurnTimes = TurnTimes()
        self._turns: deque[tuple[TurnEnded, UserTranscriptEvent]] = deque(maxlen=MAX_TURNS)
        self._changed = asyncio.Event()
        self._lost = False
        self._heard_out_at = 0.0  # ms, when the caller last had heard what may not be interrupted
        self.last_said: SayResult | None = None
        """How the newest ``say`` ended."""
        self._ears: Ears | None = None
        line.closed.add_done_callback(self._wake)
        if speech.vad is not None:
            self._ears = Ears(
                line,
                self._machine,
                speech.vad,
                speech.stt,
                decide=self._decided,
                partial=self._heard_part,
                failed=self._failed,
                language=language,
                hints=speech.hints,
                echo=self._echo,
                end_of_turn=speech.end_of_turn,
            )

    # ---- speaking

    @property
    def speaking(self) -> bool:
        """True while something is being said."""
        return self._mouth.current is not None

    async def say(
        self,
        text: str | AsyncIterable[str],
        *,
        interruptible: bool = True,
        voice: str | None = None,
        patience: Patience | None = None,
    ) -> SayResult:
        """Speak; returns when it was heard, the caller interrupted, or the call ended.

        The conversation's history is cut to what was heard.

        Raises:
            PipelineNotConfiguredError: there is no TTS.
            TTSError: the provider failed.
            LLMError: ``text`` is a reply being made, and the model failed, or halted for longer than ``patience``
                allows.
        """
        if self._speech.tts is None:
            raise PipelineNotConfiguredError("tts")
        fresh = not self.agent.times.played_at
        self._saying = times = self.agent.times if fresh else TurnTimes()
        try:
            return await self._mouth.say(
                text, interruptible=interruptible, voice=voice, times=times, patience=patience
            )
        finally:  # also when it failed or was cancelled: what was heard is what was said
            if self._mouth.last is not None:
                self._said(self._mouth.last, audible=bool(times.played_at))

    def _said(self, result: SayResult, *, audible: bool) -> None:
        self.last_said = result
        if result.reason != "finished":
            self.agent.cut_to_heard(result.text, result.heard)
        if audible:
            data = {"reason": result.reason, "heard": result.heard, "text": result.text}
            self._emit(VoxtraEvent(type=EventType.AGENT_SPEECH_ENDED, data=data))

    @property
    def deaf(self) -> bool:
        """True while what comes from the line is not the caller speaking to us (on hold, bridged away)."""
        return self._ears is not None and self._ears.deaf

    @deaf.setter
    def deaf(self, deaf: bool) -> None:
        if self._ears is not None:
            self._ears.deaf = deaf
            if deaf:
                now = self._loop.time() * 1000
                self._ears.act(self._machine.stop(), now)
            self._wake()

    async def hears_again(self) -> None:
        """Wait until it is not deaf, or the line has closed."""
        while self.deaf and not self.line.closed.done():
            await self.changed()

    def interrupt(self, *, anyway: bool = False) -> None:
        """Cut in on what is being said, if it may be interrupted (or ``anyway``): silence within a frame."""
        utterance = self._mouth.current
        if utterance is not None and (utterance.interruptible or anyway) and not utterance.stopped.is_set():
            self._mouth.stop()
            self._emit(VoxtraEvent(type=EventType.BARGE_IN))

    def key(self, key: str) -> None:
        """The caller pressed a key: it is (part of) a turn, and cuts in on what is being said."""
        if self._ears is not None:
            if self._ears.trailing(key):
                return
            self._ears.key(key)
        self.interrupt()
        self._wake()

    def give_up_keys(self) -> str:
        """The keys of the turn under way, for somebody who asks for keys: they are no turn then."""
        keys = self._ears.give_up_keys() if self._ears is not None else ""
        self._wake()
        return keys

    def _audible(self, audible: bool, utterance: Utterance) -> None:
        now = self._loop.time() * 1000
        decisions = self._machine.agent_audible(audible, now, interruptible=utterance.interruptible)
        if self._ears is not None:
            self._ears.act(decisions, now)
        if not audible and not utterance.interruptible:
            self._heard_out_at = now
        if audible:
            data = {"text": utterance.ledger.text, "latency": self._saying.split()}
            self._emit(VoxtraEvent(type=EventType.AGENT_SPEECH_STARTED, data=data))

    def _words(self) -> str:
        """What the agent says, or said last."""
        utterance = self._mouth.current
        if utterance is not None:
            return utterance.ledger.text
        return self._mouth.last.text if self._mouth.last is not None else ""

    def _is_own(self, text: str) -> bool:
        return self._echo.is_own(text, self._words())

    # ---- listening

    async def listen(
        self, timeout: float | None = None, *, lost: bool = False, expect: Expect | str | None = None
    ) -> UserTranscriptEvent | None:
        """The caller's next turn; None when none began within ``timeout`` s, or the call ended.

        Args:
            timeout: s, None for ever.
            expect: what kind of answer, like ``"digits:8"``; None goes by the agent's last question.
            lost: also return, with no text, when the agent was interrupted by what turned out to be no
                turn: somebody has to go on speaking then.

        A turn that has begun is waited for to its end, however long the caller speaks.

        Raises:
            PipelineNotConfiguredError: there is no STT.
            PipelineError: the caller can't be heard any more: a provider has a flaw.
            ConfigurationError: nobody can expect that.
        """
        self.rules.expect = Expect.of(expect)
        try:
            return await self._next_turn(timeout, lost)
        finally:
            self.rules.expect = None

    async def _next_turn(self, timeout: float | None, lost: bool) -> UserTranscriptEvent | None:
        if self._speech.stt is None:
            raise PipelineNotConfiguredError("stt")
        deadline = None if timeout is None else self._loop.time() + timeout
        self._forget_stale()
        while not self._turns:
            if self.line.closed.done():
                return None
            if self._ears is not None and self._ears.broken is not None:
                raise self._ears.broken
            left = None if deadline is None or self._machine.speaking else deadline - self._loop.time()
            if left is not None and left <= 0:
                if not self.deaf:
                    self._emit(VoxtraEvent(type=EventType.SILENCE_DETECTED, data={"seconds": timeout}))
                return None
            if lost and self._lost and not self._machine.speaking:
                self._lost = False
                return UserTranscriptEvent(text="", is_final=False)
            self._changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                continue  # somebody may have begun to speak just now
        return self._turns.popleft()[1]

    @property
    def caller_speaks(self) -> bool:
        """True while a turn of the caller is under way."""
        return self._machine.speaking

    @property
    def has_turn(self) -> bool:
        """True when a turn waits to be taken."""
        self._forget_stale()
        return bool(self._turns)

    async def changed(self) -> None:
        """Wait until the caller begins to speak, or is done."""
        self._changed.clear()
        await self._changed.wait()

    def agent_thinks(self, thinks: bool) -> None:
        """An answer is being made, and nothing of it is heard yet."""
        self._machine.agent_thinks(thinks)

    def take_turn(self) -> UserTranscriptEvent | None:
        """A turn that waits already, None when there is none."""
        self._forget_stale()
        return self._turns.popleft()[1] if self._turns else None

    def unheard(self) -> str:
        """What the caller did not hear of what was said last, "" when all was heard."""
        said = self.last_said
        if said is None or said.reason != "interrupted":
            return ""
        return " ".join(said.text.split()[len(said.heard.split()) :])

    def use_turns(self, turns: TurnDetection | None) -> None:
        """Other settings of turn-taking from now on; None = those of the beginning."""
        if self._ears is not None:
            self._ears.use(turns or self._own_turns)

    def _use_language(self, language: str | None) -> None:
        """What ``agent.language`` is set to. Raises ConfigurationError."""
        language = language or self._speech.language
        if self._ears is not None:
            self._ears.use_language(language)
        self.rules.use_language(language)
        self._mouth.language = language

    def _forget_stale(self) -> None:
        now = self._loop.time() * 1000
        while self._turns and now - max(self._turns[0][0].speech_ended_at, self._heard_out_at) > STALE_MS:
            self._turns.popleft()

    def _wake(self, _: object = None) -> None:
        self._changed.set()

    def _decided(self, decision: Decision, now: float) -> None:
        match decision:
            case SpeechStarted():
                self._held_back = False
                self._emit(VoxtraEvent(type=EventType.USER_SPEECH_STARTED))
                self._wake()
            case Duck():
                self._held_back = True
                self.line.pause()
            case Resume():
                self.line.resume()
            case BargeIn():
                self.interrupt()
                self._let_sound()
            case TurnExtended(silence_ms=silence_ms, why=why):
                data = {"why": why, "silence_ms": silence_ms}
                self._emit(VoxtraEvent(type=EventType.TURN_EXTENDED, data=data))
            case LikelyEnd(text=text):
                self._foresee(text)
            case LikelyEndWithdrawn():
                self._foresee(None)
            case TurnEnded():
                self._turn_ended(decision)
            case TurnDropped(reason=reason, interrupted=interrupted):
                self._lost = self._lost or interrupted
                self._emit(VoxtraEvent(type=EventType.USER_SPEECH_ENDED, data={"dropped": reason}))
                if (self._held_back or interrupted) and reason != "stopped":
                    data = {"reason": reason, "stopped": interrupted}
                    self._emit(VoxtraEvent(type=EventType.FALSE_INTERRUPTION, data=data))
                self._wake()
            case _:
                pass

    def _foresee(self, text: str | None) -> None:
        if self.foresee is not None:
            self.foresee(text)

    def _let_sound(self) -> None:
        """End a pause that came after the stop it was for: with the flush, but not before it."""
        utterance = self._mouth.current
        flushing = utterance.flushing if utterance is not None else None
        if flushing is None or flushing.done():
            self.line.resume()
        else:
            flushing.add_done_callback(lambda _: self.line.resume())

    def _turn_ended(self, turn: TurnEnded) -> None:
        now = self._loop.time() * 1000
        data = {
            "started_ms_ago": round(now - turn.started_at),
            "ended_ms_ago": round(now - turn.speech_ended_at),
            "interrupted": turn.interrupted,
            "silence_ms": round(turn.silence_ms),
            "why": turn.why,
            **({"keys": turn.keys} if turn.keys else {}),
        }
        event = UserTranscriptEvent(text=turn.told, confidence=turn.confidence, data=data)
        if turn.text:
            self._emit(VoxtraEvent(type=EventType.USER_SPEECH_ENDED, data=data))
        self._emit(event)
        self._emit(VoxtraEvent(type=EventType.TURN_ENDED, data=data | {"text": turn.told}))
        utterance = self._mouth.current
        # keys are pressed ahead, too: by who knows what will be asked
        if turn.keys or utterance is None or utterance.interruptible or utterance.stopped.is_set():
            self._turns.append((turn, event))
            self.agent.times = TurnTimes.after(turn)
        self._lost = False
        self._wake()

    def _heard_part(self, transcript: Transcript) -> None:
        self._emit(
            UserTranscriptEvent(
                type=EventType.USER_TRANSCRIPT_PARTIAL,
                text=transcript.text,
                confidence=transcript.confidence,
                is_final=False,
            )
        )

    def _failed(self, error: Exception) -> None:
        log.warning("speech recognition: %s", error)
        self._emit(ErrorEvent(error_type=type(error).__name__, message=str(error)))
        self._wake()

    async def close(self) -> None:
        """End the conversation. The line is left as it is. Idempotent."""
        self._unfollow()
        if self._ears is not None:
            await self._ears.close()
        self._mouth.stop()
        self._wake()
