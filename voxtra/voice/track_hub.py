"""Tracks published and subscribed over one MoQ connection, held through broken ones. Of one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from voxtra.voice.delivery import Delivery
from voxtra.voice.errors import VoiceError
from voxtra.voice.link import LinkEnded
from voxtra.voice.moq_session import MoqSession, Publication
from voxtra.voice.outbox import Outbox
from voxtra.wire import AudioFormat, SoundFrame

log = logging.getLogger("voxtra.voice")

_CAP_S = 5.0


class Published:
    """One track that is published, whichever the connection."""

    def __init__(self, path: str, fmt: AudioFormat, wake: Callable[[Published], None]) -> None:
        self.path = path
        self.format = fmt
        self.outbox = Outbox(fmt)
        self.live: Publication | None = None
        self.closed = False
        self._wake = wake

    def write(self, timestamp_us: int | None, sound: bytes) -> None:
        """Send it. From any thread. Raises VoiceError: CLOSED, BAD_ARGUMENT."""
        if self.closed:
            raise VoiceError("this publication is closed", code="CLOSED")
        self.outbox.put(sound, timestamp_us)
        self._wake(self)


class Subscribed:
    """One track that is subscribed, whichever the connection."""

    def __init__(
        self, path: str, callback: Callable[[bytes, int], object], delivery: Delivery, late_us: int
    ) -> None:
        self.path = path
        self.late_us = late_us
        self.callback = callback
        self.delivery = delivery
        self.task: asyncio.Task[None] | None = None
        self.closed = False

    async def read(self, session: MoqSession) -> None:
        """Hand on what comes. A track that ends is waited for again: its publisher may have connected anew."""
        while not self.closed:
            try:
                async for frame in session.frames(self.path, self.late_us):
                    self._hear(frame)
            except LinkEnded as why:
                log.debug("%s", why)
            await asyncio.sleep(0.1)

    def _hear(self, frame: SoundFrame) -> None:
        self.delivery.put(self.callback, frame.payload, frame.timestamp_us)


class TrackHub:
    """Connects, and connects again.

    Args:
        url: where.
        fingerprints: which certificates to trust; none = public ones.
    """

    def __init__(self, url: str, fingerprints: tuple[str, ...]) -> None:
        self.over = False
        self.reconnected = 0
        self._place = (url, fingerprints)
        self._loop = asyncio.get_running_loop()
        self._session: MoqSession | None = None
        self._published: list[Published] = []
        self._subscribed: list[Subscribed] = []
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect. Raises VoiceError."""
        session = await self._connect()
        self._task = self._loop.create_task(self._run(session), name="moqt client")
        await asyncio.sleep(0)

    async def publish(self, path: str, fmt: AudioFormat) -> Published:
        """Announce a track. Raises VoiceError: CLOSED, or NETWORK for a path that is taken."""
        if self.over:
            raise VoiceError("this client is closed", code="CLOSED")
        each = Published(path, fmt, self._wake)
        if self._session is not None:
            each.live = self._session.publish(path, fmt)
        self._published.append(each)
        return each

    async def subscribe(self, each: Subscribed) -> None:
        """Hear a track. Raises VoiceError: CLOSED."""
        if self.over:
            raise VoiceError("this client is closed", code="CLOSED")
        self._subscribed.append(each)
        if self._session is not None:
            self._read(each, self._session)

    def unpublish(self, each: Published) -> None:
        """End a track. On the loop."""
        if each.live is not None:
            self._drain(each)
            each.live.close()
            each.live = None
        each.closed = True
        if each in self._published:
            self._published.remove(each)

    def unsubscribe(self, each: Subscribed) -> None:
        """Hear it no more. On the loop."""
        each.closed = True
        each.delivery.close()
        if each.task is not None:
            each.task.cancel()
        if each in self._subscribed:
            self._subscribed.remove(each)

    def soon(self, function: Callable[..., object], *args: object) -> None:
        """Call it on the loop, from any thread; where the loop has ended there is nothing to do."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)

    def abort(self) -> None:
        """End at once. From any thread."""
        if self._task is not None:
            self.soon(self._task.cancel)

    async def close(self) -> None:
        """End; what was published is sent first."""
        for each in list(self._published):
            self.unpublish(each)
        if self._session is not None and not self.over:
            await self._session.sent()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _connect(self) -> MoqSession:
        return await MoqSession.connect(*self._place)

    async def _run(self, session: MoqSession) -> None:
        try:
            while True:
                self._use(session)
                why = await session.ended()
                await self._leave(session)
                if why.final:
                    log.info("moqt client: over: %s", why)
                    return
                log.info("moqt client: connecting again: %s", why)
                session = await self._again()
                self.reconnected += 1
        except VoiceError as error:
            log.info("moqt client: over: %s", error)
        finally:
            self.over = True
            if self._session is not None:
                await self._leave(self._session)
            for each in list(self._subscribed):
                self.unsubscribe(each)
            for published in list(self._published):
                self.unpublish(published)

    async def _again(self) -> MoqSession:
        wait_s = 0.1
        while True:
            await asyncio.sleep(wait_s * random.uniform(0.5, 1))
            try:
                return await self._connect()
            except VoiceError as error:
                if error.code not in ("NETWORK", "TIMEOUT"):
                    raise
                log.info("moqt client: %s", error)
            wait_s = min(_CAP_S, wait_s * 2)

    def _use(self, session: MoqSession) -> None:
        self._session = session
        for published in self._published:
            if published.live is None:
                published.live = session.publish(published.path, published.format)
                published.outbox.drop_late()
                self._drain(published)
        for subscribed in self._subscribed:
            self._read(subscribed, session)

    async def _leave(self, session: MoqSession) -> None:
        self._session = None
        for subscribed in self._subscribed:
            if subscribed.task is not None:
                subscribed.task.cancel()
        for published in self._published:
            if published.live is not None:
                published.live.close()
                published.live = None
        await session.close()

    def _read(self, each: Subscribed, session: MoqSession) -> None:
        if each.task is not None:
            each.task.cancel()
        each.task = self._loop.create_task(each.read(session), name=f"track {each.path}")

    def _wake(self, each: Published) -> None:
        self.soon(self._drain, each)

    def _drain(self, each: Published) -> None:
        while each.live is not None and (frame := each.outbox.take()):
            try:
                each.live.write(frame)
            except LinkEnded as why:
                log.debug("%s", why)
                return
