"""Who talks on a call now: one at a time, changed from outside while the call goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

log = logging.getLogger("voxtra.control")

LEAVE_S = 5.0
"""How long somebody who is told to leave may take; then the next one begins all the same."""

Work: TypeAlias = Callable[[], Awaitable[object]]


class Seat:
    """The one place on a call from which it is talked to.

    Args:
        name: of the call, for logs.
        finished: called when somebody is done by himself (not when he was told to leave), with his failure
            or None.
    """

    def __init__(self, name: str, finished: Callable[[BaseException | None], None]) -> None:
        self._name = name
        self._finished = finished
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[object] | None = None
        self._closed = False

    @property
    def taken(self) -> bool:
        """Whether somebody is there."""
        return self._task is not None

    async def give(self, work: Work) -> None:
        """Let somebody take the place; who had it leaves first. Of a closed seat nothing comes."""
        async with self._lock:
            await self._leave()
            if not self._closed:
                self._begin(work)

    async def clear(self) -> None:
        """Nobody has the place any more."""
        async with self._lock:
            await self._leave()

    async def close(self, grace_s: float) -> None:
        """The call is over: who is there may take ``grace_s`` to notice."""
        self._closed = True
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=grace_s)
        async with self._lock:
            await self._leave()

    def _begin(self, work: Work) -> None:
        task = asyncio.ensure_future(_run(work))
        task.set_name(f"seat {self._name}")
        self._task = task

        def done(task: asyncio.Task[object]) -> None:
            if self._task is not task:
                return  # he was told to leave
            self._task = None
            self._finished(None if task.cancelled() else task.exception())

        task.add_done_callback(done)

    async def _leave(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait({task}, timeout=LEAVE_S)
        if not task.done():
            log.error("%s: who talked on it does not leave within %g s", self._name, LEAVE_S)
        elif not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: failed as it was told to leave", self._name, exc_info=error)


async def _run(work: Work) -> object:
    return await work()
