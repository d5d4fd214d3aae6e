"""The child process of ``voxtra dev``, as its parent holds it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

GRACE_S = 3.0
"""How long the app may take to stop."""


class Child:
    """One run of the app in a process of its own; see :mod:`voxtra.cli.child` for what is said.

    An async context manager: the process is gone when it is left, however that happens.
    """

    def __init__(self, target: str, config: Path | None, log_level: str, debug: bool) -> None:
        self._arguments = [target, "--log-level", log_level, "--grace", str(GRACE_S)]
        if config is not None:
            self._arguments += ["--config", str(config)]
        if debug:
            self._arguments.append("--debug")
        self._serving = False
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "voxtra.cli.child",
                    self._arguments[0],
                    str(theirs.fileno()),
                    *self._arguments[1:],
                    pass_fds=(theirs.fileno(),),
                )
            except BaseException:
                ours.close()
                raise
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def app_name(self) -> str | None:
        """What the app is called; None when the code did not load (the child has said why)."""
        message = await self._hear()
        return str(message["app"]) if message else None

    async def connect(self, forced: dict[str, Any]) -> None:
        """Tell it which Asterisk to use: settings that are above all others."""
        assert self._writer is not None
        self._serving = True
        self._writer.write(json.dumps(forced).encode() + b"\n")
        with contextlib.suppress(OSError):  # it has ended meanwhile: wait() tells
            await self._writer.drain()

    async def ready(self) -> bool:
        """Wait until it takes calls; False when it has ended instead."""
        return await self._hear() is not None

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """Ask it to end; kill it if it has not after a grace."""
        assert self._process is not None
        assert self._writer is not None
        self._writer.close()
        try:
            # code that is still being imported has no call to end: no need to wait for it
            async with asyncio.timeout(GRACE_S + 3.0 if self._serving else 0.05):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _hear(self) -> dict[str, Any] | None:
        assert self._reader is not None
        try:
            text = await self._reader.readline()
        except OSError:
            return None
        return json.loads(text) if text.endswith(b"\n") else None
