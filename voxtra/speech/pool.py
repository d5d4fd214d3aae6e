"""The pool in which local models run: a few threads shared by all calls.

Models keep the event loop free by running here (CTranslate2 and onnxruntime release the GIL). The size is
bounded by the cores, the queue by a number of jobs; when it is full the new job is refused and everything
queued goes on. Work of the same kind is not put together into batches: on a CPU, Whisper tiny in int8 took
385 ms for four utterances one by one, and 325–375 ms in batches that all four had to wait for.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from voxtra.errors import ConfigurationError, ProviderError

T = TypeVar("T")

DEADLINE_S = 20.0
"""How long a caller of ``run`` waits unless told otherwise, in s."""


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


class _Job(Generic[T]):
    __slots__ = ("args", "future", "work")

    def __init__(self, work: Callable[..., T], args: tuple[Any, ...]) -> None:
        self.work = work
        self.args = args
        self.future: Future[T] = Future()

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.work(*self.args))
        except BaseException as problem:  # noqa: BLE001 - handed to whoever awaits the job
            self.future.set_exception(problem)


class InferencePool:
    """Runs blocking model calls on a few threads.

    Args:
        size: threads; None or more than the cores means as many as there are cores.
        max_queue: jobs that may wait. Policy when full: the new job is refused with a ProviderError.
        name: prefix of the threads' names.
    """

    def __init__(
        self, size: int | None = None, *, max_queue: int = 64, name: str = "voxtra-inference"
    ) -> None:
        if (size is not None and size < 1) or max_queue < 1:
            raise ConfigurationError(
                f"InferencePool: size = {size}, max_queue = {max_queue}: both must be at least 1"
            )
        self.size = min(size or cores(), cores())
        self.max_queue = max_queue
        self._lock = threading.Lock()
        self._jobs: deque[_Job[Any]] = deque()
        self._workers = 0
        self._closed = False
        self._threads = ThreadPoolExecutor(self.size, thread_name_prefix=name)

    @property
    def queued(self) -> int:
        """Jobs that wait for a thread."""
        return len(self._jobs)

    @property
    def running(self) -> int:
        """Threads at work."""
        return self._workers

    @property
    def busy(self) -> bool:
        """True when a new job would have to wait. Work that can be left out is left out then."""
        return self._workers >= self.size

    async def run(
        self,
        work: Callable[..., T],
        *args: Any,
        error: type[ProviderError] = ProviderError,
        deadline_s: float = DEADLINE_S,
    ) -> T:
        """``work(*args)`` on a thread of the pool.

        Cancelling the wait takes the job out of the queue if it has not begun; work that has begun runs
        to its end and its result is thrown away.

        Args:
            error: class of the errors this raises of its own.
            deadline_s: longest wait in s, queueing included.

        Raises:
            ProviderError: (or ``error``) the queue is full, the pool is closed, or the deadline passed.
                What ``work`` raises comes through as it is.
        """
        job = _Job(work, args)
        self._submit(job, error)
        try:
            async with asyncio.timeout(deadline_s) as limit:
                return await asyncio.wrap_future(job.future)
        except TimeoutError:
            if not limit.expired():  # the work's own
                raise
            raise error(
                f"local inference took longer than {deadline_s:g} s "
                f"({self.queued} jobs queued on {self.size} threads)"
            ) from None
        finally:
            self._forget(job)

    def _submit(self, job: _Job[Any], error: type[ProviderError]) -> None:
        with self._lock:
            if self._closed:
                raise error("the inference pool is closed")
            if len(self._jobs) >= self.max_queue:
                raise error(
                    f"local inference is overloaded: {self.max_queue} jobs wait for {self.size} threads"
                )
            self._jobs.append(job)
            if self._workers < self.size:
                self._workers += 1
                self._threads.submit(self._drain)

    def _forget(self, job: _Job[Any]) -> None:
        # a job given up before it began leaves the queue at once, and its sound with it
        if job.future.cancelled() or job.future.cancel():
            with self._lock:
                if job in self._jobs:
                    self._jobs.remove(job)

    def _drain(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._workers -= 1
                    return
                job = self._jobs.popleft()
            job.run()
            del job

    def close(self) -> None:
        """Refuse new jobs, cancel those that wait; what runs comes to its end. Idempotent."""
        with self._lock:
            self._closed = True
            waiting = list(self._jobs)
            self._jobs.clear()
        for job in waiting:
            job.future.cancel()
        self._threads.shutdown(wait=False)


_shared: InferencePool | None = None


def shared_pool() -> InferencePool:
    """The pool of this process, made on first use.

    ``VOXTRA_INFERENCE_THREADS`` sets its size (default: the cores).
    """
    global _shared
    if _shared is None:
        text = os.environ.get("VOXTRA_INFERENCE_THREADS", "")
        if text and not (text.isascii() and text.isdigit() and int(text) > 0):
            raise ConfigurationError(f"VOXTRA_INFERENCE_THREADS = {text!r}: it must be a number from 1 up")
        _shared = InferencePool(int(text) if text else None)
    return _shared
