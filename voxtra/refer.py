"""REFER, both ways: the far end is told to call somebody itself, or asks us for a transfer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from voxtra.ari.events import ChannelTransfer
from voxtra.calls.dial import dial, endpoint_of
from voxtra.calls.leg import first_of
from voxtra.calls.transfer import Transfer, TransferReason, TransferResult, reason_of
from voxtra.company import Company
from voxtra.errors import (
    ARIConflictError,
    ARIError,
    ARIInvalidError,
    ARINotFoundError,
    ARINotInStasisError,
    ARIServerError,
    ARITimeoutError,
    CallEndedError,
    ConfigurationError,
    OriginateError,
    SessionError,
)
from voxtra.events import EventType, VoxtraEvent
from voxtra.types import CallDirection, CallState

if TYPE_CHECKING:
    from voxtra.session import CallSession

log = logging.getLogger("voxtra.call")

REFER_BYE_S = 3.0
"""How long after a successful REFER the far end may take to hang up."""

RING_S = 20.0
"""How long the target of a transfer that the far end wants may ring: less than any task of a call may take."""

T = TypeVar("T", bound=Callable[[str], Awaitable[Any]])


class Refer(Company):
    """Mixed into :class:`~voxtra.session.CallSession`."""

    _on_transfer: Callable[[str], Awaitable[Any]] | None
    caller_id: str
    direction: CallDirection

    # ---- the far end is to call somebody

    async def _refer(self, address: str, timeout: float, *, unsaid: bool = False) -> TransferResult | None:
        """Tell the far end to call ``address`` itself. None: it will not, try otherwise.

        ``unsaid``: whether to try one that does not say what it takes.
        """
        if self._leg.up.is_set() and not await self._takes_refer(unsaid):
            return None
        channels = self._shared.ari.channels
        self._state = CallState.TRANSFERRING
        self._live.waiting = True
        try:
            if self._live.media is not None:
                self._live.part()
                await self._live.media.leave()
            await self._leg.leave(lambda: channels.redirect(channel_id=self.id, endpoint=f"PJSIP/{address}"))
            await self._refer_done(timeout)
        except ARIInvalidError:
            return None  # not a SIP channel
        except CallEndedError:
            return TransferResult("hangup", "refer", address)
        except ARITimeoutError:
            # Until the far end tells how it went, its channel obeys nothing: there is no call to go on with
            await self._live.hangup("normal")
            return TransferResult("failed", "refer", address, detail="the far end never said how it went")
        except BaseException:  # not awaited: until its transfer is decided the channel obeys nothing
            self._live.spawn(self._back(), "come_back")
            raise
        finally:
            self._live.waiting = False
            self._settle()
            self._leg.stay()
        if not self._leg.is_over:
            return None
        self._emit(VoxtraEvent(type=EventType.CALL_TRANSFERRED, data={"to": address, "method": "refer"}))
        return TransferResult("completed", "refer", address)

    async def _takes_refer(self, unsaid: bool) -> bool:
        """Whether the far end allows REFER: in its INVITE, or in its answer to ours."""
        message = "RESPONSE_HEADER" if self.direction is CallDirection.OUTBOUND else "HEADER"
        try:
            allow = await self._shared.ari.channels.get_channel_var(
                channel_id=self.id, variable=f"PJSIP_{message}(read,Allow)"
            )
        except ARIError:  # no such header
            return unsaid
        return "REFER" in allow.value.upper()

    async def _refer_done(self, timeout: float) -> None:
        """Wait until the REFER has succeeded (the far end hangs up) or failed. Raises ARITimeoutError."""
        channels = self._shared.ari.channels
        if not self._leg.up.is_set():
            return await first_of(self._leg.ended, timeout=timeout)
        # a channel obeys no other command until its transfer is decided: answering, which it is already
        asking = asyncio.ensure_future(channels.answer(channel_id=self.id, request_timeout_s=timeout))
        try:
            await first_of(asking, self._leg.ended)
            if not asking.done():
                return None
            asking.result()
        except (ARINotFoundError, ARIConflictError, ARINotInStasisError, ARIServerError) as error:
            log.debug("%s left while it was transferred: %s", self.id, error)
        finally:
            asking.cancel()
        return await first_of(self._leg.ended, timeout=REFER_BYE_S)

    # ---- transfers that the far end wants

    def on_transfer(self, callback: T) -> T:
        """Decorator: ``async callback(target)`` decides on a transfer the far end asks for (REFER).

        ``target`` is the number it wants. True lets it happen as usual: the other party of the bridge is
        connected with the target. False declines. A number or endpoint connects with that instead. Without
        a callback a transfer is allowed when the call is bridged with one other and the target is an extension
        of its dialplan context: a ``+`` number costs money, and who calls is a stranger.
        A target that is no number (``Local/...``) is declined unless the callback returns one.
        """
        self._on_transfer = callback
        return callback

    async def _transfer_wanted(self, event: ChannelTransfer) -> None:
        wanted = event.refer_to.requested_destination.destination or ""
        second = event.refer_to.destination_channel
        other = self._other_party()
        decision: object = other is not None and not wanted.startswith("+")
        try:
            if self._on_transfer is not None:
                decision = await self._on_transfer(wanted)
            elif not decision:
                log.info("%s: its far end wants a transfer to %s: declined, no on_transfer", self.id, wanted)
            if decision and "/" in wanted and second is None and not isinstance(decision, str):
                log.warning("%s: the far end wants a transfer to %r, which is no number", self.id, wanted)
                decision = False  # "Local/…" would lead into every context of the dialplan
            if decision and other is not None:
                await self._shared.switchboard.gone(self._progress("channel_progress"))
        except BaseException:
            self._shared.switchboard.chore(
                self._shared.switchboard.gone(self._progress("channel_unavailable"))
            )
            raise
        if not decision or other is None:
            await self._shared.switchboard.gone(self._progress("channel_declined"))
            return
        target = decision if isinstance(decision, str) else wanted
        second_id = second.id if second is not None and not isinstance(decision, str) else ""
        # From here on it is the other party's: who asked for it may hang up before it is done.
        other._live.spawn(self._carry_out(other, target, second_id), "transfer")

    async def _carry_out(self, other: CallSession, target: str, second_id: str) -> None:
        told = False

        async def tell() -> None:
            nonlocal told
            told = True
            await self._shared.switchboard.gone(self._progress("channel_answered"))

        try:
            with other._live.being_moved():
                if second_id:
                    await self._take_over(other, second_id, tell)
                else:
                    await other._connect_elsewhere(target, self, tell)
        finally:  # the far end waits for it, whatever went wrong
            if not told:
                self._shared.switchboard.chore(
                    self._shared.switchboard.gone(self._progress("channel_unavailable"))
                )

    def _progress(self, states: str) -> Coroutine[Any, Any, None]:
        return self._shared.ari.channels.transfer_progress(channel_id=self.id, states=states)

    def _other_party(self) -> CallSession | None:
        """The one other call of the bridge, None when there is none or there are several."""
        room = self._live.room
        others = [leg for leg in (room.members if room is not None else []) if leg is not self._leg]
        return self._shared.find(others[0].id) if len(others) == 1 else None

    async def _connect_elsewhere(
        self, target: str, instead_of: Refer, tell: Callable[[], Awaitable[object]]
    ) -> None:
        """This call leaves the bridge it shares with ``instead_of`` for ``target``, if that answers.

        ``tell`` is awaited in between: whom nobody is with any more may be hung up.
        """
        context = self._leg.channel.dialplan.context or instead_of._leg.channel.dialplan.context
        try:
            endpoint = endpoint_of(target, trunk=self._shared.trunk, context=context)
            with self._transferring(target, "bridge") as transfer:
                transfer.result = await self._dial_and_connect(transfer, endpoint, tell)
        except (ConfigurationError, SessionError) as error:
            log.warning("%s: its far end wants a transfer: %s", instead_of.id, error)

    async def _dial_and_connect(
        self, transfer: Transfer, endpoint: str, then: Callable[[], Awaitable[object]]
    ) -> TransferResult:
        target = transfer.target
        try:
            leg = await dial(
                self._shared.ari,
                self._shared.switchboard,
                endpoint,
                caller_id=self.caller_id,
                timeout=RING_S,
                give_up=self._leg.ended,
            )
            return await self._connect(transfer, leg, then)
        except OriginateError as error:
            return TransferResult(reason_of(error), "bridge", target, error.cause, str(error))
        except CallEndedError as error:
            reason: TransferReason = "hangup" if self._leg.is_over else "no_answer"
            return TransferResult(reason, "bridge", target, detail=str(error))

    async def _take_over(
        self, other: CallSession, channel_id: str, tell: Callable[[], Awaitable[object]]
    ) -> None:
        """An attended transfer: the other party takes the place of the far end in its second call."""
        second = self._shared.find(channel_id)
        third = second._other_party() if second is not None else None
        room = third._live.room if third is not None else None
        if room is None:
            return
        try:
            await other._enter(room, tell)
        except CallEndedError as error:
            log.warning("attended transfer of %s: %s", other.id, error)
            return
        other._emit(VoxtraEvent(type=EventType.CALL_BRIDGED, data={"bridge": room.id}))
