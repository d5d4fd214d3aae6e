"""One call's sound, both ways, held through broken connections. Of one event loop; `publish` from any thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable

from voxtra.voice.errors import VoiceError
from voxtra.voice.link import Link, LinkEnded
from voxtra.voice.outbox import Outbox
from voxtra.wire import AudioFormat, SoundFrame

log = logging.getLogger("voxtra.voice")

_CAP_S = 5.0
_FLUSH_S = 2.5
_FINAL = ("NOT_FOUND", "GONE", "CONFLICT", "UNAUTHORIZED", "FORBIDDEN", "BAD_REQUEST", "CLOSED")
"""Refusals that another try won't change."""


class Tap:
    """Publishes and subscribes; a link that breaks is made again until the call is over or this is closed.

    Args:
        name: of its task, and in the log.
        dial: makes a link.
        fmt: how frames are coded.
        on_frame: is handed each frame that comes, on the loop.
        on_end: is called once when it is over, on the loop; True: the call is, and nobody here has closed it.
    """

    def __init__(
        self,
        name: str,
        dial: Callable[[], Awaitable[Link]],
        fmt: AudioFormat,
        on_frame: Callable[[SoundFrame], None],
        on_end: Callable[[bool], None],
    ) -> None:
        self.format = fmt
        self.over = False
        """Nothing will come any more, and what is published goes nowhere."""
        self.closed = False
        """It is over because it was closed here."""
        self.reconnected = 0
        self._name = name
        self._dial = dial
        self._on_frame = on_frame
        self._on_end = on_end
        self._outbox = Outbox(fmt)
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()
        self._woken = False
        self._task: asyncio.Task[None] | None = None

    @property
    def dropped(self) -> int:
        """Frames published that were not sent: too many waited, or for too long."""
        return self._outbox.dropped

    async def open(self) -> None:
        """Connect.

        Raises:
            VoiceError: the engine or the relay refused, or one of them isn't reached.
        """
        try:
            link = await self._dial()
        except LinkEnded as error:
            code = "GONE" if error.final else "NETWORK"
            raise VoiceError(f"{self._name}: {error}", code=code) from None
        self._task = self._loop.create_task(self._run(link), name=self._name)
        await asyncio.sleep(0)  # it has begun: from here on the link is its own to close

    def publish(self, sound: bytes, timestamp_us: int | None) -> None:
        """Send it, in order; never waits. When the call is over it goes nowhere.

        Raises:
            VoiceError: CLOSED, or BAD_ARGUMENT for what is no sound of this format.
        """
        if self.closed:
            raise VoiceError("this bridge is closed", code="CLOSED")
        if self.over:
            return
        self._outbox.put(sound, timestamp_us)
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop has ended: so has this
                self._loop.call_soon_threadsafe(self._more.set)

    def abort(self) -> None:
        """End at once, without waiting for anything. From any thread."""
        self.closed = True
        if self._task is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: so has this
                self._loop.call_soon_threadsafe(self._task.cancel)

    async def close(self) -> None:
        """End. What was published is sent first, if that takes no longer than 2 s."""
        self.closed = True
        if self._task is not None:
            self._more.set()  # the sender sees that nothing more will come
            await asyncio.wait([self._task], timeout=_FLUSH_S)
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, link: Link) -> None:
        call_over = False
        try:
            while True:
                why = await self._carry(link)
                if why.final:
                    log.info("%s: over: %s", self._name, why)
                    call_over = not self.closed
                    return
                log.info("%s: connecting again: %s", self._name, why)
                again = await self._redial()
                if again is None:
                    call_over = True
                    return
                link = again
                self._outbox.drop_late()
                self.reconnected += 1
        finally:
            self.over = True
            self._on_end(call_over)

    async def _redial(self) -> Link | None:
        """Another link; None when there won't be one."""
        wait_s = 0.1
        while True:
            await asyncio.sleep(wait_s * random.uniform(0.5, 1))
            try:
                return await self._dial()
            except (LinkEnded, VoiceError) as error:
                if error.final if isinstance(error, LinkEnded) else error.code in _FINAL:
                    log.info("%s: over: %s", self._name, error)
                    return None
                log.info("%s: %s", self._name, error)
            wait_s = min(_CAP_S, wait_s * 2)

    async def _carry(self, link: Link) -> LinkEnded:
        """Frames both ways until the link ends; why it did."""
        ways = [asyncio.ensure_future(self._send(link)), asyncio.ensure_future(self._receive(link))]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            for way in ways:
                way.cancel()
            try:
                await asyncio.gather(*ways, return_exceptions=True)
            finally:
                await link.close()

    async def _send(self, link: Link) -> LinkEnded:
        try:
            while True:
                while frame := self._outbox.take():
                    await link.send(frame)
                if self.closed:
                    return LinkEnded("closed here", final=True)
                self._more.clear()
                self._woken = False
                if not len(self._outbox):  # else it was filled between the last look and the clearing
                    await self._more.wait()
        except LinkEnded as why:
            return why

    async def _receive(self, link: Link) -> LinkEnded:
        try:
            while True:
                self._on_frame(await link.receive())
        except LinkEnded as why:
            return why
