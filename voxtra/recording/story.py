"""A call's events made into its timeline."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

from voxtra.events import DTMFEvent, EventType, UserTranscriptEvent, VoxtraEvent
from voxtra.recording.timeline import Timeline

_TOLD_ELSEWHERE = {
    EventType.USER_TRANSCRIPT_PARTIAL,
    EventType.USER_TRANSCRIPT,
    EventType.TURN_ENDED,
    EventType.AGENT_SPEECH_STARTED,
    EventType.AGENT_SPEECH_ENDED,
    EventType.DTMF_RECEIVED,
}
_BASE = {each.name for each in dataclasses.fields(VoxtraEvent)}


class Story:
    """Writes a timeline while the call goes on: ``off = call.observe(Story(timeline))``.

    Args:
        timeline: where turns, keys and events go, at the moment they are told.
        now: monotonic seconds; None = the running loop's.
    """

    def __init__(self, timeline: Timeline, now: Callable[[], float] | None = None) -> None:
        self.timeline = timeline
        self._now = now or asyncio.get_running_loop().time
        self._began = 0.0
        self.latency: dict[str, float] = {}
        """Of the agent's turn under way: whoever measures more of it (on the wire) may add it here."""

    def __call__(self, event: VoxtraEvent) -> None:
        """Take one event."""
        now = self._now()
        match event:
            case UserTranscriptEvent(type=EventType.USER_TRANSCRIPT, text=text, data=data):
                start, end = (now - data.get(f"{which}_ms_ago", 0) / 1000 for which in ("started", "ended"))
                self.timeline.caller_turn(
                    text, self.timeline.ms(start), self.timeline.ms(end), event.confidence
                )
            case DTMFEvent(digit=digit):
                self.timeline.digit(digit, self.timeline.ms(now))
            case VoxtraEvent(type=EventType.AGENT_SPEECH_STARTED, data=data):
                self._began = now
                self.latency = dict(data.get("latency") or {})
            case VoxtraEvent(type=EventType.AGENT_SPEECH_ENDED, data=data):
                self.timeline.agent_turn(
                    data.get("heard", ""),
                    self.timeline.ms(self._began),
                    self.timeline.ms(now),
                    interrupted=data.get("reason") == "interrupted",
                    latency=self.latency,
                    planned=data.get("text", ""),
                )
            case _ if event.type not in _TOLD_ELSEWHERE:
                self.timeline.event(event.type, self.timeline.ms(now), _said(event))


def _said(event: VoxtraEvent) -> dict[str, Any]:
    """What an event says: its data and its own fields (``reason``, ``message`` ...), without the figures."""
    own = {
        each.name: getattr(event, each.name) for each in dataclasses.fields(event) if each.name not in _BASE
    }
    return {name: value for name, value in {**event.data, **own}.items() if name != "metrics"}
