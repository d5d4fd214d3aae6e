"""Who has the floor: speech probabilities, transcripts and time go in, decisions come out.

No I/O and no clock of its own: ``now`` is monotonic milliseconds, given with every input. The shell
feeds every 20 ms frame to :meth:`TurnMachine.frame` and, should frames stop, calls
:meth:`TurnMachine.tick`; each state has a deadline that one of the two will meet.

::

    quiet ──speech──▶ speaking ──200 ms silence──▶ pausing ──silence_threshold──▶ deciding
      ▲                  ▲  └──── speech ────────────┘ │                            │ │
      │                  └──────────── speech ─────────┼────────────────────────────┘ │
      └──── too short: dropped ────────────────────────┘                              │
      └──── final transcript: ended / no words: dropped / deadline ───────────────────┘
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from voxtra.turns.settings import TurnDetection

SPEECH = 0.5
"""Probability from which a frame counts as speech while the agent is silent."""
SPEECH_OVER_AGENT = 0.7
"""The same while the agent is heard, and for ``tts_guard_ms`` after."""
PAUSE_MS = 200
"""Silence after which the recogniser is asked for a final transcript, in case the turn ends here."""
RESUME_MS = 260
"""Silence after which an interruption that was not confirmed is taken for noise and the agent goes on."""
TRANSCRIPT_DEADLINE_MS = 3000
"""How long a turn waits for its final transcript before it goes by what is there."""
MAX_TURN_MS = 60_000
"""A turn longer than this is cut, so that a stuck detector can't keep the floor for ever."""


@dataclass(slots=True, frozen=True)
class SpeechStarted:
    """The caller began to speak."""

    at: float


@dataclass(slots=True, frozen=True)
class SpeechPaused:
    """The caller paused; ask the recogniser for a final transcript."""

    at: float


@dataclass(slots=True, frozen=True)
class SpeechResumed:
    """The caller went on after a pause: the same turn."""

    at: float


@dataclass(slots=True, frozen=True)
class Duck:
    """Pause the agent's sound, keep it: somebody may be speaking."""


@dataclass(slots=True, frozen=True)
class Resume:
    """It was noise: go on with the agent's sound where it paused."""


@dataclass(slots=True, frozen=True)
class BargeIn:
    """The caller takes the floor: throw the agent's sound and reply away."""


@dataclass(slots=True, frozen=True)
class TurnEnded:
    """The caller's turn is over.

    Attributes:
        text: what was said, never empty.
        started_at, speech_ended_at, decided_at: ms on the clock of the inputs.
        interrupted: True when the turn began as a barge-in.
    """

    text: str
    confidence: float
    started_at: float
    speech_ended_at: float
    decided_at: float
    interrupted: bool = False


@dataclass(slots=True, frozen=True)
class TurnDropped:
    """What began as a turn was none."""

    reason: Literal["noise", "backchannel", "no_words"]


Decision: TypeAlias = (
    SpeechStarted | SpeechPaused | SpeechResumed | Duck | Resume | BargeIn | TurnEnded | TurnDropped
)


class _State(Enum):
    QUIET = "quiet"
    SPEAKING = "speaking"
    PAUSING = "pausing"
    DECIDING = "deciding"


