"""What object stores have in common: names, one object a recording, never one over another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from voxtra.errors import ConfigurationError, StorageError
from voxtra.recording.names import NameTemplate, numbered
from voxtra.recording.retention import Retention, check_days
from voxtra.recording.sink import RecordingMetadata, RecordingSink, tell

log = logging.getLogger("voxtra.recording")

RULE = "voxtra-keep"
NAME = "{date}/{session_id}/{name}.{format}"
CONTENT_TYPES = {
    "wav": "audio/wav",
    "opus": "audio/ogg",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "json": "application/json",
    "html": "text/html; charset=utf-8",
}
UPLOADS = 4
"""Uploads at a time, for each sink; each is a thread while it lasts: the official clients block."""


class ObjectSink(RecordingSink):
    """Base of :class:`GCSSink` and :class:`S3Sink`.

    An object of the name that is there already is compared: the same content is success (an acknowledgement
    was lost), another one is left and this one gets a number (``name-2.wav``).

    Args:
        bucket: its name.
        name: of the object, see :class:`~voxtra.recording.names.NameTemplate`.
        content_type: else by the format, ``audio/wav``.
        metadata: kept with each object, beside ``session-id`` and ``recording-name``.
        keep_file: leave the local file where it is; for sinks before others in a ``CompositeSink``.
        timeout: for one recording, retries included, s.
        keep_days: have the bucket remove what is older: a lifecycle rule ``voxtra-keep`` for the folders that all
            names begin with, beside the rules that are there. 0 = leave the rules as they are.
        then: is told once the object is there; ``metadata.extra["uri"]`` says where.

    Raises:
        ConfigurationError: a value can't be.
    """

    scheme = ""

    def __init__(
        self,
        bucket: str,
        *,
        name: str = NAME,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
        keep_file: bool = False,
        timeout: float = 300.0,
        keep_days: float = 0,
        then: RecordingSink | None = None,
    ) -> None:
        if not bucket:
            raise ConfigurationError(f"{type(self).__name__}: name a bucket")
        if timeout <= 0:
            raise ConfigurationError(f"{type(self).__name__}: timeout must be above 0, not {timeout}")
        self.bucket = bucket
        self.then = then
        self._template = NameTemplate(name)
        self._content_type = content_type
        self._more = dict(metadata or {})
        self._keep_file = keep_file
        self._timeout = timeout
        self._keep_days = check_days(keep_days, type(self).__name__)
        if keep_days != int(keep_days):
            raise ConfigurationError(f"{type(self).__name__}: keep_days must be whole days, not {keep_days}")
        self._retention = Retention(self._keep, f"{self.scheme}://{bucket}")
        self._rule_is_set = False
        self._threads: ThreadPoolExecutor | None = None

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Store it, and set ``metadata.extra["uri"]`` to where; then tell ``then``. Raises as :meth:`deliver`."""
        await self.deliver(metadata)
        await tell(self.then, metadata)

    async def deliver(self, metadata: RecordingMetadata) -> None:
        """Store it, without telling ``then``.

        Raises:
            ConfigurationError: the name can't be.
            StorageError: it could not be stored; the file is where it was.
        """
        path = Path(metadata.file_path)
        if not await asyncio.to_thread(path.is_file):
            if metadata.extra.get("uri"):
                return  # called again
            raise StorageError(f"{self.scheme}://{self.bucket}: the recording {path} is gone", final=True)
        storing = asyncio.get_running_loop().run_in_executor(self._pool(), self._store, path, metadata)
        try:
            async with asyncio.timeout(self._timeout):
                metadata.extra["uri"] = await storing
        except TimeoutError:
            raise StorageError(
                f"{self.scheme}://{self.bucket}: not stored in {self._timeout:g} s: {path}"
            ) from None
        if not self._keep_file:
            with contextlib.suppress(FileNotFoundError):
                await asyncio.to_thread(path.unlink)

    def _store(self, path: Path, metadata: RecordingMetadata) -> str:
        first = self._template.render(
            session_id=metadata.session_id, name=metadata.name, format=metadata.format,
            ended=path.stat().st_mtime,
        )  # fmt: skip
        kind = self._content_type or CONTENT_TYPES.get(metadata.format, "application/octet-stream")
        more = {"session-id": metadata.session_id, "recording-name": metadata.name} | self._more
        for number in range(1, 1000):
            name = numbered(first, metadata.format, number)
            if self._put(path, name, kind, more):
                return f"{self.scheme}://{self.bucket}/{name}"
        raise StorageError(f"{self.scheme}://{self.bucket}: 999 objects are named like {first}", final=True)

    def _pool(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(UPLOADS, thread_name_prefix=f"voxtra-{self.scheme}")
        return self._threads

    @abstractmethod
    def _put(self, path: Path, name: str, content_type: str, more: dict[str, str]) -> bool:
        """Store it under ``name``; False when another object is there. Blocks. Raises StorageError."""

    @abstractmethod
    def _set_rule(self, prefix: str, days: int) -> bool:
        """Have the bucket remove objects under ``prefix`` after ``days``; False = it does. Blocks. StorageError."""

    async def start(self) -> None:
        """See to the bucket's lifecycle rule, where that is asked for, in the background."""
        if self._keep_days:
            self._retention.start()
        if self.then is not None:
            await self.then.start()

    async def _keep(self) -> None:
        if self._rule_is_set:
            return
        prefix = self._template.prefix + "/" if self._template.prefix else ""
        loop, days = asyncio.get_running_loop(), int(self._keep_days)
        changed = await loop.run_in_executor(self._pool(), self._set_rule, prefix, days)
        where = f"{self.scheme}://{self.bucket}/{prefix}"
        log.info("%s: %s after %d days", where, "from now on removed" if changed else "is removed", days)
        self._rule_is_set = True

    async def close(self) -> None:
        """Forget the threads; an upload under way ends by itself. Idempotent."""
        await self._retention.close()
        if self.then is not None:
            await self.then.close()
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)
