"""Prometheus metrics of apps: what all their calls came to, in the text format that Prometheus reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from voxtra.ari.state import ConnectionState
from voxtra.errors import MissingExtraError
from voxtra.events import CallEndedEvent, ErrorEvent, EventType, VoxtraEvent

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

WAIT_BUCKETS_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
DURATION_BUCKETS_S = (5, 15, 30, 60, 120, 300, 600, 1800, 3600)

_CREATED = re.compile(r"^(?:# (?:HELP|TYPE) )?voxtra_\w+_created\b")


class Watched(Protocol):
    """What is asked of an app; :class:`~voxtra.app.VoxtraApp` has it."""

    @property
    def app_name(self) -> str: ...  # noqa: D102

    @property
    def ari(self) -> Any: ...  # noqa: D102

    def health(self) -> dict[str, Any]: ...  # noqa: D102

    def on(self, event_type: Any = None) -> Callable[[Any], Any]: ...  # noqa: D102

    def on_startup(self, hook: Any) -> Any: ...  # noqa: D102


class PrometheusMetrics:
    """Counts what happens on the calls of apps::

        metrics = PrometheusMetrics()
        metrics.watch(app)      # before the app starts
        metrics.render()        # what GET /metrics answers

    Args:
        registry: where the metrics are registered; None = one of their own, that nothing else is in.
        lag_s: how late the event loop is, s; None leaves that metric out.

    Raises:
        MissingExtraError: ``voxtra[metrics]`` is not installed.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, *, lag_s: Callable[[], float] | None = None
    ) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError:
            raise MissingExtraError("the Prometheus client", "metrics") from None
        self.registry = registry if registry is not None else prometheus.CollectorRegistry()
        self._generate = prometheus.generate_latest
        self._apps: list[Watched] = []

        def counter(name: str, text: str, *labels: str) -> Counter:
            return prometheus.Counter(name, text, ("app", *labels), registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return prometheus.Gauge(name, text, labels, registry=self.registry)

        def histogram(name: str, text: str, buckets: Iterable[float], *labels: str) -> Histogram:
            return prometheus.Histogram(
                name, text, ("app", *labels), buckets=tuple(buckets), registry=self.registry
            )

        self._calls = counter("voxtra_calls", "Calls that have ended.", "direction", "outcome", "reason")
        self._active = gauge("voxtra_calls_active", "Calls that live now.", "app")
        self._duration = histogram(
            "voxtra_call_duration_seconds", "From the answer to the end.", DURATION_BUCKETS_S
        )
        self._delay = histogram(
            "voxtra_answer_delay_seconds", "From a call's begin to its answer.", WAIT_BUCKETS_S
        )
        self._turns = counter("voxtra_turns", "Turns of callers.")
        self._wait = histogram(
            "voxtra_turn_wait_seconds",
            "From a caller's last sound to the agent's first, by whom was waited for.",
            WAIT_BUCKETS_S,
            "owner",
        )
        self._interruptions = counter("voxtra_interruptions", "How often callers stopped the agent.")
        self._false = counter("voxtra_false_interruptions", "Interruptions that no words came of.")
        self._errors = counter("voxtra_errors", "Errors of providers and handlers.", "type")
        self._tokens = counter("voxtra_tokens", "Tokens of language models.", "direction")
        self._characters = counter("voxtra_characters_spoken", "Characters spoken by agents, and heard.")
        self._tools = histogram(
            "voxtra_tool_seconds", "How long tools took.", WAIT_BUCKETS_S, "tool", "outcome"
        )
        self._frames = counter("voxtra_frames", "Frames of sound, 20 ms each.", "kind")
        self._state = gauge(
            "voxtra_ari_state", "1 for the state of the connection to Asterisk.", "app", "state"
        )
        self._ready = gauge("voxtra_ready", "1 while calls are taken.", "app")
        self._reconnects = counter(
            "voxtra_ari_reconnects", "How often the connection was lost and found again."
        )
        if lag_s is not None:
            lag = gauge("voxtra_event_loop_lag_seconds", "How late the event loop comes to what is due.")
            lag.set_function(lag_s)

    def watch(self, app: Watched) -> None:
        """Count the calls of ``app`` too. Before it starts, or its first start is not seen."""
        name = app.app_name
        self._apps.append(app)
        app.on()(partial(self._take, name))
        for each in (self._reconnects, self._turns, self._interruptions, self._false, self._characters):
            each.labels(name)  # 0 is a figure too
        self._to_state(name, ConnectionState.CLOSED)

        def connected() -> None:
            self._to_state(name, ConnectionState.READY)
            lost = False

            def became(state: ConnectionState) -> None:
                nonlocal lost
                self._to_state(name, state)
                if state is ConnectionState.READY and lost:
                    self._reconnects.labels(name).inc()
                lost = state is not ConnectionState.READY

            app.ari.on_state(became)

        app.on_startup(connected)

    def render(self) -> str:
        """All of it as text, for ``GET /metrics`` in the content type :data:`voxtra.health.METRICS_TYPE`."""
        for app in self._apps:
            health = app.health()
            self._active.labels(app.app_name).set(health["calls"])
            self._ready.labels(app.app_name).set(bool(health["ready"]))
        lines = self._generate(self.registry).decode().splitlines(keepends=True)
        return "".join(line for line in lines if not _CREATED.match(line))

    def _to_state(self, app: str, now: ConnectionState) -> None:
        for state in ConnectionState:
            self._state.labels(app, str(state)).set(state is now)

    def _take(self, app: str, event: VoxtraEvent) -> None:
        data = event.data
        match event:
            case VoxtraEvent(type=EventType.AGENT_SPEECH_STARTED):
                for owner, ms in (data.get("latency") or {}).items():
                    self._wait.labels(app, owner).observe(ms / 1000)
            case VoxtraEvent(type=EventType.AGENT_SPEECH_ENDED):
                self._characters.labels(app).inc(len(str(data.get("heard", ""))))
            case VoxtraEvent(type=EventType.AGENT_RESPONSE):
                for direction in ("input", "output"):
                    self._tokens.labels(app, direction).inc(data.get(f"{direction}_tokens") or 0)
            case VoxtraEvent(type=EventType.TURN_ENDED):
                self._turns.labels(app).inc()
            case VoxtraEvent(type=EventType.BARGE_IN):
                self._interruptions.labels(app).inc()
            case VoxtraEvent(type=EventType.FALSE_INTERRUPTION) if data.get("stopped"):
                self._false.labels(app).inc()
            case VoxtraEvent(type=EventType.TOOL_ENDED):
                self._tools.labels(app, data["name"], data["outcome"]).observe(data["ms"] / 1000)
            case ErrorEvent():
                self._errors.labels(app, event.error_type).inc()
            case CallEndedEvent() if "metrics" in data:
                self._ended(app, event, data["metrics"])
            case _:
                pass

    def _ended(self, app: str, event: CallEndedEvent, figures: dict[str, Any]) -> None:
        self._calls.labels(app, figures["direction"], figures["outcome"], event.reason).inc()
        if figures["answer_delay_ms"] is not None:
            self._delay.labels(app).observe(figures["answer_delay_ms"] / 1000)
            self._duration.labels(app).observe(event.duration_seconds)
        for kind in ("received", "lost", "late", "played", "dropped"):
            self._frames.labels(app, kind).inc(figures["media"][kind])
