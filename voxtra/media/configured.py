"""From the settings of an app to those of its media transport."""

from __future__ import annotations

from voxtra.config import MediaConfig
from voxtra.media.audiosocket_transport import AudioSocketSettings
from voxtra.media.rtp_line import RTPSettings
from voxtra.media.transports import TransportSettings
from voxtra.media.websocket_transport import WebSocketSettings


def transport_settings(media: MediaConfig, asterisk_url: str) -> TransportSettings:
    """How the media transport is to be opened."""
    if media.transport == "rtp":
        low, high = media.rtp_ports or (40000, 49999)
        return RTPSettings(
            format=media.codec,
            bind_host=media.bind_host,
            advertised_host=media.advertise_host or "",
            port_low=low,
            port_high=high,
        )
    if media.transport == "audiosocket":
        return AudioSocketSettings(
            format=media.codec,
            bind_host=media.bind_host,
            bind_port=media.bind_port,
            advertised_host=media.advertise_host or "",
        )
    if media.connection == "server":
        return WebSocketSettings(format=media.codec, asterisk_url=asterisk_url)
    return WebSocketSettings(
        format=media.codec,
        client_id=media.client_id,
        bind_host=media.bind_host,
        bind_port=media.bind_port,
        username=media.username,
        password=media.password.get_secret_value(),
    )
