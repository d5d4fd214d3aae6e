"""ARI's recordings on the fake Asterisk: true in length, and silent."""

from __future__ import annotations

import asyncio
import io
import wave
from dataclasses import dataclass
from typing import Any

from voxtra.testing.fake_asterisk import FakeAsterisk, FakeChannel
from voxtra.testing.fake_rest import Answer, Ask, Refusal, operation

RATE = 8000


@dataclass
class FakeRecording:
    """A recording of a channel.

    Attributes:
        began: ``loop.time()``, s.
        seconds: its length; None while it grows.
    """

    name: str
    format: str
    channel: FakeChannel
    began: float
    seconds: float | None = None

    def describe(self) -> dict[str, Any]:
        """As ARI shows it."""
        state = "recording" if self.seconds is None else "done"
        target = f"channel:{self.channel.id}"
        return {"name": self.name, "format": self.format, "target_uri": target, "state": state}


def _now() -> float:
    return asyncio.get_running_loop().time()


def _found(asterisk: FakeAsterisk, ask: Ask, *, live: bool) -> FakeRecording:
    recording: FakeRecording | None = asterisk.recordings.get(ask.ids[0])
    if recording is not None and recording.seconds is None and recording.channel.gone:
        _finish(asterisk, recording)
    if recording is None or live is not (recording.seconds is None):
        raise Refusal(404, "Recording not found")
    return recording


def _finish(asterisk: FakeAsterisk, recording: FakeRecording) -> None:
    recording.seconds = _now() - recording.began
    asterisk.emit("RecordingFinished", recording=recording.describe())


@operation("POST /channels/{channelId}/record")
def _record(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    name = ask.get("name")
    if name in asterisk.recordings:
        raise Refusal(409, "Recording already exists")
    recording = FakeRecording(name, ask.get("format"), ask.ours(asterisk), _now())
    if recording.channel.bridge is not None:
        raise Refusal(409, "Cannot record channel while in bridge")
    asterisk.recordings[name] = recording
    asterisk.emit("RecordingStarted", recording=recording.describe())
    return recording.describe()


@operation("POST /recordings/live/{recordingName}/stop")
def _stop(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    _finish(asterisk, _found(asterisk, ask, live=True))


@operation("GET /recordings/stored/{recordingName}/file")
def _file(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    recording = _found(asterisk, ask, live=False)
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(int((recording.seconds or 0) * RATE) * 2))
    return made.getvalue()


@operation("DELETE /recordings/stored/{recordingName}")
def _delete(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    del asterisk.recordings[_found(asterisk, ask, live=False).name]


@operation("GET /recordings/stored")
def _list(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    done = [each for each in asterisk.recordings.values() if each.seconds is not None]
    return [{"name": each.name, "format": each.format} for each in done]
