"""What waits in a spool: rows in SQLite, and the files that go with them. Synchronous; one thread uses it.

What :meth:`SpoolStore.put` has returned for survives a crash and a power cut: the file and its folder are
synced, then its row is committed with ``synchronous=FULL`` (https://sqlite.org/pragma.html#pragma_synchronous).
Taking an entry, and finishing one without a file, are not synced: a power cut then makes a delivery happen
twice, which is why each entry has a key that stays the same.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from voxtra.errors import ConfigurationError, SpoolError
from voxtra.recording.placing import sync_folder
from voxtra.recording.spool_entry import COLUMNS
from voxtra.recording.spool_entry import Entry as Entry

MIN_FREE = 64 * 1024 * 1024
"""Bytes that stay free on the disk: below it nothing more is taken."""
RESERVE = 1024 * 1024
"""Bytes held back, so that a full disk still lets what was delivered be struck out."""
KEEP_DONE_S = 86_400.0
"""How long it is remembered what was delivered, so that it is not taken a second time."""
FORGET_EVERY = 1000
"""After so many deliveries it is looked what need not be remembered any more."""
CLOCK_S = 3600.0
"""The longest a wait can be; one that looks longer comes of a clock put back, and is over."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
  id INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, key TEXT NOT NULL, lane TEXT NOT NULL,
  kind TEXT NOT NULL, body TEXT NOT NULL, file TEXT NOT NULL, size INTEGER NOT NULL,
  attempts INTEGER NOT NULL, created REAL NOT NULL, due REAL NOT NULL, state TEXT NOT NULL,
  error TEXT NOT NULL, UNIQUE (sink, key));
CREATE INDEX IF NOT EXISTS entry_due ON entry (sink, state, id);
CREATE INDEX IF NOT EXISTS entry_lane ON entry (sink, lane, id)
  WHERE lane != '' AND state IN ('pending', 'taken');
