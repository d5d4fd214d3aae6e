"""What becomes of a call that is handed to somebody else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from voxtra.errors import OriginateError

TransferReason: TypeAlias = Literal[
    "completed", "busy", "no_answer", "rejected", "declined", "failed", "hangup", "timeout"
]
"""``completed``: the caller is with the other party; ``declined``: a warm transfer was not accepted;
``hangup``: the caller hung up first; ``timeout``: nobody took the call from the queue in time."""

TransferMethod: TypeAlias = Literal["bridge", "refer", "queue"]


@dataclass(slots=True, frozen=True)
class TransferResult:
    """How a transfer ended. True when it succeeded.

    Attributes:
        reason: see :data:`TransferReason`.
        method: ``bridge`` (both ends stay with this Asterisk), ``refer`` (the far end was told to call
            elsewhere), ``queue``.
        target: whom to.
        cause: Q.850 cause of the other leg, 0 when unknown.
        detail: Asterisk's words, or the queue's status.
    """

    reason: TransferReason
    method: TransferMethod
    target: str
    cause: int = 0
    detail: str = ""

    def __bool__(self) -> bool:
        """Whether the caller is with the other party."""
        return self.reason == "completed"


def reason_of(error: OriginateError) -> TransferReason:
    """Why a transfer failed whose target was not reached."""
    known: dict[str, TransferReason] = {"busy": "busy", "no_answer": "no_answer", "rejected": "rejected"}
    return known.get(error.outcome, "failed")
