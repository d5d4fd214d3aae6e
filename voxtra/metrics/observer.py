"""A call's events made into its figures."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from voxtra.events import CallEndedEvent, ErrorEvent, EventType, VoxtraEvent
from voxtra.media.line import LineStats
from voxtra.metrics.call import CallMetrics, MediaMetrics, ToolMetrics, TurnMetrics

log = logging.getLogger("voxtra.metrics")

MAX_TURNS = 1000
"""Turns that are kept one by one."""
MAX_TOOLS = 100
"""Tools of one turn that are kept one by one."""
MAX_KINDS = 50
"""Types of errors told apart."""


class Sounding(Protocol):
    """What is asked of a line."""

    transport: str
    codec: str

    @property
    def stats(self) -> LineStats: ...  # noqa: D102


class CallMeter:
    """Measures one call: ``call.observe(CallMeter(call.id, loop.time, line))``, before any other observer.

    It reads nothing but events and puts the figures into the last of them, ``CALL_ENDED``
    (``data["metrics"]``); at the same time they go to the log as one line.

    Args:
        call_id: of the call.
        now: monotonic seconds.
        line: gives the call's line when its sound begins.
    """

    def __init__(self, call_id: str, now: Callable[[], float], line: Callable[[], Sounding | None]) -> None:
        self._metrics = CallMetrics(call_id=call_id)
        self._now = now
        self._line = line
        self._lines: list[Sounding] = []
        self._began = now()
        self._answered_at: float | None = None
        self._turn: TurnMetrics | None = None
        self._tools: dict[str, ToolMetrics] = {}
        self._spoken_in: TurnMetrics | None = None

    @property
    def metrics(self) -> CallMetrics:
        """The figures as they are now."""
        metrics = self._metrics
        if self._answered_at is not None and not metrics.reason:
            metrics.duration_s = round(self._now() - self._answered_at, 3)
        metrics.media = _media(self._lines)
        return metrics

    def __call__(self, event: VoxtraEvent) -> None:
        """Take one event."""
        take = _TAKERS.get(event.type)
        if take is not None:
            take(self, event)

    # ---- the call

    def _started(self, event: VoxtraEvent) -> None:
        self._began = self._now()
        self._metrics.direction = str(event.data.get("direction", ""))

    def _answered(self, event: VoxtraEvent) -> None:
        if self._answered_at is None:
            self._answered_at = self._now()
            self._metrics.answer_delay_ms = round((self._answered_at - self._began) * 1000, 1)

    def _media_began(self, event: VoxtraEvent) -> None:
        line = self._line()
        if line is not None and line not in self._lines:
            self._lines = [*self._lines, line]

    def _ended(self, event: VoxtraEvent) -> None:
        metrics = self._metrics
        if isinstance(event, CallEndedEvent):
            metrics.reason, metrics.cause = event.reason, event.cause
            metrics.duration_s = event.duration_seconds
        event.data["metrics"] = self.metrics.to_dict()
        self._lines = [_Kept(each) for each in self._lines]
        said = " ".join(f"{name}={value}" for name, value in metrics.summary().items() if value is not None)
        about: dict[str, Any] = {"call_id": metrics.call_id, "metrics": metrics.summary()}
        log.info("call ended: %s", said, extra=about)

    def _failed(self, event: VoxtraEvent) -> None:
        kind = event.error_type if isinstance(event, ErrorEvent) else ""
        errors = self._metrics.errors
        if kind not in errors and len(errors) >= MAX_KINDS:
            kind = "other"
        errors[kind] = errors.get(kind, 0) + 1

    # ---- the caller

    def _interrupted(self, event: VoxtraEvent) -> None:
        self._metrics.interruptions += 1

    def _interrupted_for_nothing(self, event: VoxtraEvent) -> None:
        if event.data.get("stopped"):
            self._metrics.false_interruptions += 1
        else:
            self._metrics.backchannels += 1

    def _turn_ended(self, event: VoxtraEvent) -> None:
        metrics, data = self._metrics, event.data
        metrics.turns_total += 1
        self._turn = TurnMetrics(
            number=metrics.turns_total,
            at_s=round(self._now() - self._began, 3),
            speech_ms=max(0.0, float(data.get("started_ms_ago", 0)) - float(data.get("ended_ms_ago", 0))),
        )
        if len(metrics.turns) < MAX_TURNS:
            metrics.turns.append(self._turn)

    # ---- the agent

    def _replied(self, event: VoxtraEvent) -> None:
        given, taken = (int(event.data.get(name) or 0) for name in ("input_tokens", "output_tokens"))
        for each in (self._metrics, self._turn):
            if each is not None:
                each.input_tokens += given
                each.output_tokens += taken

    def _tool_began(self, event: VoxtraEvent) -> None:
        self._metrics.tool_calls += 1
        if self._turn is not None and len(self._turn.tools) < MAX_TOOLS:
            tool = self._tools[str(event.data["id"])] = ToolMetrics(str(event.data["name"]))
            self._turn.tools.append(tool)

    def _tool_ended(self, event: VoxtraEvent) -> None:
        tool = self._tools.pop(str(event.data["id"]), None)
        if tool is not None:
            tool.outcome, tool.ms = str(event.data["outcome"]), float(event.data["ms"])

    def _agent_speaks(self, event: VoxtraEvent) -> None:
        self._spoken_in = self._turn
        latency = event.data.get("latency") or {}
        if self._turn is not None and latency and not self._turn.wait:
            self._turn.wait = dict(latency)

    def _agent_done(self, event: VoxtraEvent) -> None:
        turn, self._spoken_in = self._spoken_in, None
        heard = len(str(event.data.get("heard", "")))
        self._metrics.characters += heard
        if turn is not None:
            turn.characters += heard
            turn.interrupted = turn.interrupted or event.data.get("reason") == "interrupted"


class _Kept:
    """What is kept of a line whose call has ended: its counters."""

    def __init__(self, line: Sounding) -> None:
        self.transport, self.codec, self.stats = line.transport, line.codec, line.stats


def _media(lines: list[Sounding]) -> MediaMetrics:
    if not lines:
        return MediaMetrics()
    stats = [line.stats for line in lines]
    return MediaMetrics(
        transport=lines[-1].transport,
        codec=lines[-1].codec,
        received=sum(each.frames_received for each in stats),
        lost=sum(each.frames_lost for each in stats),
        late=sum(each.frames_late for each in stats),
        played=sum(each.frames_played for each in stats),
        dropped=sum(each.frames_dropped for each in stats),
        jitter_ms=round(max(each.jitter_ms for each in stats), 2),
    )


_TAKERS: dict[EventType, Callable[[CallMeter, VoxtraEvent], None]] = {
    EventType.CALL_STARTED: CallMeter._started,
    EventType.CALL_ANSWERED: CallMeter._answered,
    EventType.CALL_ENDED: CallMeter._ended,
    EventType.MEDIA_STARTED: CallMeter._media_began,
    EventType.ERROR: CallMeter._failed,
    EventType.BARGE_IN: CallMeter._interrupted,
    EventType.FALSE_INTERRUPTION: CallMeter._interrupted_for_nothing,
    EventType.TURN_ENDED: CallMeter._turn_ended,
    EventType.AGENT_RESPONSE: CallMeter._replied,
    EventType.TOOL_STARTED: CallMeter._tool_began,
    EventType.TOOL_ENDED: CallMeter._tool_ended,
    EventType.AGENT_SPEECH_STARTED: CallMeter._agent_speaks,
    EventType.AGENT_SPEECH_ENDED: CallMeter._agent_done,
}
