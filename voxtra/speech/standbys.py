"""Which of several providers is asked: the first that works; one that failed is left alone for a while."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from voxtra.errors import ConfigurationError, ProviderError, VoxtraError
from voxtra.speech.base import Provider
from voxtra.speech.sdk import Refusal

logger = logging.getLogger(__name__)

P = TypeVar("P", bound=Provider)


class Standby(Generic[P]):
    """A provider and how it does.

    Attributes:
        provider: the provider.
        name: its name, with a number when another one has it too.
        failures: how often it failed callers.
        down: True while it is left alone.
        last_problem: what it failed of last.
    """

    def __init__(self, provider: P, name: str) -> None:
        self.provider = provider
        self.name = name
        self.failures = 0
        self.down = False
        self.back_at = 0.0
        self.pause = 0.0
        self.last_problem = ""
        self.task: asyncio.Task[None] | None = None


class Standbys(Generic[P]):
    """Providers in the order in which they are wanted.

    A provider that failed is left alone for ``retry_s``, then tried in the background with a request of its
    own, so that no caller waits for it; each trial that fails doubles the pause, up to ``longest_retry_s``. A
    server's ``Retry-After`` is kept.

    Args:
        providers: the first is the one wanted.
        probe: a small request to a provider; raises ProviderError when it does not work.
        retry_s: first pause, in s.
        longest_retry_s: longest pause, in s.
    """

    def __init__(
        self,
        providers: Sequence[P],
        probe: Callable[[P], Awaitable[None]],
        *,
        retry_s: float,
        longest_retry_s: float,
    ) -> None:
        if not 0 < retry_s <= longest_retry_s:
            raise ConfigurationError(
                f"Fallback: retry_s = {retry_s}: it must be above 0, and no longer than longest_retry_s"
            )
        self._probe = probe
        self._retry_s = retry_s
        self._longest_s = longest_retry_s
        self.all: list[Standby[P]] = []
        for provider in providers:
            name = provider.name or type(provider).__name__
            twins = sum(standby.provider.name == provider.name for standby in self.all)
            self.all.append(Standby(provider, f"{name} #{twins + 1}" if twins else name))

    @property
    def failures(self) -> dict[str, int]:
        """How often each failed callers, by name."""
        return {standby.name: standby.failures for standby in self.all}

    def order(self) -> list[Standby[P]]:
        """Those that work, in order; then those that don't, soonest back first: better than nothing."""
        good = [standby for standby in self.all if not standby.down]
        bad = [standby for standby in self.all if standby.down]
        return good + sorted(bad, key=lambda standby: standby.back_at)

    def worked(self, standby: Standby[P]) -> None:
        """It answered a caller."""
        if standby.down:
            self._restore(standby)
        standby.pause = 0.0

    def failed(self, standby: Standby[P], problem: Exception) -> None:
        """It failed a caller. What it can't do by its settings is no failure that time mends."""
        standby.failures += 1
        standby.last_problem = str(problem)
        if isinstance(problem, ConfigurationError):
            logger.warning("%s can't do this: %s", standby.name, problem)
            return
        logger.warning("%s failed (%d times so far): %s", standby.name, standby.failures, problem)
        if not standby.down:
            standby.down = True
            self._leave_alone(standby, problem)

    def _leave_alone(self, standby: Standby[P], problem: Exception) -> None:
        standby.pause = min(max(2 * standby.pause, self._retry_s), self._longest_s)
        asked = problem.retry_after_s if isinstance(problem, Refusal) else 0.0
        loop = asyncio.get_running_loop()
        wait = max(standby.pause, asked)
        standby.back_at = loop.time() + wait
        if standby.task is None or standby.task.done():
            standby.task = loop.create_task(self._try_again(standby))

    async def _try_again(self, standby: Standby[P]) -> None:
        clock = asyncio.get_running_loop().time
        while standby.down:
            await asyncio.sleep(max(standby.back_at - clock(), 0))
            try:
                await self._probe(standby.provider)
            except Exception as problem:  # noqa: BLE001 - somebody else's provider: a flaw of it must not end the trials
                standby.last_problem = str(problem)
                unforeseen = "" if isinstance(problem, VoxtraError) else f"{type(problem).__name__}: "
                logger.info("%s still fails: %s%s", standby.name, unforeseen, problem)
                self._leave_alone(standby, problem)
            else:
                self._restore(standby)

    def _restore(self, standby: Standby[P]) -> None:
        standby.down = False
        logger.info("%s works again", standby.name)
        if standby.task is not None and standby.task is not asyncio.current_task():
            standby.task.cancel()

    async def warm_up(self) -> None:
        """Warm up all. One that fails is left alone; raises what a wrong setting raises, or when all fail."""
        results = await asyncio.gather(
            *(standby.provider.warm_up() for standby in self.all), return_exceptions=True
        )
        problems = [problem for problem in results if isinstance(problem, BaseException)]
        for standby, problem in zip(self.all, results, strict=True):
            if isinstance(problem, ProviderError) and len(problems) < len(self.all):
                self.failed(standby, problem)
            elif isinstance(problem, BaseException):
                raise problem

    async def close(self) -> None:
        """End the trials and close all providers."""
        tasks = [standby.task for standby in self.all if standby.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for standby in self.all:
            await standby.provider.close()


class Several(Provider, ABC, Generic[P]):
    """Several providers of one kind as one.

    Attributes:
        first_result_s: longest wait for a provider's first result, in s.
        standbys: the providers, the one wanted first.
    """

    def __init__(
        self, providers: Sequence[P], *, first_result_s: float, retry_s: float, longest_retry_s: float
    ) -> None:
        self.first_result_s = first_result_s
        self.standbys = Standbys(providers, self._probe, retry_s=retry_s, longest_retry_s=longest_retry_s)
        self.name = " > ".join(standby.name for standby in self.standbys.all)

    @abstractmethod
    async def _probe(self, provider: P) -> None:
        """A small request to ``provider``. Raises ProviderError when it does not work."""

    @property
    def failures(self) -> dict[str, int]:
        """How often each provider failed, by name."""
        return self.standbys.failures

    async def warm_up(self) -> None:
        """Warm up all."""
        await self.standbys.warm_up()

    async def close(self) -> None:
        """Close all."""
        await self.standbys.close()


def all_failed(kind: type[ProviderError], problems: Sequence[tuple[str, Exception]]) -> ProviderError:
    """The error when nobody could: with each one's words."""
    return kind("no provider could: " + "; ".join(told(name, problem) for name, problem in problems))


def told(name: str, problem: Exception) -> str:
    """The provider's name and its problem; most problems begin with the name."""
    words = str(problem) or type(problem).__name__
    return words if words.startswith(name) else f"{name}: {words}"
