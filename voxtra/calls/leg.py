"""One channel of a call: what is known of it, what can be asked of it, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from voxtra.ari import (
    ARIClient,
    Channel,
    ChannelDestroyed,
    ChannelHangupRequest,
    Event,
    StasisEnd,
    StasisStart,
)
from voxtra.ari.events import ChannelVarset
from voxtra.calls.switchboard import Switchboard
from voxtra.errors import (
    ARIConflictError,
    ARIError,
    ARINotFoundError,
    ARINotInStasisError,
    CallEndedError,
    ConfigurationError,
)

log = logging.getLogger("voxtra.calls")

HangupReason = Literal[
    "normal", "busy", "congestion", "no_answer", "timeout", "rejected", "unallocated", "normal_unspecified",
    "number_incomplete", "codec_mismatch", "interworking", "failure", "answered_elsewhere",
]  # fmt: skip
"""What ``hangup`` may say; before the answer it decides the SIP code (busy = 486, rejected = 403 ...)."""

TRANSFER_HANDLING = {"PJSIP_TRANSFER_HANDLING()": "ari-only"}
"""A PJSIP channel with this tells us of the far end's REFER; Asterisk itself would transfer our media channel away."""

SOFT_CAUSE = 32
"""AST_SOFTHANGUP_EXPLICIT, no Q.850 cause: somebody asked Asterisk to hang up, which it does a moment later."""
CAUSE_WAIT_S = 0.5
"""How long the end of a call waits to learn its cause."""

EndOf = Literal["hangup", "local", "left", "lost", "failed"]

T = TypeVar("T")


async def first_of(*futures: asyncio.Future[Any], timeout: float | None = None) -> None:
    """Wait until one of ``futures`` is done, or ``timeout`` s have passed. None of them is touched."""
    await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


@dataclass(slots=True)
class LegEnd:
    """How a channel ended.

    Attributes:
        reason: ``hangup`` (far end), ``local`` (we hung up), ``left`` (it lives on, but not in this application:
            we gave it away, or somebody else took it), ``lost`` (it was gone after a reconnect), ``failed``
            (it never came about).
        cause: Q.850 cause, 0 when unknown.
        text: Asterisk's words for the cause.
    """

    reason: EndOf
    cause: int = 0
    text: str = ""


