"""The verbs of a call that bring it together with others: hold, bridge, listening in."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from voxtra._checks import checked
from voxtra.calls.leg import Leg, first_of
from voxtra.calls.room import Room
from voxtra.calls.switchboard import Switchboard, new_id
from voxtra.calls.transfer import Transfer, TransferMethod, TransferResult
from voxtra.errors import CallEndedError, MediaError, SessionError, TelephonyError
from voxtra.events import EventType, VoxtraEvent
from voxtra.live import LiveCall
from voxtra.shared import Shared
from voxtra.types import CallState

if TYPE_CHECKING:
    from voxtra.session import CallSession

log = logging.getLogger("voxtra.call")

SNOOP_S = 5.0
"""How long a snoop channel may take to come."""


class Company:
    """Mixed into :class:`~voxtra.session.CallSession`."""

    _shared: Shared
    _leg: Leg
    _live: LiveCall
    _state: CallState
    transfer: Transfer | None = None
    """The last transfer that was tried, under way or not; None where there was none."""
    _tie: Room | None = None
    """The room of a transfer whose two ends end together."""
    id: str

    if TYPE_CHECKING:

        async def answer(self) -> None:
            """See CallSession."""

        def _emit(self, event: VoxtraEvent) -> None: ...

    # ---- hold

    async def hold(self, moh_class: str = "default") -> None:
        """Let the far end hear music; where the endpoint passes holds on, it is told so by re-INVITE too.

        What is being said is broken off. On hold already is as good.

        Args:
            moh_class: a class of musiconhold.conf.

        Raises:
            ConfigurationError: ``moh_class`` is no text.
            CallEndedError: the call is over.
        """
        checked("moh_class", moh_class, (str,), "a class of musiconhold.conf")
        self._leg.check()
        await self.answer()
        if await self._live.hold(moh_class):
            self._set_hold(True, by="us")

    async def unhold(self) -> None:
        """Take the far end off hold; agent and sound go on. Not on hold is as good.

        Raises:
            CallEndedError: the call is over.
        """
        self._leg.check()
        await self._live.unhold(lambda: self._set_hold(False, by="us"))

    def _set_hold(self, held: bool, *, by: str) -> None:
        if self._leg.is_over:
            return
        if self._state is not CallState.TRANSFERRING:
            self._settle()
        kind = EventType.CALL_HELD if held else EventType.CALL_RESUMED
        self._emit(VoxtraEvent(type=kind, data={"by": by}))

    def _settle(self) -> None:
        """The state is what it is without a transfer."""
        held = self._live.on_hold or self._live.far_hold
        settled = CallState.ON_HOLD if held else CallState.IN_PROGRESS
        self._state = settled if self._leg.up.is_set() else CallState.RINGING

    async def _back(self) -> None:
        """Back to the app's own sound; where that fails, the next verb that makes sound tries again."""
        try:
            if not self._leg.is_over:
                await self._live.come_back()
        except CallEndedError:
            pass
        except (MediaError, TelephonyError) as error:
            log.warning("%s is not on the app's line again yet: %s", self.id, error)

    # ---- bridging

    @property
    def bridge_id(self) -> str | None:
        """The bridge the call shares with others, None when it is alone with the app."""
        return self._live.room.id if self._live.room is not None else None

    async def bridge_with(self, other: CallSession) -> str:
        """Let two calls (or more, when one of them is in a bridge already) hear each other.

        The app's own sound is out of it until the bridge ends; then each call comes back to its handler.
        A handler may return: its call then lives until the others have left.

        Returns:
            The bridge's id.

        Raises:
            SessionError: both are in different bridges, or it is the same call.
            CallEndedError: one of the calls is over.
        """
        checked("other", other, (Company,), "a call, as a handler or originate() gives one")
        if other._live is self._live:
            raise SessionError("a call can't be bridged with itself")
        self._may_share(other)
        for call in (self, other):
            call._leg.check()
            await call.answer()
        room = self._live.room or other._live.room
        if room is None:
            room = await Room.open(self._shared.ari, self._shared.switchboard)
            if taken := self._live.room or other._live.room:  # somebody was quicker
                room.dissolve()
                room = taken
        self._may_share(other)
        joining = [call for call in (self, other) if call._live.room is not room]
        for call in joining:
            call._live.room = room  # who bridges one of the two meanwhile joins this room
        try:
            for call in joining:
                await call._enter(room)
                call._emit(VoxtraEvent(type=EventType.CALL_BRIDGED, data={"bridge": room.id}))
        except BaseException:
            for call in joining:
                if call._live.room is room and call._leg not in room.members:
                    call._live.room = None
            if len(room.members) < 2:
                room.dissolve()
            raise
        return room.id

    async def _enter(self, room: Room, then: Callable[[], Awaitable[object]] | None = None) -> None:
        """Go into a room, see LiveCall. A hold ends: its music would be all that the far end hears."""
        await self.unhold()
        await self._live.enter(room, then)

    def _may_share(self, other: CallSession) -> None:
        mine, theirs = self._live.room, other._live.room
        if mine is not None and theirs is not None and mine is not theirs:
            raise SessionError("both calls are in bridges already: unbridge() one of them first")

    async def unbridge(self) -> None:
        """Leave the bridge and come back to the app's own sound. In none is as good.

        Whom the call was transferred to is hung up, as of :meth:`take_back`.
        """
        room = self._live.room
        if room is not None:
            if self._tie is room:
                self._tie = None
            await room.remove(self._leg)
            await self._back()

    async def bridged(self) -> None:
        """Wait until the call shares no bridge any more, or has ended."""
        await self._live.alone()

    # ---- with somebody whom it was handed to

    @contextlib.contextmanager
    def _transferring(self, target: str, method: TransferMethod) -> Iterator[Transfer]:
        """A transfer that is connected at the end of this, or comes to nothing."""
        if self.transfer is not None and self.transfer.is_under_way:
            raise SessionError(f"a transfer to {self.transfer.target!r} is under way: wait for its result")
        self.transfer = transfer = Transfer(target, method)
        with self._live.being_moved():
            try:
                yield transfer
            finally:
                transfer.give_up()

    async def _connect(
        self, transfer: Transfer, leg: Leg, then: Callable[[], Awaitable[object]] | None = None
    ) -> TransferResult:
        """Bridge the caller with an answered leg that belongs to nobody else; ``then`` as of LiveCall.enter."""
        transfer.adopt(leg, lambda: self._drop(leg))
        transfer.move("connecting")
        switchboard = self._shared.switchboard
        room: Room | None = None
        try:
            room = await Room.open(self._shared.ari, switchboard)
            await room.add(leg)
            await self._enter(room, then)
        except BaseException:
            transfer.give_up()
            if room is not None:
                room.dissolve()
            raise
        self._settle()
        data = {"to": transfer.target, "method": "bridge"}
        self._emit(VoxtraEvent(type=EventType.CALL_TRANSFERRED, data=data))
        self._tie_to(transfer, leg, room)
        leg.ended.add_done_callback(lambda _: leg.close())
        return TransferResult("completed", "bridge", transfer.target)

    def _drop(self, leg: Leg) -> None:
        """Hang up a leg that belongs to nobody."""
        if not leg.is_over:
            switchboard = self._shared.switchboard
            switchboard.chore(switchboard.gone(self._shared.ari.channels.hangup(channel_id=leg.id)))
            leg.lose()
        leg.close()  # where Asterisk can't be reached now, the next connection finds it to be nobody's

    def _tie_to(self, transfer: Transfer, leg: Leg, room: Room) -> None:
        """The two ends of a transfer end together, unless the call is taken back, or either handed on."""
        transfer.move("connected")
        room.dissolved.add_done_callback(lambda _: transfer.move("over"))
        self._tie = room
        self._shared.switchboard.chore(self._tied(leg, room))

    async def _tied(self, leg: Leg, room: Room) -> None:
        await first_of(leg.ended, self._leg.ended, room.dissolved)
        theirs = self._shared.find(leg.id)
        if theirs is not None and theirs._live.room not in (None, room):
            return  # it is with somebody else
        own = [self._leg] if self._tie is room and self._live.room in (None, room) else []
        for each in (leg, *own):
            if not each.is_over:
                await self._shared.switchboard.gone(each.hangup())
        leg.lose()  # where Asterisk could not be reached: the next connection finds it to be nobody's

    async def take_back(self) -> bool:
        """Take a transferred call back: whom it was handed to is hung up, and it is with the app again.

        Returns:
            False where it was not transferred, or has left this Asterisk.

        Raises:
            CallEndedError: the call is over.
        """
        self._leg.check()
        room = self._live.room
        if room is None or self._tie is not room:
            return False
        await self.unbridge()
        return True

    # ---- listening in

    async def listen_in(self, call: CallSession, *, whisper: bool = False) -> str:
        """Hear another call, and with ``whisper`` be heard by its far end alone, until either ends.

        Returns:
            The id of the bridge; ``unbridge`` ends it.

        Raises:
            SessionError: it is the same call.
            CallEndedError: one of the calls is over.
        """
        checked("call", call, (Company,), "a call, as a handler or originate() gives one")
        if call._live is self._live:
            raise SessionError("a call can't listen in to itself")
        self._leg.check()
        call._leg.check()
        await self.answer()
        switchboard = self._shared.switchboard
        snoop = Leg(self._shared.ari, switchboard, new_id("snoop"))
        room: Room | None = None
        try:
            await call._leg.do(
                lambda: self._shared.ari.channels.snoop_channel_with_id(
                    channel_id=call.id,
                    snoop_id=snoop.id,
                    app=self._shared.app_name,
                    spy="both",
                    whisper="out" if whisper else "none",
                )
            )
            if whisper:  # a whisper is mixed into what is sent, so something has to be sent
                await call._leg.do(lambda: self._shared.ari.channels.start_silence(channel_id=call.id))
            await first_of(snoop.entered, snoop.ended, self._leg.ended, timeout=SNOOP_S)
            room = await Room.open(self._shared.ari, switchboard)
            await room.add(snoop)
            await self._enter(room)
        except BaseException:
            self._drop(snoop)
            if room is not None:
                room.dissolve()
            raise
        room.dissolved.add_done_callback(lambda _: switchboard.chore(_ended(switchboard, snoop)))
        return room.id


async def _ended(switchboard: Switchboard, leg: Leg) -> None:
    if not leg.is_over:
        await switchboard.gone(leg.hangup())
    leg.close()
