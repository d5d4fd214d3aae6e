"""Locks between processes: who holds them, who waits, and what becomes of them with their process."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from voxtra.media import interlock as module
from voxtra.media.interlock import Interlock

HOLDER = """
import asyncio, sys
from pathlib import Path
from voxtra.media.interlock import Interlock

async def main():
    lock = Interlock("asterisk", Path(sys.argv[1]))
    async with lock.on(1):
        print("inside", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


class Visit:
    """Somebody who goes in, as soon as he may, and stays until he is called."""

    def __init__(self, lock: Interlock, side: int) -> None:
        self.inside = asyncio.Event()
        self._task = asyncio.ensure_future(self._stay(lock, side))

    async def _stay(self, lock: Interlock, side: int) -> None:
        async with lock.on(side):
            self.inside.set()
            await asyncio.Event().wait()

    async def waits(self) -> bool:
        """Whether he is not in after 50 ms."""
        await asyncio.wait({self._task}, timeout=0.05)
        return not self.inside.is_set()

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})


@pytest.fixture
async def visit() -> AsyncIterator[Callable[[Interlock, int], Visit]]:
    visits: list[Visit] = []

    def begin(lock: Interlock, side: int) -> Visit:
        visits.append(Visit(lock, side))
        return visits[-1]

    yield begin
    for each in visits:
        await each.end()


Begin = Callable[[Interlock, int], Visit]


async def soon(visit: Visit) -> None:
    await asyncio.wait_for(visit.inside.wait(), 5)


async def test_a_process_that_dies_lets_the_others_in(tmp_path: Path, visit: Begin) -> None:
    ours = Interlock("asterisk", tmp_path)
    command = (sys.executable, "-c", HOLDER, str(tmp_path))
    holder = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"inside\n"
    beside = visit(ours, 1)
    await soon(beside)
    await beside.end()
    other = visit(ours, 2)
    assert await other.waits()
    holder.kill()
    await holder.wait()
    await soon(other)


async def test_one_asterisk_is_not_another(tmp_path: Path, visit: Begin) -> None:
    await soon(visit(Interlock("one", tmp_path), 1))
    await soon(visit(Interlock("other", tmp_path), 2))


async def test_who_gives_up_waiting_keeps_nobody_out(tmp_path: Path, visit: Begin) -> None:
    one, two, three = [Interlock("asterisk", tmp_path) for _ in range(3)]
    first = visit(one, 1)
    await soon(first)
    waiting = visit(two, 2)
    assert await waiting.waits()
    await waiting.end()
    await soon(visit(three, 1))


async def test_who_waits_is_let_in_though_others_keep_coming(tmp_path: Path, visit: Begin) -> None:
    one, two = [Interlock("asterisk", tmp_path) for _ in range(2)]
    first = visit(one, 1)
    await soon(first)
    other = visit(two, 2)
    assert await other.waits()
    later = visit(one, 1)
    assert await later.waits()
    await first.end()
    await soon(other)
    assert await later.waits()
    await other.end()
    await soon(later)


async def test_patience_has_an_end(tmp_path: Path, visit: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    one, two, three = [Interlock("asterisk", tmp_path) for _ in range(3)]
    hangs = visit(one, 1)
    impatient = visit(two, 2)
    await soon(impatient)
    await hangs.end()
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)
    third = visit(three, 1)
    assert await third.waits(), "who got in for lack of patience is inside all the same"
    await impatient.end()
    await soon(third)


async def test_the_file_is_closed_with_its_owner(tmp_path: Path) -> None:
    lock = Interlock("asterisk", tmp_path)
    async with lock.on(1):
        pass
    file = lock._file
    assert file is not None
    del lock
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


async def test_no_place_for_locks_is_said_and_holds_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("")
    with caplog.at_level(logging.WARNING, "voxtra.media"):
        one, two = [Interlock("asterisk", tmp_path / "taken") for _ in range(2)]
    assert "several processes on one Asterisk do not know of each other" in caplog.text
    async with one.on(1), two.on(2):
        pass


def test_the_folder_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Interlock("asterisk")
    (folder,) = tmp_path.iterdir()
    assert folder.name == f"voxtra-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
