"""The folder with the tenants' files: private, written whole or not at all, by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import secrets
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from voxtra.errors import ProvisioningError

STAMP = "_stamp.conf"
"""Rewritten at every change: of a wildcard include, Asterisk does not notice that a file is gone."""
LOCK_S = 10.0
"""How long another process may be busy with the folder."""


class Folder:
    """``<directory>/<kind>/<name>.conf``.

    Args:
        directory: made, mode 0700, when it is not there.
        kinds: its folders.
        owner: who the files belong to, a user's name or number: the one Asterisk runs as, when that is not
            this process's. Only root can give files away.

    Raises:
        ProvisioningError: no such user.
    """

    def __init__(self, directory: Path, kinds: tuple[str, ...], owner: str | int | None) -> None:
        self.path = directory
        self._kinds = kinds
        self._owner = _user_id(owner)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with the folder, among all processes that come here. Raises ProvisioningError."""
        with _said(self.path):
            for place in (self.path, *(self.path / kind for kind in self._kinds)):
                self._make(place)
            descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            self._lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        until = time.monotonic() + LOCK_S
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise ProvisioningError(
                        f"{self.path}: another process holds its lock for {LOCK_S:g} s already"
                    ) from None
                time.sleep(0.02)

    def names(self, kind: str) -> list[str]:
        """Names of the files of a kind, sorted."""
        try:
            return sorted(path.stem for path in (self.path / kind).glob("*.conf") if path.name != STAMP)
        except OSError as error:
            raise ProvisioningError(f"{self.path / kind}: {error.strerror}") from error

    def read(self, kind: str, name: str) -> str:
        """A file's text, "" when there is none."""
        path = self.path / kind / f"{name}.conf"
        with _said(path):
            try:
                return path.read_text(encoding="ascii", errors="replace")
            except FileNotFoundError:
                return ""

    def replace(self, name: str, texts: Mapping[str, str]) -> bool:
        """Write a file of each kind, remove it where the text is empty; returns whether anything changed.

        Everything is written beside the old files first, so that a full disk changes nothing.
        """
        wanted = {kind: text for kind, text in texts.items() if text != self.read(kind, name)}
        if not wanted:
            return False
        ready: dict[Path, Path] = {}
        try:
            for kind, text in wanted.items():
                place = self.path / kind
                if text:
                    ready[place / f"{name}.conf"] = self._written(place, text)
                ready[place / STAMP] = self._written(place, f"; {secrets.token_hex(8)}\n")
            for kind, text in wanted.items():
                if not text:
                    with _said(self.path / kind):
                        (self.path / kind / f"{name}.conf").unlink(missing_ok=True)
            for path in list(ready):
                with _said(path):
                    os.replace(ready[path], path)
                del ready[path]
        finally:
            for leftover in ready.values():
                leftover.unlink(missing_ok=True)
        for kind in wanted:
            self._synced(self.path / kind)
        return True

    def _written(self, place: Path, text: str) -> Path:
        path = place / f".{secrets.token_hex(8)}.new"  # no .conf: Asterisk does not read it
        try:
            with _said(path):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with open(descriptor, "w", encoding="ascii") as file:
                    os.fchmod(descriptor, 0o600)
                    if self._owner is not None:
                        os.fchown(descriptor, self._owner, -1)
                    file.write(text)
                    file.flush()
                    os.fsync(descriptor)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def _make(self, place: Path) -> None:
        try:
            place.mkdir(mode=0o700, parents=place == self.path)
        except FileExistsError:
            mode = place.stat().st_mode
            if not stat.S_ISDIR(mode) or mode & stat.S_IWOTH:
                raise ProvisioningError(
                    f"{place} is no folder, or everybody may write to it: chmod 700 {place}"
                ) from None
        else:
            if self._owner is not None:
                os.chown(place, self._owner, -1)

    def _synced(self, place: Path) -> None:
        with _said(place):
            descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _user_id(owner: str | int | None) -> int | None:
    if owner is None or isinstance(owner, int):
        return owner
    try:
        return pwd.getpwnam(owner).pw_uid
    except KeyError:
        raise ProvisioningError(f"owner {owner!r}: there is no such user on this machine") from None


@contextlib.contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ProvisioningError(f"{path}: {error.strerror}") from error
