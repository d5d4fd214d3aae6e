"""Delivery that outlives failures, restarts and crashes: first safe on disk, then out, until it is taken."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from voxtra.errors import ConfigurationError, SpoolError, StorageError
from voxtra.recording.spool_store import Entry, SpoolStore, said

log = logging.getLogger("voxtra.spool")

POLL_S = 5.0
"""How soon what another process changed (``voxtra spool retry``) is seen."""
RETRY_AFTER_MAX_S = 3000.0
"""How long another side may ask to be left alone."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often, and how far apart, a delivery is tried.

    Attributes:
        attempts: after so many in vain it is given up (``dead``).
        first_s: wait after the first one; it doubles each time, and half of it is chance.
        most_s: the longest wait.
        each_s: how long one attempt may take.
    """

    attempts: int = 100
    first_s: float = 1.0
    most_s: float = 600.0
    each_s: float = 600.0

    def wait_s(self, attempts: int, error: BaseException) -> float | None:
        """The wait after ``attempts`` in vain; None = give up."""
        if attempts >= self.attempts or getattr(error, "final", False):
            return None
        planned = min(self.most_s, self.first_s * 2.0 ** min(attempts - 1, 30))
        asked = getattr(error, "retry_after_s", None) or 0.0
        return max(planned * random.uniform(0.5, 1.0), min(float(asked), RETRY_AFTER_MAX_S))


@dataclass(slots=True)
class _Outlet:
    name: str
    deliver: Callable[[Entry], Awaitable[None]]
    patience: Patience
    parallel: int
    remember: bool
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    busy: set[asyncio.Task[None]] = field(default_factory=set)


class Spool:
    """A :class:`SpoolStore` on a thread of its own, and tasks that deliver from it.

    Args:
        folder: see :class:`SpoolStore`; None keeps it in memory.
        processes: how many processes may share it, each with a folder of its own in it.
        limits: ``max_bytes``, ``max_entries``, ``min_free`` of :class:`SpoolStore`.
    """

    def __init__(self, folder: str | PathLike[str] | None, *, processes: int = 1, **limits: Any) -> None:
        self.folders = own_folders(Path(folder), processes) if folder is not None else [None]
        self.folder = self.folders[0]
        """The one in use; the first before :meth:`open`."""
        self._whole = self.folder
        self._limits = limits
        self._thread: ThreadPoolExecutor | None = None
        self._store: SpoolStore | None = None
        self._outlets: dict[str, _Outlet] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_open(self) -> bool:
        """True between :meth:`open` and :meth:`close`."""
        return self._store is not None

    def share(self, processes: int) -> None:
        """Let at least so many processes share it. Before :meth:`open`."""
        if self._whole is not None and processes > len(self.folders):
            self.folders = own_folders(self._whole, processes)

    async def open(self) -> None:
        """Open it. What a process that died had under way waits again.

        Raises:
            ConfigurationError: another process delivers from this folder.
            SpoolError: it can't be opened.
        """
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="voxtra-spool")
        loop = asyncio.get_running_loop()
        try:
            self._store = await loop.run_in_executor(self._thread, self._first_free)
            for each in await loop.run_in_executor(self._thread, self.unused):
                log.warning("%s is of a process more than run now: what waits in it waits on", each)
        except BaseException:
            self._thread.shutdown(wait=False)
            self._thread = None
            raise

    def _first_free(self) -> SpoolStore:
        for folder in self.folders[:-1]:
            try:
                store = SpoolStore(folder, **self._limits)
            except ConfigurationError:
                continue  # another process has it
            self.folder = folder
            return store
        store = SpoolStore(self.folders[-1], **self._limits)
        self.folder = self.folders[-1]
        return store

    def unused(self) -> list[Path]:
        """Folders of processes beyond those that share it now: what waits in them waits for such a process."""
        if self._whole is None or not self._whole.is_dir():
            return []
        there = (each for each in self._whole.glob("process-*") if (each / "spool.db").exists())
        return sorted(each for each in there if each not in self.folders)

    def add_outlet(
        self,
        name: str,
        deliver: Callable[[Entry], Awaitable[None]],
        *,
        patience: Patience,
        parallel: int = 4,
        remember: bool = False,
    ) -> None:
        """Deliver entries whose sink is ``name``, ``parallel`` at a time, from now on.

        Args:
            deliver: raises when it could not; StorageError says more of it.
            remember: whether a key that was delivered is refused for a day.
        """
        outlet = self._outlets[name] = _Outlet(name, deliver, patience, parallel, remember)
        self._tasks.append(asyncio.ensure_future(self._run(outlet)))

    async def put(self, entries: Sequence[Entry], source: Path | None = None) -> bool:
        """Take entries, see :meth:`SpoolStore.put`. On return they are safe; delivery goes on by itself."""
        new = await self.do(SpoolStore.put, entries, source)
        for name in {entry.sink for entry in entries}:
            if name in self._outlets:
                self._outlets[name].wake.set()
        return new

    async def do(self, function: Callable[..., T], *args: Any, **named: Any) -> T:
        """A method of :class:`SpoolStore`, on the spool's thread.

        Raises:
            SpoolError: the spool is not open, or its disk fails.
        """
        store, thread = self._store, self._thread
        if store is None or thread is None:
            raise SpoolError(f"the spool {self.folder or 'in memory'} is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(
                thread, lambda: function(store, *args, **named)
            )
        except (sqlite3.Error, OSError) as error:
            raise SpoolError(f"the spool {self.folder or 'in memory'}: {said(error)}") from error

    async def flush(self, timeout_s: float) -> bool:
        """Wait until all was delivered or given up. Returns False when time is over before."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for outlet in self._outlets.values():
                    while True:
                        outlet.moved.clear()
                        if not await self.do(SpoolStore.waiting, outlet.name):
                            break
                        await outlet.moved.wait()
                return True
        return False

    async def close(self) -> None:
        """Break off what is being delivered, and close. What waits stays in the folder. Idempotent."""
        tasks = [*self._tasks, *(task for outlet in self._outlets.values() for task in outlet.busy)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self._outlets.clear()
        if self._store is not None and self._thread is not None:
            store, self._store = self._store, None
            await asyncio.get_running_loop().run_in_executor(self._thread, store.close)
            self._thread.shutdown(wait=True)
            self._thread = None

    # ---- delivery

    async def _run(self, outlet: _Outlet) -> None:
        while True:
            outlet.wake.clear()
            try:
                wait_s = await self._hand_out(outlet)
            except SpoolError as error:
                log.error("%s: nothing is delivered for %g s: %s", outlet.name, POLL_S, error)
                wait_s = POLL_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await outlet.wake.wait()

    async def _hand_out(self, outlet: _Outlet) -> float:
        """Begin what can be begun. Returns how long to wait for more."""
        while len(outlet.busy) < outlet.parallel:
            entry = await self.do(SpoolStore.take, outlet.name)
            if entry is None:
                due = await self.do(SpoolStore.next_due_s, outlet.name)
                return POLL_S if due is None else min(max(due, 0.005), POLL_S)
            task = asyncio.ensure_future(self._deliver(outlet, entry))
            outlet.busy.add(task)
            task.add_done_callback(lambda task: self._finished(outlet, task))
        return POLL_S

    @staticmethod
    def _finished(outlet: _Outlet, task: asyncio.Task[None]) -> None:
        outlet.busy.discard(task)
        outlet.wake.set()
        outlet.moved.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: a delivery could not be written down: %s", outlet.name, error)

    async def _deliver(self, outlet: _Outlet, entry: Entry) -> None:
        try:
            async with asyncio.timeout(outlet.patience.each_s):
                await outlet.deliver(entry)
        except asyncio.CancelledError:
            await asyncio.shield(self.do(SpoolStore.give_back, entry))
            raise
        except Exception as error:  # noqa: BLE001 - anyone's code: whatever it raises, it is tried again
            await self._failed(outlet, entry, error)
        else:
            await self._note(outlet, SpoolStore.done, entry, remember=outlet.remember)

    async def _note(self, outlet: _Outlet, function: Callable[..., None], *args: Any, **named: Any) -> None:
        """Write down how it went; on a full disk as soon as that is possible again."""
        while True:
            try:
                return await asyncio.shield(self.do(function, *args, **named))
            except SpoolError as error:
                log.error("%s: a delivery can't be written down yet: %s", outlet.name, error)
            await asyncio.sleep(POLL_S)

    async def _failed(self, outlet: _Outlet, entry: Entry, error: Exception) -> None:
        wait_s = outlet.patience.wait_s(entry.attempts, error)
        why = f"{type(error).__name__}: {error}" if not isinstance(error, StorageError) else str(error)
        if wait_s is None:
            kept = f"look with: voxtra spool list -f {self.folder}" if self.folder else "it is lost"
            log.error("%s: given up after %d attempts (%s): %s", outlet.name, entry.attempts, kept, why)
            if self.folder is None:  # nobody could ever look at it
                return await self._note(outlet, SpoolStore.done, entry)
        else:
            log.warning("%s: attempt %d failed, next in %.1f s: %s", outlet.name, entry.attempts, wait_s, why)
        return await self._note(outlet, SpoolStore.failed, entry, why, wait_s)


def own_folders(folder: Path, processes: int) -> list[Path | None]:
    """Where each of several processes keeps its own: the folder itself, and ``process-2`` ... in it."""
    return [folder, *(folder / f"process-{number}" for number in range(2, processes + 1))]