CREATE INDEX IF NOT EXISTS entry_file ON entry (file) WHERE file != '';
"""
_FIRST_OF_LANE = (
    "(lane = '' OR NOT EXISTS (SELECT 1 FROM entry AS o WHERE o.sink = e.sink AND o.lane = e.lane"
    " AND o.lane != '' AND o.id < e.id AND o.state IN ('pending', 'taken')))"
)


class SpoolStore:
    """A folder with ``spool.db``, ``files/`` (what waits) and ``incoming/`` (what grows).

    Args:
        folder: made when it is needed, for this user only; None keeps all in memory, without files.
        max_bytes: what the files may take together.
        max_entries: how many may wait.
        min_free: bytes that stay free on the disk.
        owner: whether this process delivers. Only one can; others may look, retry and purge.

    Raises:
        ConfigurationError: another process delivers from this folder, or it is no spool.
        SpoolError: it can't be opened.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        max_bytes: int = 20 * 1024**3,
        max_entries: int = 1_000_000,
        min_free: int = MIN_FREE,
        owner: bool = True,
    ) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._min_free = min_free
        self._lock: int | None = None
        self._remembered = 0
        if folder is not None:
            self._prepare(folder, owner)
        try:
            self._db = sqlite3.connect(
                folder / "spool.db" if folder else ":memory:",
                timeout=10, isolation_level=None, check_same_thread=False,
            )  # fmt: skip
            self._open(owner)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise SpoolError(f"the spool {folder} can't be opened: {error}") from error

    @property
    def files(self) -> Path:
        """Folder of the files that wait."""
        return self._folder / "files"

    @property
    def incoming(self) -> Path:
        """Folder where recordings grow that will come here; on the same disk."""
        return self._folder / "incoming"

    @property
    def _folder(self) -> Path:
        if self.folder is None:
            raise ConfigurationError("a spool in memory has no files: give it a folder")
        return self.folder

    def _prepare(self, folder: Path, owner: bool) -> None:
        try:
            new = [each for each in (folder, *folder.parents) if not each.exists()]
            for each in (folder, self.files, self.incoming, folder / "out"):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            for each in (folder, *(each.parent for each in new)):  # what is put in it later is found by these
                sync_folder(each)
            if owner:
                self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._unlock()
            raise ConfigurationError(
                f"the spool {folder} is in use by another process, or by another sink of this one: "
                "give each process a folder of its own, and share one SpooledSink within a process"
            ) from None
        except OSError as error:
            self._unlock()
            raise SpoolError(f"the spool {folder} can't be opened: {error.strerror or error}") from error

    def _open(self, owner: bool) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.executescript(_SCHEMA)
        if owner:
            self._reserve()
            # Nobody else delivers from here: what is marked as taken was so by a process that has died. And what
            # waits may have been tried by it: that it was taken is not synced.
            self._db.execute(
                "UPDATE entry SET state = 'pending', attempts = max(attempts, 1)"
                " WHERE state IN ('taken', 'pending')"
            )
            self._forget()
            self._count()
            self._sweep()
        self._count()

    def _forget(self) -> None:
        """What was delivered long ago."""
        self._db.execute("DELETE FROM entry WHERE state = 'done' AND due < ?", (time.time() - KEEP_DONE_S,))

    def _count(self) -> None:
        found = self._db.execute(
            "SELECT count(*), (SELECT coalesce(sum(size), 0) FROM (SELECT DISTINCT file, size FROM entry "
            "WHERE file != '' AND state != 'done')) FROM entry WHERE state != 'done'"
        ).fetchone()
        self._entries, self._bytes = found

    def _sweep(self) -> None:
        """Remove files nobody waits for: their put or their striking out was cut off."""
        if self.folder is None:
            return
        wanted = {name for (name,) in self._db.execute("SELECT file FROM entry WHERE state != 'done'")}
        for path in self.files.iterdir():
            if path.name not in wanted:
                path.unlink()
        for path in (self.folder / "out").iterdir():
            path.unlink()
        kept = {(s.st_dev, s.st_ino) for s in (p.stat() for p in self.files.iterdir())}
        for path in self.incoming.iterdir():
            stat = path.stat()
            taken_in = (stat.st_dev, stat.st_ino) in kept  # and cut off before it was removed here
            if taken_in or path.name.startswith("."):  # or cut off before it was whole
                path.unlink()

    def left_behind(self) -> list[Path]:
        """Recordings that grew here when a process died."""
        return sorted(self.incoming.iterdir()) if self.folder is not None else []

    # ---- taking in

    def put(self, entries: Sequence[Entry], source: Path | None = None) -> bool:
        """Take ``entries`` and the file all of them are about. On return they are safe.

        Returns:
            False when they had been taken before.

        Raises:
            SpoolError: the spool or the disk is full, or can't be written. Nothing was taken; ``source`` is
                where it was.
        """
        try:
            known = self._known(entries)
            if known == len(entries):
                if source is not None:
                    self._discard(source, entries[0].file)
                return False
            self._check_room(len(entries), source)
            if source is not None:
                size = self._take_file(source, entries[0].file)
                for entry in entries:
                    entry.size = size
            self._insert(entries)
        except (sqlite3.Error, OSError) as error:
            if source is not None and not self._waits(entries[0].file):
                with contextlib.suppress(OSError):
                    (self.files / entries[0].file).unlink(missing_ok=True)
            raise SpoolError(
                f"not taken into the spool {self.folder or 'in memory'}: {said(error)}"
            ) from error
        if source is not None:
            self._bytes += entries[0].size
            self._discard(source, entries[0].file)
        self._entries += len(entries)
        return True

    def _known(self, entries: Sequence[Entry]) -> int:
        sql = "SELECT count(*) FROM entry WHERE sink = ? AND key = ?"
        return sum(self._db.execute(sql, (each.sink, each.key)).fetchone()[0] for each in entries)

    def _check_room(self, count: int, source: Path | None) -> None:
        size = source.stat().st_size if source is not None else 0
        if self._entries + count > self._max_entries or self._bytes + size > self._max_bytes:
            self._count()  # another process may have purged
        if self._entries + count > self._max_entries:
            raise OSError(errno.ENOSPC, f"{self._entries} entries wait already (max_entries)")
        if self._bytes + size > self._max_bytes:
            raise OSError(errno.ENOSPC, f"{self._bytes} bytes wait already (max_bytes={self._max_bytes})")
        if self.folder is None:
            return
        moved = source is not None and source.stat().st_dev == self.folder.stat().st_dev
        free = shutil.disk_usage(self.folder).free - (0 if moved else size)
        if free < self._min_free:
            raise OSError(
                errno.ENOSPC, f"the disk is nearly full, {max(free, 0) // 1024} KiB left of it (min_free)"
            )

    def _take_file(self, source: Path, name: str) -> int:
        target = self.files / name
        target.unlink(missing_ok=True)  # of an attempt that was cut off
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            shutil.copy2(source, target)
        handle = os.open(target, os.O_RDONLY)
        try:
            os.fsync(handle)
            size = os.fstat(handle).st_size
        finally:
            os.close(handle)
        sync_folder(self.files)
        return size

    def _insert(self, entries: Sequence[Entry]) -> None:
        now = time.time()
        with self._transaction(durable=True):
            for entry in entries:
                entry.created = now
                row = (
                    entry.sink, entry.key, entry.lane, entry.kind, json.dumps(entry.body, default=str),
                    entry.file, entry.size, 0, now, entry.due or now, "pending", "",
                )  # fmt: skip
                columns = COLUMNS.partition(", ")[2]
                marks = ", ".join("?" * len(row))
                self._db.execute(f"INSERT OR IGNORE INTO entry ({columns}) VALUES ({marks})", row)

    def _discard(self, source: Path, name: str) -> None:
        """The file's first name goes, unless it is the spool's own."""
        if source != self.files / name:
            source.unlink(missing_ok=True)

    # ---- giving out

    def take(self, sink: str) -> Entry | None:
        """The next entry that is due for ``sink``, marked as taken; None when there is none."""
        now = time.time()
        sql = (
            "UPDATE entry SET state = 'taken', attempts = attempts + 1 WHERE id = ("
            " SELECT id FROM entry AS e WHERE sink = ? AND state = 'pending' AND (due <= ? OR due > ?)"
            f" AND {_FIRST_OF_LANE} ORDER BY id LIMIT 1) RETURNING {COLUMNS}"
        )
        rows = self._write(sql, (sink, now, now + CLOCK_S))
        return Entry.of(rows[0]) if rows else None

    def next_due_s(self, sink: str) -> float | None:
        """Seconds until something can be taken for ``sink``; None when nothing is, or all follow others."""
        sql = f"SELECT min(due) FROM entry AS e WHERE sink = ? AND state = 'pending' AND {_FIRST_OF_LANE}"
        due = self._db.execute(sql, (sink,)).fetchone()[0]
        return None if due is None else float(due - time.time())

    def waiting(self, sink: str) -> int:
        """How many ``sink`` has yet to get."""
        sql = "SELECT count(*) FROM entry WHERE sink = ? AND state IN ('pending', 'taken')"
        return int(self._db.execute(sql, (sink,)).fetchone()[0])

    def done(self, entry: Entry, *, remember: bool = False) -> None:
        """It was delivered. With ``remember`` the same key is not taken again for a day."""
        durable = bool(entry.file)  # its file goes next: a row without it could never be delivered
        if remember:
            sql = "UPDATE entry SET state = 'done', body = '{}', due = ?, error = '' WHERE id = ?"
            self._write(sql, (time.time(), entry.id), durable=durable)
            self._remembered += 1
            if self._remembered % FORGET_EVERY == 0:
                self._forget()
        else:
            self._write("DELETE FROM entry WHERE id = ?", (entry.id,), durable=durable)
        self._entries -= 1
        self._drop_file(entry)

    def failed(self, entry: Entry, why: str, wait_s: float | None) -> None:
        """It was not. It is due again in ``wait_s``, or given up: None."""
        state, due = ("dead", 0.0) if wait_s is None else ("pending", wait_s)
        sql = "UPDATE entry SET state = ?, due = ?, error = ? WHERE id = ?"
        self._write(sql, (state, time.time() + due, why[:500], entry.id))

    def give_back(self, entry: Entry) -> None:
        """Its delivery was broken off by us. It counts as an attempt: it may have arrived nevertheless."""
        self._write("UPDATE entry SET state = 'pending' WHERE id = ?", [entry.id])

    def out(self, entry: Entry) -> Path:
        """A second name of the entry's file, for a sink to move or delete; it ends with :meth:`out_done`."""
        goal = self._folder / "out" / f"{entry.id}-{entry.file}"
        goal.unlink(missing_ok=True)
        try:
            os.link(self.files / entry.file, goal)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            shutil.copy2(self.files / entry.file, goal)
        return goal

    def out_done(self, path: Path) -> None:
        """The sink is through with it."""
        path.unlink(missing_ok=True)

    def _drop_file(self, entry: Entry) -> None:
        if entry.file and not self._waits(entry.file):
            self._bytes -= entry.size
            with contextlib.suppress(OSError):
                (self.files / entry.file).unlink(missing_ok=True)

    def _waits(self, file: str) -> bool:
        if not file:
            return False
        sql = "SELECT 1 FROM entry WHERE file = ? AND state != 'done' LIMIT 1"
        return self._db.execute(sql, (file,)).fetchone() is not None

    # ---- looking, and mending by hand

    def entries(self, states: Sequence[str] = (), sink: str = "", limit: int = 1000) -> Iterator[Entry]:
        """What is in it, oldest first; what was delivered only when asked for by its state."""
        wanted = list(states or ("pending", "taken", "dead"))
        sql = f"SELECT {COLUMNS} FROM entry WHERE state IN ({', '.join('?' * len(wanted))})"
        sql += " AND sink = ?" if sink else ""
        found = self._db.execute(f"{sql} ORDER BY id LIMIT ?", [*wanted, *([sink] if sink else []), limit])
        return map(Entry.of, found.fetchall())

    def counts(self) -> dict[str, dict[str, int]]:
        """Sink → state → how many."""
        found: dict[str, dict[str, int]] = {}
        for sink, state, number in self._db.execute("SELECT sink, state, count(*) FROM entry GROUP BY 1, 2"):
            found.setdefault(sink, {})[state] = number
        return found

    def retry(self, ids: Sequence[int] = (), sink: str = "") -> int:
        """Deliver again what was given up (or ``ids``, also when they wait), from now. Returns how many."""
        where, values = _where("state IN ('dead', 'pending')" if ids else "state = 'dead'", ids, sink)
        sql = f"UPDATE entry SET state = 'pending', attempts = 0, due = ? WHERE {where} RETURNING id"
        return len(self._write(sql, [time.time(), *values]))

    def purge(self, ids: Sequence[int] = (), sink: str = "", *, waiting: bool = False) -> int:
        """Throw away what was given up and its files; with ``waiting`` what waits too. Returns how many."""
        state = "state IN ('dead', 'pending')" if waiting else "state = 'dead'"
        where, values = _where(state, ids, sink)
        with self._transaction(durable=True):
            gone = self._db.execute(
                f"DELETE FROM entry WHERE {where} RETURNING file, size", values
            ).fetchall()
        for file in {file for file, _ in gone if file}:
            if not self._waits(file):
                (self.files / file).unlink(missing_ok=True)
        self._count()
        return len(gone)

    # ---- inside

    def _write(self, sql: str, values: Sequence[Any], *, durable: bool = False) -> list[Any]:
        """One change, synced or not; on a full disk with what is held back for it. Returns its rows."""
        try:
            return self._once(sql, values, durable)
        except sqlite3.Error as error:
            if self.folder is None or not (self.folder / "reserve").exists():
                raise SpoolError(f"the spool {self.folder}: {said(error)}") from error
        (self.folder / "reserve").unlink()
        try:
            rows = self._once(sql, values, durable)
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise SpoolError(f"the spool {self.folder}: {said(error)}") from error
        finally:
            self._reserve()
        return rows

    def _once(self, sql: str, values: Sequence[Any], durable: bool) -> list[Any]:
        with self._transaction(durable=durable):
            return self._db.execute(sql, values).fetchall()

    def _reserve(self) -> None:
        if self.folder is None or (self.folder / "reserve").exists():
            return
        path = self.folder / "reserve"
        try:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE)
        except OSError:  # full: it is made when there is room again
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[None]:
        self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close it. Idempotent."""
        if hasattr(self, "_db"):
            self._db.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _where(state: str, ids: Sequence[int], sink: str) -> tuple[str, list[Any]]:
    where, values = state, list[Any]()
    if ids:
        where += f" AND id IN ({', '.join('?' * len(ids))})"
        values += ids
    if sink:
        where += " AND sink = ?"
        values.append(sink)
    return where, values


def said(error: Exception) -> str:
    """What SQLite or the system says is wrong."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
    return str(error)
