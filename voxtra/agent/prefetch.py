"""A reply that is being made already, whether or not somebody listens yet."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, Self, TypeVar

from voxtra.agent.streams import closing

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Draws pieces from a stream in a task of its own; gives them out as an async iterator.

    ``close`` (or the end of ``async with``) cancels what is still being made.
    """

    def __init__(self, stream: AsyncIterator[T]) -> None:
        self._pieces: deque[T] = deque()
        self._wake = asyncio.Event()
        self._error: BaseException | None = None
        self._done = False
        self._task = asyncio.ensure_future(self._draw(stream))

    async def _draw(self, stream: AsyncIterator[T]) -> None:
        try:
            async with closing(stream) as pieces:
                async for piece in pieces:
                    self._pieces.append(piece)
                    self._wake.set()
        except Exception as error:  # noqa: BLE001 - raised to whoever reads
            self._error = error
        finally:
            self._done = True
            self._wake.set()

    @property
    def has_begun(self) -> bool:
        """True once there is a first piece, or the end."""
        return bool(self._pieces) or self._done

    async def begun(self, timeout: float) -> bool:
        """Wait until there is a first piece, or the end; False when neither came within ``timeout`` s."""
        try:
            async with asyncio.timeout(timeout):
                while not self._pieces and not self._done:
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._pieces:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if self._done:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._pieces.popleft()

    async def aclose(self) -> None:
        """Cancel what is still being made. Idempotent."""
        if not self._task.done():
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()
