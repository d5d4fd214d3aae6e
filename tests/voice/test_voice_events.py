"""The status stream in the client: in order, from the start, taken up again, to the end."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from conftest import client_threads, until
from fake_engine import FakeEngine

from voxtra.voice import Call, CallEvent, Voice, VoiceError


@pytest.fixture
def call(v: Voice) -> Call:
    return v.calls.originate(to="+15551234567", from_="+15558675309", trunk_id="trunk_main")


def test_statuses_to_the_last(engine: FakeEngine, call: Call) -> None:
    statuses: list[str] = []
    threads: set[str] = set()
    engine.happen(call.sid, "status", status="dialing")
    call.on_status(lambda status: (statuses.append(status), threads.add(threading.current_thread().name)))
    for status in ("ringing", "in_progress", "completed"):
        engine.happen(call.sid, "status", status=status)
    until(lambda: statuses[-1:] == ["completed"])
    assert statuses == ["dialing", "ringing", "in_progress", "completed"]
    assert threads == {f"events of {call.sid}"}
    until(lambda: not [name for name in client_threads() if name.startswith("events")])


def test_turn_events(engine: FakeEngine, call: Call) -> None:
    got: list[CallEvent] = []
    for name in ("turn_committed", "barge_in_confirmed", "backchannel_dropped"):
        call.on(name, got.append)
    engine.happen(call.sid, "turn_committed", text="Hello", speech_ms=900)
    engine.happen(call.sid, "barge_in_confirmed")
    engine.happen(call.sid, "backchannel_dropped", speech_ms=320)
    until(lambda: len(got) == 3)
    assert [event.name for event in got] == ["turn_committed", "barge_in_confirmed", "backchannel_dropped"]
    assert got[0].data == {"text": "Hello", "speech_ms": 900}
    assert [event.seq for event in got] == [1, 2, 3]
    assert len(engine.event_requests) == 1


def test_a_broken_stream_is_taken_up_where_it_broke_off(engine: FakeEngine, call: Call) -> None:
    statuses: list[str] = []
    engine.break_after = 1
    for status in ("dialing", "ringing", "in_progress", "completed"):
        engine.happen(call.sid, "status", status=status)
    call.on_status(statuses.append)
    until(lambda: statuses[-1:] == ["completed"])
    assert statuses == ["dialing", "ringing", "in_progress", "completed"]
    assert engine.event_requests == [0, 1, 2, 3]


def test_who_listens_late_hears_it_from_the_start(engine: FakeEngine, call: Call) -> None:
    first: list[str] = []
    second: list[str] = []
    third: list[str] = []
    call.on_status(first.append)
    engine.happen(call.sid, "status", status="ringing")
    until(lambda: first)
    call.on_status(second.append)
    engine.happen(call.sid, "status", status="failed")
    until(lambda: second == ["ringing", "failed"])
    call.on_status(third.append)
    until(lambda: third == ["ringing", "failed"])
    assert len(engine.event_requests) == 1


def test_who_listens_no_more(engine: FakeEngine, call: Call) -> None:
    one: list[str] = []
    two: list[str] = []
    end = call.on_status(one.append)
    end_two = call.on_status(two.append)
    engine.happen(call.sid, "status", status="ringing")
    until(lambda: one and two)
    end()
    end()
    engine.happen(call.sid, "status", status="in_progress")
    until(lambda: len(two) == 2)
    assert one == ["ringing"]
    end_two()
    until(lambda: not [name for name in client_threads() if name.startswith("events")])
    three: list[str] = []
    call.on_status(three.append)  # and begun again
    engine.happen(call.sid, "status", status="completed")
    until(lambda: three == ["ringing", "in_progress", "completed"])


def test_there_is_no_such_event(call: Call) -> None:
    with pytest.raises(VoiceError, match="event = 'turn_ended': should be one of status, turn_committed"):
        call.on("turn_ended", print)
    with pytest.raises(VoiceError, match="callback = 3: should be a function"):
        call.on_status(3)  # type: ignore[arg-type]


def test_a_call_that_is_not_there_ends_the_stream(
    engine: FakeEngine, call: Call, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxtra.voice.http.Http.base_url", engine.url + "/nowhere", raising=False)
    call._http.base_url = engine.url + "/nowhere"
    got: list[Any] = []
    call.on_status(got.append)
    until(lambda: "404" in caplog.text)
    assert got == []
