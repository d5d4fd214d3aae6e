"""A call's sound: the external media channel of a leg, and the bridge that joins the two."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from voxtra.ari import ARIClient
from voxtra.calls.leg import Leg, first_of
from voxtra.calls.switchboard import Switchboard, new_id
from voxtra.errors import (
    ARIInvalidError,
    ARINotFoundError,
    ARINotInStasisError,
    MediaError,
    TelephonyError,
    VoxtraError,
)
from voxtra.media.line import Line, Transport

log = logging.getLogger("voxtra.calls")

OPEN_S = 5.0
"""Longest wait for the media channel to connect and to reach the application."""
GONE_S = 1.0
"""Longest wait for Asterisk to say that a media channel is gone."""
GOING_S = 0.1
"""The same, of one that ends already."""
BACK_S = 10.0
"""How long the hang-up of a media channel waits for the connection to come back."""


class CallMedia:
    """The line of one leg. ``open`` prepares it while the call rings; ``join`` lets sound through.

    Sound that is played while the call is not in the bridge is lost though Asterisk reports it as heard: so the
    line is paused until then, and what was queued meanwhile is heard from its first sample.
    """

    def __init__(self, ari: ARIClient, switchboard: Switchboard, leg: Leg, source: Source) -> None:
        self._ari = ari
        self._switchboard = switchboard
        self._leg = leg
        self._source = source
        self._bridge_id = new_id("bridge")
        self._joining = asyncio.Lock()
        self._bridged = False
        self._off_bridge = switchboard.register(f"bridge:{self._bridge_id}", lambda event: None)
        self.joined = False
        self.line = source.line
        self.line.observe(self)

    @classmethod
    async def open(
        cls, ari: ARIClient, switchboard: Switchboard, transport: Transport, leg: Leg
    ) -> CallMedia:
        """Create the media channel and its bridge, not joined to the call yet.

        Raises:
            MediaError: the line did not come about in time.
            ARIError: Asterisk refused.
            TelephonyConnectionError: the connection is down and did not come back in time.
        """
        source = await Source.open(ari, switchboard, transport, new_id("media"))
        self = cls(ari, switchboard, leg, source)
        source.line.pause()
        try:
            await self._make_bridge()
        except BaseException:
            switchboard.chore(self.close())  # not awaited: cancelled twice, it would leave the bridge behind
            raise
        return self

    async def _make_bridge(self) -> None:
        self._bridged = True  # from here on it may be there, even when the request is cut off
        # dtmf_events: the bridge may then never be a native one, so Asterisk sees every key and all sound
        await self._ari.bridges.create_with_id(
            bridge_id=self._bridge_id, type="mixing,dtmf_events", name=self._switchboard.bridge_name
        )
        await self._ari.bridges.add_channel(bridge_id=self._bridge_id, channel=[self._source.leg.id])

    @property
    def bridge_id(self) -> str:
        """The bridge of the line and, once joined, the call."""
        return self._bridge_id

    async def join(self) -> None:
        """Let the call hear and be heard. Idempotent."""
        async with self._joining:
            if self.joined:
                return
            await self._leg.do(
                lambda: self._ari.bridges.add_channel(bridge_id=self._bridge_id, channel=[self._leg.id])
            )
            self.joined = True
            self.line.resume()

    def part(self) -> None:
        """The call is about to be moved elsewhere: it has to ``join`` again before it hears the line."""
        if self.joined:
            self.joined = False
            self.line.pause()

    def flushed(self, heard: int) -> None:
        """Of the line: a flush ends a pause, the cut that comes with a hold or a transfer does say."""
        if not self.joined:
            self.line.pause()

    def played(self, pcm: bytes) -> None:
        """Of the line, and of no concern here."""

    def paused(self) -> None:
        """Of the line, and of no concern here."""

    def resumed(self) -> None:
        """Of the line, and of no concern here."""

    async def parted(self) -> None:
        """As :meth:`part`, once a ``join`` under way is done: Asterisk may carry it out after what comes next."""
        self.part()
        async with self._joining:
            self.part()

    async def leave(self) -> None:
        """Take the call out of the bridge, if it is in."""
        self.part()
        async with self._joining:
            self.part()
            if self._leg.is_over:
                return
            try:
                await self._ari.bridges.remove_channel(bridge_id=self._bridge_id, channel=[self._leg.id])
            except (ARIInvalidError, ARINotFoundError, ARINotInStasisError) as error:
                log.debug("%s was not in its bridge: %s", self._leg.id, error)

    async def hush(self) -> None:
        """Close the line, by which every verb under way ends, and its channel. Idempotent; never fails."""
        await self._source.close()

    async def close(self) -> None:
        """Close the line, the media channel and the bridge. Idempotent; never fails."""
        await self.hush()
        if self._bridged:
            self._bridged = False
            await self._switchboard.gone(self._ari.bridges.destroy(bridge_id=self._bridge_id))
        self._off_bridge()


class Source:
    """An external media channel and its line: what Asterisk takes sound from, and gives it to.

    Attributes:
        leg: the channel.
        line: its sound.
    """

    def __init__(
        self, ari: ARIClient, switchboard: Switchboard, transport: Transport, leg: Leg, line: Line
    ) -> None:
        self.leg = leg
        self.line = line
        self._ari = ari
        self._switchboard = switchboard
        self._transport = transport
        self._asked: asyncio.Event | None = None

    @classmethod
    async def open(
        cls, ari: ARIClient, switchboard: Switchboard, transport: Transport, channel_id: str
    ) -> Source:
        """A channel in no bridge yet.

        What was begun is brought to its end, and closed, when nobody waits for it any more: Asterisk does not stop
        half-way either.

        Raises:
            MediaError: the line did not come about in time.
            ARIError: Asterisk refused.
            TelephonyConnectionError: the connection is down and did not come back in time.
        """
        opening = asyncio.ensure_future(cls._open(ari, switchboard, transport, channel_id))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            switchboard.chore(_drop(opening))
            raise

    @classmethod
    async def _open(
        cls, ari: ARIClient, switchboard: Switchboard, transport: Transport, channel_id: str
    ) -> Source:
        offer = transport.offer()
        leg = Leg(ari, switchboard, channel_id)
        line: Line | None = None
        try:
            parameters: dict[str, Any] = dict(offer.params)
            if not ari.ready:  # Asterisk lets no channel into an application that is not connected
                await ari.wait_ready(OPEN_S)
            async with _changing(transport):
                channel = await ari.channels.external_media(
                    app=ari.app or "", channel_id=leg.id, **parameters
                )
            async with _connecting(transport):
                line = await offer.connect(channel.channelvars or {}, deadline_s=OPEN_S)
                await _entered(leg, line)
        except BaseException:
            await offer.cancel()
            switchboard.chore(_end(ari, switchboard, transport, leg, line, asyncio.Event()))
            raise
        return cls(ari, switchboard, transport, leg, line)

    async def close(self) -> None:
        """Close both. Idempotent; never fails."""
        self.line.end()  # what waits for it does not wait for Asterisk
        if self._asked is None:
            asked = self._asked = asyncio.Event()
            ending = _end(self._ari, self._switchboard, self._transport, self.leg, self.line, asked)
            self._switchboard.chore(ending).add_done_callback(lambda _: asked.set())
        await self._asked.wait()


async def _drop(opening: asyncio.Future[Source]) -> None:
    """Close what nobody waits for."""
    try:
        source = await opening
    except (VoxtraError, asyncio.CancelledError) as error:
        log.debug("given up, and failed: %s", error)
    else:
        await source.close()


async def _end(
    ari: ARIClient,
    switchboard: Switchboard,
    transport: Transport,
    leg: Leg,
    line: Line | None,
    asked: asyncio.Event,
) -> None:
    """Hang a media channel up (``asked`` is set then), and see to its being gone where that matters."""
    try:
        if not ari.ready:
            if line is not None:
                await line.close()
            asked.set()
            # what was asked for just now may be there, in no application yet
            with contextlib.suppress(TelephonyError):
                await ari.wait_ready(BACK_S)
        async with _changing(transport):
            if line is not None:
                await line.close()
            hung_up = await switchboard.gone(ari.channels.hangup(channel_id=leg.id))
            asked.set()
            if transport.turnstile is not None and ari.ready:
                await leg.destroyed(GONE_S if hung_up else GOING_S)
    finally:
        leg.close()


def _changing(transport: Transport) -> AbstractAsyncContextManager[None]:
    return nullcontext() if transport.turnstile is None else transport.turnstile.changing()


def _connecting(transport: Transport) -> AbstractAsyncContextManager[None]:
    return nullcontext() if transport.turnstile is None else transport.turnstile.connecting()


async def _entered(media: Leg, line: Line) -> None:
    """addChannel before the media channel's own StasisStart is a 422."""
    await first_of(media.entered, media.ended, line.closed, timeout=OPEN_S)
    if media.entered.done():
        return
    if media.is_over or line.closed.done():
        raise MediaError("Asterisk closed the media channel before it was in use")
    raise MediaError(f"the media channel did not reach the application within {OPEN_S:g} s")
