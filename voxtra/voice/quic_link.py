"""A bridge over QUIC: one MoQ session, one track each way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Self

from voxtra.voice.errors import VoiceError
from voxtra.voice.link import LinkEnded, address
from voxtra.voice.moq_session import CONNECT_S, MoqSession, Publication
from voxtra.wire import AudioFormat, Role, SoundFrame, Track, track_path

_END_S = 2.0
"""How long the reason of an end may take after its tracks."""


class QuicLink:
    """One session with the relay. Made by :meth:`connect`."""

    def __init__(
        self, session: MoqSession, publication: Publication, heard: AsyncIterator[SoundFrame]
    ) -> None:
        self._session = session
        self._publication = publication
        self._heard = heard
        self._ended = asyncio.ensure_future(session.ended())

    @classmethod
    async def connect(
        cls, url: str, sid: str, token: str, role: Role, fmt: AudioFormat, fingerprints: tuple[str, ...] = ()
    ) -> Self:
        """Connect to the relay's ``url``, ``https://…``.

        Raises:
            LinkEnded: the relay refused, final when it always would.
            VoiceError: NETWORK: it isn't reached by QUIC; BAD_ARGUMENT: moq-rs is not installed.
        """
        tracks: tuple[Track, Track] = ("uplink", "downlink") if role == "server" else ("downlink", "uplink")
        heard, spoken = (track_path(sid, track) for track in tracks)
        session = await MoqSession.connect(address(url, sid, token, role, fmt), fingerprints)
        try:
            await _admitted(session, heard)
            return cls(session, session.publish(spoken, fmt), session.frames(heard))
        except BaseException:
            await session.close()
            raise

    async def send(self, frame: SoundFrame) -> None:
        """Write one frame to the track."""
        if self._ended.done():
            raise self._ended.result()
        self._publication.write(frame)
        await asyncio.sleep(0)  # the network's own thread is never behind; the program's tasks may be

    async def receive(self) -> SoundFrame:
        """The next frame of the other track; the end of the session, where there is none."""
        try:
            return await anext(self._heard)
        except (StopAsyncIteration, LinkEnded):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    raise (await asyncio.shield(self._ended)) from None
            raise LinkEnded("the relay's track ended", final=False) from None

    async def close(self) -> None:
        """End the track at once, and the session when what was published is sent."""
        self._publication.close()
        try:
            if not self._ended.done():
                await self._session.sent()
        finally:
            await self._session.close()
            self._ended.cancel()
            await asyncio.gather(self._ended, return_exceptions=True)


async def _admitted(session: MoqSession, path: str) -> None:
    """The relay announces what is heard when it has let us in, and closes when it has not."""
    announced = asyncio.ensure_future(session.announced(path))
    ended = asyncio.ensure_future(session.ended())
    try:
        done, _ = await asyncio.wait(
            (announced, ended), timeout=CONNECT_S * 4, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            raise VoiceError("the relay does not announce the call's sound", code="NETWORK")
        if ended in done or announced.exception() is not None:
            raise await asyncio.wait_for(ended, _END_S)
    finally:
        for each in (announced, ended):
            each.cancel()
        await asyncio.gather(announced, ended, return_exceptions=True)
