"""A mixing bridge that legs share: two callers, a transfer's two ends, a conference."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from voxtra.ari import ARIClient
from voxtra.calls.leg import Leg
from voxtra.calls.switchboard import Switchboard, new_id
from voxtra.errors import (
    ARIConnectionLostError,
    ARIInvalidError,
    ARINotInStasisError,
    ARITimeoutError,
    CallEndedError,
)

log = logging.getLogger("voxtra.calls")


class Room:
    """A bridge with its members. It dissolves when fewer than two are left; it never outlives them.

    Attributes:
        id: the bridge's id.
        members: legs that are in it.
        dissolved: resolves when it is no more.
    """

    def __init__(self, ari: ARIClient, switchboard: Switchboard) -> None:
        self.id = new_id("bridge")
        self.members: list[Leg] = []
        self.dissolved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ari = ari
        self._switchboard = switchboard
        self._on_leave: dict[str, Callable[[], None]] = {}
        self._off = switchboard.register(f"bridge:{self.id}", lambda event: None)

    @classmethod
    async def open(cls, ari: ARIClient, switchboard: Switchboard) -> Room:
        """An empty room. Raises ARIError."""
        room = cls(ari, switchboard)
        try:
            await ari.bridges.create_with_id(
                bridge_id=room.id, type="mixing,dtmf_events", name=switchboard.bridge_name
            )
        except BaseException:
            room.dissolve()  # it may have come about all the same
            raise
        return room

    async def add(self, leg: Leg, on_leave: Callable[[], None] = lambda: None) -> None:
        """Let a leg in; it leaves whatever bridge it is in.

        Args:
            on_leave: called once when it is no longer in the room, whatever the reason.

        Raises:
            CallEndedError: the leg is gone, or the others are and with them the room.
        """
        if leg in self.members:
            return
        try:
            await leg.do(lambda: self._ari.bridges.add_channel(bridge_id=self.id, channel=[leg.id]))
        except (asyncio.CancelledError, ARITimeoutError, ARIConnectionLostError):
            if not leg.is_over:  # Asterisk may do it all the same
                self._switchboard.chore(self._take_out(leg))
            raise
        if self.dissolved.done():
            raise CallEndedError(f"bridge {self.id} is over: who was in it has gone")
        if leg not in self.members:
            self.members.append(leg)
            self._on_leave[leg.id] = on_leave
            leg.ended.add_done_callback(lambda _: self._left(leg))

    async def _take_out(self, leg: Leg) -> None:
        async def out() -> None:
            with contextlib.suppress(ARIInvalidError, ARINotInStasisError):  # it is not in it
                await self._ari.bridges.remove_channel(bridge_id=self.id, channel=[leg.id])

        await self._switchboard.gone(out())

    async def remove(self, leg: Leg) -> None:
        """Take a leg out, if it is in."""
        if leg not in self.members:
            return
        if not leg.is_over:
            await self._take_out(leg)
        self._left(leg)

    def forget(self, leg: Leg) -> None:
        """It is elsewhere by now: in another bridge, or in the dialplan."""
        self._left(leg)

    def _left(self, leg: Leg) -> None:
        if leg not in self.members:
            return
        self.members.remove(leg)
        self._on_leave.pop(leg.id)()
        if len(self.members) < 2:
            self.dissolve()

    def dissolve(self) -> None:
        """End the room; who is in it leaves. Idempotent."""
        if self.dissolved.done():
            return
        self.dissolved.set_result(None)
        for leg in list(self.members):
            self._left(leg)
        self._switchboard.chore(self._destroy())

    async def _destroy(self) -> None:
        await self._switchboard.gone(self._ari.bridges.destroy(bridge_id=self.id))
        self._off()
