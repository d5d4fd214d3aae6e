"""voxtra: voice agents, IVRs and phone applications on Asterisk.

    from voxtra import VoxtraApp

    app = VoxtraApp()

    @app.default()
    async def hello(call):
        await call.answer()
        await call.play_file("hello-world")

``voxtra dev module:app`` runs it with an Asterisk of its own, ``voxtra run module:app`` against yours.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxtra.app import VoxtraApp
    from voxtra.ari import ARIClient
    from voxtra.errors import CallEndedError, VoxtraError
    from voxtra.events import EventType, VoxtraEvent
    from voxtra.media.audiosocket_server import AudioSocketServer
    from voxtra.provisioning import SIPTrunk
    from voxtra.recording import (
        CompositeSink,
        GCSSink,
        LocalFileSink,
        RecordingMetadata,
        RecordingSink,
        S3Sink,
        SpooledSink,
        WebhookSink,
    )
    from voxtra.router import DispatchRule, Router
    from voxtra.serving import run, serve
    from voxtra.session import CallSession
    from voxtra.turns import TurnDetection
    from voxtra.types import AppState, AudioChunk, AudioCodec, CallDirection, CallState
    from voxtra.webhook import BackendWebhook, WebhookConfig

__version__ = "0.1.0"

_HOMES = {
    "VoxtraApp": "app",
    "ARIClient": "ari",
    "CallEndedError": "errors",
    "VoxtraError": "errors",
    "EventType": "events",
    "VoxtraEvent": "events",
    "AudioSocketServer": "media.audiosocket_server",
    "SIPTrunk": "provisioning",
    "CompositeSink": "recording",
    "GCSSink": "recording",
    "LocalFileSink": "recording",
    "RecordingMetadata": "recording",
    "RecordingSink": "recording",
    "S3Sink": "recording",
    "SpooledSink": "recording",
    "WebhookSink": "recording",
    "DispatchRule": "router",
    "Router": "router",
    "CallSession": "session",
    "TurnDetection": "turns",
    "run": "serving",
    "serve": "serving",
    "BackendWebhook": "webhook",
    "WebhookConfig": "webhook",
    "AppState": "types",
    "AudioChunk": "types",
    "AudioCodec": "types",
    "CallDirection": "types",
    "CallState": "types",
}

__all__ = [
    "ARIClient",
    "AppState",
    "AudioChunk",
    "AudioCodec",
    "AudioSocketServer",
    "BackendWebhook",
    "CallDirection",
    "CallEndedError",
    "CallSession",
    "CallState",
    "CompositeSink",
    "DispatchRule",
    "EventType",
    "GCSSink",
    "LocalFileSink",
    "RecordingMetadata",
    "RecordingSink",
    "Router",
    "S3Sink",
    "SIPTrunk",
    "SpooledSink",
    "TurnDetection",
    "VoxtraApp",
    "VoxtraError",
    "VoxtraEvent",
    "WebhookConfig",
    "WebhookSink",
    "__version__",
    "run",
    "serve",
]


def __getattr__(name: str) -> Any:
    """Import a name where it lives, when it is first used: ``voxtra --version`` needs no Asterisk client."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'voxtra' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"voxtra.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
