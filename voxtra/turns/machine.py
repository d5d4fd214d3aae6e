"""Who has the floor: speech probabilities, transcripts and time go in, decisions come out.

No I/O and no clock of its own: ``now`` is monotonic milliseconds, given with every input. The shell
feeds every 20 ms frame to :meth:`TurnMachine.frame` and, should frames stop, calls
:meth:`TurnMachine.tick`; each state has a deadline that one of the two will meet.

::

    quiet ──speech──▶ speaking ──200 ms silence──▶ pausing ──silence_threshold──▶ deciding
                         ▲                            │                             │
                         └─────────── speech ─────────┴─────────────────────────────┤
    quiet ◀── too short: dropped ─────────────────────┘                             │
    quiet ◀── final transcript or deadline: ended, or dropped when without words ───┘

Of each turn the decisions come in this order: SpeechStarted, any number of (SpeechPaused, SpeechResumed),
SpeechPaused, and once TurnEnded or TurnDropped. A Duck is followed by a Resume or a BargeIn in at most
``barge_confirm_ms`` + :data:`DUCK_MS`.
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
DUCK_MS = 1000
"""How long beyond ``barge_confirm_ms`` the agent stays paused for sound that neither lasts nor ends."""
TRANSCRIPT_DEADLINE_MS = 3000
"""How long a turn waits for its final transcript before it goes by what is there."""
MAX_TURN_MS = 60_000
"""A turn longer than this is cut, so that a stuck detector can't keep the floor for ever."""


