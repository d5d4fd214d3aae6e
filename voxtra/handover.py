"""The verbs of a call that hand it to somebody else: transfers blind and warm, queues, REFER."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from voxtra.ari.events import ChannelTransfer
from voxtra.calls.dial import dial, endpoint_of
from voxtra.calls.leg import Leg, first_of
from voxtra.calls.room import Room
from voxtra.calls.transfer import TransferReason, TransferResult
from voxtra.company import Company
from voxtra.errors import (
    ARIConflictError,
    ARIError,
    ARIInvalidError,
    ARINotFoundError,
    ARINotInStasisError,
    ARITimeoutError,
    CallEndedError,
    ConfigurationError,
    OriginateError,
    SessionError,
)
from voxtra.events import EventType, VoxtraEvent
from voxtra.types import CallState

if TYPE_CHECKING:
    from voxtra.session import CallSession

log = logging.getLogger("voxtra.call")

QUEUE_CONTEXT = "voxtra-queue"
"""Dialplan context that runs Queue() and brings the call back; see docs/asterisk.md."""
REFER_BYE_S = 3.0
"""How long after a successful REFER the far end may take to hang up."""

T = TypeVar("T", bound=Callable[[str], Awaitable[Any]])
Brief = str | Callable[["CallSession"], Awaitable[Any]]


class Handover(Company):
    """Mixed into :class:`~voxtra.session.CallSession`."""

    _on_transfer: Callable[[str], Awaitable[Any]] | None
    caller_id: str
    _tie: Room | None = None
    """The room of a transfer whose two ends end together."""

    # ---- transfer

    async def transfer_to(
        self,
        endpoint: str,
        *,
        timeout: float = 30,
        caller_id: str = "",
        context: str = "",
        variables: Mapping[str, str] | None = None,
    ) -> TransferResult:
        """Hand the call to somebody else, blind. The handler may return; the transferred call goes on.

        The target is called, the caller hears it ring, and the two are bridged; when one hangs up, so does
        the other. A SIP address (``sip:bob@example.com``) is given to the caller's phone to call itself:
        by REFER, or by 302 when the call is not answered yet.

        Args:
            endpoint: ``PJSIP/agent-001@internal`` or any ``TECHNOLOGY/resource``; an extension; ``+E.164``
                through the trunk of the settings; ``sip:user@host``.
            timeout: how long it may ring, s.
            caller_id: what the target sees; "" = the caller's own number.
            context: dialplan context of an extension; "" = the one the call came in by.
            variables: channel variables of the new leg.

        Returns:
            True when it succeeded; else its ``reason`` tells why, and the caller is back with the handler.

        Raises:
            ConfigurationError: the target can't be.
            CallEndedError: the call was over already.
        """
        self._leg.check()
        if endpoint.startswith(("sip:", "sips:")):
            result = await self._refer(endpoint, timeout)
            if result is not None:
                return result
            endpoint = self._through_own_endpoint(endpoint)
        context = context or self._leg.channel.dialplan.context
        target = endpoint_of(endpoint, trunk=self._shared.trunk, context=context)
        await self.answer()
        before, self._state = self._state, CallState.TRANSFERRING
        try:
            async with self._waiting_tone():
                leg = await dial(
                    self._shared.ari,
                    self._shared.switchboard,
                    target,
                    caller_id=caller_id or self.caller_id,
                    timeout=timeout,
                    variables=variables,
                    give_up=self._leg.ended,
                )
            return await self._connect(leg, endpoint)
        except OriginateError as error:
            return TransferResult(_reason(error), "bridge", endpoint, error.cause, str(error))
        except CallEndedError:
            return TransferResult("hangup", "bridge", endpoint)
        finally:
            if self._state is CallState.TRANSFERRING:
                self._state = before
                if self._live.room is None:
                    await self._back()

    def _through_own_endpoint(self, address: str) -> str:
        """A SIP address as Asterisk itself calls it: by way of the endpoint that this call came by."""
        technology, _, rest = self._leg.channel.name.partition("/")
        endpoint = rest.rpartition("-")[0] if technology == "PJSIP" else ""
        if not endpoint:
            raise ConfigurationError(f"{address!r}: this call did not come by SIP; name a PJSIP endpoint")
        return f"PJSIP/{endpoint}/{address}"

    @contextlib.asynccontextmanager
    async def _waiting_tone(self) -> Any:
        """The caller hears ringing while somebody is called."""
        channels = self._shared.ari.channels
        self._live.part()
        if self._live.media is not None:
            await self._live.media.leave()
        with contextlib.suppress(CallEndedError):
            await self._leg.do(lambda: channels.ring(channel_id=self.id))
        try:
            yield
        finally:
            await self._shared.switchboard.gone(channels.ring_stop(channel_id=self.id))

    async def _connect(self, leg: Leg, target: str) -> TransferResult:
        """Bridge the caller with an answered leg that belongs to nobody else."""
        switchboard = self._shared.switchboard
        room = await Room.open(self._shared.ari, switchboard)
        try:
            await room.add(leg)
            await self._live.enter(room)
        except BaseException:
            room.dissolve()
            switchboard.chore(switchboard.gone(leg.hangup()))
            raise
        self._state = CallState.IN_PROGRESS
        self._emit(VoxtraEvent(type=EventType.CALL_TRANSFERRED, data={"to": target, "method": "bridge"}))
        switchboard.chore(self._tied(leg, room))
        leg.ended.add_done_callback(lambda _: leg.close())
        return TransferResult("completed", "bridge", target)

    async def _tied(self, leg: Leg, room: Room) -> None:
        """The two ends of a transfer end together, unless the call is taken back."""
        self._tie = room
        await first_of(leg.ended, self._leg.ended, room.dissolved)
        own = [self._leg] if self._tie is room else []
        for each in (leg, *own):
            if not each.is_over:
                await self._shared.switchboard.gone(each.hangup())

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
        self._tie = None
        await self.unbridge()
        return True

    async def _refer(self, address: str, timeout: float) -> TransferResult | None:
        """Tell the far end to call ``address`` itself. None: it will not, try otherwise."""
        if self._leg.up.is_set() and not await self._takes_refer():
            return None
        channels = self._shared.ari.channels
        before, self._state = self._state, CallState.TRANSFERRING
        if self._live.media is not None:
            self._live.part()
            await self._live.media.leave()
        try:
            await self._leg.leave(lambda: channels.redirect(channel_id=self.id, endpoint=f"PJSIP/{address}"))
            await self._refer_done(timeout)
        except ARIInvalidError:
            return None  # not a SIP channel
        except ARITimeoutError:
            # Until the far end tells how it went, its channel obeys nothing: there is no call to go on with
            await self._leg.hangup()
            return TransferResult("failed", "refer", address, detail="the far end never said how it went")
        finally:
            self._state = before
            self._leg.stay()
        if not self._leg.is_over:
            return None
        self._emit(VoxtraEvent(type=EventType.CALL_TRANSFERRED, data={"to": address, "method": "refer"}))
        return TransferResult("completed", "refer", address)

    async def _takes_refer(self) -> bool:
        """Whether the far end's INVITE allows REFER."""
        try:
            allow = await self._shared.ari.channels.get_channel_var(
                channel_id=self.id, variable="PJSIP_HEADER(read,Allow)"
            )
        except ARIError:
            return False
        return "REFER" in allow.value.upper()

    async def _refer_done(self, timeout: float) -> None:
        """Wait until the REFER has succeeded (the far end hangs up) or failed. Raises ARITimeoutError."""
        channels = self._shared.ari.channels
        if not self._leg.up.is_set():
            return await first_of(self._leg.ended, timeout=timeout)
        try:
            # a channel obeys no other command until its transfer is decided: answering, which it is already
            await channels.answer(channel_id=self.id, request_timeout_s=timeout)
        except (ARINotFoundError, ARIConflictError, ARINotInStasisError) as error:
            log.debug("%s left while it was transferred: %s", self.id, error)
        return await first_of(self._leg.ended, timeout=REFER_BYE_S)

    async def transfer_to_queue(
        self,
        queue: str,
        metadata: Mapping[str, object] | None = None,
        *,
        timeout: float = 0,
        context: str = QUEUE_CONTEXT,
    ) -> TransferResult:
        """Send the call into a queue of app_queue, and wait how it goes on.

        Args:
            queue: its name in queues.conf.
            metadata: becomes channel variables of these names.
            timeout: longest wait in the queue, s; 0 = the queue's own.
            context: dialplan context that runs Queue() (see docs/asterisk.md).

        Returns:
            ``completed``: an agent took the call (``detail``: the agent's channel), and the handler may
            return; ``hangup``: the caller gave up; ``timeout``, ``failed``: the caller is back with the
            handler, ``detail`` is QUEUESTATUS.

        Raises:
            CallEndedError: the call was over already.
        """
        if not queue.replace("-", "").replace("_", "").isalnum():
            raise ConfigurationError(f"queue {queue!r}: letters, digits, '-' and '_' only")
        await self.answer()
        channels = self._shared.ari.channels
        variables = {**{k: str(v) for k, v in (metadata or {}).items()}, "VOXTRA_APP": self._shared.app_name}
        if timeout:
            variables["VOXTRA_QUEUE_TIMEOUT"] = str(round(timeout))
        for name, value in variables.items():
            await self._leg.do(
                lambda name=name, value=value: channels.set_channel_var(  # type: ignore[misc]
                    channel_id=self.id, variable=name, value=value
                )
            )
        self._live.part()
        before, self._state = self._state, CallState.TRANSFERRING
        away = await self._leg.excursion(
            lambda: channels.continue_in_dialplan(
                channel_id=self.id, context=context, extension=queue, priority=1
            )
        )
        await first_of(away.returned, away.connected, self._leg.ended)
        if self._leg.is_over:
            return TransferResult("hangup", "queue", queue)
        if not away.returned.done():
            self._emit(VoxtraEvent(type=EventType.CALL_TRANSFERRED, data={"to": queue, "method": "queue"}))
            self._state = CallState.IN_PROGRESS
            return TransferResult("completed", "queue", queue, detail=away.connected.result())
        self._state = before
        status = next(iter(away.returned.result().args[1:]), "")
        await self._back()
        return TransferResult("timeout" if status == "TIMEOUT" else "failed", "queue", queue, detail=status)

    async def transfer_warm(
        self,
        endpoint: str,
        *,
        brief: Brief | None = None,
        accept: str | None = "1",
        timeout: float = 30,
        accept_timeout: float = 15,
        caller_id: str = "",
        context: str = "",
        moh_class: str = "default",
    ) -> TransferResult:
        """Call somebody, tell them what it is about, and connect the caller if they accept.

        The caller hears music meanwhile, and comes back to the handler when nobody takes the call.

        Args:
            endpoint: whom to, as of :meth:`transfer_to`.
            brief: words to say to them, or an async function that is given their call and may say, play
                or ask what it likes; False from it declines.
            accept: the key that accepts; None = connected without being asked.
            timeout: how long it may ring, s.
            accept_timeout: how long the key may take, s.
            caller_id: what they see; "" = the caller's own number.
            context: dialplan context of an extension.
            moh_class: the caller's music.

        Returns:
            True when the two are connected; else ``declined``, ``no_answer``, ``busy``, ``hangup`` ...

        Raises:
            ConfigurationError: the target can't be.
            CallEndedError: the call was over already.
        """
        self._leg.check()
        context = context or self._leg.channel.dialplan.context
        target = endpoint_of(endpoint, trunk=self._shared.trunk, context=context)
        await self.hold(moh_class)
        agent: CallSession | None = None
        try:
            agent = await self._shared.place(
                target,
                called_number=endpoint,
                caller_id=caller_id or self.caller_id,
                timeout=timeout,
                give_up=self._leg.ended,
            )
            if not await self._live.until_end(_accepted(agent, brief, accept, accept_timeout)):
                reason: TransferReason = "declined" if agent.is_active else "no_answer"
                await agent.hangup()
                return TransferResult(reason, "bridge", endpoint)
            await self.unhold()
            await self.bridge_with(agent)
            assert self._live.room is not None
            self._shared.switchboard.chore(self._tied(agent._leg, self._live.room))
            self._emit(VoxtraEvent(type=EventType.CALL_TRANSFERRED, data={"to": endpoint, "method": "warm"}))
            return TransferResult("completed", "bridge", endpoint)
        except OriginateError as error:
            return TransferResult(_reason(error), "bridge", endpoint, error.cause, str(error))
        except CallEndedError:
            if agent is not None:
                await agent.hangup()
            return TransferResult("hangup" if self._leg.is_over else "no_answer", "bridge", endpoint)
        finally:
            if not self._leg.is_over:
                with contextlib.suppress(CallEndedError):
                    await self.unhold()

    # ---- transfers that the far end wants

    def on_transfer(self, callback: T) -> T:
        """Decorator: ``async callback(target)`` decides on a transfer the far end asks for (REFER).

        ``target`` is the number it wants. True lets it happen as usual: the other party of the bridge is
        connected with the target. False declines. A number or endpoint connects with that instead. Without
        a callback a transfer is allowed when the call is bridged with one other, and declined otherwise.
        """
        self._on_transfer = callback
        return callback

    async def _transfer_wanted(self, event: ChannelTransfer) -> None:
        channels = self._shared.ari.channels
        wanted = event.refer_to.requested_destination.destination or ""
        attended = event.refer_to.destination_channel
        other = self._other_party()
        decision: object = other is not None
        if self._on_transfer is not None:
            decision = await self._on_transfer(wanted)
        progress = partial(channels.transfer_progress, channel_id=self.id)
        if not decision or other is None:
            await self._shared.switchboard.gone(progress(states="channel_declined"))
            return
        await self._shared.switchboard.gone(progress(states="channel_progress"))
        target = decision if isinstance(decision, str) else wanted
        if attended is not None:
            done = await self._take_over(other, attended.id)
        else:
            done = bool(await other._connect_elsewhere(target, self))
        state = "channel_answered" if done else "channel_unavailable"
        await self._shared.switchboard.gone(progress(states=state))

    def _other_party(self) -> CallSession | None:
        """The one other call of the bridge, None when there is none or there are several."""
        room = self._live.room
        others = [leg for leg in (room.members if room is not None else []) if leg is not self._leg]
        return self._shared.find(others[0].id) if len(others) == 1 else None

    async def _connect_elsewhere(self, target: str, instead_of: Handover) -> TransferResult:
        """This call leaves the bridge it shares with ``instead_of`` for ``target``, if that answers."""
        try:
            context = self._leg.channel.dialplan.context or instead_of._leg.channel.dialplan.context
            endpoint = endpoint_of(target, trunk=self._shared.trunk, context=context)
            leg = await dial(
                self._shared.ari,
                self._shared.switchboard,
                endpoint,
                caller_id=self.caller_id,
                give_up=self._leg.ended,
            )
            return await self._connect(leg, target)
        except OriginateError as error:
            return TransferResult(_reason(error), "bridge", target, error.cause, str(error))
        except (CallEndedError, ConfigurationError) as error:
            return TransferResult("failed", "bridge", target, detail=str(error))

    async def _take_over(self, other: CallSession, channel_id: str) -> bool:
        """An attended transfer: the other party takes the place of the far end in its second call."""
        second = self._shared.find(channel_id)
        third = second._other_party() if second is not None else None
        if third is None:
            return False
        try:
            await other.unbridge()
            await third.unbridge()
            await other.bridge_with(third)
        except (CallEndedError, SessionError) as error:
            log.warning("attended transfer of %s: %s", other.id, error)
            return False
        return True


async def _accepted(
    agent: CallSession, brief: Brief | None, accept: str | None, accept_timeout: float
) -> bool:
    if isinstance(brief, str):
        await agent.say(brief)
    elif brief is not None and await brief(agent) is False:
        return False
    if accept is None:
        return agent.is_active
    return await agent.listen_dtmf(timeout=accept_timeout, terminators="") == accept


def _reason(error: OriginateError) -> TransferReason:
    known: dict[str, TransferReason] = {"busy": "busy", "no_answer": "no_answer", "rejected": "rejected"}
    return known.get(error.outcome, "failed")
