"""One call as the HTTP face knows it: who it belongs to, where it stands, how it ended. No I/O."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from voxtra.control.events import EventLog, turn_event
from voxtra.errors import OriginateError
from voxtra.events import CallEndedEvent, EventType, VoxtraEvent
from voxtra.types import CallDirection
from voxtra.wire import ENDED, CallRow, CallStatus

Outcome: TypeAlias = Literal[
    "answered", "transferred", "busy", "no_answer", "rejected", "cancelled", "failed", "unanswered"
]
"""What became of a call that has ended: finer than its status, see :data:`STATUS_OF`."""

STATUS_OF: dict[Outcome, CallStatus] = {
    "answered": "completed",
    "transferred": "completed",
    "busy": "failed",
    "rejected": "failed",
    "failed": "failed",
    "no_answer": "no_answer",
    "cancelled": "no_answer",
    "unanswered": "no_answer",
}
"""The status that an outcome shows as. ``cancelled``: hung up by us before the answer; ``unanswered``: an inbound
call whose caller gave up."""

NORMAL_CLEARING = 16
_ORDER: tuple[CallStatus, ...] = ("dialing", "ringing", "in_progress")


def new_sid() -> str:
    """A name for a call, that nobody can guess."""
    return f"call_{secrets.token_hex(12)}"


@dataclass(eq=False, slots=True, kw_only=True)
class Call:
    """One call.

    Attributes:
        sid: what addresses it, whatever happens to it.
        org: whose it is.
        to, from_: E.164 numbers where they are known, else what Asterisk calls them.
        trunk_id: the trunk it goes over, None for an inbound call of no known trunk.
        agent: id of the agent on it, ``inline`` for one described in place.
        cause: Q.850 cause of the end, 0 when unknown.
        media: figures of its sound (frames received, lost, late ...), once it has ended.
        hanging_up: we were asked to end it.
        transferred_to: the number it was last handed to.
    """

    org: str
    to: str
    from_: str
    direction: CallDirection
    trunk_id: str | None = None
    agent: str | None = None
    sid: str = field(default_factory=new_sid)
    status: CallStatus = "dialing"
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    cause: int = 0
    duration_s: float = 0.0
    media: dict[str, Any] = field(default_factory=dict)
    hanging_up: bool = False
    transferred_to: str | None = None
    log: EventLog = field(init=False)

    def __post_init__(self) -> None:
        self.log = EventLog(self.sid)
        self.log.add("status", {"status": self.status})

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status in ENDED

    def row(self) -> CallRow:
        """What the procedures tell of it."""
        return CallRow.model_validate(
            {
                "sid": self.sid,
                "status": self.status,
                "to": self.to,
                "from": self.from_,
                "started_at": self.started_at,
                "trunk_id": self.trunk_id,
                "agent": self.agent,
            }
        )

    # ---- what happens to it

    def became(self, status: CallStatus) -> None:
        """It got so far. What comes late (it rings after the answer) changes nothing."""
        if self.is_over or _ORDER.index(status) <= _ORDER.index(self.status):
            return
        self.status = status
        if status == "in_progress":
            self.answered_at = datetime.now(UTC)
        self.log.add("status", {"status": status})

    def take(self, event: VoxtraEvent) -> None:
        """Something happened on its session."""
        if event.type is EventType.CALL_ANSWERED:
            self.became("in_progress")
        elif isinstance(event, CallEndedEvent):
            self.media = dict(event.data.get("metrics", {}).get("media", {}))
            self.duration_s = event.duration_seconds
            # a BYE without a Reason is a normal clearing (RFC 3398), which Asterisk leaves out
            plain = event.reason == "hangup" and self.answered_at is not None
            self.end(self._outcome(event), event.cause or (NORMAL_CLEARING if plain else 0))
        elif event.type is EventType.SESSION_DESTROYED:
            self.end("answered" if self.answered_at else "failed")  # no more than a word where it has ended
        elif (told := turn_event(event)) is not None and not self.is_over:
            self.log.add(*told)

    def end(self, outcome: Outcome, cause: int = 0) -> None:
        """It is over. Only the first end counts."""
        if self.is_over:
            return
        self.outcome, self.cause = outcome, cause
        self.ended_at = datetime.now(UTC)
        self.status = STATUS_OF[outcome]
        data: dict[str, Any] = {"status": self.status, "outcome": outcome}
        self.log.add("status", data | ({"cause": cause} if cause else {}))
        self.log.close()

    def _outcome(self, event: CallEndedEvent) -> Outcome:
        if self.answered_at is not None:
            return "transferred" if event.reason == "left" else "answered"
        if self.hanging_up:
            return "cancelled"
        if self.direction is CallDirection.INBOUND:
            return "unanswered"
        if event.reason in ("failed", "lost"):
            return "failed"
        if event.reason == "local" and not event.cause:
            return "no_answer"  # we gave up: it rang too long
        known: dict[str, Outcome] = {"busy": "busy", "no_answer": "no_answer", "rejected": "rejected"}
        return known.get(OriginateError.of("", event.cause, "").outcome, "failed")
