"""Which call an event belongs to: ARI events to the mailboxes of channels and playbacks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from voxtra.ari import ARIClient, Channel, Event, Snapshot, StasisStart, subjects
from voxtra.errors import (
    ARIConnectionLostError,
    ARIError,
    ARINotFoundError,
    TelephonyConnectionError,
    TelephonyError,
)

log = logging.getLogger("voxtra.calls")

PREFIX = "vx-"
"""Begins the id of every channel and bridge that voxtra makes. Such a channel never reaches a handler."""

RETURNED = "VOXTRA_RETURNED"
"""Channel variable that tells the dialplan why a call came back: ``draining``, ``leftover``, ``starting``."""

CLOSE_S = 5.0
"""How long ``close`` waits for clean-up under way."""

LATE_S = (0.0, 0.05, 0.15)
"""When ``close`` looks for latecomers: Asterisk notices some ms late that the application has gone."""

Mailbox = Callable[[Event], None]


def new_id(kind: str) -> str:
    """An id for something of ours: ``vx-media-4f1c…``.

    Random and of one length per kind: Asterisk refuses an id that is the beginning of a living one.
    """
    return f"{PREFIX}{kind}-{secrets.token_hex(8)}"


class Switchboard:
    """Hands each ARI event to the mailbox of its channel, bridge or playback, in order.

    Args:
        ari: the connection; the switchboard listens from the first ``connect`` on.
        on_call: called with the StasisStart of every channel that nobody here made.

    What voxtra made itself and nobody waits for any more (the media channel of a call that just ended, or
    of a process that died) is hung up.
    """

    def __init__(self, ari: ARIClient, on_call: Callable[[StasisStart], None]) -> None:
        self._ari = ari
        self._on_call = on_call
        self._mailboxes: dict[str, Mailbox] = {}
        self._absent: dict[str, Callable[[bool], None]] = {}
        self._chores: set[asyncio.Task[object]] = set()
        self._off = [ari.on_event(self._deliver), ari.on_resync(self._reconcile)]

    def register(
        self, subject: str, mailbox: Mailbox, on_absent: Callable[[bool], None] | None = None
    ) -> Callable[[], None]:
        """Get the events about ``subject`` (``channel:ID``, ``playback:ID``) before it exists.

        Args:
            on_absent: called when a reconnect shows that the channel is not in the application; its argument
                tells whether it lives elsewhere in Asterisk.

        Returns what takes it off again.
        """
        self._mailboxes[subject] = mailbox
        if on_absent is not None:
            self._absent[subject] = on_absent

        def off() -> None:
            if self._mailboxes.get(subject) is mailbox:
                del self._mailboxes[subject]
                self._absent.pop(subject, None)

        return off

    def knows(self, channel_id: str) -> bool:
        """Whether a channel has a mailbox here."""
        return f"channel:{channel_id}" in self._mailboxes

    def _deliver(self, event: Event) -> None:
        given: list[Mailbox] = []
        for subject in subjects(event):
            mailbox = self._mailboxes.get(subject)
            if mailbox is not None and mailbox not in given:
                given.append(mailbox)
                mailbox(event)
        if isinstance(event, StasisStart) and not self.knows(event.channel.id):
            self._arrival(event)

    def _arrival(self, event: Event) -> None:
        assert isinstance(event, StasisStart)
        channel = event.channel
        if channel.id.startswith(PREFIX):
            self.chore(self._drop_channel(channel.id))
        elif not channel.name.startswith("Snoop/"):
            self._on_call(event)

    def _reconcile(self, snapshot: Snapshot) -> None:
        """After a (re)connect: calls that ended or left meanwhile end here, those that came begin.

        A channel that is known is told that it is there: its StasisStart may have been lost.
        """
        app = snapshot.application.name
        args = {channel.id: _args_of(channel, snapshot) for channel in snapshot.channels}
        for subject, absent in list(self._absent.items()):
            channel_id = subject.removeprefix("channel:")
            if args.get(channel_id) is None:
                absent(channel_id in args)
        for channel in snapshot.channels:
            found = args[channel.id]
            if found is not None:
                event = StasisStart(application=app, args=found, channel=channel)
                if (mailbox := self._mailboxes.get(f"channel:{channel.id}")) is not None:
                    mailbox(event)
                if not self.knows(channel.id):
                    self._arrival(event)
        for bridge in snapshot.bridges:
            if bridge.name == self.bridge_name and f"bridge:{bridge.id}" not in self._mailboxes:
                self.chore(self._drop_bridge(bridge.id))

    @property
    def bridge_name(self) -> str:
        """The name of every bridge of this application: how a later process knows what to clear up."""
        return f"{PREFIX}{self._ari.app}"

    def chore(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """Run clean-up that no call need wait for. ``close`` waits for it."""
        task = asyncio.ensure_future(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
        return task

    async def _drop_channel(self, channel_id: str) -> None:
        log.debug("channel %s is ours and nobody's: hung up", channel_id)
        await self.gone(self._ari.channels.hangup(channel_id=channel_id))

    async def _drop_bridge(self, bridge_id: str) -> None:
        log.debug("bridge %s is ours and nobody's: destroyed", bridge_id)
        await self.gone(self._ari.bridges.destroy(bridge_id=bridge_id))

    @staticmethod
    async def gone(request: Coroutine[Any, Any, object]) -> bool:
        """A request that ends something: gone already is as good; what else it may say is logged.

        Returns whether Asterisk did it now.
        """
        try:
            await request
        except ARINotFoundError:
            return False  # as wanted
        except (ARIConnectionLostError, TelephonyConnectionError) as error:
            log.debug("left to the next connection: %s", error)
            return False
        except ARIError as error:
            log.warning("clearing up: %s", error)
            return False
        return True

    async def close(self) -> None:
        """Stop listening, finish what clean-up is under way, and leave no call behind in the application."""
        for off in self._off:
            off()
        if self._ari.ready:  # else there is nobody to ask, or the application is another client's by now
            await self._send_back()
            await self._finish()
        chores = set(self._chores)
        for task in chores:
            task.cancel()
        await asyncio.gather(*chores, return_exceptions=True)

    async def _finish(self) -> None:
        """Let clean-up come to its end, and what it leads to."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                while self._chores:
                    await asyncio.wait(set(self._chores))

    async def _send_back(self) -> None:
        """A call that comes while the application goes would stay in it, unheard: back to the dialplan."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._ari.leave()
                for wait_s in LATE_S:
                    await asyncio.sleep(wait_s)
                    for channel in await self._ari.channels.list():
                        if _app_of(channel)[:1] == [self._ari.app]:
                            await self._send_back_one(channel.id)
        except (TelephonyError, TimeoutError) as error:
            log.warning("stopping: calls that have just come may be left in the application: %s", error)

    async def _send_back_one(self, channel_id: str) -> None:
        if channel_id.startswith(PREFIX):
            await self._drop_channel(channel_id)
        else:
            log.info("call %s goes back to the dialplan: the app is going", channel_id)
            await self.gone(
                self._ari.channels.set_channel_var(channel_id=channel_id, variable=RETURNED, value="draining")
            )
            await self.gone(self._ari.channels.continue_in_dialplan(channel_id=channel_id))


def _args_of(channel: Channel, snapshot: Snapshot) -> list[str] | None:
    """The arguments a channel came into our application with; None when it is not in it.

    ``channel_ids`` of the application does not tell: they hold what is subscribed to, left or not.
    """
    app = snapshot.application.name
    if channel.dialplan.app_name == "StasisBroadcast" and channel.id in snapshot.application.channel_ids:
        return []  # the dialplan named no application: it was claimed
    name, *args = _app_of(channel) or [""]
    return args if name == app else None


def _app_of(channel: Channel) -> list[str]:
    """``["app", "arg1"]`` of a channel that is in ``Stasis(app,arg1)``, else an empty list."""
    if channel.dialplan.app_name != "Stasis":
        return []
    return (channel.dialplan.app_data or "").split(",")
