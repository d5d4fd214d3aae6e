"""The three transports, by their settings."""

from __future__ import annotations

from typing import TypeAlias

from voxtra.media.audiosocket_transport import AudioSocketSettings, AudioSocketTransport
from voxtra.media.line import Transport
from voxtra.media.rtp_line import RTPSettings, RTPTransport
from voxtra.media.websocket_transport import WebSocketSettings, WebSocketTransport

TransportSettings: TypeAlias = WebSocketSettings | RTPSettings | AudioSocketSettings


def open_transport(settings: TransportSettings) -> Transport:
    """The transport that ``settings`` describe; ``await start()`` it before the first offer."""
    if isinstance(settings, RTPSettings):
        return RTPTransport(settings)
    if isinstance(settings, AudioSocketSettings):
        return AudioSocketTransport(settings)
    return WebSocketTransport(settings)
