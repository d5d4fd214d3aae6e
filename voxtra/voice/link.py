"""What carries the frames of one bridge, whichever way they go."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias
from urllib.parse import urlencode

from voxtra.wire import AudioFormat, Role, SoundFrame

Transport: TypeAlias = Literal["auto", "quic", "websocket"]
"""``auto``: QUIC where moq-rs is installed and the relay is reached by it, else the WebSocket."""


class LinkEnded(Exception):
    """The link carries nothing any more.

    Attributes:
        final: whether another link would end the same way (the call is over).
    """

    def __init__(self, why: str, *, final: bool) -> None:
        super().__init__(why)
        self.final = final


class Link(Protocol):
    """A connection to the relay, for one call in one role. Both ways raise :class:`LinkEnded` when it has ended."""

    async def send(self, frame: SoundFrame) -> None:
        """Hand one frame over; waits while the network can't take it."""

    async def receive(self) -> SoundFrame:
        """The next frame."""

    async def close(self) -> None:
        """End it. Nothing is raised."""


def address(url: str, sid: str, token: str, role: Role, fmt: AudioFormat) -> str:
    """Where to connect for a call's sound; the same path and query whichever the transport."""
    query = {
        "tok": token,
        "role": role,
        "codec": fmt.codec,
        "sampleRate": str(fmt.sample_rate),
        "frameMs": str(fmt.frame_ms),
    }
    return f"{url.rstrip('/')}/voice/{sid}?{urlencode(query)}"
