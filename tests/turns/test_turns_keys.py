"""Keys as turns, and as parts of turns."""

from __future__ import annotations

import pytest
from turns_feed import Feed

from voxtra.turns import BargeIn, Endpoint, TextRules, TurnDetection, TurnDropped, TurnEnded, TurnMachine
from voxtra.turns.keys import MAX_KEYS


def keyed(decisions):
    return [(turn.text, turn.keys) for turn in decisions if isinstance(turn, TurnEnded)]


def test_keys_are_a_turn_when_no_more_follow():
    feed = Feed(keys_silence_ms=1000)
    began = feed.now
    assert feed.keys("123", gap=300) == []
    assert feed.machine.speaking
    assert feed.silence(680) == []
    assert feed.silence(20) == [TurnEnded("", 1.0, began, began + 600, feed.now, keys="123")]
    assert not feed.machine.speaking


def test_a_hash_ends_them_at_once_and_is_no_part_of_them():
    feed = Feed()
    assert keyed(feed.keys("123#", gap=100)) == [("", "123")]
    assert feed.silence(5000) == []


@pytest.mark.parametrize("key", ["#", "*", "0", "A"])
def test_one_key_is_a_turn(key):
    feed = Feed()
    assert keyed(feed.keys(key) + feed.silence(2000)) == [("", key)]


def test_each_key_is_a_turn_where_none_is_waited_for():
    feed = Feed(keys_silence_ms=0)
    assert keyed(feed.keys("12", gap=100)) == [("", "1"), ("", "2")]


def test_as_many_as_were_asked_for_are_all():
    feed = Feed()
    rules = TextRules("en", asked=lambda: "Please key in your four digit PIN.")
    feed.machine = TurnMachine(TurnDetection(silence_min_ms=300), endpoint=rules)
    assert keyed(feed.keys("123", gap=200)) == []
    assert keyed(feed.keys("4")) == [("", "1234")]
    assert feed.keys("#") == []  # from habit
    assert feed.silence(3000) == []
    assert keyed(feed.keys("#")) == [("", "#")]  # that one is meant


def test_words_move_nothing_where_they_may_not_shorten_the_wait():
    feed = Feed()
    feed.machine = TurnMachine(
        TurnDetection(silence_min_ms=0), endpoint=lambda text, final: Endpoint(0, "all")
    )
    assert feed.keys("1234", gap=200) == []
    assert keyed(feed.silence(2000)) == [("", "1234")]


def test_a_key_cuts_in_at_once_and_once():
    feed = Feed()
    feed.agent(True)
    assert feed.keys("1") == [BargeIn()]
    feed.agent(False)
    (turn,) = feed.keys("2#")
    assert (turn.keys, turn.interrupted) == ("12", True)
    (turn,) = feed.keys("3") + feed.silence(2000)
    assert not turn.interrupted


def test_a_key_over_what_may_not_be_interrupted_waits():
    feed = Feed()
    feed.agent(True, interruptible=False)
    assert keyed(feed.keys("1#")) == [("", "1")]
    assert "BargeIn" not in feed.kinds


def test_a_key_over_the_paused_agent_is_a_barge_in():
    feed = Feed()
    feed.agent(True)
    feed.speech(100)
    assert feed.kinds[-1] == "Duck"
    assert feed.keys("1") == [BargeIn()]
    feed.agent(False)
    out = feed.silence(3000)
    assert [d for d in out if isinstance(d, TurnDropped)] == [
        TurnDropped("noise")
    ]  # and nothing to make good
    assert keyed(out) == [("", "1")]


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_keys_and_words_are_one_turn(when):
    feed = Feed()
    if when == "before":
        feed.keys("12", gap=100)
    feed.speech(700)
    if when == "between":
        feed.keys("12", gap=100)
        feed.speech(300)
    feed.silence(300)
    feed.final("my number is")
    if when == "after":
        feed.keys("12", gap=100)
    assert keyed(feed.silence(2200)) == [("my number is", "12")]


def test_the_keys_end_a_turn_whose_words_are_over():
    feed = Feed()
    feed.speech(700)
    feed.silence(300)
    feed.final("my number is")
    assert keyed(feed.keys("12", gap=400)) == []
    assert keyed(feed.keys("#")) == [("my number is", "12")]


def test_noise_beside_keys_is_dropped_and_the_keys_stay():
    feed = Feed()
    feed.keys("1")
    feed.speech(60)
    out = feed.silence(2500)
    assert isinstance(out[-2], TurnDropped)
    assert keyed(out) == [("", "1")]


def test_the_wait_for_more_keys_is_told_as_what_was_wanted():
    feed = Feed(keys_silence_ms=900, silence_threshold_ms=500)
    (turn,) = feed.keys("12") + feed.silence(1000)
    assert turn.silence_ms == 900
    (turn,) = feed.keys("12#", gap=100)
    assert turn.silence_ms == 0
    feed.speech(700)
    feed.silence(300)
    feed.final("my number is")
    (turn,) = [d for d in feed.keys("12") + feed.silence(1000) if isinstance(d, TurnEnded)]
    assert turn.silence_ms == 900


def test_a_hash_from_habit_cuts_in_on_nobody():
    feed = Feed()
    feed.keys("12#")
    feed.agent(True)
    assert feed.machine.trailing("#", feed.now)
    assert not feed.machine.trailing("1", feed.now)
    assert feed.keys("#") == []
    feed.silence(2000)
    assert feed.keys("#")[0] == BargeIn()


def test_keys_beyond_all_are_dropped():
    feed = Feed()
    feed.speech(700)
    feed.keys("1" * (MAX_KEYS + 10))
    feed.silence(300)
    feed.final("wait")
    assert keyed(feed.silence(1000)) == [("wait", "1" * MAX_KEYS)]


def test_stop_tells_that_the_agent_was_cut_off_for_keys():
    feed = Feed()
    feed.agent(True)
    feed.keys("1")
    assert feed.stop() == [TurnDropped("stopped", True)]
    feed.agent(True)
    feed.keys("1")
    feed.speech(100)
    assert feed.stop()[-1] == TurnDropped("stopped", True)


def test_keys_that_are_given_up_are_no_turn():
    feed = Feed()
    feed.agent(True)
    feed.keys("12")
    assert feed.machine.give_up_keys() == "12"
    assert not feed.machine.speaking
    assert feed.silence(5000) == []
    (turn,) = feed.keys("3") + feed.silence(2000)
    assert (turn.keys, turn.interrupted) == ("3", False)
    assert feed.machine.give_up_keys() == ""


def test_stop_forgets_keys():
    feed = Feed()
    feed.keys("1")
    assert feed.stop() == [TurnDropped("stopped")]
    assert feed.silence(5000) == []


def test_no_end_of_keys_is_an_end_too():
    feed = Feed()
    assert keyed(feed.keys("1" * MAX_KEYS, gap=100)) == [("", "1" * MAX_KEYS)]


def test_likely_ends_hold_no_longer_when_a_key_follows():
    feed = Feed()
    feed.machine = TurnMachine(TurnDetection(), endpoint=lambda text, final: None)
    feed.speech(700)
    feed.silence(300)
    feed.final("yes")
    assert feed.kinds[-1] == "LikelyEnd"
    feed.keys("1")
    assert feed.kinds[-1] == "LikelyEndWithdrawn"
    feed.final("yes")
    assert feed.kinds[-1] == "LikelyEndWithdrawn"
