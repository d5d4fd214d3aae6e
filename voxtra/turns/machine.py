"""Who has the floor: speech probabilities, transcripts, keys and time go in, decisions come out.

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
``barge_confirm_ms`` (or ``backchannel_ms``, where that is more) + :data:`DUCK_MS`. Words may move the end of a
turn: an :data:`EndpointPolicy` looks at them at each pause, and TurnExtended tells when it made a difference. So may
its sound, where somebody asks a model at a SpeechPaused and hands the answer to :meth:`TurnMachine.sounded`.

A key that is pressed (:meth:`TurnMachine.key`) cuts in on the agent with nothing to weigh. The keys of a turn are
all there with ``#``, with as many as were asked for, or ``keys_silence_ms`` after the last. Keys alone make a turn of
their own, a TurnEnded without a SpeechStarted; with speech before, between or after them they are part of its turn.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Literal, TypeAlias

from voxtra.turns.decisions import (
    BargeIn,
    Decision,
    Duck,
    LikelyEnd,
    LikelyEndWithdrawn,
    Resume,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    TurnDropped,
    TurnEnded,
    TurnExtended,
)
from voxtra.turns.endpoint import Endpoint
from voxtra.turns.keys import Keys
from voxtra.turns.settings import TurnDetection
from voxtra.turns.sound import SoundRules, joined

SPEECH = 0.5
"""Probability from which a frame counts as speech while the agent is silent."""
SPEECH_OVER_AGENT = 0.7
"""The same while the agent is heard, and for ``tts_guard_ms`` after."""
PAUSE_MS = 200
"""Silence after which the recogniser is asked for a final transcript, in case the turn ends here."""
RESUME_MS = 260
"""Silence after which an interruption that was not confirmed is taken for noise and the agent goes on."""
WORDS_MS = 700
"""How long the paused agent waits for the words of a short sound over it, before it is cancelled without."""
DUCK_MS = 1000
"""How long beyond ``barge_confirm_ms`` (or ``backchannel_ms``) the agent stays paused for sound that neither
lasts nor ends."""
TRANSCRIPT_DEADLINE_MS = 3000
"""How long a turn waits for its final transcript before it goes by what is there."""
MAX_TURN_MS = 60_000
"""A turn longer than this is cut, so that a stuck detector can't keep the floor for ever."""
REPEATED_MS = 600
"""How much longer than ``backchannel_ms`` speech over the agent may last whose words so far are backchannels."""
SHORTEST_SILENCE_MS = 200
"""No words make the silence that ends a turn shorter than this."""
ECHO_TAIL_MS = 1000
"""A turn that began within this time after the agent's sound may be its echo: its words are compared."""


EndpointPolicy: TypeAlias = Callable[[str, bool], Endpoint | None]
"""Says of the words so far (and whether they are the final ones of a pause) what silence should end the turn;
None = as set. The machine keeps it within ``silence_min_ms`` and ``silence_max_ms``."""
OverAgent: TypeAlias = Callable[[str], Literal["echo", "backchannel"] | None]
"""Says of words that began over the agent, or right after it, why they are no turn; None = they are one."""


class _State(Enum):
    QUIET = "quiet"
    SPEAKING = "speaking"
    PAUSING = "pausing"
    DECIDING = "deciding"