class TurnMachine:
    """The turn-taking of one call."""

    def __init__(self, settings: TurnDetection, *, frame_ms: float = 20) -> None:
        self.settings = settings
        self._frame_ms = frame_ms
        self._state = _State.QUIET
        self._agent_audible = False
        self._interruptible = True
        self._agent_until = float("-inf")  # end of the agent's last sound
        self._ducked = False
        self._barged = False  # the turn under way took the floor
        self._last_barge = float("-inf")
        self._last_commit = float("-inf")
        self._reset_turn()

    def _reset_turn(self) -> None:
        self._state = _State.QUIET
        self._started_at = 0.0
        self._last_voice = 0.0
        self._speech_ms = 0.0  # voiced ms of the turn
        self._run_ms = 0.0  # voiced ms since the last silence that mattered
        self._paused_at = 0.0
        self._text = ""
        self._confidence = 1.0
        self._final = False  # a final transcript covers all speech so far
        self._barged = False

    @property
    def speaking(self) -> bool:
        """True while a turn is under way, decided or not."""
        return self._state is not _State.QUIET

    @property
    def ducked(self) -> bool:
        """True between a Duck and its Resume or BargeIn."""
        return self._ducked

    def agent_audible(self, audible: bool, now: float, *, interruptible: bool = True) -> list[Decision]:
        """The agent's sound starts or ends (as heard by the caller).

        Speech that was under way when it ends unconfirmed becomes an ordinary turn.
        """
        if audible and not self._agent_audible:
            self._run_ms = 0.0
        if not audible and self._agent_audible:
            self._agent_until = now
        self._agent_audible = audible
        self._interruptible = interruptible
        if not audible:
            self._ducked = False
        return []

    def frame(self, probability: float, now: float) -> list[Decision]:
        """One frame of the caller's sound with the detector's probability of speech."""
        guarded = self._agent_audible or now - self._agent_until < self.settings.tts_guard_ms
        if probability >= (SPEECH_OVER_AGENT if guarded else SPEECH):
            return self._voice(now)
        return self.tick(now)

    def _voice(self, now: float) -> list[Decision]:
        out: list[Decision] = []
        if self._state is _State.QUIET:
            self._reset_turn()
            self._started_at = now
            out.append(SpeechStarted(now))
        elif self._state is not _State.SPEAKING:
            self._final = False
            out.append(SpeechResumed(now))
        self._state = _State.SPEAKING
        self._last_voice = now
        self._speech_ms += self._frame_ms
        self._run_ms += self._frame_ms
        if self._agent_audible and self._interruptible:
            self._over_agent(now, out)
        if now - self._started_at >= MAX_TURN_MS:
            self._pause(now, out)
        return out

    def _over_agent(self, now: float, out: list[Decision]) -> None:
        confirm = self.settings.barge_confirm_ms
        if confirm and not self._ducked:
            self._ducked = True
            out.append(Duck())
        ready = now - self._last_barge >= self.settings.cancel_min_interval_ms
        if self._run_ms >= confirm and ready:
            self._ducked = False
            self._agent_audible = False
            self._agent_until = now
            self._last_barge = now
            self._barged = True
            out.append(BargeIn())

    def _pause(self, now: float, out: list[Decision]) -> None:
        self._state = _State.PAUSING
        self._paused_at = now
        self._run_ms = 0.0
        out.append(SpeechPaused(now))

    def tick(self, now: float) -> list[Decision]:
        """Time passes without speech."""
        out: list[Decision] = []
        silence = now - self._last_voice
        if self._state is _State.SPEAKING and silence >= PAUSE_MS:
            self._pause(now, out)
        if self._ducked and silence >= RESUME_MS:
            self._ducked = False
            out.append(Resume())
            if self._speech_ms < max(self.settings.response_min_speech_ms, self.settings.barge_confirm_ms):
                return [*out, *self._drop("backchannel")]
        if self._state is _State.PAUSING and silence >= self.settings.silence_threshold_ms:
            out += self._end_of_speech(now)
        elif self._state is _State.DECIDING:
            out += self._decide(now)
        return out

    def _end_of_speech(self, now: float) -> list[Decision]:
        if self._speech_ms < self.settings.min_speech_ms:
            return self._drop("noise")
        if self._speech_ms < self.settings.response_min_speech_ms:
            return self._drop("backchannel")
        self._state = _State.DECIDING
        return self._decide(now)

    def _decide(self, now: float) -> list[Decision]:
        if now - self._last_commit < self.settings.commit_min_interval_ms:
            return []
        late = now - self._last_voice >= self.settings.silence_threshold_ms + TRANSCRIPT_DEADLINE_MS
        if not self._final and not late:
            return []
        if not self._text.strip():
            return self._drop("no_words")
        ended = TurnEnded(
            self._text, self._confidence, self._started_at, self._last_voice, now, interrupted=self._barged
        )
        self._last_commit = now
        self._reset_turn()
        return [ended]

    def _drop(self, reason: Literal["noise", "backchannel", "no_words"]) -> list[Decision]:
        self._reset_turn()
        return [TurnDropped(reason)]

    def transcript(self, text: str, confidence: float, is_final: bool, now: float) -> list[Decision]:
        """The recogniser's newest words for the turn under way (they replace those before).

        A final that comes after speech went on covers only part of the turn and is taken as a partial.
        """
        if self._state is _State.QUIET:
            return []
        self._text = text
        self._confidence = confidence
        self._final = is_final and self._state is not _State.SPEAKING
        return self._decide(now) if self._state is _State.DECIDING else []

    def stop(self) -> list[Decision]:
        """Drop what is under way (the conversation no longer cares for it)."""
        was = self.speaking
        self._ducked = False
        self._reset_turn()
        return [TurnDropped("noise")] if was else []
