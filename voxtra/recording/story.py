"""A call's events made into its timeline."""

from __future__ import annotations

import asyncio

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


class Story:
    """Writes a timeline while the call goes on: ``off = call.observe(Story(timeline))``.

    Args:
        timeline: where turns, keys and events go, at the moment they are told.
    """

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self._now = asyncio.get_running_loop().time
        self._began = 0.0
        self.latency: dict[str, float] = {}
        """Of the agent's turn under way: whoever measures more of it (on the wire) may add it here."""

    def __call__(self, event: VoxtraEvent) -> None:
        """Take one event."""
        now = self._now()
        match event:
            case UserTranscriptEvent(type=EventType.USER_TRANSCRIPT, text=text, data=data):
                start, end = (now - data[f"{which}_ms_ago"] / 1000 for which in ("started", "ended"))
                self.timeline.caller_turn(
                    text, self.timeline.ms(start), self.timeline.ms(end), event.confidence
                )
            case DTMFEvent(digit=digit):
                self.timeline.digit(digit, self.timeline.ms(now))
            case VoxtraEvent(type=EventType.AGENT_SPEECH_STARTED, data=data):
                self._began = now
                self.latency = dict(data["latency"])
            case VoxtraEvent(type=EventType.AGENT_SPEECH_ENDED, data=data):
                self.timeline.agent_turn(
                    data["heard"],
                    self.timeline.ms(self._began),
                    self.timeline.ms(now),
                    interrupted=data["reason"] == "interrupted",
                    latency=self.latency,
                    planned=data["text"],
                )
            case _ if event.type not in _TOLD_ELSEWHERE:
                self.timeline.event(event.type, self.timeline.ms(now), event.data)
