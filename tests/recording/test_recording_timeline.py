"""What happened, in order, on one axis."""

import json

import pytest

from voxtra.errors import MediaError
from voxtra.recording import Timeline
from voxtra.recording.timeline import MAX_ENTRIES


def test_turns_digits_and_events_come_out_ordered_by_time():
    timeline = Timeline(at=lambda time: (time - 100) * 1000)
    timeline.call["id"] = "vx-1"
    assert timeline.ms(100.5) == 500
    timeline.agent_turn("Good", 2000.4, 2600, True, {"llm": 120.04, "total": 600}, "Good day to you")
    timeline.caller_turn("Hello", 500, 1200, 0.93219)
    timeline.digit("#", 3100)
    timeline.digit("1", 3000)
    timeline.event("barge_in", 2500)
    timeline.event("call.answered", 0, {"by": "us"})
    assert timeline.to_dict() == {
        "call": {"id": "vx-1"},
        "turns": [
            {
                "speaker": "caller",
                "text": "Hello",
                "start_ms": 500,
                "end_ms": 1200,
                "interrupted": False,
                "latency": {},
                "confidence": 0.932,
            },
            {
                "speaker": "agent",
                "text": "Good",
                "start_ms": 2000,
                "end_ms": 2600,
                "interrupted": True,
                "latency": {"llm": 120.0, "total": 600},
                "planned": "Good day to you",
            },
        ],
        "digits": [{"digit": "1", "at_ms": 3000}, {"digit": "#", "at_ms": 3100}],
        "events": [
            {"type": "call.answered", "at_ms": 0, "data": {"by": "us"}},
            {"type": "barge_in", "at_ms": 2500, "data": {}},
        ],
    }


def test_a_turn_never_ends_before_it_begins():
    timeline = Timeline()
    timeline.caller_turn("x", 500, 400)
    assert timeline.to_dict()["turns"][0]["end_ms"] == 500


def test_what_comes_out_is_a_copy():
    timeline = Timeline()
    timeline.caller_turn("x", 0, 1)
    timeline.to_dict()["turns"][0]["text"] = "y"
    timeline.to_dict()["call"]["id"] = "z"
    assert timeline.to_dict()["turns"][0]["text"] == "x"
    assert timeline.to_dict()["call"] == {}


def test_a_call_that_never_ends_costs_bounded_memory():
    timeline = Timeline()
    for at in range(MAX_ENTRIES + 5):
        timeline.digit("1", at)
    assert len(timeline.to_dict()["digits"]) == MAX_ENTRIES
    assert timeline.left_out == 5


def test_it_is_saved_in_one_step(tmp_path):
    timeline = Timeline()
    timeline.caller_turn("Grüße \ud800", 0, 1)
    path = tmp_path / "deep" / "call.json"
    path.parent.mkdir()
    path.write_text("old")
    timeline.save(path)
    assert json.loads(path.read_text("utf-8")) == timeline.to_dict()
    assert [each.name for each in path.parent.iterdir()] == ["call.json"]
    with pytest.raises(MediaError, match=r"can't write .*call\.json/x"):
        timeline.save(path / "x")
