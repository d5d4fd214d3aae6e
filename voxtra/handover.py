"""The verbs of a call that hand it to somebody else: transfers blind and warm, queues."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from voxtra._checks import checked
from voxtra.calls.dial import check_timeout, dial, endpoint_of
from voxtra.calls.dtmf import KEYS
from voxtra.calls.leg import Leg, first_of
from voxtra.calls.transfer import Transfer, TransferReason, TransferResult, reason_of
from voxtra.errors import (
    CallEndedError,
    ConfigurationError,
    MediaError,
    OriginateError,
    TelephonyError,
)
from voxtra.events import EventType, VoxtraEvent
from voxtra.refer import Refer
from voxtra.types import CallState

if TYPE_CHECKING:
    from voxtra.session import CallSession

QUEUE_CONTEXT = "voxtra-queue"
"""Dialplan context that runs Queue() and brings the call back; see docs/asterisk.md."""

P = ParamSpec("P")
S = TypeVar("S", bound="Handover")
Brief = str | Callable[["CallSession"], Awaitable[Any]]


def _noted(
    verb: Callable[Concatenate[S, P], Awaitable[TransferResult]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, TransferResult]]:
    """The result is also kept in ``last_transfer``: whoever did not ask for the transfer sees it there."""

    @functools.wraps(verb)
    async def noted(self: S, /, *args: P.args, **options: P.kwargs) -> TransferResult:
        result = await verb(self, *args, **options)
        self.last_transfer = result
        if self.transfer is not None:
            self.transfer.result = result
        return result

    return noted


class Handover(Refer):
    """Mixed into :class:`~voxtra.session.CallSession`."""

    last_transfer: TransferResult | None = None
    """How the last transfer went that was tried; None where there was none."""

    @_noted
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
            caller_id: what the target sees; "" = the caller's own number, or the trunk's where that is withheld.
            context: dialplan context of an extension; "" = the one the call came in by.
            variables: channel variables of the new leg.

        Returns:
            True when it succeeded; else its ``reason`` tells why, and the caller is back with the handler.

        Raises:
            ConfigurationError: the target can't be.
            CallEndedError: the call was over already.
        """
        self._leg.check()
        check_timeout(timeout)
        checked("endpoint", endpoint, (str,), "text, like 'PJSIP/alice'")
        checked("variables", variables, (Mapping, type(None)), "names and values, like {'LANG': 'en'}")
        if endpoint.startswith(("sip:", "sips:")):
            with self._transferring(endpoint, "refer") as transfer:
                result = await self._refer(endpoint, timeout)
                if result is not None:
                    return result
            endpoint = self._through_own_endpoint(endpoint)
        context = context or self._leg.channel.dialplan.context
        target = endpoint_of(endpoint, trunk=self._shared.trunk, context=context)
        with self._transferring(endpoint, "bridge") as transfer:
            await self.answer()
            await self.unhold()
            self._state = CallState.TRANSFERRING
            try:
                caller_id = caller_id or self.caller_id or self._shared.trunk.shown_of(endpoint)
                async with self._waiting_tone():
                    leg = await self._call_out(transfer, target, caller_id, timeout, variables)
                return await self._connect(transfer, leg)
            except OriginateError as error:
                return TransferResult(reason_of(error), "bridge", endpoint, error.cause, str(error))
            except CallEndedError as error:
                reason: TransferReason = "hangup" if self._leg.is_over else "no_answer"
                return TransferResult(reason, "bridge", endpoint, detail=str(error))
            finally:
                self._settle()
                if transfer.state != "connected":
                    transfer.give_up()
                    await self._back()

    async def _call_out(
        self,
        transfer: Transfer,
        target: str,
        caller_id: str,
        timeout: float,
        variables: Mapping[str, str] | None,
    ) -> Leg:
        """The leg of who has answered; it is the transfer's."""
        leg = await dial(
            self._shared.ari,
            self._shared.switchboard,
            target,
            caller_id=caller_id,
            timeout=timeout,
            variables=variables,
            give_up=self._leg.ended,
        )
        transfer.adopt(leg, lambda: self._drop(leg))
        return leg

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
        self._live.waiting = True
        try:
            await self._live.depart()
            if self._live.media is not None:
                await self._live.media.leave()
            with contextlib.suppress(CallEndedError):
                await self._leg.do(lambda: channels.ring(channel_id=self.id))
            yield
        finally:
            self._live.waiting = False
            await self._shared.switchboard.gone(channels.ring_stop(channel_id=self.id))

    @_noted
    async def transfer_to_queue(
        self,
        queue: str = "",
        metadata: Mapping[str, object] | None = None,
        *,
        timeout: float = 0,
        context: str = QUEUE_CONTEXT,
        queue_name: str = "",
    ) -> TransferResult:
        """Send the call into a queue of app_queue, and wait how it goes on.

        Args:
            queue: its name in queues.conf.
            metadata: becomes channel variables of these names.
            timeout: longest wait in the queue, s; 0 = the queue's own.
            context: dialplan context that runs Queue() (see docs/asterisk.md).
            queue_name: another name for ``queue``; give one of the two.

        Returns:
            ``completed``: an agent took the call (``detail``: the agent's channel), and the handler may
            return; ``hangup``: the caller gave up; ``timeout``, ``failed``: the caller is back with the
            handler, ``detail`` is QUEUESTATUS.

        Raises:
            ConfigurationError: an argument can't be.
            CallEndedError: the call was over already.
        """
        check_timeout(timeout, none=0)
        if queue and queue_name:
            raise ConfigurationError("queue and queue_name are the same: give one of them")
        queue = queue or queue_name
        checked("queue", queue, (str,), "its name as text")
        checked("metadata", metadata, (Mapping, type(None)), "names and values, like {'ORDER': 42}")
        for name in metadata or {}:
            checked("metadata: the name", name, (str,), "text")
        if not queue.replace("-", "").replace("_", "").isalnum():
            raise ConfigurationError(f"queue {queue!r}: letters, digits, '-' and '_' only")
        variables = {**{k: str(v) for k, v in (metadata or {}).items()}, "VOXTRA_APP": self._shared.app_name}
        if timeout:
            variables["VOXTRA_QUEUE_TIMEOUT"] = str(max(1, round(timeout)))
        with self._transferring(queue, "queue") as transfer:
            await self.answer()
            await self.unhold()
            return await self._queue(transfer, queue, variables, context)

    async def _queue(
        self, transfer: Transfer, queue: str, variables: Mapping[str, str], context: str
    ) -> TransferResult:
        channels = self._shared.ari.channels
        for name, value in variables.items():
            await self._leg.do(
                lambda name=name, value=value: channels.set_channel_var(  # type: ignore[misc]
                    channel_id=self.id, variable=name, value=value
                )
            )
        self._state = CallState.TRANSFERRING
        try:
            away = await self._live.go_away(
                lambda: channels.continue_in_dialplan(
                    channel_id=self.id, context=context, extension=queue, priority=1
                )
            )
            await first_of(away.returned, away.connected, self._leg.ended)
        finally:
            self._settle()
        if away.connected.done() and not away.returned.done():
            transfer.move("connected")
            for end in (away.returned, self._leg.ended):
                end.add_done_callback(lambda _: transfer.move("over"))
            self._emit(VoxtraEvent(type=EventType.CALL_TRANSFERRED, data={"to": queue, "method": "queue"}))
            return TransferResult("completed", "queue", queue, detail=away.connected.result())
        if self._leg.is_over:
            return TransferResult("hangup", "queue", queue)
        status = next(iter(away.returned.result().args[1:]), "")
        await self._back()
        return TransferResult("timeout" if status == "TIMEOUT" else "failed", "queue", queue, detail=status)

    @_noted
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
            caller_id: what they see; "" = the caller's own number, or the trunk's where that is withheld.
            context: dialplan context of an extension.
            moh_class: the caller's music.

        Returns:
            True when the two are connected; else ``declined``, ``no_answer``, ``busy``, ``hangup`` ...

        Raises:
            ConfigurationError: the target can't be.
            CallEndedError: the call was over already.
        """
        self._leg.check()
        check_timeout(timeout)
        checked("endpoint", endpoint, (str,), "text, like 'PJSIP/alice'")
        if accept is not None and accept not in tuple(KEYS):
            raise ConfigurationError(
                f"accept={accept!r}: one key, like '1', or None to connect without asking"
            )
        context = context or self._leg.channel.dialplan.context
        target = endpoint_of(endpoint, trunk=self._shared.trunk, context=context)
        caller_id = caller_id or self.caller_id or self._shared.trunk.shown_of(endpoint)
        with self._transferring(endpoint, "bridge") as transfer:
            await self.unbridge()
            await self.hold(moh_class)
            try:
                result = await self._warm(transfer, target, brief, accept, timeout, accept_timeout, caller_id)
            except BaseException:
                transfer.give_up()
                # the first failure is the one to tell
                with contextlib.suppress(CallEndedError, MediaError, TelephonyError):
                    await self.unhold()
                raise
            transfer.give_up()
            if not self._leg.is_over:
                with contextlib.suppress(CallEndedError):
                    await self.unhold()
            return result

    async def _warm(
        self,
        transfer: Transfer,
        target: str,
        brief: Brief | None,
        accept: str | None,
        timeout: float,
        accept_timeout: float,
        caller_id: str,
    ) -> TransferResult:
        """Call, brief, ask and connect; the caller is on hold."""
        endpoint = transfer.target
        try:
            agent = await self._shared.place(
                target, called_number=endpoint, caller_id=caller_id, timeout=timeout, give_up=self._leg.ended
            )
            transfer.adopt(agent._leg, lambda: _hang_up(agent))
            transfer.move("asking")
            if not await self._live.until_end(_accepted(agent, brief, accept, accept_timeout)):
                reason: TransferReason = "declined" if agent.is_active else "no_answer"
                return TransferResult(reason, "bridge", endpoint)
            transfer.move("connecting")
            await self.unhold()
            await self.bridge_with(agent)
            if self._live.room is None:  # over again already
                raise CallEndedError(f"call {agent.id} is over")
            self._tie_to(transfer, agent._leg, self._live.room)
            self._emit(VoxtraEvent(type=EventType.CALL_TRANSFERRED, data={"to": endpoint, "method": "warm"}))
            return TransferResult("completed", "bridge", endpoint)
        except OriginateError as error:
            return TransferResult(reason_of(error), "bridge", endpoint, error.cause, str(error))
        except CallEndedError:
            return TransferResult("hangup" if self._leg.is_over else "no_answer", "bridge", endpoint)


def _hang_up(agent: CallSession) -> None:
    """Of whom nobody else knows."""
    switchboard = agent._shared.switchboard
    switchboard.chore(switchboard.gone(agent._live.hangup("normal")))


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
