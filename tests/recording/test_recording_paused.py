"""While a recording is paused nothing of a card number reaches anything that keeps."""

import asyncio
import json
import logging
from dataclasses import asdict
from pathlib import Path

import pytest

from voxtra import CallSession, CallState, LocalFileSink, VoxtraApp
from voxtra.errors import SessionError
from voxtra.events import EventType
from voxtra.recording import Timeline
from voxtra.recording.story import Story
from voxtra.speech.intents import Intent, IntentLLM
from voxtra.testing import FakeCall, run_call

CARD = "4111111111111111"
SPOKEN = "four one one one one one one one"


def written(folder: Path) -> str:
    """All files, as text as far as they are."""
    return "".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())


def test_a_card_number_is_nowhere_but_with_the_handler(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    app = VoxtraApp(
        llm=IntentLLM({"card": Intent(["card"], reply="Thank you.")}),
        stt="local",
        tts="local",
        vad="local",
        call_records=str(tmp_path / "records"),
    )
    events, got, by_callback = [], [], []
    app.on()(events.append)

    @app.default()
    async def handler(call: CallSession) -> None:
        await call.answer()
        call.on_dtmf(lambda digit: _collect(by_callback, digit))
        timeline = Timeline()
        call.observe(Story(timeline))
        await call.record_start("call", sink=LocalFileSink(tmp_path / "recordings"))
        await call.say("Before.")
        got.append(await call.listen_dtmf(timeout=10))
        await call.record_pause()
        await call.record_pause()
        assert call.record_paused
        with pytest.raises(SessionError, match="record_resume"):
            await call.listen(timeout=1)
        got.append(await call.listen_dtmf(max_digits=16, timeout=30))
        await call.say(f"You keyed {CARD}.")
        await asyncio.sleep(8)  # spoken, and keyed once more, with nobody asking
        await call.record_resume()
        assert not call.record_paused
        got.append(await call.listen_dtmf(timeout=3))
        await call.say("After.")
        words = await call.listen(timeout=10)
        got.append(words.text if words is not None else None)
        got.append(call.state)
        await call.record_stop()
        timeline.save(tmp_path / "timeline.json")
        (tmp_path / "metrics.json").write_text(json.dumps(call.metrics.to_dict()))
        while not call._event_queue.empty():
            got.append(call._event_queue.get_nowait())

    async def caller(call: FakeCall) -> None:
        await call.hears("Before")
        await call.presses("7")
        await asyncio.sleep(1)
        await call.presses(CARD)
        await call.hears("You keyed")
        await asyncio.sleep(1)
        await call.says(SPOKEN)
        await call.presses(CARD)
        await call.hears("After", timeout=40)
        await call.says("Good bye then.")

    result = run_call(app, caller)
    first, card, late, last, state, *queued = got
    assert (first, card, late, state) == ("7", CARD, None, CallState.IN_PROGRESS)
    assert "good bye" in last.lower()
    assert "".join(by_callback) == "7" + CARD * 2
    kinds = [event.type for event in events]
    assert [kinds.count(k) for k in (EventType.RECORDING_PAUSED, EventType.RECORDING_RESUMED)] == [1, 1]
    assert [event.digit for event in events if event.type is EventType.DTMF_RECEIVED] == ["7"]
    shown = repr([asdict(event) for event in events]) + repr(queued) + repr(result.events)
    outputs = {
        "events": shown,
        "log": caplog.text + repr([record.__dict__ for record in caplog.records]),
        "files": written(tmp_path),
    }
    assert "Before." in shown
    assert "After." in shown
    assert "Good bye" in outputs["files"]
    for name, text in outputs.items():
        assert CARD not in text, name
        assert "four one one" not in text, name
        assert "You keyed" not in text, name
    (record,) = (tmp_path / "records").rglob("*.json")
    digits = json.loads((tmp_path / "timeline.json").read_text())["digits"]
    assert [entry["digit"] for entry in digits] == ["7"]
    assert '"4"' not in record.read_text()


async def _collect(where: list[str], digit: str) -> None:
    where.append(digit)


def test_what_was_begun_in_a_pause_is_not_told_after_it(tmp_path):
    """The handler reads the number back, and resumes while it is still being said."""
    app = VoxtraApp(tts="local", vad="local", call_records=str(tmp_path))
    events = []
    app.on()(events.append)

    @app.default()
    async def handler(call: CallSession) -> None:
        await call.answer()
        await call.record_pause()
        saying = asyncio.ensure_future(call.say(f"You keyed {CARD}. That is all there is to it."))
        await asyncio.sleep(1)
        await call.record_resume()
        await saying
        await call.say("Good bye.")

    async def caller(call: FakeCall) -> None:
        await call.hears("Good bye", timeout=40)
        await call.ended(timeout=40)

    run_call(app, caller)
    assert CARD not in repr([asdict(event) for event in events])
    assert CARD not in written(tmp_path)
    assert "Good bye." in written(tmp_path)
