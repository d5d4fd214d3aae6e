"""What one call leaves behind: a document of everything that happened on it. Collects; touches no file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from voxtra.events import CallEndedEvent, EventType, VoxtraEvent
from voxtra.recording.peaks import Outline
from voxtra.recording.story import Story
from voxtra.recording.timeline import Timeline

VERSION = 1
MAX_TOOLS = 1000
MAX_RECORDINGS = 1000
ENDED_BY = {"hangup": "far end", "local": "app", "left": "dialplan", "lost": "lost", "failed": "failed"}


@dataclass(slots=True)
class Recorded:
    """A recording of the call.

    Attributes:
        name, format: its own.
        started_ms: when it began, on the record's axis.
        duration_seconds: None when unknown, or while it is under way.
        uri: where it is, "" when that was not known yet (it waits in a spool).
        error: why its sink did not take it, "" when it did.
        outline: for drawing it; None when there is nothing to draw.
    """

    name: str
    format: str
    started_ms: int
    duration_seconds: float | None = None
    uri: str = ""
    error: str = ""
    outline: Outline | None = None

    def to_dict(self) -> dict[str, Any]:
        """All but the outline."""
        found = {
            "name": self.name,
            "format": self.format,
            "started_ms": self.started_ms,
            "duration_seconds": self.duration_seconds,
            "uri": self.uri,
        }
        return found | ({"error": self.error} if self.error else {})


class CallRecord:
    """The record of one call: ``call.observe(record)``, after the meter.

    Args:
        call: facts of the call, JSON-able: ``id, app, caller_id, called_number, direction`` ...
        now: monotonic seconds.
        wall: wall-clock time now.
    """

    def __init__(
        self,
        call: Mapping[str, Any],
        now: Callable[[], float],
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._began = now()
        self._now = now
        self._wall = wall
        self._timeline = Timeline(lambda time: (time - self._began) * 1000)
        self._story = Story(self._timeline, now)
        self._call = dict(call) | {"started": _iso(wall()), "answered_ms": None, "ended": None}
        self._metrics: dict[str, Any] = {}
        self._tools: list[dict[str, Any]] = []
        self._open: dict[str, dict[str, Any]] = {}
        self.recordings: list[Recorded] = []
        self.changes = 0
        """Grows with every event."""

    @property
    def now_ms(self) -> int:
        """This moment on the record's axis: ms since the call began."""
        return round((self._now() - self._began) * 1000)

    def __call__(self, event: VoxtraEvent) -> None:
        """Take one event."""
        self.changes += 1
        match event:
            case CallEndedEvent():
                self._metrics = dict(event.data.get("metrics") or {})
                self._call |= {
                    "ended": _iso(self._wall()),
                    "reason": event.reason,
                    "ended_by": ENDED_BY.get(event.reason, event.reason),
                    "cause": event.cause,
                    "duration_seconds": event.duration_seconds,
                    "outcome": self._metrics.get("outcome", ""),
                }
            case VoxtraEvent(type=EventType.CALL_ANSWERED):
                self._call["answered_ms"] = self.now_ms
            case VoxtraEvent(type=EventType.TOOL_STARTED, data=data) if len(self._tools) < MAX_TOOLS:
                tool = {
                    "name": str(data.get("name", "")),
                    "at_ms": self.now_ms,
                    "ms": None,
                    "outcome": "running",
                }
                self._tools.append(tool)
                self._open[str(data.get("id", ""))] = tool
            case VoxtraEvent(type=EventType.TOOL_ENDED, data=data):
                if (open_ := self._open.pop(str(data.get("id", "")), None)) is not None:
                    open_ |= {"ms": data.get("ms"), "outcome": data.get("outcome")}
        self._story(event)

    def recorded(self, recording: Recorded) -> None:
        """A recording began; what is set in it later is in the record too."""
        if len(self.recordings) < MAX_RECORDINGS:
            self.recordings.append(recording)

    def document(self) -> dict[str, Any]:
        """The record as it is now, JSON-able but for what handlers and tools put into events.

        Returns:
            ``version``, ``call``, ``turns``, ``digits``, ``events`` (as :meth:`Timeline.to_dict`), ``tools``,
            ``metrics`` (see :class:`~voxtra.metrics.CallMetrics`), ``recordings``, ``left_out`` (entries beyond the
            bound). Times in ms since the call began.
        """
        story = self._timeline.to_dict()
        return {
            "version": VERSION,
            "call": dict(self._call),
            "turns": story["turns"],
            "digits": story["digits"],
            "events": story["events"],
            "tools": [dict(tool) for tool in self._tools],
            "metrics": self._metrics,
            "recordings": [each.to_dict() for each in self.recordings],
            "left_out": self._timeline.left_out,
        }

    def add_facts(self, **facts: Any) -> None:
        """Add to what is known of the call (``metadata`` ...)."""
        self._call |= facts


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
