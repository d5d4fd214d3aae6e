"""What of a call does not pass through our own line: Asterisk records it, and it is laid into the recording.

A call that is bridged, on hold, in a queue or hears a prompt of Asterisk's is tapped on Asterisk's side: caller
and far party each into a file there, which is fetched and removed. A tap outlives the moves of a call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from voxtra.errors import CallEndedError, VoxtraError
from voxtra.media.resample import Resampler
from voxtra.recording.stereo import StereoRecorder
from voxtra.recording.tape import RIGHT

log = logging.getLogger("voxtra.recording")

OPEN_S = 2.0
"""How long a tap may take to open: so long a move of the call may wait for it."""
LINGER_S = 5.0
"""How long a tap stays open after the call came back: prompts follow each other."""
ROTATE_S = 120.0
"""A tap is exchanged for a new one this often, so that neither memory nor what a crash can cost grows."""
FETCH_S = 60.0
"""How long the end of a recording waits for what Asterisk recorded."""


class Taped(Protocol):
    """One direction of a call, as Asterisk recorded it."""

    @property
    def started(self) -> float:
        """``loop.time()`` of the first sample, s."""

    @property
    def rate(self) -> int:
        """Hz."""

    @property
    def pcm(self) -> bytes:
        """16-bit mono."""


class Tap(Protocol):
    """A call being recorded by Asterisk."""

    async def stop(self) -> None:
        """Record no longer. Never fails."""

    async def fetch(self) -> Sequence[Taped]:
        """What the caller said and what the caller was sent; removed from Asterisk. Raises VoxtraError."""


class Tapper(Protocol):
    """Opens taps on one call."""

    async def open(self, rate: int) -> Tap:
        """A tap that records from now on, at ``rate`` Hz or near it. Raises VoxtraError."""


class Elsewhere:
    """Follows one call's moves for one recording.

    Args:
        recorder: what is completed.
        tapper: opens taps on the call.
        always: all of the call is recorded by Asterisk.
    """

    def __init__(self, recorder: StereoRecorder, tapper: Tapper, *, always: bool = False) -> None:
        self._recorder = recorder
        self._tapper = tapper
        self._always = always
        self._away = False
        self._paused = False
        self._closed = False
        self._tap: Tap | None = None
        self._lock = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._jobs: set[asyncio.Task[None]] = set()
        self.opaque = False
        """What the line plays can't be tapped, so it is taken from the line also where Asterisk records all."""
        self.lost: list[str] = []
        """What could not be recorded or fetched, in words."""

    async def depart(self) -> None:
        """The call is about to leave our line (or a prompt to begin): from now on Asterisk records it."""
        self._away = True
        await self._update()
        self._recorder.depart()

    def back(self) -> None:
        """The call is back on our line."""
        if self._always:
            if self.opaque:
                self._recorder.back((RIGHT,))
            return
        if not self._away:
            return
        self._away = False
        self._recorder.back()
        self._later(LINGER_S)

    async def pause(self) -> None:
        """Asterisk records nothing from here to ``resume``: not into a file of its own either."""
        self._paused = True
        await self._update()

    async def resume(self) -> None:
        """Asterisk records again, where it should."""
        self._paused = False
        await self._update()

    async def close(self) -> None:
        """End the tap, and wait until what it recorded is laid in (``FETCH_S`` at most)."""
        self._closed = True
        await self._update()
        if self._jobs:
            _, late = await asyncio.wait(self._jobs, timeout=FETCH_S)
            for job in late:
                job.cancel()
                self._missing("what Asterisk recorded was not fetched in time")

    # -- inside

    def _wanted(self) -> bool:
        return self._away and not self._paused and not self._closed

    async def _update(self, *, renew: bool = False) -> None:
        """Have a tap open, or not, as is wanted now."""
        async with self._lock:
            old = self._tap if renew or not self._wanted() else None
            if self._wanted() and (self._tap is None or renew):
                self._tap = await self._open()
            elif old is not None:
                self._tap = None
            if old is not None:
                await old.stop()
                self._spawn(self._fetch(old))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._tap is not None:
            self._later(ROTATE_S, renew=True)

    def _later(self, delay_s: float, *, renew: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed:
            self._timer = self._loop.call_later(delay_s, lambda: self._spawn(self._update(renew=renew)))

    async def _open(self) -> Tap | None:
        try:
            async with asyncio.timeout(OPEN_S):
                return await self._tapper.open(self._recorder.rate)
        except CallEndedError:
            return None  # the move that it is for will fail by the same
        except (VoxtraError, TimeoutError) as error:
            self._missing(f"Asterisk does not record the call: {error or 'no answer in time'}")
            return None

    async def _fetch(self, tap: Tap) -> None:
        try:
            left, right = [await self._fitted(taped) for taped in await tap.fetch()]
        except VoxtraError as error:
            self._missing(f"what Asterisk recorded is missing: {error}")
            return
        await self._recorder.lay(left, right)

    async def _fitted(self, taped: Taped) -> tuple[float, bytes]:
        """At the recording's rate."""
        if taped.rate == self._recorder.rate:
            return taped.started, taped.pcm
        resampler = Resampler(taped.rate, self._recorder.rate)
        return taped.started, await asyncio.to_thread(resampler.process, taped.pcm)

    def _missing(self, why: str) -> None:
        log.error("the recording %s is silent in part: %s", self._recorder.path.name, why)
        self.lost.append(why)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work, name="voxtra recording")
        self._jobs.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._jobs.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("laying in what Asterisk recorded failed", exc_info=error)
            self.lost.append(f"{type(error).__name__}: {error}")
