"""``voxtra run --workers N``: several processes for one app, kept alive, and stopped together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from voxtra.ari.backoff import Backoff
from voxtra.cli.complain import EXIT_FAILED, EXIT_OK
from voxtra.cli.serve import StopRequest
from voxtra.cli.worker import EXIT_TERMINATED
from voxtra.config import ServerConfig
from voxtra.health import MAX_LAG_S, HealthServer
from voxtra.serving import END_S, FORCE_S

log = logging.getLogger("voxtra.cli")

RESTART_S = (0.25, 10.0)
"""Shortest and longest wait before a worker that died is started again."""
STABLE_S = 30.0
"""A worker that took calls for so long is started again at once."""
HUNG_S = 30.0
"""A worker that takes calls and shows no sign of life for so long is killed: its callers hear nothing."""


@dataclass(frozen=True)
class Order:
    """What every worker runs.

    Attributes:
        target: the app, as on the command line.
        config: settings file, "" for none.
        options: settings of the command line.
        grace: how long calls may go on once it is told to stop, s; None = the app's own.
        log_level, debug: as of the command line.
        of: how many workers.
    """

    target: str
    config: str
    options: dict[str, Any]
    grace: float | None
    log_level: str
    debug: bool
    of: int


class Worker:
    """One worker: process after process under one number."""

    def __init__(self, order: Order, number: int) -> None:
        self._order = order
        self.number = number
        self._backoff = Backoff(*RESTART_S)
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._wish = ""
        self._heard = 0.0
        self._ready_since: float | None = None
        self._health: dict[str, Any] = {}
        self.was_ready = asyncio.Event()
        self.grace_s = 0.0 if order.grace is None else order.grace
        self.starts = 0

    # ---- how it is

    @property
    def silent_s(self) -> float:
        """How long it has shown no sign of life, s; 0 while it starts or is not there."""
        if self._process is None or self._ready_since is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._heard

    def health(self) -> dict[str, Any]:
        """What it said of itself last, with ``worker``, ``pid``, ``restarts`` and ``alive``."""
        alive = self._process is not None and self.silent_s < MAX_LAG_S
        base = {"state": "starting", "ready": False, "calls": 0, "error": ""}
        said = base | (self._health if self._process is not None else {"error": "it died, and starts again"})
        return {
            "worker": self.number,
            "pid": self._process.pid if self._process is not None else 0,
            "restarts": max(0, self.starts - 1),
            "alive": alive,
            **said,
            "ready": bool(said["ready"]) and alive,
        }

    # ---- its life

    async def run(self) -> int:
        """Keep it running. Returns its exit code once it is to end, ended by itself, or could not begin."""
        while True:
            code = await self._once()
            if code == EXIT_TERMINATED and (self._told_to_end() or not self.was_ready.is_set()):
                return EXIT_OK  # the signal was for all: its parent has it, too
            if self._told_to_end() or code == EXIT_OK or not self.was_ready.is_set():
                return code
            if self._ready_since and asyncio.get_running_loop().time() - self._ready_since > STABLE_S:
                self._backoff.reset()
            wait_s = self._backoff.next_s()
            log.error("worker %d has ended (%s): started again in %.1f s", self.number, _words(code), wait_s)
            await asyncio.sleep(wait_s)
            if self._told_to_end():
                return EXIT_OK if code == EXIT_TERMINATED else code

    def _told_to_end(self) -> bool:
        return bool(self._wish)

    async def _once(self) -> int:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "voxtra.cli.worker", str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    env=os.environ | {"PYTHONUNBUFFERED": "1"},
                )  # fmt: skip
            except BaseException:
                ours.close()
                raise
        self.starts += 1
        self._health, self._ready_since = {}, None
        reader, self._writer = await asyncio.open_connection(sock=ours)
        assert process.stdout is not None
        assert process.stderr is not None
        copies = [
            asyncio.ensure_future(_copy(process.stdout, sys.stdout.buffer, self.number)),
            asyncio.ensure_future(_copy(process.stderr, sys.stderr.buffer, self.number)),
        ]
        watching = asyncio.ensure_future(self._watch(process))
        try:
            self._send({**asdict(self._order), "number": self.number})
            if self._wish:
                self._send({"stop": self._wish})
            await self._hear(reader)
            code = await process.wait()
            await asyncio.wait(copies, timeout=FORCE_S)
        finally:
            self._process = None
            for task in (*copies, watching):
                task.cancel()
            await asyncio.gather(*copies, watching, return_exceptions=True)
            self._writer.close()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return code

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while (text := await reader.readline()).endswith(b"\n"):
                message = json.loads(text)
                self._heard = asyncio.get_running_loop().time()
                if "hello" in message:
                    self.grace_s = message["hello"]["grace"]
                elif "ready" in message:
                    self._ready_since = self._heard
                    self.was_ready.set()
                    log.info("worker %d is ready", self.number)
                else:
                    self._health = message["health"]

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Kill a process that takes calls and hangs."""
        told = False
        while True:
            await asyncio.sleep(1.0)
            if self.silent_s > HUNG_S:
                log.error("worker %d has hung for %.0f s: killed", self.number, self.silent_s)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                return
            late = self.silent_s > MAX_LAG_S
            if late and not told:
                log.warning("worker %d has not moved for %.0f s", self.number, self.silent_s)
            told = late

    def stop(self, how: str) -> None:
        """Let its calls end (``drain``), or not (``now``), and it with them."""
        self._wish = how
        self._send({"stop": how})

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _send(self, message: dict[str, Any]) -> None:
        if self._process is not None and self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")


