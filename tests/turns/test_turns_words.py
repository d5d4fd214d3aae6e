"""Words move the end of a turn, within bounds; they tell a backchannel from an interruption."""

from __future__ import annotations

import pytest
from turns_feed import Feed

from voxtra.turns import (
    BargeIn,
    Endpoint,
    LikelyEnd,
    LikelyEndWithdrawn,
    Resume,
    TextRules,
    TurnDetection,
    TurnDropped,
    TurnEnded,
    TurnExtended,
    TurnMachine,
)
from voxtra.turns.machine import PAUSE_MS, TRANSCRIPT_DEADLINE_MS, WORDS_MS

SETTINGS = TurnDetection(
    response_min_speech_ms=200,
    commit_min_interval_ms=0,
    min_speech_ms=160,
    silence_max_ms=1600,
    silence_min_ms=300,
    backchannel_ms=800,
)


class Wordy(Feed):
    """A feed whose machine knows the rules, and what the agent said."""

    def __init__(self, said: str = "How can I help you?", **changes: int) -> None:
        super().__init__(SETTINGS.model_copy(update=changes))
        self.said = said
        self.rules = TextRules(asked=lambda: self.said)
        self.machine = TurnMachine(
            self.machine.settings, endpoint=self.rules, over_agent=self.rules.over_agent
        )

    def turn(self, text: str, *, after_ms: float = 300, ms: float = 800) -> float:
        """Speak, and hear the words so long after; returns the silence that ended the turn."""
        self.speech(ms)
        ended = self.now
        self.silence(after_ms)
        self.final(text)
        self.silence(6000)
        return self.only(TurnEnded).decided_at - ended


# -- end of turn


@pytest.mark.parametrize(
    ("text", "said", "silence"),
    [
        ("Book a table for four.", "How can I help you?", 500),
        ("My number is", "How can I help you?", 1600),
        ("I would like to", "How can I help you?", 1600),
        ("um", "How can I help you?", 1600),
        ("Yes.", "Is that right?", 300),
        ("Yes.", "How can I help you?", 500),
        ("555", "What is your number?", 1600),
    ],
)
def test_the_words_decide_how_long_is_waited(text, said, silence):
    feed = Wordy(said)
    assert feed.turn(text) == silence
    ended = feed.only(TurnEnded)
    assert ended.silence_ms == silence
    assert bool(ended.why) == (silence != 500)
    assert ("TurnExtended" in feed.kinds) == (silence > 500)


def test_an_extension_is_told_when_it_makes_a_difference_and_once():
    feed = Wordy()
    feed.speech(800)
    feed.silence(300)
    feed.final("My number is")
    assert "TurnExtended" not in feed.kinds
    feed.silence(200)
    assert feed.only(TurnExtended) == TurnExtended(1600, "unfinished: is")
    feed.silence(900)
    assert feed.kinds.count("TurnExtended") == 1
    feed.speech(600)
    feed.silence(300)
    feed.final("My number is five five five.")
    feed.silence(250)
    assert feed.kinds.count("TurnExtended") == 2, "another pause is another extension"


def test_words_that_come_after_the_threshold_still_extend():
    feed = Wordy()
    assert feed.turn("My number is", after_ms=700) == 1600


def test_words_that_come_after_the_extension_end_it_at_once():
    feed = Wordy()
    assert feed.turn("My number is", after_ms=1800) == 1800
    assert "TurnExtended" not in feed.kinds


def test_words_that_never_come_are_not_waited_for_longer_than_before():
    feed = Wordy()
    feed.speech(800)
    feed.partial("My number is")
    feed.silence(1600 + TRANSCRIPT_DEADLINE_MS)
    assert feed.only(TurnEnded).text == "My number is"


def test_a_partial_lengthens_and_does_not_shorten():
    feed = Wordy("Is that right?")
    feed.speech(400)
    feed.partial("yes")
    feed.silence(480)
    assert "TurnEnded" not in feed.kinds, "who says yes may go on: the final words will tell"


@pytest.mark.parametrize("wish", [0.0, 100.0, 5_000.0, 1e9])
def test_no_policy_goes_beyond_the_bounds(wish):
    feed = Feed(SETTINGS)
    feed.machine = TurnMachine(SETTINGS, endpoint=lambda text, final: Endpoint(wish, "so it says"))
    feed.speech(800)
    ended = feed.now
    feed.silence(220)
    feed.final("hello")
    feed.silence(3000)
    assert feed.only(TurnEnded).decided_at - ended == (300 if wish < 500 else 1600)


def test_without_bounds_words_change_nothing():
    feed = Wordy(silence_max_ms=0, silence_min_ms=0)
    assert feed.turn("My number is") == 500
    assert Wordy("Is that right?", silence_max_ms=0, silence_min_ms=0).turn("Yes.") == 500


# -- a likely end


