"""Every path a turn can take, by example."""

from __future__ import annotations

import pytest
from turns_feed import Feed

from voxtra.turns import (
    LISTENING,
    BargeIn,
    Duck,
    Resume,
    SpeechResumed,
    SpeechStarted,
    TurnDropped,
    TurnEnded,
)
from voxtra.turns.machine import DUCK_MS, MAX_TURN_MS, PAUSE_MS, TRANSCRIPT_DEADLINE_MS


def names(decisions):
    return [type(decision).__name__ for decision in decisions]


# -- a turn


def test_silence_decides_nothing():
    feed = Feed()
    assert feed.silence(5000) == []
    assert not feed.machine.speaking


def test_a_turn_from_its_first_word_to_its_end():
    feed = Feed()
    began = feed.now + 20
    assert feed.speech(800) == [SpeechStarted(began)]
    ended = feed.now
    assert names(feed.silence(PAUSE_MS)) == ["SpeechPaused"]
    assert feed.final("book a table", 0.8) == []
    assert feed.machine.speaking
    assert feed.silence(280) == []
    assert feed.silence(20) == [TurnEnded("book a table", 0.8, began, ended, feed.now)]
    assert not feed.machine.speaking


def test_the_final_transcript_comes_after_the_silence():
    feed = Feed()
    feed.speech(800)
    feed.partial("book a")
    assert names(feed.silence(900)) == ["SpeechPaused"]
    (ended,) = feed.final("book a table")
    assert ended.text == "book a table"
    assert ended.decided_at - ended.speech_ended_at == 900


def test_going_on_after_a_pause_is_the_same_turn():
    feed = Feed()
    feed.speech(800)
    feed.silence(300)
    feed.final("book a")
    assert names(feed.speech(400)) == ["SpeechResumed"]
    feed.silence(600)
    assert "TurnEnded" not in feed.kinds, "the first final covers only the first half"
    feed.final("book a table")
    assert feed.only(TurnEnded).text == "book a table"
    assert feed.kinds == ["SpeechStarted", "SpeechPaused", "SpeechResumed", "SpeechPaused", "TurnEnded"]


def test_going_on_while_the_transcript_is_awaited_is_the_same_turn():
    feed = Feed()
    feed.speech(800)
    feed.silence(600)
    assert names(feed.speech(20)) == ["SpeechResumed"]
    assert feed.final("book a") == [], "it came after speech went on: a partial"
    feed.silence(600)
    feed.final("book a table")
    assert feed.only(TurnEnded).text == "book a table"


def test_gaps_shorter_than_a_pause_are_speech():
    feed = Feed()
    for _ in range(10):
        feed.speech(100)
        feed.silence(PAUSE_MS - 20)
    assert feed.kinds == ["SpeechStarted"]


def test_a_partial_after_the_final_of_the_same_pause_is_late():
    feed = Feed()
    feed.speech(800)
    feed.silence(300)
    feed.final("book a table")
    feed.partial("book a")
    feed.silence(200)
    assert feed.only(TurnEnded).text == "book a table"


def test_a_second_final_replaces_the_first():
    feed = Feed()
    feed.speech(800)
    feed.silence(300)
    feed.final("book a")
    feed.final("book a table")
    feed.silence(200)
    assert feed.only(TurnEnded).text == "book a table"


def test_transcripts_between_turns_are_not_taken():
    feed = Feed()
    assert feed.final("ghost") == []
    feed.speech(800)
    feed.silence(600)
    feed.ticks(TRANSCRIPT_DEADLINE_MS)
    assert isinstance(feed.only(TurnDropped), TurnDropped)


# -- what is no turn


def test_a_click_is_noise():
    feed = Feed()
    feed.speech(100)
    feed.silence(1000)
    assert feed.only(TurnDropped) == TurnDropped("noise")
    assert feed.kinds == ["SpeechStarted", "SpeechPaused", "TurnDropped"]


