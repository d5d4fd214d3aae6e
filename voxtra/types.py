"""Enums, aliases and the few value types that every room shares."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeAlias

JSON: TypeAlias = Any
"""A decoded JSON value."""

Message: TypeAlias = dict[str, Any]
"""One message of a conversation, as chat models know it: ``{"role": "user", "content": "Hi"}``."""

EndReason: TypeAlias = Literal["finished", "interrupted", "hangup", "timeout", "failed"]
"""How something that takes time came to its end."""


class CallDirection(StrEnum):
    """Who placed the call, seen from Asterisk."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class CallState(StrEnum):
    """Where a call stands."""

    RINGING = "ringing"
    ANSWERED = "answered"
    IN_PROGRESS = "in_progress"
    ON_HOLD = "on_hold"
    TRANSFERRING = "transferring"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """True once the call has ended, well or badly."""
        return self in (CallState.COMPLETED, CallState.FAILED)


class AppState(StrEnum):
    """Where an app stands. Calls are taken in ``ready`` alone."""

    NEW = "new"
    """Made, not started."""
    STARTING = "starting"
    """Loading, connecting, or in its start-up hooks; who calls waits."""
    READY = "ready"
    """Connected: calls are taken."""
    LOST = "lost"
    """Asterisk can't be reached; calls under way go on, and the connection is tried again."""
    FAILED = "failed"
    """Asterisk refuses the login, or another client took the name: not tried again."""
    DRAINING = "draining"
    """Told to stop: who calls goes back to the dialplan, calls under way may end."""
    STOPPED = "stopped"
    """Everything is closed. It may be started again."""


class AudioCodec(StrEnum):
    """How the bytes of an :class:`AudioChunk` are to be read."""

    ULAW = "ulaw"
    ALAW = "alaw"
    PCM_S16LE = "pcm_s16le"
    OPUS = "opus"


@dataclass(slots=True)
class AudioChunk:
    """A piece of sound as a handler sees it, 20 ms unless said otherwise.

    Attributes:
        data: the encoded sound.
        sample_rate: Hz.
        channels: 1 = mono.
        codec: how ``data`` is encoded.
        timestamp_ms: media time of the first sample since the line opened.
        duration_ms: length of the chunk.
        sequence: counts up by one a chunk; a gap is a loss.
    """

    data: bytes
    sample_rate: int = 8000
    channels: int = 1
    codec: AudioCodec = AudioCodec.ULAW
    timestamp_ms: int = 0
    duration_ms: int = 20
    sequence: int = 0
