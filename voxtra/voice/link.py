"""What carries the frames of one bridge, whichever way they go."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from voxtra.wire import SoundFrame

Transport: TypeAlias = Literal["auto", "websocket"]


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
