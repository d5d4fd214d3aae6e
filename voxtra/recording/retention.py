"""A job that runs at the start and then every few hours: what keeps recordings no longer than is allowed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from voxtra.errors import ConfigurationError, VoxtraError

log = logging.getLogger("voxtra.recording")

EVERY_S = 3600.0
"""How often it is looked."""


def check_days(keep_days: float, what: str) -> float:
    """Days, above 0, or 0 for ever. Raises ConfigurationError."""
    if not 0 <= keep_days < 36_500:
        raise ConfigurationError(f"{what}: keep_days must be days, above 0, or 0 = for ever; not {keep_days}")
    return keep_days


class Retention:
    """Runs ``job`` between :meth:`start` and :meth:`close`; what fails is logged and tried again.

    Args:
        job: removes what is too old, or sees to it that somebody does.
        what: of whose recordings, for the log.
    """

    def __init__(self, job: Callable[[], Awaitable[None]], what: str) -> None:
        self._job = job
        self._what = what
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin. Idempotent."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """End. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._job()
            except (VoxtraError, OSError) as error:
                log.error("%s: what is too old was not removed: %s", self._what, error)
            await asyncio.sleep(EVERY_S)
