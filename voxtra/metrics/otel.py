"""Calls as OpenTelemetry spans: a call, its turns, and in them what was waited for, asked and run.

Made of the call's own events through OpenTelemetry's API; what becomes of the spans is for the SDK that the
program has set up. Names and attributes are those of OpenTelemetry's conventions for generative AI where it
has any.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from voxtra.errors import MissingExtraError
from voxtra.events import CallEndedEvent, ErrorEvent, EventType, VoxtraEvent

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

MAX_TOOLS = 100
"""Tools of one call that may run at once; of more there are no spans."""


class Watched(Protocol):
    """What is asked of an app."""

    def on(self, event_type: Any = None) -> Callable[[Any], Any]: ...  # noqa: D102


def trace_calls(app: Watched, tracer: Tracer | None = None) -> CallTracer:
    """Make spans of all calls of ``app`` from now on.

    Args:
        tracer: None = the global provider's, as ``voxtra``.

    Raises:
        MissingExtraError: ``voxtra[otel]`` is not installed.
    """
    try:
        from opentelemetry import trace
    except ImportError:
        raise MissingExtraError("the OpenTelemetry API", "otel") from None
    tracing = CallTracer(tracer or trace.get_tracer("voxtra"))
    app.on()(tracing)
    return tracing


class CallTracer:
    """Takes events of any number of calls; see :func:`trace_calls`.

    Attributes:
        calls: those that live, by id.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self.calls: dict[str, _Call] = {}

    def __call__(self, event: VoxtraEvent) -> None:
        """Take one event."""
        if event.type is EventType.CALL_STARTED:
            self.calls[event.session_id] = _Call(self._tracer, event)
        call = self.calls.get(event.session_id)
        if call is not None and call.take(event):
            del self.calls[event.session_id]


class _Call:
    """The spans of one call. All times are the loop's, put on the wall clock of the call's begin."""

    def __init__(self, tracer: Tracer, event: VoxtraEvent) -> None:
        self._tracer = tracer
        self._now = asyncio.get_running_loop().time
        self._wall_ns = int(event.timestamp.timestamp() * 1e9) - int(self._now() * 1e9)
        self._last_s = self._now()
        self._turns = 0
        self._turn: Span | None = None
        self._turn_began_s = 0.0
        self._answered = False
        self._model: Span | None = None
        self._speech: Span | None = None
        self._tools: dict[str, Span] = {}
        about = {"voxtra.call.id": event.session_id, "voxtra.call.direction": event.data.get("direction", "")}
        self._call = tracer.start_span("call", start_time=self._ns(self._last_s), attributes=about)

    def _ns(self, at_s: float) -> int:
        return self._wall_ns + int(at_s * 1e9)

    def _span(self, name: str, began_s: float, attributes: Mapping[str, Any] | None = None) -> Span:
        from opentelemetry.trace import set_span_in_context

        parent = set_span_in_context(self._turn or self._call)
        return self._tracer.start_span(
            name, context=parent, start_time=self._ns(began_s), attributes=dict(attributes or {})
        )

    def _past(self, name: str, began_s: float, ended_s: float) -> None:
        self._span(name, began_s).end(self._ns(ended_s))

    def _end(self, span: Span | None, **attributes: Any) -> None:
        if span is not None:
            span.set_attributes({name.replace("__", "."): value for name, value in attributes.items()})
            span.end(self._ns(self._now()))
            self._last_s = self._now()

    def take(self, event: VoxtraEvent) -> bool:
        """True when it was the last."""
        data, now = event.data, self._now()
        match event:
            case VoxtraEvent(type=EventType.TURN_ENDED):
                self._next_turn(now - float(data.get("ended_ms_ago", 0)) / 1000)
            case VoxtraEvent(type=EventType.AGENT_THINKING):
                self._end(self._model, voxtra__broken_off=True)
                self._model = self._span("chat", now, {"gen_ai.operation.name": "chat"})
            case VoxtraEvent(type=EventType.AGENT_RESPONSE):
                used = {
                    f"gen_ai__usage__{name}": data.get(name) or 0
                    for name in ("input_tokens", "output_tokens")
                }
                self._end(self._model, **used)
                self._model = None
            case VoxtraEvent(type=EventType.TOOL_STARTED) if len(self._tools) < MAX_TOOLS:
                about = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": data["name"]}
                self._tools[data["id"]] = self._span(f"execute_tool {data['name']}", now, about)
            case VoxtraEvent(type=EventType.TOOL_ENDED):
                self._end(self._tools.pop(data["id"], None), voxtra__tool__outcome=data["outcome"])
            case VoxtraEvent(type=EventType.AGENT_SPEECH_STARTED):
                self._speaks(now, data.get("latency") or {})
            case VoxtraEvent(type=EventType.AGENT_SPEECH_ENDED):
                self._end(
                    self._speech, voxtra__speech__reason=data["reason"], voxtra__characters=len(data["heard"])
                )
                self._speech = None
            case VoxtraEvent(type=EventType.BARGE_IN):
                (self._turn or self._call).add_event("barge_in", timestamp=self._ns(now))
            case ErrorEvent():
                self._failed(event, now)
            case CallEndedEvent():
                self._over(event)
                return True
            case VoxtraEvent(type=EventType.SESSION_DESTROYED):  # ended without a word
                self._close()
                self._call.end(self._ns(now))
                return True
            case _:
                pass
        return False

    def _next_turn(self, began_s: float) -> None:
        self._end_turn()
        self._turns += 1
        self._answered = False
        self._turn_began_s = self._last_s = began_s
        self._turn = self._span("turn", began_s, {"voxtra.turn.number": self._turns})

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._turn.end(self._ns(max(self._last_s, self._turn_began_s)))
            self._turn = None

    def _speaks(self, now: float, wait: Mapping[str, float]) -> None:
        if self._turn is not None and wait and not self._answered:
            self._answered = True
            decided = self._turn_began_s + wait["endpointing"] / 1000
            self._past("endpointing", self._turn_began_s, decided)
            self._past("stt", decided, decided + wait["stt"] / 1000)
            self._past("tts", now - wait["tts"] / 1000, now)
            self._turn.set_attributes({f"voxtra.wait.{owner}_ms": ms for owner, ms in wait.items()})
        self._speech = self._span("speech", now)

    def _failed(self, event: ErrorEvent, now: float) -> None:
        from opentelemetry.trace import Status, StatusCode

        about = {"exception.type": event.error_type, "exception.message": event.message}
        span = self._model or self._turn or self._call
        span.add_event("exception", about, timestamp=self._ns(now))
        span.set_status(Status(StatusCode.ERROR, event.message))
        if self._model is not None:
            self._end(self._model)
            self._model = None

    def _close(self) -> None:
        for span in (self._model, self._speech, *self._tools.values()):
            self._end(span)
        self._model = self._speech = None
        self._tools.clear()
        self._end_turn()

    def _over(self, event: CallEndedEvent) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._close()
        figures = event.data.get("metrics", {})
        self._call.set_attributes(
            {
                "voxtra.call.reason": event.reason,
                "voxtra.call.cause": event.cause,
                "voxtra.call.outcome": figures.get("outcome", ""),
                "voxtra.call.turns": figures.get("turns_total", 0),
                "voxtra.call.interruptions": figures.get("interruptions", 0),
            }
        )
        if event.reason == "failed":
            self._call.set_status(Status(StatusCode.ERROR, event.reason))
        self._call.end(self._ns(self._now()))