def test_a_likely_end_comes_with_the_words_and_before_the_silence():
    feed = Wordy()
    feed.speech(800)
    feed.silence(300)
    assert feed.final("Book a table.") == [LikelyEnd("Book a table.")]
    feed.final("Book a table.")
    feed.silence(200)
    assert feed.kinds[-2:] == ["LikelyEnd", "TurnEnded"]


def test_it_holds_over_a_click_and_is_withdrawn_for_other_words():
    feed = Wordy()
    feed.speech(800)
    feed.silence(300)
    feed.final("Book a table.")
    feed.speech(40)
    feed.silence(300)
    assert feed.final("Book a table.") == [], "never two for the same words"
    feed.speech(400)
    feed.silence(300)
    assert feed.final("Book a table. For two.") == [LikelyEndWithdrawn(), LikelyEnd("Book a table. For two.")]
    feed.silence(300)
    assert feed.kinds[-1] == "TurnEnded"


def test_it_is_withdrawn_as_soon_as_more_words_are_heard():
    feed = Wordy()
    feed.speech(800)
    feed.silence(300)
    feed.final("Book a table.")
    feed.speech(400)
    assert feed.partial("Book a table. For") == [LikelyEndWithdrawn()]


def test_what_is_no_turn_is_withdrawn():
    feed = Wordy()
    feed.speech(800)
    feed.silence(300)
    feed.final("Book a table.")
    assert [type(d).__name__ for d in feed.stop()] == ["LikelyEndWithdrawn", "TurnDropped"]


@pytest.mark.parametrize("text", ["", "My number is", "um"])
def test_what_is_not_all_is_no_likely_end(text):
    feed = Wordy()
    feed.speech(800)
    feed.silence(300)
    feed.final(text)
    feed.silence(100)
    assert "LikelyEnd" not in feed.kinds


# -- over the agent

STATEMENT = "We are open from nine to five."
QUESTION = "Would you like a table?"


@pytest.mark.parametrize(
    ("said", "text", "kind"),
    [
        (STATEMENT, "Mm-hmm.", "backchannel"),
        (STATEMENT, "okay", "backchannel"),
        (STATEMENT, "", "no_words"),
        (STATEMENT, "Stop, please.", "barge"),
        (QUESTION, "okay", "barge"),
    ],
)
def test_a_short_sound_over_the_agent_is_judged_by_its_words(said, text, kind):
    feed = Wordy(said)
    feed.agent(True)
    feed.speech(500)
    feed.silence(400)
    assert feed.machine.ducked, "the agent waits for the words"
    assert "BargeIn" not in feed.kinds
    feed.final(text)
    if kind == "barge":
        assert "BargeIn" in feed.kinds
        feed.silence(300)
        assert feed.only(TurnEnded).interrupted
    else:
        assert feed.only(TurnDropped) == TurnDropped(kind)
        assert feed.only(Resume)
        assert "BargeIn" not in feed.kinds


def test_long_speech_interrupts_whatever_its_words():
    feed = Wordy(STATEMENT)
    feed.agent(True)
    feed.speech(780)
    assert "BargeIn" not in feed.kinds
    feed.speech(20)
    assert feed.kinds[-1] == "BargeIn"


def test_words_that_do_not_come_in_time_let_it_interrupt():
    feed = Wordy(STATEMENT)
    feed.agent(True)
    feed.speech(500)
    feed.silence(PAUSE_MS + WORDS_MS - 20)
    assert "BargeIn" not in feed.kinds
    feed.silence(20)
    assert feed.kinds[-1] == "BargeIn"


def test_who_goes_on_need_not_begin_anew():
    feed = Wordy(STATEMENT)
    feed.agent(True)
    feed.speech(500)
    feed.silence(300)
    feed.speech(300)
    assert "BargeIn" in feed.kinds


def test_partial_words_interrupt_at_once():
    feed = Wordy(STATEMENT)
    feed.agent(True)
    feed.speech(400)
    assert feed.partial("okay") == []
    assert feed.partial("okay but wait") == [BargeIn()]


def test_sound_too_short_to_confirm_waits_for_no_words():
    feed = Wordy(STATEMENT)
    feed.agent(True)
    feed.speech(200)
    feed.silence(260)
    assert feed.only(TurnDropped)
    assert not feed.machine.ducked


def test_the_agents_own_words_are_no_turn():
    feed = Wordy(STATEMENT)
    feed.rules._echo = lambda text: "nine to five" in text
    feed.agent(True)
    feed.speech(1000)
    feed.silence(300)
    feed.final("open from nine to five")
    feed.silence(500)
    assert feed.only(TurnDropped) == TurnDropped("echo", interrupted=True)


def test_the_same_words_long_after_the_agent_are_a_turn():
    feed = Wordy(STATEMENT)
    feed.rules._echo = lambda text: True
    feed.agent(True)
    feed.agent(False)
    feed.silence(1500)
    feed.turn("nine to five")
