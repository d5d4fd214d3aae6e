"""Keeps two sides apart between processes: locks on one file, which end with their process."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import logging
import os
import stat
import struct
import tempfile
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

log = logging.getLogger("voxtra.media")

PATIENCE_S = 1.0
"""Longest wait for others."""
POLL_S = 0.001
"""Time between two tries: a lock that is waited for would hold up the event loop."""

_FLOCK: Final = struct.Struct("@hhqqi4x")
"""``struct flock`` of Linux, 64 bits: type, whence, start, length, pid."""
_TURN: Final = 0


class Interlock:
    """Lets in many of one side at once, whichever process they are of; not of side 1 while one of side 2 is inside.

    The locks are those of an open file (``fcntl(2)``, "open file description locks"; Linux): three bytes of it,
    the turn of who enters next, and one for each side.

    Args:
        subject: what is guarded; processes that name the same one keep out of each other's way.
        folder: where the file is; None = one of this user's own, under the folder for temporary files.
    """

    def __init__(self, subject: str, folder: Path | None = None) -> None:
        self._file = _open(folder)
        if self._file is not None:
            weakref.finalize(self, os.close, self._file)
        digest = hashlib.sha256(subject.encode()).digest()
        self._base = int.from_bytes(digest[:6], "big") * 3
        self._entering = asyncio.Lock()
        self._inside = [0, 0, 0]

    @asynccontextmanager
    async def on(self, side: int) -> AsyncIterator[None]:
        """While inside, nobody is on the other side; but nobody is waited for longer than ``PATIENCE_S``.

        Args:
            side: 1 or 2.
        """
        if self._file is None:
            yield
            return
        try:
            async with asyncio.timeout(PATIENCE_S), self._turn():
                await _until(lambda: self._is_free(3 - side))
                self._come(side)
        except TimeoutError:
            self._come(side)
        try:
            yield
        finally:
            self._go(side)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Whose turn it is waits for the other side to become free, and nobody overtakes him meanwhile."""
        async with self._entering:
            await _until(lambda: self._lock(_TURN, fcntl.F_WRLCK))
            try:
                yield
            finally:
                self._lock(_TURN, fcntl.F_UNLCK)

    def _come(self, side: int) -> None:
        self._inside[side] += 1
        self._lock(side, fcntl.F_RDLCK)

    def _go(self, side: int) -> None:
        self._inside[side] -= 1
        if not self._inside[side]:
            self._lock(side, fcntl.F_UNLCK)

    def _lock(self, place: int, kind: int) -> bool:
        """Whether the lock was to be had."""
        assert self._file is not None
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, self._range(place, kind))
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            return False
        return True

    def _is_free(self, place: int) -> bool:
        """Whether no other process is there."""
        assert self._file is not None
        answer = fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, self._range(place, fcntl.F_WRLCK))
        return bool(_FLOCK.unpack(answer)[0] == fcntl.F_UNLCK)

    def _range(self, place: int, kind: int) -> bytes:
        return _FLOCK.pack(kind, os.SEEK_SET, self._base + place, 1, 0)


async def _until(done: Callable[[], bool]) -> None:
    while not done():  # noqa: ASYNC110 - nobody tells when another process leaves
        await asyncio.sleep(POLL_S)


def _open(folder: Path | None) -> int | None:
    """The file of the locks, None (and a word) where there can't be one."""
    if not hasattr(fcntl, "F_OFD_SETLK"):
        log.debug("no locks between processes on this system")
        return None
    place = folder or Path(tempfile.gettempdir()) / f"voxtra-{os.getuid()}"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        found = place.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError(errno.EPERM, "it is somebody else's")
        return os.open(place / "locks", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        log.warning(
            "%s can't hold locks (%s): several processes on one Asterisk do not know of each other, "
            "see docs/asterisk.md, chan_websocket.conf",
            place,
            error.strerror,
        )
        return None