class TurnMachine:
    """The turn-taking of one call.

    Args:
        settings: may be changed at any time.
        endpoint: moves the end of a turn by its words.
        over_agent: tells echo and backchannels by their words.
        sound: what the answers of :meth:`sounded` mean; None = the defaults.
    """

    def __init__(
        self,
        settings: TurnDetection,
        *,
        frame_ms: float = 20,
        endpoint: EndpointPolicy | None = None,
        over_agent: OverAgent | None = None,
        sound: SoundRules | None = None,
    ) -> None:
        self.settings = settings
        self._frame_ms = frame_ms
        self._endpoint = endpoint
        self._over_agent_words = over_agent
        self._sound = sound or SoundRules()
        self._agent_audible = False
        self._agent_thinks = False
        self._interruptible = True
        self._agent_until = float("-inf")  # end of the agent's last sound
        self._ducked = False  # only ever while a turn is under way
        self._ducked_at = 0.0
        self._last_barge = float("-inf")
        self._last_commit = float("-inf")
        self._keys = Keys()
        self._reset_turn()

    def _reset_turn(self) -> None:
        self._state = _State.QUIET
        self._started_at = 0.0
        self._over_agent = False  # it began while the agent was heard
        self._while_thinking = False  # it began while the agent was about to answer
        self._last_voice = 0.0
        self._speech_ms = 0.0  # voiced ms of the turn
        self._run_ms = 0.0  # voiced ms since the last pause
        self._duck_spent = False  # this run had its Duck and did not confirm: no second one
        self._deciding_since = 0.0
        self._cut = False  # too long: further speech belongs to the next turn
        self._text = ""
        self._confidence = 1.0
        self._final = False  # a final transcript covers all speech so far
        self._finished: float | None = None  # how likely this pause is the end, by its sound
        self._barged = False  # it took the floor
        self._after_agent = False  # it began so soon after the agent's sound that it may be its echo
        self._for_words_ms = 0.0  # voiced ms that would confirm a barge-in, if the words did too; 0 = none
        self._wanted = Endpoint(0.0)  # what the words want of the silence in this pause
        self._extended = False  # the pause outlasted the threshold, and that was told
        self._likely = ""  # the words of the LikelyEnd that holds

    @property
    def settings(self) -> TurnDetection:
        """What it goes by; a change holds at once."""
        return self._settings

    @settings.setter
    def settings(self, settings: TurnDetection) -> None:
        self._settings = settings
        # Silence that pauses or resumes never outlasts the silence that ends the turn.
        self._pause_ms = min(PAUSE_MS, settings.silence_threshold_ms)
        self._resume_ms = min(RESUME_MS, settings.silence_threshold_ms)

    @property
    def speaking(self) -> bool:
        """True while a turn is under way, decided or not; of keys, too."""
        return not self._is_quiet or bool(self._keys)

    @property
    def _is_quiet(self) -> bool:
        return self._state is _State.QUIET

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
        return [] if audible and interruptible else self._unduck()

    def agent_thinks(self, thinks: bool) -> None:
        """The agent is about to answer, and not heard yet: "mhm" is no turn then, either."""
        self._agent_thinks = thinks

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
            self._while_thinking = self._agent_thinks
            self._after_agent = self._agent_audible or now - self._agent_until < ECHO_TAIL_MS
            out.append(SpeechStarted(now))
        elif self._state is not _State.SPEAKING:
            self._final = False
            self._run_ms, self._for_words_ms = self._for_words_ms, 0.0
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
        if self._run_ms >= self._confirm_ms() + (REPEATED_MS if self._only_listens() else 0):
            out.append(self._barge(now))
        elif not self._ducked and not self._duck_spent:
            self._ducked = True
            self._ducked_at = now
            self._agent_until = now
            out.append(Duck())

    def _confirm_ms(self) -> float:
        """How long speech must last to interrupt whatever its words are."""
        settings = self.settings
        if not settings.barge_confirm_ms or self._over_agent_words is None:
            return settings.barge_confirm_ms
        return max(settings.barge_confirm_ms, settings.backchannel_ms)

    def _only_listens(self) -> bool:
        """Whether the words so far of speech over the paused agent are "okay, okay, okay"."""
        if not self._ducked or self._over_agent_words is None or not self.settings.backchannel_ms:
            return False
        return self._over_agent and self._over_agent_words(self._text) == "backchannel"

    def _barge(self, now: float) -> BargeIn:
        self._ducked = False
        self._agent_audible = False
        self._agent_until = now
        self._last_barge = now
        self._barged = True
        self._for_words_ms = 0.0
        return BargeIn()

    def _judge(self, now: float) -> list[Decision]:
        """The words of a short sound over the paused agent: an interruption, or none."""
        over = self._ducked and self._over_agent_words is not None
        enough = max(self._for_words_ms, self._run_ms) >= self.settings.barge_confirm_ms
        if not over or not enough:
            return []
        words = self._text.split()
        if not self._final:
            said = len(words) > 2 and self._no_turn(self._text) is None
            return [self._barge(now)] if said else []
        if not words:
            return self._close(TurnDropped("no_words", self._barged))
        reason = self._no_turn(self._text)
        return [self._barge(now)] if reason is None else self._close(TurnDropped(reason, self._barged))

    def _let_go(self, now: float, out: list[Decision]) -> None:
        """Resume after silence, or after a time in which sound neither lasted nor ended."""
        silence = now - self._last_voice
        silent = silence >= self._resume_ms
        late = now - self._ducked_at >= self._confirm_ms() + DUCK_MS
        if self._for_words_ms and self._ducked and self._agent_audible and not late:
            if silence >= PAUSE_MS + WORDS_MS:
                out.append(self._barge(now))  # it lasted long enough, and nothing speaks against it
            return
        if silent:
            self._duck_spent = False
        elif self._ducked and late:
            self._duck_spent = True
        else:
            return
        out += self._unduck()

    def _unduck(self) -> list[Decision]:
        was, self._ducked = self._ducked, False
        self._for_words_ms = 0.0
        return [Resume()] if was else []

    def _pause(self, now: float, out: list[Decision]) -> None:
        self._state = _State.PAUSING
        confirmed = self._ducked and self._run_ms >= self.settings.barge_confirm_ms
        self._for_words_ms = self._run_ms if confirmed else 0.0
        self._run_ms = 0.0
        self._extended = False
        self._finished = None
        out.append(SpeechPaused(now))
        self._weigh()

    def key(self, key: str, now: float) -> list[Decision]:
        """The caller pressed ``key``: ``0``-``9``, ``*``, ``#``, ``A``-``D``."""
        keys = self._keys
        if self.trailing(key, now):
            return []
        out: list[Decision] = []
        if self._agent_audible and self._interruptible:
            barged = self._barged
            out.append(self._barge(now))
            self._barged = barged  # not by what is spoken beside them
            keys.interrupted = True
        keys.press(key, now)
        wish = self._endpoint(keys.pressed, True) if self._endpoint and self.settings.silence_min_ms else None
        if wish is not None and wish.silence_ms < self.settings.silence_threshold_ms:
            keys.complete = True  # as many as were asked for
        out += self._withdraw()
        return [*out, *(self.tick(now) if self._state is not _State.SPEAKING else [])]

    def trailing(self, key: str, now: float) -> bool:
        """Whether ``key`` is the ``#`` that people press from habit after keys that were complete without it: it is
        no turn, and cuts in on nobody."""
        return self._keys.trailed_by(key, now, self.settings.keys_silence_ms)

    def give_up_keys(self) -> str:
        """The keys under way are somebody else's: they are no turn here. Returns them."""
        pressed = self._keys.pressed
        self._keys.clear()
        return pressed

    def _keyed(self, now: float) -> list[Decision]:
        """The turn of keys alone, once they are all there."""
        keys = self._keys
        if not keys or not keys.settled(now, self.settings.keys_silence_ms):
            return []
        self._last_commit = now
        return [keys.take(now, self.settings.keys_silence_ms)]

    def tick(self, now: float) -> list[Decision]:
        """Time passes without speech."""
        if self._state is _State.QUIET:
            return self._keyed(now)
        out: list[Decision] = []
        silence = now - self._last_voice
        if self._state is _State.SPEAKING and silence >= self._pause_ms:
            self._pause(now, out)
        ducked = self._ducked
        self._let_go(now, out)
        if ducked and silence >= self._resume_ms and self._speech_ms < self._floor_ms():
            return [*out, *self._too_short()]
        if self._state is _State.PAUSING:
            out += self._pausing(silence, now)
        elif self._state is _State.DECIDING:
            out += self._decide(now)
        return out

    def _pausing(self, silence: float, now: float) -> list[Decision]:
        if silence >= self._wanted.silence_ms:
            return self._end_of_speech(now)
        if silence >= self.settings.silence_threshold_ms and not self._extended:
            self._extended = True
            return [TurnExtended(self._wanted.silence_ms, self._wanted.why)]
        return []

    def _weigh(self) -> None:
        """How much silence ends the turn, by its words so far and within the bounds that are set."""
        settings = self.settings
        threshold = settings.silence_threshold_ms
        wish = self._endpoint(self._text, self._final) if self._endpoint and self._text.strip() else None
        if self._finished is not None:
            wish = joined(wish, self._sound(self._finished, threshold), threshold)
        self._wanted = Endpoint(threshold)
        if wish is None or wish.silence_ms == threshold:
            return
        if wish.silence_ms > threshold and settings.silence_max_ms > threshold:
            self._wanted = Endpoint(min(wish.silence_ms, settings.silence_max_ms), wish.why)
        elif wish.silence_ms < threshold and 0 < settings.silence_min_ms < threshold and self._final:
            least = max(settings.silence_min_ms, min(SHORTEST_SILENCE_MS, threshold))
            self._wanted = Endpoint(max(wish.silence_ms, least), wish.why)

    def _floor_ms(self) -> float:
        """How much must be said for a turn; over the agent not less than confirms a barge-in."""
        least = self.settings.response_min_speech_ms
        return max(least, self.settings.barge_confirm_ms) if self._over_agent else least

    def _enough(self) -> bool:
        """Whether enough was said for a turn."""
        settings = self.settings
        least = max(settings.min_speech_ms, settings.response_min_speech_ms)
        if self._while_thinking and self._over_agent_words is None:
            least = max(least, settings.barge_confirm_ms)  # nobody has words: "mhm" is told by its length
        return self._speech_ms >= least

    def _end_of_speech(self, now: float) -> list[Decision]:
        if not self._enough():
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
        keys = self._keys
        if keys and not keys.settled(now, self.settings.keys_silence_ms):
            return []
        words = self._text
        if not words.strip():
            return self._close(TurnDropped("no_words", self._barged))
        if reason := self._no_turn(words):
            return self._close(TurnDropped(reason, self._barged))
        if now - self._last_commit < self.settings.commit_min_interval_ms:
            return []
        self._last_commit = now
        turn = TurnEnded(
            words,
            self._confidence,
            min(self._started_at, keys.began_at) if keys else self._started_at,
            max(self._last_voice, keys.last_at) if keys else self._last_voice,
            now,
            interrupted=self._barged or keys.interrupted,
            silence_ms=max(self._wanted.silence_ms, keys.wanted_ms(self.settings.keys_silence_ms)),
            why=self._wanted.why,
            keys=keys.pressed,
        )
        keys.clear()
        return self._close(turn)

    def _no_turn(self, words: str) -> Literal["echo", "backchannel"] | None:
        if self._over_agent_words is None or not (self._after_agent or self._while_thinking):
            return None
        reason = self._over_agent_words(words)
        if reason == "backchannel":
            return reason if self._over_agent or self._while_thinking else None
        return reason if self._after_agent else None

    def _close(self, decision: TurnEnded | TurnDropped) -> list[Decision]:
        out = self._unduck()
        if not (isinstance(decision, TurnEnded) and decision.text == self._likely):
            out += self._withdraw()
        self._reset_turn()
        return [*out, decision]

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
        out = self._withdraw() if self._likely and len(text) > len(self._likely) else []
        out += self._judge(now)
        if self._is_quiet:
            return out
        if self._state is _State.SPEAKING:
            return out
        self._weigh()
        more = self._wanted.silence_ms > self.settings.silence_threshold_ms
        early = more and now - self._last_voice < self._wanted.silence_ms
        if self._state is _State.DECIDING and early and not self._cut:
            self._state = _State.PAUSING  # the words came late, and say that there is more to come
        out += (
            self._pausing(now - self._last_voice, now) if self._state is _State.PAUSING else self._decide(now)
        )
        return [*out, *self._foresee()]

    def sounded(self, probability: float, now: float) -> list[Decision]:
        """How likely the speaker has finished, by the sound up to the newest SpeechPaused.

        Counts while that pause lasts and its turn is not being decided; what comes late, or from before speech went on,
        changes nothing. A shorter silence than is set also needs final words.

        Args:
            probability: 0..1.
        """
        if self._state is not _State.PAUSING:
            return []
        self._finished = probability
        self._weigh()
        out = self._pausing(now - self._last_voice, now)
        if self._wanted.silence_ms > self.settings.silence_threshold_ms:
            out = [*self._withdraw(), *out]  # a reply begun on the words alone was begun too soon
        return out

    def _foresee(self) -> list[Decision]:
        """A LikelyEnd where the words are final, enough, and look complete to somebody who knows."""
        if (
            self._endpoint is None
            or not self._final
            or self._keys
            or self._state is _State.QUIET
            or self._text == self._likely
        ):
            return []
        out = self._withdraw()
        complete = self._wanted.silence_ms <= self.settings.silence_threshold_ms
        if complete and self._enough() and self._text.strip() and not self._no_turn(self._text):
            self._likely = self._text
            out.append(LikelyEnd(self._text))
        return out

    def _withdraw(self) -> list[Decision]:
        was, self._likely = self._likely, ""
        return [LikelyEndWithdrawn()] if was else []

    def stop(self) -> list[Decision]:
        """Drop what is under way (the conversation no longer cares for it)."""
        keyed, barged = bool(self._keys), self._barged or self._keys.interrupted
        self._keys.clear()
        if self._state is _State.QUIET:
            return [TurnDropped("stopped", barged)] if keyed else []
        out: list[Decision] = []
        if self._state is _State.SPEAKING:
            self._pause(self._last_voice, out)
        return [*out, *self._close(TurnDropped("stopped", barged))]
