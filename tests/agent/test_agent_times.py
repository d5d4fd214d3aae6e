"""The wait of a turn, split by who owned it."""

from __future__ import annotations

import itertools

import pytest

from voxtra.agent.times import TurnTimes


@pytest.mark.proves("field 7")
def test_each_part_has_its_owner():
    times = TurnTimes(
        speech_ended_at=1000, decided_at=1650, silence_ms=500,
        llm_started_at=1660, llm_first_at=1700, llm_done_at=1860,
        tts_started_at=1870, tts_first_at=1900, played_at=1905,
    )  # fmt: skip
    assert times.split() == {
        "endpointing": 500, "stt": 150, "llm": 200, "tts": 30, "framework": 25, "total": 905,
    }  # fmt: skip


def test_a_streamed_reply_is_waited_for_until_its_first_clause():
    times = TurnTimes(
        speech_ended_at=1000, decided_at=1500, silence_ms=500,
        llm_started_at=1500, llm_first_at=1600, llm_done_at=9000,
        tts_started_at=1700, tts_first_at=1750, played_at=1750,
    )  # fmt: skip
    parts = times.split()
    assert (parts["llm"], parts["tts"], parts["framework"], parts["total"]) == (200, 50, 0, 750)
    assert sum(parts.values()) == 2 * parts["total"], "the parts are the whole"


def test_a_turn_decided_early_owes_nothing_to_the_recogniser():
    parts = TurnTimes(speech_ended_at=1000, decided_at=1300, silence_ms=500, played_at=1400).split()
    assert (parts["endpointing"], parts["stt"], parts["framework"]) == (300, 0, 100)


def test_an_earlier_request_of_the_same_turn_is_not_counted():
    times = TurnTimes(
        speech_ended_at=1000, decided_at=1500, silence_ms=500, llm_started_at=2000, llm_first_at=2100,
        llm_done_at=1700, played_at=2300,
    )  # fmt: skip
    assert times.split()["llm"] == 100


@pytest.mark.parametrize("missing", ["speech_ended_at", "decided_at", "played_at"])
def test_no_split_of_what_did_not_happen(missing):
    times = TurnTimes(speech_ended_at=1000, decided_at=1500, silence_ms=500, played_at=2000)
    setattr(times, missing, 0.0)
    assert times.split() == {}


def test_firsts_are_kept(monkeypatch):
    ticks = itertools.count(1)
    monkeypatch.setattr(TurnTimes, "now", staticmethod(lambda: float(next(ticks))))
    times = TurnTimes()
    for _ in range(2):
        times.llm_first()
        times.tts_started()
        times.tts_first()
        times.played()
    assert (times.llm_first_at, times.tts_started_at, times.tts_first_at, times.played_at) == (1, 2, 3, 4)