def test_a_short_word_is_a_backchannel():
    feed = Feed()
    feed.speech(400)
    feed.silence(300)
    feed.final("mhm")
    feed.silence(600)
    assert feed.only(TurnDropped) == TurnDropped("backchannel")


def test_listening_takes_a_short_yes():
    feed = Feed(LISTENING)
    feed.speech(220)
    feed.silence(500)
    feed.final("yes")
    assert feed.only(TurnEnded).text == "yes"


def test_speech_without_words_is_dropped_when_the_recogniser_says_so():
    feed = Feed()
    feed.speech(800)
    feed.silence(500)
    feed.final("  ")
    assert feed.only(TurnDropped) == TurnDropped("no_words")


@pytest.mark.proves("field 1")
def test_a_recogniser_that_never_answers_is_not_waited_for_for_ever():
    feed = Feed()
    feed.speech(800)
    feed.partial("book a")
    feed.silence(500)
    assert feed.ticks(TRANSCRIPT_DEADLINE_MS - 100) == []
    assert names(feed.ticks(100)) == ["TurnEnded"]
    assert feed.only(TurnEnded).text == "book a"


def test_a_recogniser_that_hears_nothing_and_never_answers():
    feed = Feed()
    feed.speech(800)
    feed.silence(500)
    feed.ticks(TRANSCRIPT_DEADLINE_MS)
    assert feed.only(TurnDropped) == TurnDropped("no_words")


def test_frames_that_stop_do_not_hold_the_turn():
    feed = Feed()
    feed.speech(800)
    feed.ticks(600, step=600)
    feed.final("hello")
    assert feed.kinds == ["SpeechStarted", "SpeechPaused", "TurnEnded"]


def test_a_detector_that_is_stuck_does_not_keep_the_floor():
    feed = Feed()
    feed.speech(MAX_TURN_MS + 100)
    assert feed.kinds == ["SpeechStarted", "SpeechPaused"]
    feed.final("and so on and on")
    assert feed.only(TurnEnded).text == "and so on and on"
    assert names(feed.speech(20)) == ["SpeechStarted"], "what follows is a turn of its own"


def test_a_turn_that_is_cut_waits_for_its_transcript_only_so_long():
    feed = Feed()
    feed.speech(MAX_TURN_MS + TRANSCRIPT_DEADLINE_MS + 100)
    assert feed.kinds == ["SpeechStarted", "SpeechPaused", "TurnDropped", "SpeechStarted"]


def test_two_turns_keep_their_distance():
    feed = Feed(commit_min_interval_ms=3000)
    feed.speech(800)
    feed.silence(500)
    feed.final("one")
    feed.speech(800)
    feed.silence(500)
    assert feed.final("two") == []
    assert feed.speech(800)[0] == SpeechResumed(feed.now - 780), "what is said meanwhile belongs to it"
    feed.silence(600)
    assert names(feed.final("two and three")) == []
    feed.silence(1000)
    first, second = [(at, d) for at, d in feed.log if isinstance(d, TurnEnded)]
    assert (first[1].text, second[1].text) == ("one", "two and three")
    assert second[0] - first[0] >= 3000


def test_what_is_no_turn_is_dropped_without_that_distance():
    feed = Feed(commit_min_interval_ms=30_000)
    feed.speech(800)
    feed.silence(500)
    feed.final("one")
    feed.speech(800)
    feed.silence(500)
    assert names(feed.final("")) == ["TurnDropped"]


@pytest.mark.parametrize("threshold", [100, 180, 220])
def test_a_threshold_below_the_usual_pause_ends_the_turn_as_soon(threshold):
    feed = Feed(silence_threshold_ms=threshold)
    feed.speech(800)
    assert names(feed.silence(threshold)) == ["SpeechPaused"]
    assert names(feed.final("quick")) == ["TurnEnded"]


