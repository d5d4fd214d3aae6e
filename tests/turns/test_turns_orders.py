"""Every order of frames, transcripts, ticks and the agent's sound: what holds in all of them."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from turns_feed import Feed

from voxtra.turns import (
    BargeIn,
    Decision,
    Duck,
    Endpoint,
    LikelyEnd,
    LikelyEndWithdrawn,
    Resume,
    SoundRules,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    TurnDetection,
    TurnDropped,
    TurnEnded,
    TurnExtended,
    TurnMachine,
)
from voxtra.turns.keys import MAX_KEYS
from voxtra.turns.machine import DUCK_MS, MAX_TURN_MS, TRANSCRIPT_DEADLINE_MS

ORDER: dict[str, dict[type, str]] = {
    "quiet": {SpeechStarted: "speaking"},
    "speaking": {SpeechPaused: "paused"},
    "paused": {SpeechResumed: "speaking", TurnEnded: "quiet", TurnDropped: "quiet"},
}
"""Which decision may follow which, Duck, Resume and BargeIn apart."""


class Watched(Feed):
    """A feed that checks each decision as it comes."""

    def __init__(self, settings: TurnDetection, *, worded: bool = True) -> None:
        super().__init__(settings)
        self.state = "quiet"
        self.started_at = 0.0
        self.ducked_at: float | None = None
        self.audible = False
        self.interruptible = True
        self.barged = False
        self.last_barge = self.last_end = float("-inf")
        self.likely = ""
        self.pressed = ""
        self.last_key = float("-inf")
        self.keying = self.keys_barged = False
        self.machine = (
            TurnMachine(settings, endpoint=wish, over_agent=over_agent, sound=SOUND)
            if worded
            else TurnMachine(settings)
        )

    def keep(self, decisions: list[Decision]) -> list[Decision]:
        for decision in decisions:
            self.check(decision)
        limits = self.machine.settings
        assert self.machine.speaking == (self.state != "quiet" or self.pressed != "")
        assert self.machine.ducked == (self.ducked_at is not None)
        if self.ducked_at is not None:
            assert self.state != "quiet"
            assert self.now - self.ducked_at < max(limits.barge_confirm_ms, limits.backchannel_ms) + DUCK_MS
        return super().keep(decisions)

    def check_keys(self, turn: TurnEnded) -> None:
        """Each key is in one turn, and in order."""
        assert turn.keys == self.pressed
        if turn.keys:
            assert turn.speech_ended_at >= self.last_key
        self.pressed = ""

    def key(self, key: str) -> list[Decision]:
        again = key == "#" and not self.pressed
        if again and self.now - self.last_key < self.machine.settings.keys_silence_ms:
            return self.keep(self.machine.key(key, self.now))
        self.last_key = self.now
        self.pressed = (self.pressed + ("" if key == "#" and self.pressed else key))[:MAX_KEYS]
        self.keying = True
        out = self.keep(self.machine.key(key, self.now))
        self.keying = False
        return out

    def check(self, decision: Decision) -> None:
        limits = self.machine.settings
        self.state_before = self.state
        if isinstance(decision, Duck):
            assert self.audible
            assert self.interruptible
            assert self.ducked_at is None
            assert limits.barge_confirm_ms > 0
            self.ducked_at = self.now
        elif isinstance(decision, Resume):
            assert self.ducked_at is not None
            self.ducked_at = None
        elif isinstance(decision, BargeIn):
            assert self.audible
            assert self.interruptible
            assert self.keying or self.now - self.last_barge >= limits.cancel_min_interval_ms
            self.ducked_at, self.audible, self.last_barge = None, False, self.now
            if self.keying:
                self.keys_barged = True
            else:
                self.barged = True
        elif isinstance(decision, LikelyEnd):
            assert self.state == "paused"
            assert not self.likely
            assert decision.text.strip()
            self.likely = decision.text
        elif isinstance(decision, LikelyEndWithdrawn):
            assert self.likely
            self.likely = ""
        elif isinstance(decision, TurnExtended):
            assert self.state == "paused"
            assert limits.silence_threshold_ms < decision.silence_ms <= limits.silence_max_ms
        elif isinstance(decision, TurnDropped) and decision.reason == "stopped":
            assert self.state != "quiet" or self.pressed
            barged = self.barged and self.state != "quiet"
            assert decision.interrupted == (barged or (self.keys_barged and self.pressed != ""))
            self.state, self.pressed, self.keys_barged = "quiet", "", False
        elif isinstance(decision, TurnEnded) and not decision.text:
            self.check_keys(decision)
            assert self.state == "quiet"
            assert decision.interrupted == self.keys_barged
            self.last_end, self.keys_barged = self.now, False
            return
        else:
            self.state = ORDER[self.state][type(decision)]
        if isinstance(decision, SpeechStarted):
            self.started_at, self.barged = self.now, False
        if isinstance(decision, TurnDropped) and decision.reason != "stopped":
            assert decision.interrupted == (self.barged and self.state_before != "quiet")
            assert not self.likely
        if isinstance(decision, TurnEnded):
            assert self.likely in ("", decision.text)
            self.likely = ""
            assert decision.text.strip()
            self.check_keys(decision)
            assert decision.interrupted == (self.barged or (self.keys_barged and decision.keys != ""))
            assert decision.started_at <= self.started_at <= decision.speech_ended_at <= decision.decided_at
            assert decision.keys or decision.started_at == self.started_at
            assert decision.speech_ended_at - self.started_at + 20 >= limits.response_min_speech_ms
            self.keys_barged = False
            assert self.now - self.last_end >= limits.commit_min_interval_ms
            self.last_end = self.now

    def agent(self, audible: bool, *, interruptible: bool = True) -> list[Decision]:
        self.audible, self.interruptible = audible, interruptible
        return super().agent(audible, interruptible=interruptible)

    @property
    def patience(self) -> float:
        """ms of silence after which every turn is over."""
        limits = self.machine.settings
        silence = max(limits.silence_threshold_ms, limits.silence_max_ms)
        return max(silence + TRANSCRIPT_DEADLINE_MS, limits.commit_min_interval_ms, limits.keys_silence_ms)


def wish(text: str, final: bool) -> Endpoint | None:
    """A policy that wants what the words say, sensible or not."""
    return Endpoint(float(text.split()[1]), "as it says") if text.startswith("wait ") else None


def over_agent(text: str) -> Literal["echo", "backchannel"] | None:
    return {"mhm": "backchannel", "echo": "echo"}.get(text)  # type: ignore[return-value]


SOUND = SoundRules(shorten_from=0.95)
LIMITS = st.builds(
    TurnDetection,
    response_min_speech_ms=st.sampled_from([0, 200, 600, 1000]),
    commit_min_interval_ms=st.sampled_from([0, 1500, 5000]),
    cancel_min_interval_ms=st.sampled_from([0, 400, 3000]),
    barge_confirm_ms=st.sampled_from([0, 20, 300, 800]),
    tts_guard_ms=st.sampled_from([0, 200, 1000]),
    silence_threshold_ms=st.sampled_from([100, 230, 500, 1500]),
    min_speech_ms=st.sampled_from([0, 300, 700]),
    silence_max_ms=st.sampled_from([0, 1600]),
    silence_min_ms=st.sampled_from([0, 100, 300]),
    backchannel_ms=st.sampled_from([0, 500, 900]),
    keys_silence_ms=st.sampled_from([0, 300, 2000]),
)
MANY = st.sampled_from([20, 60, 100, 180, 200, 220, 260, 300, 520, 900])
LOUDNESS = st.sampled_from([0.0, 0.3, 0.6, 0.9])


@pytest.mark.proves("field 1")
class EveryOrder(RuleBasedStateMachine):
    """What may happen to a turn machine, in any order."""

    @initialize(limits=LIMITS, worded=st.booleans())
    def begin(self, limits: TurnDetection, worded: bool) -> None:
        self.feed = Watched(limits, worded=worded)

    @rule(ms=MANY, probability=LOUDNESS)
    def sound(self, ms: int, probability: float) -> None:
        self.feed.frames(ms, probability)

    @rule(voiced=st.sampled_from([20, 100]), gap=MANY, times=st.integers(1, 30))
    def sound_that_comes_and_goes(self, voiced: int, gap: int, times: int) -> None:
        for _ in range(times):
            self.feed.speech(voiced)
            self.feed.silence(gap)

    @rule()
    def speech_without_end(self) -> None:
        self.feed.speech(MAX_TURN_MS)

    @rule(ms=st.sampled_from([20, 100, 700, 5000]))
    def no_frames(self, ms: int) -> None:
        self.feed.ticks(ms, step=ms)

    @rule(
        text=st.sampled_from(["", " ", "well", "mhm", "echo", "wait 0", "wait 1000", "wait 99999"]),
        final=st.booleans(),
    )
    def transcript(self, text: str, final: bool) -> None:
        (self.feed.final if final else self.feed.partial)(text)

    @rule(probability=st.sampled_from([0.0, 0.3, 0.5, 0.95, 1.0]))
    def sounded(self, probability: float) -> None:
        self.feed.sounded(probability)

    @rule(keys=st.text("0123456789*#", min_size=1, max_size=4), gap=st.sampled_from([0, 40, 200, 600]))
    def keys(self, keys: str, gap: int) -> None:
        for key in keys:
            self.feed.key(key)
            self.feed.silence(gap)

    @rule()
    def keys_are_given_up(self) -> None:
        assert self.feed.machine.give_up_keys() == self.feed.pressed
        self.feed.pressed, self.feed.keys_barged = "", False

    @rule(thinks=st.booleans())
    def thinks(self, thinks: bool) -> None:
        self.feed.machine.agent_thinks(thinks)

    @rule(audible=st.booleans(), interruptible=st.booleans())
    def agent(self, audible: bool, interruptible: bool) -> None:
        self.feed.agent(audible, interruptible=interruptible)

    @rule()
    def stop(self) -> None:
        self.feed.stop()
        assert not self.feed.machine.speaking

    @rule(framed=st.booleans())
    def silence_ends_everything(self, framed: bool) -> None:
        feed = self.feed
        began, pressed = feed.state != "quiet", feed.pressed
        before = len(feed.log)
        (feed.silence if framed else feed.ticks)(feed.patience + 200)
        ended = [d for _, d in feed.log[before:] if isinstance(d, TurnEnded | TurnDropped)]
        assert sum(isinstance(d, TurnDropped) or d.text != "" for d in ended) == began
        assert "".join(d.keys for d in ended if isinstance(d, TurnEnded)) == pressed
        assert not feed.machine.speaking

    @rule()
    def never_deaf(self) -> None:
        """A second of clear speech, silence and its transcript give a turn, whatever was before."""
        feed = self.feed
        if feed.state != "quiet" and feed.now + 1000 - feed.started_at >= MAX_TURN_MS:
            feed.ticks(feed.patience + 200)  # what is said while an overlong turn is closed belongs to nobody
        feed.speech(1000)
        feed.silence(feed.machine.settings.silence_threshold_ms + 20)
        out = feed.final("can you hear me")
        limits = feed.machine.settings
        out += feed.ticks(max(limits.commit_min_interval_ms, limits.keys_silence_ms) + 100)
        assert [d.text for d in out if isinstance(d, TurnEnded) and d.text] == ["can you hear me"]


EveryOrder.TestCase.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
TestEveryOrder = EveryOrder.TestCase
