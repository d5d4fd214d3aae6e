"""The figures of one call. They hold no words of anybody."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

OWNERS = ("endpointing", "stt", "llm", "tts", "framework")
"""Who a caller waits for, in order: see :meth:`voxtra.agent.times.TurnTimes.split`."""


@dataclass(slots=True)
class ToolMetrics:
    """One tool that was run.

    Attributes:
        outcome: ``done``, ``error``, ``timeout`` or ``cancelled``; ``running`` when the call ended first,
            as it does with a tool that hangs up.
        ms: how long it took.
    """

    name: str
    outcome: str = "running"
    ms: float = 0.0


@dataclass(slots=True)
class TurnMetrics:
    """One turn of the caller, and what was said in answer to it.

    Attributes:
        number: 1 for the first.
        at_s: when it was decided that the caller was done, s since the call began.
        speech_ms: from the caller's first to the last sound.
        wait: from the caller's last sound to the agent's first, in ms by owner: ``endpointing`` (the silence
            waited for), ``stt``, ``llm``, ``tts``, ``framework`` (everything else, the handler's own work
            included), and ``total``. Empty when the agent said nothing.
        interrupted: the answer was cut off by the caller.
        input_tokens, output_tokens: of the model, where it tells them.
        characters: spoken in answer, and heard.
        tools: run for it.
    """

    number: int
    at_s: float
    speech_ms: float = 0.0
    wait: dict[str, float] = field(default_factory=dict)
    interrupted: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0
    tools: list[ToolMetrics] = field(default_factory=list)


@dataclass(slots=True)
class MediaMetrics:
    """The call's sound, over all lines it has had. Frames are 20 ms each.

    Attributes:
        received, played: frames from and to the caller.
        lost, late: frames that did not arrive, or too late.
        dropped: frames that a full buffer or an interruption threw away.
        jitter_ms: RFC 3550 interarrival jitter, where it is measured (RTP); the worst line's.
    """

    transport: str = ""
    codec: str = ""
    received: int = 0
    lost: int = 0
    late: int = 0
    played: int = 0
    dropped: int = 0
    jitter_ms: float = 0.0


@dataclass(slots=True)
class CallMetrics:
    """The figures of one call; they grow while it lives.

    Attributes:
        call_id: ``CallSession.id``.
        direction: ``inbound`` or ``outbound``.
        answer_delay_ms: from the call's begin to its answer; None before, or when there was none.
        duration_s: from the answer to the end.
        reason: how it ended (``hangup``: the far end, ``local``: we, ``left``, ``lost``, ``failed``); ""
            while it lives.
        cause: Q.850 cause, 0 when unknown.
        turns: the first 1,000; beyond them only the totals below go on.
        turns_total: of the caller.
        interruptions: how often the caller stopped the agent.
        false_interruptions: those of them that no words came of (a cough that lasted).
        backchannels: sounds of the caller that made the agent pause, and no more (a cough, "mhm").
        characters: spoken by the agent, and heard.
        tool_calls: tools that were run.
        errors: provider and handler errors by their type.
    """

    call_id: str = ""
    direction: str = ""
    answer_delay_ms: float | None = None
    duration_s: float = 0.0
    reason: str = ""
    cause: int = 0
    turns: list[TurnMetrics] = field(default_factory=list)
    turns_total: int = 0
    interruptions: int = 0
    false_interruptions: int = 0
    backchannels: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0
    tool_calls: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    media: MediaMetrics = field(default_factory=MediaMetrics)

    @property
    def waits_ms(self) -> list[float]:
        """The whole wait of every turn that was answered, ms."""
        return [turn.wait["total"] for turn in self.turns if turn.wait]

    @property
    def outcome(self) -> str:
        """What became of the call; "" while it lives.

        ``answered``; ``busy``, ``no_answer``, ``rejected`` or ``failed`` of one that was placed;
        ``unanswered`` of one that came in.
        """
        if self.answer_delay_ms is not None:
            return "answered"
        if not self.reason:
            return ""
        if self.direction != "outbound":
            return "unanswered"
        return _BY_CAUSE.get(self.cause, "failed")

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-able, with ``outcome`` and ``waits_ms``."""
        return asdict(self) | {"outcome": self.outcome, "waits_ms": self.waits_ms}

    def summary(self) -> dict[str, Any]:
        """The few figures that a line of log has room for."""
        waits = self.waits_ms
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "cause": self.cause,
            "duration_s": round(self.duration_s, 1),
            "turns": self.turns_total,
            "wait_p50_ms": round(median(waits)) if waits else None,
            "wait_max_ms": round(max(waits)) if waits else None,
            "worst": _worst(self.turns),
            "interruptions": self.interruptions,
            "false_interruptions": self.false_interruptions,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "characters": self.characters,
            "tools": self.tool_calls,
            "errors": sum(self.errors.values()),
            "frames_lost": self.media.lost,
        }


_BY_CAUSE = {17: "busy", 18: "no_answer", 19: "no_answer", 21: "rejected"}


def _worst(turns: Iterable[TurnMetrics]) -> str | None:
    """Whom the callers waited for longest, None when nobody waited."""
    sums = {owner: sum(turn.wait.get(owner, 0.0) for turn in turns) for owner in OWNERS}
    owner = max(sums, key=lambda name: sums[name])
    return owner if sums[owner] else None