def test_stop_drops_what_is_under_way():
    feed = Feed()
    assert feed.stop() == []
    feed.speech(800)
    assert names(feed.stop()) == ["SpeechPaused", "TurnDropped"]
    assert feed.only(TurnDropped).reason == "stopped"
    assert not feed.machine.speaking


# -- over the agent


def test_an_interruption_ducks_at_once_and_is_confirmed():
    feed = Feed()
    feed.agent(True)
    feed.silence(1000)
    assert names(feed.speech(20)) == ["SpeechStarted", "Duck"]
    assert feed.machine.ducked
    assert feed.speech(260) == []
    assert feed.speech(20) == [BargeIn()]
    assert not feed.machine.ducked
    assert feed.agent(False) == []
    feed.speech(400)
    feed.silence(500)
    feed.final("stop that")
    assert feed.only(TurnEnded).interrupted


def test_a_cough_ducks_and_lets_the_agent_go_on():
    feed = Feed()
    feed.agent(True)
    feed.speech(100)
    assert names(feed.silence(240)) == ["SpeechPaused"]
    assert feed.silence(20) == [Resume(), TurnDropped("noise")]
    assert not feed.machine.ducked
    assert not feed.machine.speaking
    assert feed.silence(2000) == []


@pytest.mark.proves("field 2")
def test_a_short_word_over_the_agent_is_a_backchannel():
    feed = Feed(barge_confirm_ms=500)
    feed.agent(True)
    feed.speech(400)
    feed.silence(300)
    assert [d for _, d in feed.log][-2:] == [Resume(), TurnDropped("backchannel")]


def test_a_false_interruption_leaves_nothing_behind_for_the_next():
    feed = Feed()
    feed.agent(True)
    feed.speech(200)
    feed.silence(400)
    assert names(feed.speech(200)) == ["SpeechStarted", "Duck"], "200 + 200 ms are no 300 ms at a stretch"
    feed.silence(400)
    feed.speech(300)
    assert feed.kinds.count("Duck") == 3
    assert feed.kinds.count("BargeIn") == 1


def test_a_barge_in_on_the_first_frame_needs_no_duck():
    feed = Feed(barge_confirm_ms=0)
    feed.agent(True)
    assert names(feed.speech(20)) == ["SpeechStarted", "BargeIn"]
    assert "Duck" not in feed.kinds


def test_barge_ins_keep_their_distance():
    feed = Feed(barge_confirm_ms=0, cancel_min_interval_ms=2000)
    feed.agent(True)
    feed.speech(40)
    feed.agent(False)
    feed.agent(True)
    feed.speech(1900)
    assert feed.kinds.count("BargeIn") == 1
    feed.speech(200)
    assert feed.kinds.count("BargeIn") == 2


def test_no_duck_while_no_barge_in_could_follow():
    feed = Feed(cancel_min_interval_ms=2000)
    feed.agent(True)
    feed.speech(400)
    feed.agent(False)
    feed.agent(True)
    feed.speech(1000)
    assert feed.kinds.count("Duck") == 1
    feed.speech(1000)
    assert feed.kinds.count("BargeIn") == 2, "it has lasted long enough by the time it is allowed"
    assert feed.kinds.count("Duck") == 1


def test_an_agent_that_must_not_be_interrupted_is_not():
    feed = Feed()
    feed.agent(True, interruptible=False)
    feed.speech(1000)
    feed.silence(500)
    feed.final("but I")
    assert feed.kinds == ["SpeechStarted", "SpeechPaused", "TurnEnded"]


def test_sound_that_comes_and_goes_does_not_pause_the_agent_for_ever():
    feed = Feed()
    feed.agent(True)
    for _ in range(20):  # a click each 220 ms: never a run, never silence
        feed.speech(20)
        feed.silence(200)
    assert feed.kinds.count("Duck") == 1
    times = {type(d): at for at, d in feed.log}
    assert times[Resume] - times[Duck] <= 300 + DUCK_MS
    assert "BargeIn" not in feed.kinds
    feed.speech(300)
    assert "BargeIn" in feed.kinds, "and real speech still interrupts"