async def run_workers(order: Order, health: ServerConfig) -> int:
    """Run ``order.of`` workers until a signal comes, and return the exit code.

    Raises:
        ConfigurationError: the address for health can't be listened on.
    """
    workers = [Worker(order, number) for number in range(1, order.of + 1)]
    async with contextlib.AsyncExitStack() as resources:
        stop = resources.enter_context(StopRequest())
        stop.last_deed = lambda: _kill(workers)
        if health.port is not None:
            server = HealthServer(health.host, health.port, lambda: report_of(workers, stop))
            await resources.enter_async_context(server)
        lives = [asyncio.ensure_future(worker.run()) for worker in workers]
        telling = asyncio.ensure_future(_tell_ready(workers))
        asked = asyncio.ensure_future(stop.wait())
        try:
            failed = await _until_stop(lives, asked)
            in_order = await _stop(workers, lives, stop)
        finally:
            for task in (*lives, telling, asked):
                task.cancel()
            await asyncio.gather(*lives, telling, asked, return_exceptions=True)
        if failed:
            return failed
        return stop.code if in_order else EXIT_FAILED


def _kill(workers: list[Worker]) -> None:
    """A worker that hangs must not outlive its parent: it would keep its calls, and its name."""
    for worker in workers:
        worker.kill()


async def _tell_ready(workers: list[Worker]) -> None:
    await asyncio.gather(*(worker.was_ready.wait() for worker in workers))
    log.info("ready: %d workers take calls", len(workers))


async def _until_stop(lives: Sequence[asyncio.Future[int]], asked: asyncio.Future[None]) -> int:
    """Until asked, or all have ended by themselves, or one could not begin: then its exit code."""
    pending: set[asyncio.Future[Any]] = set(lives)
    while pending and not asked.done():
        done, rest = await asyncio.wait({*pending, asked}, return_when=asyncio.FIRST_COMPLETED)
        pending = rest - {asked}
        for life in done - {asked}:
            code = int(life.result())
            if code and not asked.done():
                return code if code > 0 else EXIT_FAILED
    return EXIT_OK


async def _stop(workers: list[Worker], lives: Sequence[asyncio.Future[int]], stop: StopRequest) -> bool:
    """Stop all, within bounds. Returns whether that went in order."""
    for worker in workers:
        worker.stop("drain")
    all_over: asyncio.Future[Any] = asyncio.ensure_future(asyncio.wait(lives))
    forced = asyncio.ensure_future(stop.forced())
    # a worker has bounds of its own: these are for one that does not keep them
    limit_s = max(worker.grace_s for worker in workers) + END_S + 2 * FORCE_S
    try:
        await asyncio.wait({all_over, forced}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if not all_over.done():
            for worker in workers:
                worker.stop("now")
            await asyncio.wait({all_over}, timeout=FORCE_S + 2)  # before the hard end of this process
        _kill(workers)
        await asyncio.wait({all_over}, timeout=FORCE_S)
    finally:
        forced.cancel()
        all_over.cancel()
        await asyncio.gather(all_over, return_exceptions=True)
    return all(life.done() and not life.cancelled() and life.result() == EXIT_OK for life in lives)


def report_of(workers: list[Worker], stop: StopRequest) -> dict[str, Any]:
    """How all are together: ready when one is, alive while one is."""
    each = [worker.health() for worker in workers]
    ready = any(one["ready"] for one in each) and not stop.asked
    behind = next((one for one in each if not one["ready"]), each[0])
    return {
        "state": "draining" if stop.asked else "ready" if ready else behind["state"],
        "ready": ready,
        "alive": any(one["alive"] for one in each) or any(not one["pid"] for one in each),
        "calls": sum(one["calls"] for one in each),
        "error": next((one["error"] for one in each if one["error"]), ""),
        "workers": each,
    }


async def _copy(source: asyncio.StreamReader, target: BinaryIO, number: int) -> None:
    """Each line of a worker with its number before it."""
    prefix = f"[{number}] ".encode()
    rest = b""
    while chunk := await source.read(65536):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > 65536:  # no line any more
            lines, rest = [*lines, rest], b""
        if lines:
            target.write(b"".join(prefix + line + b"\n" for line in lines))
            target.flush()
    if rest:
        target.write(prefix + rest + b"\n")
        target.flush()


def _words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"signal {-code}"
