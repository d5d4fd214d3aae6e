"""What becomes of a call that is handed to somebody else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from voxtra.calls.leg import Leg
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


TransferState: TypeAlias = Literal["calling", "asking", "connecting", "connected", "over"]
"""``calling``: the target is called, the queue waits, or the far end was told where to call; ``asking``: a warm
transfer's target is briefed and asked; ``connecting``: they are being bridged; ``connected``: the caller is with
them; ``over``: no longer, or it came to nothing, or both ends are with another telephone system (REFER)."""

_NEXT: dict[TransferState, tuple[TransferState, ...]] = {
    "calling": ("asking", "connecting", "connected", "over"),
    "asking": ("connecting", "over"),
    "connecting": ("connected", "over"),
    "connected": ("over",),
    "over": ("over",),
}


class Transfer:
    """A call on its way to somebody else, and with them. It owns the leg that it calls: no failure leaves it behind.

    Attributes:
        target: whom to.
        method: see :data:`TransferMethod`; a REFER that is not taken becomes a bridge.
        state: see :data:`TransferState`.
        leg: the target's channel once it has answered; None where it is not on this Asterisk or not ours (a queue's).
        result: how it went, once the verb that asked for it has returned.
    """

    def __init__(self, target: str, method: TransferMethod) -> None:
        self.target = target
        self.method: TransferMethod = method
        self.state: TransferState = "calling"
        self.leg: Leg | None = None
        self.result: TransferResult | None = None
        self._drop: Callable[[], object] = lambda: None

    def __repr__(self) -> str:
        return f"<Transfer to {self.target!r} {self.state}>"

    @property
    def is_under_way(self) -> bool:
        """Whether it is not decided yet."""
        return self.state not in ("connected", "over")

    def move(self, state: TransferState) -> None:
        """Go on to ``state``."""
        assert state in _NEXT[self.state], f"{self.state} -> {state}"
        self.state = state

    def adopt(self, leg: Leg, drop: Callable[[], object]) -> None:
        """The target has answered; ``drop`` hangs it up, should it come to nothing."""
        self.leg = leg
        self._drop = drop

    def give_up(self) -> None:
        """Hang the target up, unless the two are connected. Idempotent."""
        if self.is_under_way:
            self.state = "over"
            self._drop()


def reason_of(error: OriginateError) -> TransferReason:
    """Why a transfer failed whose target was not reached."""
    known: dict[str, TransferReason] = {"busy": "busy", "no_answer": "no_answer", "rejected": "rejected"}
    return known.get(error.outcome, "failed")
