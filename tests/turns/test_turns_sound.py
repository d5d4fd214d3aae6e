"""The end of a turn by its sound, and continuers that last."""

from __future__ import annotations

import pytest
from turns_feed import Feed

from voxtra.turns import (
    LISTENING,
    BargeIn,
    Duck,
    Endpoint,
    LikelyEnd,
    LikelyEndWithdrawn,
    Resume,
    TextRules,
    TurnDropped,
    TurnEnded,
    TurnExtended,
    TurnMachine,
)
from voxtra.turns.sound import SoundRules, joined

WORDS = "I want to go to the station"


def feed(said: str = "", **changes: int) -> Feed:
    found = Feed(LISTENING.model_copy(update=changes))
    rules = TextRules(asked=lambda: said)
    sound = SoundRules(shorten_from=0.95)
    found.machine = TurnMachine(
        found.machine.settings, endpoint=rules, over_agent=rules.over_agent, sound=sound
    )
    return found


def wait_for_end(found: Feed) -> float:
    """ms of silence until the turn ended."""
    began = found.now
    while found.machine.speaking and found.now - began < 5000:
        found.silence(20)
    return found.now - began


def pause(found: Feed, words: str, probability: float | None) -> float:
    found.speech(1000)
    began = found.now
    found.silence(200)
    found.final(words)
    if probability is not None:
        found.sounded(probability)
    return wait_for_end(found) + 200 if found.machine.speaking else found.now - began


@pytest.mark.parametrize(
    ("words", "probability", "silence_ms"),
    [
        (WORDS, None, 500),
        (WORDS, 0.6, 500),
        (WORDS, 0.5, 1200),
        (WORDS, 0.1, 1200),
        (WORDS, 0.99, 360),
        ("I want to go to the", 0.99, 1600),  # words that are unfinished are believed
        ("I want to go to the", 0.1, 1600),
    ],
)
def test_the_sound_moves_the_end_where_words_say_nothing(words, probability, silence_ms):
    assert pause(feed(), words, probability) == silence_ms


def test_an_answer_that_is_complete_is_not_waited_after():
    assert pause(feed("Is that right?"), "Yes.", 0.05) == 300


def test_bounds_that_are_not_set_are_kept():
    assert pause(feed(silence_max_ms=0), WORDS, 0.05) == 500
    assert pause(feed(silence_max_ms=900), WORDS, 0.05) == 900
    assert pause(feed(silence_min_ms=0), WORDS, 0.99) == 500


def test_a_shorter_silence_needs_final_words():
    found = feed()
    found.speech(1000)
    found.silence(200)
    found.partial(WORDS)
    found.sounded(1.0)
    assert found.silence(280) == []
    assert [type(d) for d in found.final(WORDS)][-1] is TurnEnded


def test_what_comes_late_changes_nothing():
    found = feed()
    assert found.sounded(0.0) == []
    found.speech(1000)
    assert found.sounded(0.0) == []
    found.silence(520)  # deciding: it only waits for its words
    assert found.sounded(0.0) == []
    assert isinstance(found.final(WORDS)[-1], TurnEnded)


def test_an_answer_about_one_pause_is_not_for_the_next():
    found = feed()
    found.speech(400)
    found.silence(200)
    found.sounded(0.0)
    found.speech(600)
    found.silence(200)
    found.final(WORDS)
    assert wait_for_end(found) == 300


def test_it_is_told_why_the_end_moved():
    found = feed()
    pause(found, WORDS, 0.1)
    assert found.only(TurnExtended) == TurnExtended(1200, "sounds unfinished")
    assert found.only(TurnEnded).why == "sounds unfinished"


def test_a_reply_begun_on_the_words_is_given_up_when_it_sounds_unfinished():
    found = feed()
    found.speech(1000)
    found.silence(200)
    found.final(WORDS)
    assert found.only(LikelyEnd) == LikelyEnd(WORDS)
    assert found.sounded(0.1) == [LikelyEndWithdrawn()]


def test_words_and_sound_joined():
    long, short = Endpoint(1600), Endpoint(250)
    by_sound = SoundRules(shorten_from=0.95)
    unsure, done = by_sound(0.2, 500), by_sound(0.96, 500)
    assert by_sound(0.6, 500) is SoundRules()(1.0, 500) is None
    assert joined(None, None, 500) is None
    assert joined(long, done, 500) is long
    assert joined(short, unsure, 500) is short
    assert joined(Endpoint(1000), unsure, 500) is unsure
    assert joined(Endpoint(500), done, 500) is done
    assert by_sound(0.2, 2000) == Endpoint(2000, "sounds unfinished")


def over_agent(partial: str, ms: int, then: str) -> Feed:
    found = feed("The weather is fine today")
    found.agent(True)
    found.speech(700)
    found.partial(partial)
    found.speech(ms - 700)
    found.silence(200)
    found.final(then)
    found.silence(400)
    return found


def test_okay_okay_that_lasts_lets_the_agent_go_on():
    found = over_agent("Okay, okay.", 1200, "Okay, okay, okay.")
    assert "BargeIn" not in found.kinds
    assert found.only(TurnDropped) == TurnDropped("backchannel")
    assert found.kinds.index("Duck") < found.kinds.index("Resume")


def test_other_words_as_long_interrupt_and_so_does_okay_without_end():
    assert "BargeIn" in over_agent("", 1200, "").kinds
    assert "BargeIn" in over_agent("Okay, stop.", 1200, "Okay, stop.").kinds
    endless = over_agent("Okay, okay.", 1500, "")
    at = {type(d): when for when, d in endless.log if isinstance(d, Duck | BargeIn | Resume)}
    assert at[BargeIn] - at[Duck] <= 1400


def test_words_after_okay_interrupt_as_soon_as_they_are_known():
    found = feed("The weather is fine today")
    found.agent(True)
    found.speech(700)
    found.partial("Okay.")
    found.speech(300)
    assert found.partial("Okay, but what about Sunday") == [BargeIn()]


@pytest.mark.parametrize(("ms", "turns"), [(260, 0), (400, 1)])
def test_where_nobody_has_words_a_short_sound_while_the_agent_thinks_is_no_turn(ms, turns):
    found = Feed(LISTENING)
    found.machine.agent_thinks(True)
    found.speech(ms)
    found.silence(200)
    found.final("(speech).")
    found.silence(600)
    assert found.kinds.count("TurnEnded") == turns
    assert found.kinds.count("TurnDropped") == 1 - turns
