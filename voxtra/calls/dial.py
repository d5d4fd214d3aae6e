"""Places a call and waits until it is answered, or why it was not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from voxtra.ari import ARIClient, Event
from voxtra.calls.leg import Leg, first_of
from voxtra.calls.switchboard import Switchboard, new_id
from voxtra.config import TrunkConfig
from voxtra.errors import (
    ARIConnectionLostError,
    ARIError,
    ARITimeoutError,
    CallEndedError,
    ConfigurationError,
    OriginateError,
)

ANSWER_GRACE_S = 5.0
"""How much longer than its ring timeout an outbound call is waited for."""
MAX_RING_S = 86_400.0
_EXTENSION = re.compile(r"[0-9A-Za-z*#._-]{1,64}")


def endpoint_of(target: str, *, trunk: TrunkConfig | None = None, context: str = "") -> str:
    """What Asterisk is to dial for ``target``.

    Args:
        target: ``PJSIP/agent`` or any other ``TECHNOLOGY/resource`` as it is; ``+44...`` through the trunk;
            an extension through the dialplan.
        trunk: the way out for E.164 numbers.
        context: dialplan context of extensions.

    Raises:
        ConfigurationError: it is none of these, or the trunk or context is missing.
    """
    technology, slash, resource = target.partition("/")
    if slash:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", technology) or not resource:
            raise ConfigurationError(f"{target!r}: write TECHNOLOGY/resource, like 'PJSIP/alice'")
        return target
    if target.startswith("+"):
        return (trunk or TrunkConfig()).dial(target)
    if not _EXTENSION.fullmatch(target):
        raise ConfigurationError(
            f"{target!r}: write 'PJSIP/alice', an extension like '200', or a number like '+442079460000'"
        )
    if not context:
        raise ConfigurationError(
            f"extension {target!r}: give context= of the dialplan, or a technology: 'PJSIP/{target}'"
        )
    # /n keeps the Local channel where it is: optimised away, it would be a hang-up to us
    return f"Local/{target}@{context}/n"


def check_timeout(timeout: float, *, none: float | None = None) -> None:
    """Raise ConfigurationError when it is no number of seconds above 0, nor ``none``, which stands for no limit."""
    if timeout is none or timeout == none:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < MAX_RING_S:
        raise ConfigurationError(f"timeout={timeout!r}: seconds, more than 0 and less than a day")


async def dial(
    ari: ARIClient,
    switchboard: Switchboard,
    endpoint: str,
    *,
    caller_id: str = "",
    timeout: float = 30,
    variables: Mapping[str, str] | None = None,
    leg: Leg | None = None,
    give_up: asyncio.Future[Any] | None = None,
    early: bool = False,
) -> Leg:
    """Call ``endpoint``; returns its leg once it is answered.

    Args:
        endpoint: ``TECHNOLOGY/resource``.
        caller_id: what the callee sees.
        timeout: how long it may ring, s.
        variables: channel variables of the new channel.
        leg: made beforehand, so that somebody can watch it ring.
        early: the leg enters the application before it is answered, so that early media is heard. Waits
            for the answer all the same; ``leg.entered`` resolves at the beginning.
        give_up: when this resolves first (the caller hung up), ringing stops with ``CallEndedError``.

    Raises:
        OriginateError: not answered; ``outcome`` says why.
        CallEndedError: ``give_up`` came first.
        ARIConnectionLostError, ARITimeoutError: Asterisk can't be reached.
    """
    own = leg is None
    leg = leg or Leg(ari, switchboard, new_id("call"))
    try:
        if leg.is_over:
            raise OriginateError.of(endpoint, 0, "given up before it began")
        answered: asyncio.Future[Any] = leg.entered
        if early:
            answered = await _create(ari, leg, endpoint, caller_id, timeout, variables or {})
        else:
            await _place(ari, leg, endpoint, caller_id, timeout, variables or {})
        if leg.ended.done():
            # hung up before Asterisk had it, which has it now: nobody else would end its ringing
            switchboard.chore(switchboard.gone(ari.channels.hangup(channel_id=leg.id, reason="no_answer")))
        waited: list[asyncio.Future[Any]] = [answered, leg.ended]
        await first_of(*waited, *([give_up] if give_up is not None else []), timeout=timeout + ANSWER_GRACE_S)
        if answered.done() and not leg.is_over:
            leg.up.set()
            return leg
        if not leg.is_over:
            await switchboard.gone(leg.hangup("no_answer"))
            leg.lose()  # where Asterisk could not be reached
            if give_up is not None and give_up.done():
                raise CallEndedError(f"call to {endpoint} given up: the caller has gone")
        end = await leg.cause_known()
        raise OriginateError.of(endpoint, end.cause, end.text)
    except BaseException as error:
        if not leg.is_over:
            # not leg.hangup: the leg is over when the chore begins
            switchboard.chore(switchboard.gone(ari.channels.hangup(channel_id=leg.id, reason="no_answer")))
            leg.abandon(str(error))
        if own:
            leg.close()
        raise


async def _create(
    ari: ARIClient, leg: Leg, endpoint: str, caller_id: str, timeout: float, variables: Mapping[str, str]
) -> asyncio.Future[None]:
    """Create the channel, take it into the application, then dial: it is ours while it rings.

    Returns what resolves with the answer. A call that was hung up meanwhile is not dialled.
    """
    answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(event: Event) -> None:
        # whatever the event: that of the answer may have been lost
        if leg.up.is_set() and not answered.done():
            answered.set_result(None)

    leg.on_event(take)
    try:
        await ari.channels.create(
            channel_id=leg.id,
            endpoint=endpoint,
            app=ari.app or "",
            variables={**_shown(caller_id), **variables},
        )
        await first_of(leg.entered, leg.ended, timeout=ANSWER_GRACE_S)
        if not leg.is_over:
            await ari.channels.dial(channel_id=leg.id, timeout=max(1, round(timeout)))
    except (ARIConnectionLostError, ARITimeoutError):
        raise
    except ARIError as error:
        raise OriginateError(f"call to {endpoint}: {error.detail or error}", outcome="failed") from error
    return answered


async def _place(
    ari: ARIClient, leg: Leg, endpoint: str, caller_id: str, timeout: float, variables: Mapping[str, str]
) -> None:
    try:
        await ari.channels.originate_with_id(
            channel_id=leg.id,
            endpoint=endpoint,
            app=ari.app,
            caller_id=_caller_id(caller_id),
            timeout=max(1, round(timeout)),
            variables=dict(variables),
        )
    except (ARIConnectionLostError, ARITimeoutError):
        raise
    except ARIError as error:
        leg.abandon(error.detail)
        raise OriginateError(f"call to {endpoint}: {error.detail or error}", outcome="failed") from error


def _shown(caller_id: str) -> dict[str, str]:
    """What originate sets for its own caller id; PJSIP's From comes from the connected line, "i" tells nobody yet."""
    given = _caller_id(caller_id)
    return {"CALLERID(all)": given, "CONNECTEDLINE(all,i)": given} if given else {}


def _caller_id(given: str) -> str | None:
    """``Name <number>`` as it is; anything else is a number, also when Asterisk would take it for a name."""
    if not given:
        return None
    return given if "<" in given else f"<{given}>"
