"""A state that changes, and those who wait for it to be some way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Changes:
    """Tells all who wait that something has changed; each looks for itself whether it is what it waits for."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        """Something has changed."""
        self._event.set()

    async def until(self, so: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until ``so()``; False when it is not within ``timeout`` s."""
        try:
            async with asyncio.timeout(timeout):
                while not so():
                    self._event.clear()
                    await self._event.wait()
        except TimeoutError:
            return so()
        return True


async def until_any(work: Coroutine[Any, Any, T], *ends: asyncio.Future[Any]) -> T | None:
    """``work``, or None when one of ``ends`` comes before; it is cancelled then."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, *ends}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
