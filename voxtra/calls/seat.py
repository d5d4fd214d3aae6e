"""A seat in a call: a line of its own in the call's bridge, for somebody who comes by network and not by phone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from voxtra.ari import ARIClient
from voxtra.calls.media import Source
from voxtra.calls.switchboard import Switchboard, new_id
from voxtra.errors import TelephonyError
from voxtra.media.line import Line, Transport

log = logging.getLogger("voxtra.calls")


class Seat:
    """Somebody's place in a call. Who is in the bridge hears what ``line`` plays; ``line`` hears all the others.

    Asterisk mixes. The seat goes where the call goes: into a bridge that it shares with others, and back.

    Attributes:
        id: id of the seat's channel.
        line: its sound. Closed from outside (Asterisk dropped the channel) it stays so: take a new seat.
    """

    def __init__(self, ari: ARIClient, source: Source) -> None:
        self.id = source.leg.id
        self.line: Line = source.line
        self._ari = ari
        self._source = source
        self._bridge = ""
        self._moving = asyncio.Lock()
        self._on_close: Callable[[Seat], None] = lambda seat: None

    @classmethod
    async def open(
        cls,
        ari: ARIClient,
        switchboard: Switchboard,
        transport: Transport,
        on_close: Callable[[Seat], None],
    ) -> Seat:
        """A seat in no bridge yet. Raises as :meth:`~voxtra.calls.media.Source.open`."""
        seat = cls(ari, await Source.open(ari, switchboard, transport, new_id("seat")))
        seat._on_close = on_close
        seat.line.pause()  # what is played outside a bridge would count as heard
        return seat

    async def move(self, bridge_id: str) -> None:
        """Sit in this bridge; out of any other. There already, or given up, is as good.

        Raises:
            ARIError: Asterisk refused; the seat is where it was.
            TelephonyConnectionError: Asterisk can't be reached.
        """
        async with self._moving:
            if bridge_id == self._bridge or self._source.leg.is_over or self.line.closed.done():
                return
            await self._ari.bridges.add_channel(bridge_id=bridge_id, channel=[self.id])
            self._bridge = bridge_id
            self.line.resume()

    async def try_move(self, bridge_id: str) -> None:
        """As :meth:`move`, where a failure must not touch the call."""
        try:
            await self.move(bridge_id)
        except TelephonyError as error:
            log.warning("seat %s could not follow its call into bridge %s: %s", self.id, bridge_id, error)

    async def close(self) -> None:
        """Leave the call; everybody else stays. Idempotent; never fails."""
        self._on_close(self)
        await self._source.close()
