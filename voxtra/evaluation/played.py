"""What became of a scenario, however it was played."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Line:
    """Something that was said, pressed or played.

    Attributes:
        speaker: ``caller`` or ``agent``.
        text: what was said; of the agent, what was heard.
        start_s: since the call began.
        cut: ``interrupted``, ``hangup`` ... when it was not heard to its end.
    """

    speaker: str
    text: str
    start_s: float
    cut: str = ""


@dataclass
class Verdict:
    """What the judge found of one statement."""

    statement: str
    holds: bool
    why: str


@dataclass
class Played:
    """A scenario that was played.

    Attributes:
        lines: the conversation.
        understood: the caller's turns, as the app understood them.
        tool_calls: ``{"name", "arguments"}`` each, as the model asked for them.
        metrics: of the call, as ``CallMetrics.to_dict``; empty when the app took no call.
        failure: where the call left the caller's script; "" when it didn't.
        errors: what failed in the app.
    """

    lines: list[Line] = field(default_factory=list)
    understood: list[str] = field(default_factory=list)
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    state: str = ""
    ended_by: str = ""
    digits: str = ""
    failure: str = ""
    errors: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def heard(self) -> str:
        """All that the caller heard of the agent."""
        return " ".join(line.text for line in self.lines if line.speaker == "agent")

    @property
    def max_wait_ms(self) -> float | None:
        """The longest wait for an answer, None when there was none."""
        waits = self.metrics.get("waits_ms")
        return max(waits) if waits else None


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        what: in words.
        holds: whether it is so.
        seen: what was seen instead.
    """

    what: str
    holds: bool
    seen: str = ""
