"""A sink that loses nothing: what it has taken is on disk, and goes out until the sink behind it has it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Self

from voxtra.errors import ConfigurationError, SpoolError
from voxtra.recording.names import check_name
from voxtra.recording.sink import CompositeSink, RecordingMetadata, RecordingSink
from voxtra.recording.spool import Patience, Spool
from voxtra.recording.spool_store import MIN_FREE, Entry, SpoolStore

log = logging.getLogger("voxtra.spool")

LOW_WATER = 256 * 1024 * 1024
"""Bytes free on the disk below which no recording had better begin."""
_MIB = 1024 * 1024


class SpooledSink(RecordingSink):
    """Keeps each recording safe in ``folder`` at once, and hands it to ``sink`` in the background.

    ``on_recording_complete`` returns when the recording would survive a crash of process and machine. It is
    then delivered until the sink takes it, with growing pauses, also after a restart. Each sink of a
    :class:`CompositeSink` gets it on its own: the failure of one delays no other.

    Args:
        sink: where recordings go in the end. May be called more than once for a recording, with the same
            ``extra["delivery_id"]``.
        folder: the spool; of this process alone, on a disk that lasts.
        attempts: after so many in vain a recording is given up: ``voxtra spool list | retry | purge``.
        retry_s: shortest and longest pause between two attempts, s.
        deliver_s: how long one attempt may take, s.
        max_bytes: how much may wait; more is refused, and stays where it grew.
        min_free: bytes that must stay free on the disk.
        low_water: bytes that must be free on the disk for a recording to begin.
        parallel: deliveries at a time, for each sink.
        grace_s: how long ``close`` waits for deliveries.
        processes: how many processes may share the folder, as with ``voxtra run --workers``.

    Raises:
        ConfigurationError: a number can't be.
    """

    def __init__(
        self,
        sink: RecordingSink,
        folder: str | PathLike[str],
        *,
        attempts: int = 100,
        retry_s: tuple[float, float] = (1.0, 600.0),
        deliver_s: float = 600.0,
        max_bytes: int = 20 * 1024**3,
        min_free: int = MIN_FREE,
        low_water: int = LOW_WATER,
        parallel: int = 2,
        grace_s: float = 5.0,
        processes: int = 1,
    ) -> None:
        if (
            min(attempts, parallel, processes) < 1
            or not 0 < retry_s[0] <= retry_s[1] <= 3000
            or deliver_s <= 0
        ):
            raise ConfigurationError(
                "SpooledSink: attempts, parallel and processes must be 1 or more, retry_s two numbers above 0 "
                f"and up to 3000, deliver_s above 0; not {attempts}, {parallel}, {processes}, {retry_s}, {deliver_s}"
            )
        self.sinks = dict(_named(sink))
        self._first = list(self.sinks)
        """Those that get the recording; the others are told once it is stored."""
        self._then: dict[str, str] = {}
        for name in self._first:
            self._chain(name)
        self._patience = Patience(attempts, *retry_s, deliver_s)
        self._parallel = parallel
        self._grace_s = grace_s
        self._low_water = low_water
        self._spool = Spool(folder, processes=processes, max_bytes=max_bytes, min_free=min_free)
        self._starting = asyncio.Lock()
        self._there_before = self._growing()
        """What grew there before any recording of this process."""

    def _growing(self) -> set[Path]:
        incoming = [path / "incoming" for path in self._spool.folders if path is not None]
        return {each for path in incoming if path.is_dir() for each in path.iterdir()}

    def share(self, processes: int) -> None:
        """So many processes run this app side by side: each has a folder of its own in the spool's."""
        if not self._spool.is_open:
            self._spool.share(processes)
            self._there_before = self._growing()

    @property
    def folder(self) -> Path:
        """The spool's folder in use."""
        assert self._spool.folder is not None
        return self._spool.folder

    @property
    def workspace(self) -> Path | None:
        """Where recordings grow, on the spool's disk."""
        folder = self.folder / "incoming"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def refusal(self) -> str:
        """Why no recording had better begin: the spool's disk is nearly full; "" = it is not."""
        try:
            free = shutil.disk_usage(self.workspace or self.folder).free
        except OSError as error:
            return f"the spool {self.folder} can't be reached: {error.strerror or error}"
        if free >= self._low_water:
            return ""
        low = f"{free // _MIB} MiB free, below the low-water mark of {self._low_water // _MIB} MiB"
        return f"the disk of the spool {self.folder} is nearly full: {low} (low_water)"

    async def start(self) -> None:
        """Open the spool and go on with what waits in it. Idempotent.

        Recordings a dead process left half-way are delivered as ``recovered/...``.

        Raises:
            ConfigurationError: another process uses this folder.
            SpoolError: it can't be opened.
        """
        async with self._starting:
            if self._spool.is_open:
                return
            await self._spool.open()
            try:
                await self._begin()
            except BaseException:
                await self._spool.close()
                raise

    async def _begin(self) -> None:
        for path in await self._spool.do(SpoolStore.left_behind):
            if path in self._there_before:
                await self._recover(path)
        self._there_before.clear()
        for name in self._first:
            await self.sinks[name].start()
        for name in self.sinks:
            self._spool.add_outlet(
                name, self._deliver, patience=self._patience, parallel=self._parallel, remember=True
            )
        for name, states in (await self._spool.do(SpoolStore.counts)).items():
            waiting = sum(states.values()) - states.get("done", 0)
            if waiting and name not in self.sinks:
                log.warning("the spool %s has %d for %s, which is no sink of it", self.folder, waiting, name)

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Make the recording safe. ``metadata.file_path`` is in the spool then, until it is delivered.

        Raises:
            ConfigurationError: its name can't be.
            SpoolError: the spool or the disk is full; the file stays where it was.
        """
        check_name(metadata.name)
        if not self._spool.is_open:
            await self.start()
        source = Path(metadata.file_path)
        key = hashlib.sha256(f"{metadata.session_id}\n{metadata.name}\n{source.name}".encode()).hexdigest()[
            :32
        ]
        file = f"{key}.{metadata.format}"
        goal = self.folder / "files" / file
        if source.parent == goal.parent:
            return  # called again
        body = asdict(metadata)
        entries = [Entry(name, key, "recording", body, file=file) for name in self._first]
        await self._spool.put(entries, source)
        metadata.file_path = str(goal)

    async def _recover(self, path: Path) -> None:
        name = f"recovered/{path.stem}"
        log.warning("the recording %s was left by a process that died: it is delivered as %s", path, name)
        metadata = RecordingMetadata(
            "", name, str(path), None, path.suffix.lstrip(".") or "wav", {"recovered": True}
        )
        key, file = f"recovered-{path.stem}", f"recovered-{path.name}"
        entries = [Entry(each, key, "recording", asdict(metadata), file=file) for each in self._first]
        try:
            await self._spool.put(entries, path)
        except SpoolError as error:
            log.error("%s", error)

    def _chain(self, name: str) -> None:
        then = self.sinks[name].then
        if then is not None:
            after = self._then[name] = f"{name} then {type(then).__name__}"
            self.sinks[after] = then
            self._chain(after)

    async def _deliver(self, entry: Entry) -> None:
        path = await self._spool.do(SpoolStore.out, entry) if entry.file else None
        try:
            metadata = RecordingMetadata(**entry.body)
            if path is not None:
                metadata.file_path = str(path)
            metadata.extra |= {"delivery_id": entry.key, "delivery_attempt": entry.attempts}
            await self.sinks[entry.sink].deliver(metadata)
            if then := self._then.get(entry.sink):
                if metadata.file_path == str(path):
                    metadata.file_path = ""  # it was the spool's own name, and is no more
                # Safe before this one is struck out; done again after a crash, it is known by its key.
                await self._spool.put([Entry(then, entry.key, "notice", asdict(metadata))])
        finally:
            if path is not None:
                await asyncio.shield(self._spool.do(SpoolStore.out_done, path))

    async def flush(self, timeout_s: float) -> bool:
        """Wait until all was delivered or given up. Returns False when time is over before."""
        return await self._spool.flush(timeout_s)

    async def close(self) -> None:
        """Give deliveries ``grace_s``, then stop; the rest is delivered after the next start. Idempotent."""
        if self._spool.is_open:
            await self._spool.flush(self._grace_s)
            await self._spool.close()
            for name in self._first:
                await self.sinks[name].close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


def _named(sink: RecordingSink) -> list[tuple[str, RecordingSink]]:
    """Each sink and a name that stays over restarts: that of its class, numbered when there are several."""
    flat: list[RecordingSink] = []
    waiting = [sink]
    while waiting:
        first = waiting.pop(0)
        if isinstance(first, CompositeSink):
            waiting[:0] = first.sinks
        else:
            flat.append(first)
    found: dict[str, RecordingSink] = {}
    for each in flat:
        name, number = type(each).__name__, 2
        while name in found:
            name, number = f"{type(each).__name__}-{number}", number + 1
        found[name] = each
    return list(found.items())
