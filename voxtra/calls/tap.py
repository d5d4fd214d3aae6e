"""A call recorded by Asterisk itself: two snoop channels, one for each direction, each into a file there.

A snoop channel follows the call through every bridge, hold, queue and prompt, and its file is true to time: where
a direction is silent the file is (measured with Asterisk 22.10). See ARI's ``/channels/{id}/snoop`` and ``record``.
"""

from __future__ import annotations

import asyncio
import io
import logging
import wave
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from voxtra.ari import ARIClient, Event
from voxtra.ari.events import RecordingFailed, RecordingFinished
from voxtra.calls.leg import Leg, first_of
from voxtra.calls.switchboard import Switchboard, new_id
from voxtra.errors import (
    ARIConnectionLostError,
    ARIError,
    ARINotFoundError,
    ARITimeoutError,
    MediaError,
    TelephonyConnectionError,
)

log = logging.getLogger("voxtra.calls")

ENTER_S = 2.0
"""How long a snoop channel may take to come."""
FINISH_S = 3.0
"""How long Asterisk may take to close a file."""
BACK_S = 15.0
"""How long a fetch waits for a lost connection."""
_TRIES = 3

T = TypeVar("T")


@dataclass(slots=True, frozen=True)
class TapedSound:
    """One direction: ``loop.time()`` of the first sample in s, Hz, and 16-bit mono PCM."""

    started: float
    rate: int
    pcm: bytes


class CallTap:
    """One call, recorded by Asterisk from :meth:`open` to :meth:`stop`."""

    def __init__(self, caller: _Direction, sent: _Direction) -> None:
        self._both = (caller, sent)

    @classmethod
    async def open(cls, ari: ARIClient, switchboard: Switchboard, leg: Leg, rate: int) -> CallTap:
        """Record what ``leg`` says and what it is sent from now on.

        Args:
            rate: Hz that is wanted; Asterisk's files have 8 or 16 kHz.

        Raises:
            CallEndedError: the call is over.
            MediaError: Asterisk did not begin, or its files can't be fetched.
            ARIError: Asterisk refused.
        """
        if not ari.has_http:
            raise MediaError(
                "what it records can't be fetched where Asterisk connects to us (asterisk.listen)"
            )
        tap = cls(_Direction(ari, switchboard, leg, "in"), _Direction(ari, switchboard, leg, "out"))
        try:
            # one group each: when one fails the other is not left to begin later
            async with asyncio.TaskGroup() as group:
                for each in tap._both:
                    group.create_task(each.open("wav16" if rate >= 16_000 else "wav"))
        except BaseException as error:
            switchboard.chore(tap._drop())
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from None
            raise
        return tap

    async def stop(self) -> None:
        """End both files. Ended already is as good; never fails."""
        await asyncio.gather(*(each.stop() for each in self._both))

    async def fetch(self) -> tuple[TapedSound, TapedSound]:
        """What the caller said, and what the caller was sent; both are removed from Asterisk.

        Raises:
            MediaError: it can't be had.
        """
        caller, sent = await asyncio.gather(*(each.fetch() for each in self._both))
        return caller, sent

    async def _drop(self) -> None:
        await self.stop()
        for each in self._both:
            await each.remove()


class _Direction:
    """One snoop channel and its file."""

    def __init__(self, ari: ARIClient, switchboard: Switchboard, leg: Leg, spy: Literal["in", "out"]) -> None:
        self._ari = ari
        self._switchboard = switchboard
        self._leg = leg
        self._spy: Literal["in", "out"] = spy
        self._loop = asyncio.get_running_loop()
        self._snoop = Leg(ari, switchboard, new_id("snoop"))
        self._name = new_id("rec")
        self._finished = asyncio.Event()
        self._failed = ""
        self._started = 0.0
        self._off = switchboard.register(f"recording:{self._name}", self._take)

    def _take(self, event: Event) -> None:
        if isinstance(event, RecordingFinished | RecordingFailed):
            if isinstance(event, RecordingFailed):
                self._failed = event.recording.cause or "no reason given"
            self._finished.set()

    async def open(self, form: str) -> None:
        """Begin. Raises as :meth:`CallTap.open`."""
        ari, snoop = self._ari, self._snoop
        await self._leg.do(
            lambda: ari.channels.snoop_channel_with_id(
                channel_id=self._leg.id, snoop_id=snoop.id, app=ari.app or "", spy=self._spy, whisper="none"
            )
        )
        await first_of(snoop.entered, snoop.ended, timeout=ENTER_S)
        if not snoop.entered.done():
            self._leg.check()
            raise MediaError(f"Asterisk's snoop channel did not come within {ENTER_S:g} s")
        asked = self._loop.time()
        await snoop.do(lambda: ari.channels.record(channel_id=snoop.id, name=self._name, format=form))
        self._started = (asked + self._loop.time()) / 2

    async def stop(self) -> None:
        """No more is recorded."""
        await self._switchboard.gone(self._ari.recordings.stop(recording_name=self._name))
        if not self._snoop.is_over:
            await self._switchboard.gone(self._snoop.hangup())
        self._snoop.close()

    async def fetch(self) -> TapedSound:
        """The file's sound, once it is whole."""
        name, recordings = self._name, self._ari.recordings
        try:
            async with asyncio.timeout(FINISH_S):
                await self._finished.wait()
        except TimeoutError:
            log.debug("%s: its end was not told; it is fetched as it is", name)
        finally:
            self._off()
        if self._failed:
            raise MediaError(f"Asterisk's recording {name} failed: {self._failed}")
        try:
            data = await self._patiently(lambda: recordings.get_stored_file(recording_name=name))
            with wave.open(io.BytesIO(data)) as file:
                sound = TapedSound(self._started, file.getframerate(), file.readframes(file.getnframes()))
        except (ARIError, TelephonyConnectionError, wave.Error, EOFError) as error:
            raise MediaError(f"Asterisk's recording {name} can't be fetched: {error}") from error
        await self.remove()
        return sound

    async def remove(self) -> None:
        """Nothing of it stays with Asterisk."""
        self._off()
        await self._switchboard.gone(self._ari.recordings.delete_stored(recording_name=self._name))

    async def _patiently(self, request: Callable[[], Awaitable[T]]) -> T:
        """``request``, again when the connection was lost meanwhile or Asterisk has not closed the file yet."""
        for _ in range(_TRIES - 1):
            try:
                return await request()
            except (ARIConnectionLostError, ARITimeoutError, TelephonyConnectionError):
                await self._ari.wait_ready(BACK_S)
            except ARINotFoundError:
                await asyncio.sleep(0.2)
        return await request()


class CallTapper:
    """Opens taps on one call."""

    def __init__(self, ari: ARIClient, switchboard: Switchboard, leg: Leg) -> None:
        self._ari = ari
        self._switchboard = switchboard
        self._leg = leg

    async def open(self, rate: int) -> CallTap:
        """See :meth:`CallTap.open`."""
        return await CallTap.open(self._ari, self._switchboard, self._leg, rate)
