"""Each documented setting means what the document says: shorter by a frame does not, as long does."""

from __future__ import annotations

import itertools

import pytest
from turns_feed import FRAME, Feed

from voxtra.turns import BargeIn, Duck, SpeechStarted, TurnDetection, TurnDropped, TurnEnded

LAX = {
    "response_min_speech_ms": 0,
    "min_speech_ms": 0,
    "commit_min_interval_ms": 0,
    "cancel_min_interval_ms": 0,
}


def said(feed: Feed, ms: float) -> Feed:
    feed.speech(ms)
    feed.silence(feed.machine.settings.silence_threshold_ms)
    feed.final("yes")
    return feed


@pytest.mark.parametrize("ms", [200, 600])
def test_response_min_speech_shorter_speech_never_commits_a_turn(ms):
    settings = TurnDetection(**LAX | {"response_min_speech_ms": ms})
    assert said(Feed(settings), ms - FRAME).only(TurnDropped).reason == "backchannel"
    assert said(Feed(settings), ms).only(TurnEnded).text == "yes"


@pytest.mark.parametrize("ms", [100, 300])
def test_min_speech_shorter_candidates_are_discarded_as_noise(ms):
    settings = TurnDetection(**LAX | {"min_speech_ms": ms})
    assert said(Feed(settings), ms - FRAME).only(TurnDropped).reason == "noise"
    assert said(Feed(settings), ms).only(TurnEnded).text == "yes"


@pytest.mark.parametrize("ms", [1500, 4000])
def test_commit_min_interval_is_the_least_gap_between_two_commits(ms):
    feed = Feed(TurnDetection(**LAX | {"commit_min_interval_ms": ms}))
    for _ in range(6):
        said(feed, 400)
    feed.silence(ms)
    times = [at for at, decision in feed.log if isinstance(decision, TurnEnded)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps
    assert all(gap >= ms for gap in gaps)
    assert min(gaps) <= ms + FRAME + 900, "a turn more, when it is asked in the middle of one"


@pytest.mark.parametrize("ms", [400, 2000])
def test_cancel_min_interval_is_the_least_gap_between_two_barge_ins(ms):
    feed = Feed(TurnDetection(**LAX | {"cancel_min_interval_ms": ms, "barge_confirm_ms": 0}))
    for _ in range(int(3 * ms / FRAME)):
        feed.agent(True)
        feed.speech(FRAME)
    times = [at for at, decision in feed.log if isinstance(decision, BargeIn)]
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [ms] * (len(times) - 1)
    assert len(times) == 3


@pytest.mark.parametrize("ms", [0, 20, 300, 1000])
def test_barge_confirm_is_how_long_speech_must_last_and_0_is_the_first_frame(ms):
    settings = TurnDetection(**LAX | {"barge_confirm_ms": ms})
    short, long = Feed(settings), Feed(settings)
    short.agent(True)
    long.agent(True)
    if ms:
        short.speech(ms - FRAME)
        short.silence(1000)
        assert "BargeIn" not in short.kinds
    long.speech(max(ms, FRAME))
    assert long.kinds[-1] == "BargeIn"
    assert ("Duck" in long.kinds) == (ms > FRAME), "what is confirmed at once needs no pause"


@pytest.mark.parametrize("ms", [0, 200, 1000])
def test_tts_guard_raises_the_bar_for_so_long_after_the_agents_sound(ms):
    feed = Feed(TurnDetection(**LAX | {"tts_guard_ms": ms}))
    feed.agent(True)
    feed.silence(500)
    feed.agent(False)
    ended = feed.now
    while "SpeechStarted" not in feed.kinds:
        feed.speech(FRAME, 0.6)  # enough for speech, not for speech that may be the agent's own
    assert feed.only(SpeechStarted).at - ended == max(FRAME, ms)
    loud = Feed(TurnDetection(**LAX | {"tts_guard_ms": 5000}))
    loud.agent(True)
    loud.speech(FRAME, 0.8)
    assert loud.kinds == ["SpeechStarted", "Duck"], "the bar is raised, the gate is not shut"


@pytest.mark.parametrize("ms", [300, 500, 800])
def test_silence_threshold_is_the_trailing_silence_that_ends_a_turn(ms):
    feed = Feed(TurnDetection(**LAX | {"silence_threshold_ms": ms}))
    feed.speech(800)
    ended = feed.now
    feed.silence(220)
    feed.final("yes")
    assert "TurnEnded" not in feed.kinds
    feed.silence(ms - 240)
    assert "TurnEnded" not in feed.kinds
    feed.silence(FRAME)
    assert feed.only(TurnEnded).decided_at - ended == ms


def test_presets_differ_where_it_is_said_that_they_do():
    confirm = {}
    for name in ("browser", "pstn", "noisy"):
        feed = Feed(TurnDetection.preset(name))
        feed.agent(True)
        feed.speech(2000)
        times = {type(decision): at for at, decision in feed.log}
        confirm[name] = times[BargeIn] - times[Duck] + FRAME
    assert confirm == {"browser": 200, "pstn": 400, "noisy": 600}
