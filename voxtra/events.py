"""The events a call emits, typed. ``EventType`` names them as they go out to handlers and webhooks."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, SupportsIndex

from voxtra.types import AudioChunk


class EventType(StrEnum):
    """Names of events."""

    CALL_STARTED = "call.started"
    CALL_RINGING = "call.ringing"
    CALL_ANSWERED = "call.answered"
    CALL_ENDED = "call.ended"
    CALL_FAILED = "call.failed"
    CALL_TRANSFERRED = "call.transferred"
    CALL_HELD = "call.held"
    CALL_RESUMED = "call.resumed"
    CALL_BRIDGED = "call.bridged"
    CALL_UNBRIDGED = "call.unbridged"
    MEDIA_STARTED = "media.started"
    MEDIA_STOPPED = "media.stopped"
    AUDIO_FRAME_RECEIVED = "audio.frame.received"
    AUDIO_FRAME_SENT = "audio.frame.sent"
    USER_SPEECH_STARTED = "user.speech.started"
    USER_SPEECH_ENDED = "user.speech.ended"
    USER_TRANSCRIPT = "user.transcript"
    USER_TRANSCRIPT_PARTIAL = "user.transcript.partial"
    AGENT_THINKING = "agent.thinking"
    AGENT_RESPONSE = "agent.response"
    AGENT_SPEECH_STARTED = "agent.speech.started"
    AGENT_SPEECH_ENDED = "agent.speech.ended"
    TOOL_STARTED = "tool.started"
    TOOL_ENDED = "tool.ended"
    DTMF_RECEIVED = "dtmf.received"
    BARGE_IN = "barge_in"
    FALSE_INTERRUPTION = "false_interruption"
    SILENCE_DETECTED = "silence.detected"
    TURN_ENDED = "turn.ended"
    TURN_EXTENDED = "turn.extended"
    RECORDING_PAUSED = "recording.paused"
    RECORDING_RESUMED = "recording.resumed"
    ERROR = "error"
    SESSION_CREATED = "session.created"
    SESSION_DESTROYED = "session.destroyed"


@dataclass(kw_only=True)
class VoxtraEvent:
    """Something that happened on a call.

    Attributes:
        id: unique, for receivers that must not act twice.
        type: which event.
        session_id: the call, ``CallSession.id``.
        timestamp: UTC wall clock.
        data: what else there is to say, JSON-able.
    """

    type: EventType
    session_id: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    data: dict[str, Any] = field(default_factory=dict)


class _ReadsAsText:
    """Makes an event with ``text`` usable where a string is: ``user == "yes"``, ``"yes" in user``, ``user.lower()``."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __format__(self, spec: str) -> str:
        return format(self.text, spec)

    def __contains__(self, part: str) -> bool:
        return part in self.text

    def __len__(self) -> int:
        return len(self.text)

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        """Like its words to a string, and to an event like that very event."""
        return self.text == other if isinstance(other, str) else super().__eq__(other)

    def __hash__(self) -> int:
        return hash(self.text)

    def __getitem__(self, place: SupportsIndex | slice) -> str:
        return self.text[place]

    def __add__(self, more: object) -> str:
        return self.text + str(more) if isinstance(more, str | _ReadsAsText) else NotImplemented

    def __radd__(self, before: object) -> str:
        return before + self.text if isinstance(before, str) else NotImplemented

    def __getattr__(self, name: str) -> Any:
        if name != "text" and not name.startswith("_") and hasattr(str, name):
            return getattr(self.text, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


@dataclass(kw_only=True)
class CallStartedEvent(VoxtraEvent):
    """A call reached the app (``data``: caller_id, called_number, direction)."""

    type: EventType = EventType.CALL_STARTED


@dataclass(kw_only=True)
class CallEndedEvent(VoxtraEvent):
    """A call is over.

    Attributes:
        reason: ``hangup`` (far end), ``local`` (our hang-up), ``failed``, ``transferred`` ...
        duration_seconds: from answer to end, 0 when never answered.
        cause: Q.850 cause, 0 when unknown.
    """

    type: EventType = EventType.CALL_ENDED
    reason: str = ""
    duration_seconds: float = 0.0
    cause: int = 0


@dataclass(kw_only=True, eq=False)
class UserTranscriptEvent(_ReadsAsText, VoxtraEvent):
    """What the caller said. Reads as a string."""

    type: EventType = EventType.USER_TRANSCRIPT
    text: str = ""
    confidence: float = 1.0
    is_final: bool = True


@dataclass(kw_only=True, eq=False)
class AgentResponseEvent(_ReadsAsText, VoxtraEvent):
    """What the model answered. Reads as a string.

    Attributes:
        text: the reply's words.
        tool_calls: ``{"id", "name", "arguments"}`` each; empty when there were none.
    """

    type: EventType = EventType.AGENT_RESPONSE
    text: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)


@dataclass(kw_only=True)
class AudioFrameEvent(VoxtraEvent):
    """A piece of sound came in or went out. Only made where somebody asked for this very type.

    Attributes:
        chunk: the sound, ``pcm_s16le`` at the line's rate.
    """

    type: EventType = EventType.AUDIO_FRAME_RECEIVED
    chunk: AudioChunk = field(default_factory=lambda: AudioChunk(b""))


@dataclass(kw_only=True)
class DTMFEvent(VoxtraEvent):
    """The caller pressed a key."""

    type: EventType = EventType.DTMF_RECEIVED
    digit: str = ""
    duration_ms: int = 0


@dataclass(kw_only=True)
class ErrorEvent(VoxtraEvent):
    """Something failed; the call goes on where it can."""

    type: EventType = EventType.ERROR
    error_type: str = ""
    message: str = ""
