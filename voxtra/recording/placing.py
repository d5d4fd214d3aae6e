"""Files put where they belong: whole or not at all, never one over another, old ones removed. Blocking."""

from __future__ import annotations

import errno
import filecmp
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from voxtra.errors import ConfigurationError, MediaError
from voxtra.recording.names import numbered

log = logging.getLogger("voxtra.recording")

SEALED = "age"
DAY_S = 86_400.0

Seal = Callable[[BinaryIO, BinaryIO], None]
"""Writes what it reads from the first, encrypted, to the second."""


def place(
    source: Path, base: Path, name: str, ending: str, *, again: bool = False, seal: Seal | None = None
) -> Path:
    """Move ``source`` to ``base/name`` in one step. A name that is taken gets a number.

    Args:
        source: the file; gone afterwards.
        base: nothing leaves this folder.
        name: within it, with its ending.
        ending: what comes after the last part's stem, ``wav``.
        again: it may be there already, from a delivery that was cut off before it could be told.
        seal: encrypts on the way.

    Raises:
        ConfigurationError: a link leads out of ``base``.
        MediaError: 10,000 are named so.
        OSError: it can't be moved; it is where it was.
    """
    folder = (base / name).parent
    changed = [folder, *(each.parent for each in (folder, *folder.parents) if not each.exists())]
    folder.mkdir(parents=True, exist_ok=True)
    if not folder.resolve().is_relative_to(base.resolve()):
        raise ConfigurationError(f"the recording {name!r} would leave {base}: a link leads out of it")
    last = Path(name).name
    stem = last.removesuffix(f".{ending}")
    here = rf"{re.escape(stem)}(-\d+)?{re.escape(last[len(stem) :])}"
    if source.parent.resolve() == folder.resolve() and re.fullmatch(here, source.name):
        return source  # called again: it is in its place already
    near = _near(source, folder, seal)
    try:
        for number in range(1, 10_000):
            target = folder / numbered(last, ending, number)
            try:
                os.link(near, target)  # unlike a rename, it never replaces what is there
            except FileExistsError:
                if not (near.samefile(target) or (again and _same(source, near, target, seal))):
                    continue
            for each in changed:  # its name is there for good before the other one goes
                sync_folder(each)
            source.unlink()
            return target
    finally:
        if near != source:
            near.unlink(missing_ok=True)
    raise MediaError(f"10,000 recordings are named {name!r}: choose another name")


def sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power cut, where its file system can. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # network file systems may know of no such thing, see fsync(2)
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _same(source: Path, near: Path, target: Path, seal: Seal | None) -> bool:
    if seal is None:
        return filecmp.cmp(near, target, shallow=False)
    # Encrypted twice it differs in every byte; but its time, to the nanosecond, is that of its source.
    return source.stat().st_mtime_ns == target.stat().st_mtime_ns


def _near(source: Path, folder: Path, seal: Seal | None) -> Path:
    """The file, on the disk of ``folder``: itself, or a synced copy under a hidden name."""
    found = source.stat()
    if seal is None and found.st_dev == folder.stat().st_dev:
        return source
    handle, name = tempfile.mkstemp(prefix=".", suffix=".partial", dir=folder)
    try:
        with os.fdopen(handle, "wb") as copy, source.open("rb") as original:
            if seal is None:
                shutil.copyfileobj(original, copy)
            else:
                seal(original, copy)
            copy.flush()
            os.fsync(copy.fileno())
        os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns))
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def expire(
    base: Path, keep_days: float, now: float, *, dry_run: bool = False, hidden: bool = False
) -> list[Path]:
    """Remove what ended more than ``keep_days`` ago, and folders that are empty then.

    Hidden files (but with ``hidden``) and folders, links and what is younger are left. What can't be removed is
    logged.

    Args:
        base: the folder of a ``LocalFileSink``.
        keep_days: days since a file was last written.
        now: s since the epoch.
        dry_run: remove nothing, only say what would be.
        hidden: hidden files too.

    Returns:
        what was removed.
    """
    gone = []
    for folder, folders, files in os.walk(base):
        folders[:] = [each for each in folders if not each.startswith(".")]
        for name in files:
            path = Path(folder) / name
            try:
                if (
                    (name.startswith(".") and not hidden)
                    or path.is_symlink()
                    or now - path.stat().st_mtime < keep_days * DAY_S
                ):
                    continue
                if not dry_run:
                    path.unlink()
            except OSError as error:
                log.error(
                    "%s is older than %g days and can't be removed: %s", path, keep_days, error.strerror
                )
                continue
            gone.append(path)
    for path in {parent for each in gone for parent in each.parents if base in parent.parents}:
        _remove_empty(path, base, dry_run)
    return gone


def _remove_empty(path: Path, base: Path, dry_run: bool) -> None:
    while not dry_run and path != base:
        try:
            path.rmdir()
        except OSError:  # not empty, or gone
            return
        path = path.parent
