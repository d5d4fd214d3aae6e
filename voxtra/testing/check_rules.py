"""What the conformance checks of speech providers share: rules by name, sound, and nothing left behind."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any, NoReturn, TypeVar, cast

from voxtra.errors import ProviderError, VoxtraError
from voxtra.media.resample import resample
from voxtra.speech.base import TTS, Provider
from voxtra.speech.local import load_as

T = TypeVar("T")

SENTENCE = "Hello, I would like to order a large pizza, please."
FRAME_S = 0.02
SETTLE_S = 2.0
BLOCKING_S = 0.1
"""A call that takes longer than this holds up every other call of the process."""


checked: ContextVar[str] = ContextVar("voxtra_checked", default="")
"""Whose check this task, and what it starts, belongs to."""


class Rules:
    """The rules for one provider while it is checked. A broken one is an AssertionError that names it."""

    def __init__(self, provider: Provider) -> None:
        self._who = provider.name or type(provider).__name__
        self._tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._allowed: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._factory: Any = None

    def __enter__(self) -> Rules:
        """From here on every task that is started on the provider's behalf is known.

        Those of others on the same loop, of a fake server in the same test, are not: they are started in a
        context of their own.
        """
        loop = asyncio.get_running_loop()
        self._factory = loop.get_task_factory()
        checked.set(self._who)

        def start(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> Any:
            if self._factory is not None:
                task = self._factory(loop, work, **more)
            else:
                task = asyncio.Task(work, loop=loop, **more)
            if checked.get() == self._who:
                self._tasks.add(task)
            return task

        loop.set_task_factory(start)
        return self

    def __exit__(self, *problem: object) -> None:
        """No more of that."""
        checked.set("")
        asyncio.get_running_loop().set_task_factory(self._factory)

    def broken(self, rule: str, found: object) -> NoReturn:
        """Raise the AssertionError."""
        raise AssertionError(f"{self._who}: {rule}: {found}")

    def expect(self, true: object, rule: str, found: object) -> None:
        """Raise the AssertionError unless ``true``."""
        if not true:
            self.broken(rule, found)

    def swift(self, call: Callable[[], T], what: str) -> T:
        """Make a call that must not block. Returns what it returns."""
        began = time.perf_counter()
        result = call()
        took = time.perf_counter() - began
        self.expect(
            took < BLOCKING_S, f"{what} must not block the event loop", f"it took {took * 1000:.0f} ms"
        )
        return result

    async def within(self, limit: float, work: Any, what: str, kind: type[ProviderError]) -> Any:
        """What ``work`` gives within ``limit`` s; any error but one of ``kind`` breaks a rule too."""
        try:
            async with asyncio.timeout(limit):
                return await work
        except TimeoutError:
            self.broken(what, f"nothing within {limit:g} s")
        except kind:
            raise
        except VoxtraError as problem:
            self.broken(f"errors must be {kind.__name__}", f"{type(problem).__name__}: {problem}")
        except AssertionError:
            raise
        except Exception as problem:
            raise AssertionError(
                f"{self._who}: errors must be {kind.__name__}: {type(problem).__name__}: {problem}"
            ) from problem

    def _left(self) -> list[asyncio.Task[Any]]:
        return [task for task in self._tasks if not task.done() and task is not asyncio.current_task()]

    async def nothing_left(self, after: str, *, at_all: bool = False) -> None:
        """No task of the provider's is left; ``at_all``: not even of those that were allowed."""
        until = time.monotonic() + SETTLE_S
        while left := [task for task in self._left() if at_all or task not in self._allowed]:
            if time.monotonic() > until:
                self.broken(f"{after} must leave no task", ", ".join(map(str, left)))
            await asyncio.sleep(0.01)

    async def allow_tasks(self) -> None:
        """What goes on now is the provider's own (a shared socket, a trial): it ends with its ``close``."""
        await asyncio.sleep(0.2)
        self._allowed.update(self._left())

    async def closes_twice(self, provider: Provider) -> None:
        """``close`` is idempotent."""
        for count in ("close()", "a second close()"):
            await self.within(10, provider.close(), f"{count} must come to an end", ProviderError)
        await self.nothing_left("close() of the provider", at_all=True)

    async def warms_up_twice(self, provider: Provider) -> None:
        """``warm_up`` is idempotent."""
        self.expect(
            isinstance(provider.name, str) and provider.name, "it must have a name", repr(provider.name)
        )
        for count in ("warm_up()", "a second warm_up()"):
            await self.within(120, provider.warm_up(), f"{count} must come to an end", ProviderError)


def generator(rules: Rules, source: AsyncIterator[T], what: str) -> AsyncGenerator[T, None]:
    """``source`` as the async generator it must be."""
    rules.expect(
        hasattr(source, "aclose"), f"{what} must be an async generator", f"it is a {type(source).__name__}"
    )
    return cast("AsyncGenerator[T, None]", source)


async def spoken(speech: bytes | None, rate: int) -> bytes:
    """The sound given, or SENTENCE by the embedded voice. Raises MissingExtraError when that is missing."""
    if speech is not None:
        return speech
    voice = load_as(TTS, "hibari")
    pcm = b""
    async for piece in voice.synthesize(SENTENCE):
        pcm += resample(piece.pcm, piece.rate, rate)
    await voice.close()
    return pcm


def frames(pcm: bytes, rate: int) -> list[bytes]:
    """20 ms each; the last is filled up with silence."""
    size = rate // 50 * 2
    return [pcm[at : at + size].ljust(size, b"\0") for at in range(0, len(pcm), size)]
