"""What REST takes and gives, beside what the procedures do."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator

from voxtra.wire import E164, AgentId, AgentRef, CallRow, CallStatus, ErrorCode, Role, TrunkId, Wire

MAX_PAGE = 100
"""Calls that one page may have."""


class NewCall(Wire):
    """A call to place; the organisation is the key's."""

    to: E164
    from_: E164 = Field(alias="from")
    trunk_id: TrunkId
    agent: AgentRef | None = None
    ring_timeout_sec: float = Field(default=30, strict=True, allow_inf_nan=False)
    """Whole seconds or not; clamped to 5..120."""


class TransferTo(Wire):
    """Where to: exactly one of ``to`` and ``agent``."""

    to: E164 | None = None
    agent: AgentRef | None = None

    @model_validator(mode="after")
    def _one(self) -> TransferTo:
        if (self.to is None) == (self.agent is None):
            raise ValueError("give exactly one of to and agent")
        return self


class AgentPut(Wire):
    """Who is to talk on a call."""

    agent: AgentRef


class TokenFor(Wire):
    """What an audio token is for."""

    role: Role = "server"


class MediaQuality(Wire):
    """A call's sound, over all lines it has had. Frames are 20 ms each.

    Attributes:
        received, played: frames from and to the far end.
        lost, late: frames that did not arrive, or too late.
        dropped: frames that a full buffer or an interruption threw away.
        jitter_ms: RFC 3550 interarrival jitter, where it is measured.
    """

    codec: str = ""
    transport: str = ""
    received: int = 0
    played: int = 0
    lost: int = 0
    late: int = 0
    dropped: int = 0
    jitter_ms: float = 0.0


class CallDetail(CallRow):
    """A call, with all that is known of it.

    Attributes:
        outcome: what became of it, finer than ``status``.
        cause: Q.850 cause of its end.
        duration_sec: from the answer to the end.
        transferred_to: the number that it was last handed to.
        media: figures of its sound, once it has ended.
    """

    direction: Literal["inbound", "outbound"]
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str | None = None
    cause: int | None = None
    duration_sec: float | None = None
    transferred_to: str | None = None
    media: MediaQuality | None = None


class CallPage(Wire):
    """Calls, the newest first. ``next_cursor``: what the next page begins after, None at the end."""

    calls: list[CallDetail]
    next_cursor: str | None = None


class CallFilter(Wire):
    """Which calls, and how many of them."""

    status: CallStatus | None = None
    direction: Literal["inbound", "outbound"] | None = None
    trunk_id: TrunkId | None = None
    agent: AgentId | None = None
    to: Annotated[str, Field(max_length=64)] | None = None
    from_: Annotated[str, Field(max_length=64)] | None = Field(default=None, alias="from")
    limit: int = Field(default=50, ge=1, le=MAX_PAGE)
    cursor: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")] | None = None


class AgentRow(Wire):
    """A registered agent. ``kind``: an agent that converses, or a function of the app."""

    id: str
    kind: Literal["agent", "handler"]


class AgentList(Wire):
    """All agents of the app."""

    agents: list[AgentRow]


class ErrorData(Wire):
    """Where it went wrong."""

    http_status: int
    path: str
    field: str | None = None


class ErrorBody(Wire):
    """What went wrong."""

    message: str
    code: ErrorCode
    data: ErrorData


class Failure(Wire):
    """Every answer that is not 2xx."""

    error: ErrorBody
