"""A part of a benchmark in a process of its own, so that the CPU and memory measured are its alone.

Parent and child exchange one JSON object a line over the child's stdin and stdout. The child ends when its
stdin does, so it never outlives whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from typing import IO, Any, Self, TypeAlias

import uvloop

START_S = 30.0
"""What a child may take to say that it is there."""
_LINE = 1 << 22

Answer: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[..., Awaitable[Answer]]


class BenchmarkError(Exception):
    """A benchmark could not be measured. The message says why."""


class Child:
    """``python -m MODULE ARGUMENTS`` as seen from the parent."""

    def __init__(self, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._name = module
        self._env = dict(env or {})
        self._process: asyncio.subprocess.Process | None = None
        self._errors: IO[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __aexit__
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._errors,
            limit=_LINE,
            env={**os.environ, **self._env},
        )
        try:
            await self._read(START_S)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        finally:
            assert self._errors is not None
            self._errors.close()

    async def ask(self, what: str, *, deadline_s: float = 60.0, **arguments: Any) -> Answer:
        """Have the child do something and return its answer. Raises BenchmarkError."""
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
            await self._process.stdin.drain()
        return await self._read(deadline_s)

    async def _read(self, deadline_s: float) -> Answer:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(deadline_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise BenchmarkError(f"{self._name} did not answer in {deadline_s:g} s{self._tail()}") from None
        if not line:
            raise BenchmarkError(f"{self._name} ended{self._tail()}")
        answer: Answer = json.loads(line)
        if "error" in answer:
            raise BenchmarkError(f"{self._name}: {answer['error']}{self._tail()}")
        return answer

    def _tail(self) -> str:
        assert self._errors is not None
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()[-15:]
        return "".join(f"\n    {line}" for line in lines)


async def serve(handlers: Mapping[str, Handler]) -> None:
    """The child's side: say hello, then answer what is asked until stdin ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _say({"pid": os.getpid()})
    while line := await reader.readline():
        request = json.loads(line)
        handler = handlers[request.pop("do")]
        try:
            answer = await handler(**request)
        except Exception as error:  # noqa: BLE001 - goes to the parent, which fails the benchmark with it
            answer = {"error": f"{type(error).__name__}: {error}"}
        _say(answer)


def _say(answer: Answer) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def run_child(main: Callable[[], Awaitable[None]], *, loop: str = "uvloop") -> None:
    """Run the child on ``uvloop`` or ``asyncio``."""
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_main(main))


async def _main(main: Callable[[], Awaitable[None]]) -> None:
    await main()