class Excursion:
    """A channel's stay in the dialplan.

    Attributes:
        returned: resolves when it is back in the application.
        connected: resolves with the name of the channel it is bridged with there, when it is.
        begun: Asterisk has taken it there.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.returned: asyncio.Future[StasisStart] = loop.create_future()
        self.connected: asyncio.Future[str] = loop.create_future()
        self.begun = False

    def connect(self, peer: str) -> None:
        """It is bridged with the channel of this name."""
        if not self.connected.done():
            self.connected.set_result(peer)


class Leg:
    """A channel in our Stasis application.

    Made before the channel exists when it is ours (``originate``), so that no event can be missed.

    Attributes:
        id: channel id.
        channel: the newest snapshot of it that an event brought.
        ended: resolves when the channel is gone or has left the application.
        ended_at: when that was, on the loop's clock in s; None before.
        entered: resolves when it has entered the application.
        up: set once it is answered.
        early: whether it may be heard while it still rings.
    """

    def __init__(
        self, ari: ARIClient, switchboard: Switchboard, channel_id: str, channel: Channel | None = None
    ) -> None:
        loop = asyncio.get_running_loop()
        self.id = channel_id
        self.channel = channel or Channel(id=channel_id)
        self.ended: asyncio.Future[LegEnd] = loop.create_future()
        self.ended_at: float | None = None
        self.entered: asyncio.Future[StasisStart] = loop.create_future()
        self.up = asyncio.Event()
        self.early = False
        self._ari = ari
        self._listeners: tuple[Callable[[Event], None], ...] = ()
        self._destroyed = asyncio.Event()
        self._hung_up_by_us = False
        self._gone_first = False
        """Asterisk has said so before we hung up; its events follow."""
        self._hang_up_asked = False
        self._doubtful = False  # whether it has left, or was hung up without a word before
        self._leaving = False
        self._away: Excursion | None = None
        self._off = switchboard.register(f"channel:{channel_id}", self._take, self._absent)

    def __repr__(self) -> str:
        return f"<Leg {self.id} {self.channel.name} {self.channel.state}>"

    @property
    def is_over(self) -> bool:
        """True once it has ended."""
        return self.ended.done()

    def on_event(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call ``callback`` with every event about this channel, until the leg is closed.

        Returns what ends it.
        """
        self._listeners = (*self._listeners, callback)

        def off() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not callback)

        return off

    async def watch(self) -> None:
        """Subscribe to the channel, so that its end comes with its cause. Never fails a call."""
        try:
            await self._ari.applications.subscribe(
                application_name=self._ari.app or "", event_source=f"channel:{self.id}"
            )
            if self.channel.name.startswith("PJSIP/"):
                for variable, value in TRANSFER_HANDLING.items():
                    await self._ari.channels.set_channel_var(
                        channel_id=self.id, variable=variable, value=value
                    )
        except ARIError as error:  # gone already, or too old for it: the call itself will notice
            log.debug("%s: not watched: %s", self.id, error)

    async def do(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Ask something of the channel.

        Raises:
            CallEndedError: the channel is gone.
            ARIError: Asterisk refused for another reason.
        """
        self.check()
        try:
            return await operation()
        except (ARINotFoundError, ARINotInStasisError) as error:
            if self._away is not None and self._away.begun and not self.is_over:
                raise CallEndedError(f"call {self.id} is in the dialplan now", reason="left") from error
            self._gone_first = not self._hung_up_by_us
            raise CallEndedError(f"call {self.id} is over ({error.detail or 'gone'})") from error
        except ARIConflictError as error:
            # 409 and 412 mean several things; a channel that is being destroyed is one of them
            if self.is_over:
                raise CallEndedError(f"call {self.id} is over") from error
            raise

    def check(self) -> None:
        """Raise CallEndedError when the leg has ended."""
        if self.ended.done():
            end = self.ended.result()
            raise CallEndedError(f"call {self.id} is over ({end.text or end.reason})", reason=end.reason)

    def lose(self) -> None:
        """Give up: Asterisk can't be reached, and nobody waits for the channel any longer."""
        self._end("lost")

    def let_go(self) -> None:
        """It is in the dialplan and stays there: no longer ours."""
        self._end("left")

    @property
    def audible(self) -> bool:
        """Whether there is sound: it is answered, or has early media and is in the application."""
        return self.up.is_set() or (self.early and self.entered.done())

    async def answer(self) -> None:
        """Answer; does nothing when it is answered already."""
        if not self.up.is_set():
            await self.do(lambda: self._ari.channels.answer(channel_id=self.id))
            self.up.set()

    async def hangup(self, reason: HangupReason = "normal") -> None:
        """End the channel. Gone already is as good."""
        if reason not in get_args(HangupReason):
            raise ConfigurationError(f"hangup reason {reason!r}: one of {', '.join(get_args(HangupReason))}")
        if self.ended.done():
            return
        self._hung_up_by_us = not self._gone_first
        try:
            await self._ari.channels.hangup(channel_id=self.id, reason=reason)
        except ARINotFoundError:
            self._hung_up_by_us = False  # somebody was faster
            self._end("hangup")
        else:
            self._end("hangup")  # ours: _end says "local"

    async def leave(self, departure: Callable[[], Awaitable[object]]) -> None:
        """Do what takes the channel out of the application and keeps it alive (``continue``, transfer)."""
        self._leaving = True
        try:
            await self.do(departure)
        except BaseException:
            self._leaving = False
            raise

    async def excursion(self, departure: Callable[[], Awaitable[object]]) -> Excursion:
        """As :meth:`leave`, but the channel may come back: the leg has not ended until it is destroyed."""
        self._away = away = Excursion()
        try:
            await self.leave(departure)
        except BaseException:
            self._away = None
            raise
        away.begun = True
        return away

    @property
    def away(self) -> Excursion | None:
        """Its stay in the dialplan, None when it is not away."""
        return self._away

    def stay(self) -> None:
        """A departure did not take place."""
        self._leaving = False

    async def cause_known(self) -> LegEnd:
        """The end, once the channel is destroyed or ``CAUSE_WAIT_S`` has passed."""
        end = await asyncio.shield(self.ended)
        if (self._doubtful or end.reason in ("hangup", "local")) and not self._destroyed.is_set():
            await self.destroyed(CAUSE_WAIT_S)  # without a subscription nothing more is told
        if self._doubtful and self._destroyed.is_set():
            end.reason = "hangup"  # by Asterisk itself, which asks nobody: TIMEOUT(absolute)
        return end

    async def destroyed(self, timeout: float) -> None:
        """Wait until Asterisk says that the channel is gone, ``timeout`` s at the most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._destroyed.wait()

    def abandon(self, text: str) -> None:
        """The channel never came about."""
        self._end("failed", text=text)

    def close(self) -> None:
        """Take no more events."""
        self._off()
        self._listeners = ()

    def _absent(self, lives: bool) -> None:
        """A reconnect shows that the channel is not in the application; ``lives``: but there."""
        if lives:
            if self.entered.done() and self._away is None:  # else it is not here yet, or on an errand
                self._end("left")
        elif self.entered.done() or self.channel.name:  # one that was asked for but never came is no call yet
            self._end("lost")

    def _take(self, event: Event) -> None:
        channel = getattr(event, "channel", None)
        if isinstance(channel, Channel) and channel.id == self.id:
            self.channel = channel
        match event:
            case StasisStart() if not self.entered.done():
                self.entered.set_result(event)
            case StasisStart() if self._away is not None:
                self._leaving = False
                away, self._away = self._away, None
                away.returned.set_result(event)
            case StasisStart() if self.ended.done() and self.ended.result().reason == "left":
                self._off()  # it is back for a new stay, which is a new call
            case ChannelVarset(variable="BRIDGEPEER", value=peer) if peer and self._away is not None:
                # ChannelEnteredBridge is told to those alone who are subscribed to the bridge
                self._away.connect(peer)
            case ChannelHangupRequest(cause=cause):
                self._hang_up_asked = True
                if cause != SOFT_CAUSE:
                    self._end("hangup", cause or 0)
            case StasisEnd() if not self._still_ours(event) and self._away is None:
                # without a request before it: a redirect, or "continue" by another client
                hung_up = self._hang_up_asked or self._hung_up_by_us
                self._doubtful = not hung_up and not self._leaving and not self.ended.done()
                self._end("hangup" if hung_up and not self._leaving else "left")
            case ChannelDestroyed(cause=cause, cause_txt=text):
                self._end("hangup", cause, text)
                self._destroyed.set()
        if self.channel.state == "Up" and self.entered.done():
            # whatever the event: that of the answer may have been lost. But not before a channel that was answered
            # has come into the application: Asterisk would refuse all that is asked of it
            self.up.set()
        for listener in self._listeners:
            listener(event)

    def _still_ours(self, event: Event) -> bool:
        """A channel that was replaced (attended transfer) sends a StasisEnd that is not its own."""
        return getattr(event, "channel", self.channel).id != self.id

    def _end(self, reason: EndOf, cause: int = 0, text: str = "") -> None:
        if self.ended.done():
            end = self.ended.result()
            end.cause, end.text = cause or end.cause, text or end.text
            return
        if reason == "hangup" and self._hung_up_by_us:
            reason = "local"
        if reason == "hangup" and self._leaving and self._away is None:  # who hangs up in a queue has hung up
            reason = "left"
        self.ended_at = self.ended.get_loop().time()
        self.ended.set_result(LegEnd(reason, cause, text))
