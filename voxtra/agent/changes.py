"""A state that changes, and those who wait for it to be some way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


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