DropReason: TypeAlias = Literal["noise", "backchannel", "no_words", "stopped"]


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
    """It was noise, or there is nothing left to hold back: go on with the agent's sound where it paused."""


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
    """What began as a turn was none.

    Attributes:
        reason: ``noise`` (shorter than ``min_speech_ms``), ``backchannel`` (shorter than
            ``response_min_speech_ms``), ``no_words``, ``stopped`` (by :meth:`TurnMachine.stop`).
        interrupted: True when the agent was cut off for it: no turn will come of that, so somebody
            must take the floor again.
    """

    reason: DropReason
    interrupted: bool = False


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
        # Silence that pauses or resumes never outlasts the silence that ends the turn.
        self._pause_ms = min(PAUSE_MS, settings.silence_threshold_ms)
        self._resume_ms = min(RESUME_MS, settings.silence_threshold_ms)
        self._agent_audible = False
        self._interruptible = True
        self._agent_until = float("-inf")  # end of the agent's last sound
        self._ducked = False  # only ever while a turn is under way
        self._ducked_at = 0.0
        self._last_barge = float("-inf")
        self._last_commit = float("-inf")
        self._reset_turn()

    def _reset_turn(self) -> None:
        self._state = _State.QUIET
        self._started_at = 0.0
        self._over_agent = False  # it began while the agent was heard
        self._last_voice = 0.0
        self._speech_ms = 0.0  # voiced ms of the turn
        self._run_ms = 0.0  # voiced ms since the last pause
        self._duck_spent = False  # this run had its Duck and did not confirm: no second one
        self._deciding_since = 0.0
        self._cut = False  # too long: further speech belongs to the next turn
        self._text = ""
        self._confidence = 1.0
        self._final = False  # a final transcript covers all speech so far
        self._barged = False  # it took the floor

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

        Speech that was under way when it ends unconfirmed becomes an ordinary turn; a Duck is then
        answered by a Resume, so that the next sound is not held back.
        """
        if audible and not self._agent_audible:
            self._run_ms = 0.0
            self._duck_spent = False
        if not audible and self._agent_audible:
            self._agent_until = now
        self._agent_audible = audible
        self._interruptible = interruptible
        return [] if audible else self._unduck()

    def frame(self, probability: float, now: float) -> list[Decision]:
        """One frame of the caller's sound with the detector's probability of speech."""
        heard = self._agent_audible and not self._ducked
        guarded = heard or now - self._agent_until < self.settings.tts_guard_ms
        if probability >= (SPEECH_OVER_AGENT if guarded else SPEECH) and not self._cut:
            return self._voice(now)
        return self.tick(now)

    def _voice(self, now: float) -> list[Decision]:
        out: list[Decision] = []
        if self._state is _State.QUIET:
            self._started_at = now
            self._over_agent = self._agent_audible
            out.append(SpeechStarted(now))
        elif self._state is not _State.SPEAKING:
            self._final = False
            out.append(SpeechResumed(now))
        self._state = _State.SPEAKING
        self._last_voice = now
        self._speech_ms += self._frame_ms
        self._run_ms += self._frame_ms
        if self._agent_audible and self._interruptible:
            self._speech_over_agent(now, out)
        self._let_go(now, out)
        if now - self._started_at >= MAX_TURN_MS:
            self._cut = True
            self._pause(now, out)
            out += self._end_of_speech(now)
        return out

    def _speech_over_agent(self, now: float, out: list[Decision]) -> None:
        if now - self._last_barge < self.settings.cancel_min_interval_ms:
            return
        if self._run_ms >= self.settings.barge_confirm_ms:
            self._ducked = False
            self._agent_audible = False
            self._agent_until = now
            self._last_barge = now
            self._barged = True
            out.append(BargeIn())
        elif not self._ducked and not self._duck_spent:
            self._ducked = True
            self._ducked_at = now
            self._agent_until = now
            out.append(Duck())

    def _let_go(self, now: float, out: list[Decision]) -> None:
        """Resume after silence, or after a time in which sound neither lasted nor ended."""
        silent = now - self._last_voice >= self._resume_ms
        late = now - self._ducked_at >= self.settings.barge_confirm_ms + DUCK_MS
        if silent:
            self._duck_spent = False
        elif self._ducked and late:
            self._duck_spent = True
        else:
            return
        out += self._unduck()

    def _unduck(self) -> list[Decision]:
        was, self._ducked = self._ducked, False
        return [Resume()] if was else []

    def _pause(self, now: float, out: list[Decision]) -> None:
        self._state = _State.PAUSING
        self._run_ms = 0.0
        out.append(SpeechPaused(now))

    def tick(self, now: float) -> list[Decision]:
        """Time passes without speech."""
        if self._state is _State.QUIET:
            return []
        out: list[Decision] = []
        silence = now - self._last_voice
        if self._state is _State.SPEAKING and silence >= self._pause_ms:
            self._pause(now, out)
        ducked = self._ducked
        self._let_go(now, out)
        if ducked and silence >= self._resume_ms and self._speech_ms < self._floor_ms():
            return [*out, *self._too_short()]
        if self._state is _State.PAUSING and silence >= self.settings.silence_threshold_ms:
            out += self._end_of_speech(now)
        elif self._state is _State.DECIDING:
            out += self._decide(now)
        return out

    def _floor_ms(self) -> float:
        """How much must be said for a turn; over the agent not less than confirms a barge-in."""
        least = self.settings.response_min_speech_ms
        return max(least, self.settings.barge_confirm_ms) if self._over_agent else least

    def _end_of_speech(self, now: float) -> list[Decision]:
        settings = self.settings
        if self._speech_ms < max(settings.min_speech_ms, settings.response_min_speech_ms):
            return self._too_short()
        self._state = _State.DECIDING
        self._deciding_since = now
        return self._decide(now)

    def _too_short(self) -> list[Decision]:
        noise = self._speech_ms < self.settings.min_speech_ms
        return self._close(TurnDropped("noise" if noise else "backchannel", self._barged))

    def _decide(self, now: float) -> list[Decision]:
        if not self._final and now - self._deciding_since < TRANSCRIPT_DEADLINE_MS:
            return []
        if not self._text.strip():
            return self._close(TurnDropped("no_words", self._barged))
        if now - self._last_commit < self.settings.commit_min_interval_ms:
            return []
        self._last_commit = now
        words, sure = self._text, self._confidence
        return self._close(
            TurnEnded(words, sure, self._started_at, self._last_voice, now, interrupted=self._barged)
        )

    def _close(self, decision: TurnEnded | TurnDropped) -> list[Decision]:
        resumed = self._unduck()
        self._reset_turn()
        return [*resumed, decision]

    def transcript(self, text: str, confidence: float, is_final: bool, now: float) -> list[Decision]:
        """The recogniser's newest words for the turn under way (they replace those before).

        A final that comes after speech went on covers only part of the turn and is taken as a partial;
        a partial that comes after the final of the same pause is late and changes nothing.
        """
        if self._state is _State.QUIET or (self._final and not is_final):
            return []
        self._text = text
        self._confidence = confidence
        self._final = is_final and self._state is not _State.SPEAKING
        return self._decide(now) if self._state is _State.DECIDING else []

    def stop(self) -> list[Decision]:
        """Drop what is under way (the conversation no longer cares for it)."""
        if self._state is _State.QUIET:
            return []
        out: list[Decision] = []
        if self._state is _State.SPEAKING:
            self._pause(self._last_voice, out)
        return [*out, *self._close(TurnDropped("stopped", self._barged))]
