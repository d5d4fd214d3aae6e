"""The command line as a real process, read line by line."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from voxtra.config import ENVIRONMENT


class CliProcess:
    """``voxtra ARGUMENTS`` run in ``folder``; an async context manager that leaves nothing behind."""

    def __init__(self, *arguments: str, folder: Path, env: dict[str, str] | None = None) -> None:
        self._arguments = arguments
        self._folder = folder
        clean = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
        self._env = {**clean, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._family: list[psutil.Process] = []
        self.lines: list[str] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "voxtra.cli",
            *self._arguments,
            cwd=self._folder,
            env=self._env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        for process in (*self.family(), *self._family):
            if process.is_running():
                process.kill()
        await self._process.communicate()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def family(self) -> list[psutil.Process]:
        """The process and all that it has started, alive now."""
        try:
            me = psutil.Process(self.pid)
            found = [me, *me.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        self._family = [process for process in found if process.status() != psutil.STATUS_ZOMBIE]
        return self._family

    async def until(self, pattern: str, timeout: float = 20.0) -> re.Match[str]:
        """Read on until a line matches."""
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout):
                while line := await self._process.stdout.readline():
                    self.lines.append(line.decode().rstrip())
                    if match := re.search(pattern, self.lines[-1]):
                        return match
        except TimeoutError:
            pass
        raise AssertionError(f"no line like {pattern!r} in:\n{self.text}")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def ended(self, timeout: float = 15.0) -> int:
        """Exit code, once all output is read."""
        assert self._process is not None
        async with asyncio.timeout(timeout):
            out, _ = await self._process.communicate()
        self.lines += out.decode().splitlines()
        assert self._process.returncode is not None
        return self._process.returncode


async def all_gone(processes: list[psutil.Process], timeout: float = 10.0) -> list[psutil.Process]:
    """Those still alive after ``timeout`` s."""
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout
    while True:
        alive = [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        if not alive or loop.time() > until:
            return alive
        await asyncio.sleep(0.05)