def test_clicks_that_were_spent_on_one_sound_do_not_silence_the_guard_of_the_next():
    feed = Feed()
    feed.agent(True)
    for _ in range(8):
        feed.speech(20)
        feed.silence(180)
    assert feed.kinds[-1] == "Resume"
    feed.agent(False)
    feed.agent(True)
    assert names(feed.speech(20)) == ["Duck"]


def test_a_threshold_below_the_usual_resume_lets_the_agent_go_on_as_soon():
    feed = Feed(silence_threshold_ms=100, barge_confirm_ms=800)
    feed.agent(True)
    feed.speech(700)
    assert names(feed.silence(100)) == ["SpeechPaused", "Resume", "TurnDropped"]


def test_the_agents_sound_ends_while_it_is_ducked():
    feed = Feed()
    feed.agent(True)
    feed.speech(200)
    assert feed.agent(False) == [Resume()]
    assert not feed.machine.ducked
    feed.speech(600)
    feed.silence(500)
    feed.final("as I was saying")
    assert feed.only(TurnEnded) == TurnEnded(
        "as I was saying", 0.9, feed.log[0][0], feed.now - 500, feed.now, interrupted=False
    )


def test_stop_while_ducked_lets_the_agent_go_on():
    feed = Feed()
    feed.agent(True)
    feed.speech(100)
    assert names(feed.stop()) == ["SpeechPaused", "Resume", "TurnDropped"]


def test_a_turn_cut_for_its_length_while_ducked_lets_the_agent_go_on():
    feed = Feed(barge_confirm_ms=1000)
    feed.speech(MAX_TURN_MS - 500)
    feed.agent(True)
    feed.speech(520)
    assert names(feed.final("for ever and ever")) == ["Resume", "TurnEnded"]


def test_what_began_before_the_agent_spoke_is_not_measured_by_the_barge_in():
    feed = Feed(response_min_speech_ms=200, min_speech_ms=100, barge_confirm_ms=800)
    feed.speech(240)
    feed.agent(True)
    feed.speech(60)
    assert names(feed.silence(500)) == ["SpeechPaused", "Resume"]
    assert names(feed.final("yes")) == ["TurnEnded"]


def test_a_confirmed_interruption_that_becomes_no_turn_says_so():
    feed = Feed()
    feed.agent(True)
    feed.speech(400)
    feed.agent(False)
    feed.silence(600)
    assert feed.only(TurnDropped) == TurnDropped("backchannel", interrupted=True)


def test_speech_under_way_when_the_agent_begins_must_last_anew():
    feed = Feed()
    feed.speech(1000)
    feed.agent(True)
    assert names(feed.speech(280)) == ["Duck"]
    assert names(feed.speech(20)) == ["BargeIn"]


@pytest.mark.proves("field 3")
def test_the_bar_is_higher_while_the_agent_is_heard_and_shortly_after():
    feed = Feed(tts_guard_ms=200)
    feed.agent(True)
    assert feed.speech(1000, 0.6) == [], "an echo"
    feed.agent(False)
    assert feed.speech(180, 0.6) == []
    assert names(feed.speech(40, 0.6)) == ["SpeechStarted"]


def test_the_bar_falls_again_while_the_agent_is_ducked():
    feed = Feed(barge_confirm_ms=600, tts_guard_ms=100)
    feed.agent(True)
    feed.speech(120, 0.8)
    feed.speech(500, 0.6)
    assert "BargeIn" in feed.kinds, "nothing of the agent is left that could echo"


def test_a_guard_of_nothing_ends_with_the_sound():
    feed = Feed(tts_guard_ms=0)
    feed.agent(True)
    feed.silence(100)
    feed.agent(False)
    assert names(feed.speech(20, 0.6)) == ["SpeechStarted"]
