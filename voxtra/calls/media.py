"""A call's sound: the external media channel of a leg, and the bridge that joins the two."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from voxtra.ari import ARIClient
from voxtra.calls.leg import Leg, first_of
from voxtra.calls.switchboard import Switchboard, new_id
from voxtra.errors import ARIInvalidError, ARINotFoundError, ARINotInStasisError, MediaError
from voxtra.media.line import Line, Transport

log = logging.getLogger("voxtra.calls")

OPEN_S = 5.0
"""Longest wait for the media channel to connect and to reach the application."""


class CallMedia:
    """The line of one leg. ``open`` prepares it while the call rings; ``join`` lets sound through.

    Sound that is played while the call is not in the bridge is lost though Asterisk reports it as heard: so the
    line is paused until then, and what was queued meanwhile is heard from its first sample.
    """

    def __init__(self, ari: ARIClient, switchboard: Switchboard, leg: Leg, line: Line, media: Leg) -> None:
        self._ari = ari
        self._switchboard = switchboard
        self._leg = leg
        self._media = media
        self._bridge_id = new_id("bridge")
        self._joining = asyncio.Lock()
        self._bridged = False
        self._off_bridge = switchboard.register(f"bridge:{self._bridge_id}", lambda event: None)
        self.joined = False
        self.line = line
        line.observe(self)

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
        media, line = await open_line(ari, switchboard, transport, new_id("media"))
        self = cls(ari, switchboard, leg, line, media)
        line.pause()
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
        await self._ari.bridges.add_channel(bridge_id=self._bridge_id, channel=[self._media.id])

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

    async def leave(self) -> None:
        """Take the call out of the bridge, if it is in."""
        self.part()
        if not self._leg.is_over:
            try:
                await self._ari.bridges.remove_channel(bridge_id=self._bridge_id, channel=[self._leg.id])
            except (ARIInvalidError, ARINotFoundError, ARINotInStasisError) as error:
                log.debug("%s was not in its bridge: %s", self._leg.id, error)

    async def close(self) -> None:
        """Close the line, the media channel and the bridge. Idempotent; never fails."""
        await self.line.close()
        self._media.close()
        await self._switchboard.gone(self._ari.channels.hangup(channel_id=self._media.id))
        if self._bridged:
            self._bridged = False
            await self._switchboard.gone(self._ari.bridges.destroy(bridge_id=self._bridge_id))
        self._off_bridge()


async def open_line(
    ari: ARIClient, switchboard: Switchboard, transport: Transport, channel_id: str
) -> tuple[Leg, Line]:
    """An external media channel in no bridge yet, and its line.

    Raises:
        MediaError: the line did not come about in time.
        ARIError: Asterisk refused.
        TelephonyConnectionError: the connection is down and did not come back in time.
    """
    offer = transport.offer()
    media = Leg(ari, switchboard, channel_id)
    line: Line | None = None
    try:
        parameters: dict[str, Any] = dict(offer.params)
        if not ari.ready:  # Asterisk lets no channel into an application that is not connected
            await ari.wait_ready(OPEN_S)
        channel = await ari.channels.external_media(app=ari.app or "", channel_id=media.id, **parameters)
        line = await offer.connect(channel.channelvars or {}, deadline_s=OPEN_S)
        await _entered(media, line)
    except BaseException:
        await offer.cancel()
        if line is not None:
            await line.close()
        switchboard.chore(switchboard.gone(ari.channels.hangup(channel_id=media.id)))
        media.close()
        raise
    return media, line


async def _entered(media: Leg, line: Line) -> None:
    """addChannel before the media channel's own StasisStart is a 422."""
    await first_of(media.entered, media.ended, line.closed, timeout=OPEN_S)
    if media.entered.done():
        return
    if media.is_over or line.closed.done():
        raise MediaError("Asterisk closed the media channel before it was in use")
    raise MediaError(f"the media channel did not reach the application within {OPEN_S:g} s")
