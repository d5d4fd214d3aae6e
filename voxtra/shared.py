"""What all calls of an app share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voxtra.agent.pipeline import SpeechSetup
from voxtra.ari import ARIClient
from voxtra.calls.fetch import SoundFetcher
from voxtra.calls.switchboard import Switchboard
from voxtra.config import DrainConfig, TrunkConfig
from voxtra.media.line import Transport
from voxtra.speech.base import LLM, SpeechToSpeech
from voxtra.turns import TurnDetection

if TYPE_CHECKING:
    from voxtra.recording.records import CallRecords
    from voxtra.recording.sink import RecordingSink
    from voxtra.session import CallSession


@dataclass(slots=True)
class Shared:
    """What all calls of an app share."""

    app_name: str
    ari: ARIClient
    switchboard: Switchboard
    transport: Transport
    speech: SpeechSetup
    llm: LLM | None
    turns: TurnDetection
    instructions: str
    recording_sink: RecordingSink | None
    place: Callable[..., Awaitable[CallSession]]
    """Places an outbound call, as ``VoxtraApp.originate`` does."""
    find: Callable[[str], CallSession | None]
    """The living call of a channel id."""
    sounds: SoundFetcher
    trunk: TrunkConfig
    """The way out for E.164 numbers."""
    drain: DrainConfig
    realtime: SpeechToSpeech | None = None
    call_records: CallRecords | None = None
    apology: str = ""
    """What a caller hears when the handler failed: words, or a prompt's name."""
