"""What object stores have in common: names, one object a recording, never one over another."""

from __future__ import annotations

import asyncio
import contextlib
import re
import string
from abc import abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from voxtra.errors import ConfigurationError, StorageError
from voxtra.recording.sink import RecordingMetadata, RecordingSink, check_name

NAME = "{date}/{session_id}/{name}.{format}"
FIELDS = ("date", "session_id", "name", "format")
CONTENT_TYPES = {
    "wav": "audio/wav",
    "opus": "audio/ogg",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "json": "application/json",
}
UPLOADS = 4
"""Uploads at a time, for each sink; each is a thread while it lasts: the official clients block."""


class ObjectSink(RecordingSink):
    """Base of :class:`GCSSink` and :class:`S3Sink`.

    An object of the name that is there already is compared: the same content is success (an acknowledgement
    was lost), another one is left and this one gets a number (``name-2.wav``).

    Args:
        bucket: its name.
        name: of the object; ``{date}`` (UTC, when the recording ended, ``2026-01-31``), ``{session_id}``,
            ``{name}`` and ``{format}`` are filled in.
        content_type: else by the format, ``audio/wav``.
        metadata: kept with each object, beside ``session-id`` and ``recording-name``.
        keep_file: leave the local file where it is; for sinks before others in a ``CompositeSink``.
        timeout: for one recording, retries included, s.

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
    ) -> None:
        if not bucket:
            raise ConfigurationError(f"{type(self).__name__}: name a bucket")
        if timeout <= 0:
            raise ConfigurationError(f"{type(self).__name__}: timeout must be above 0, not {timeout}")
        self.bucket = bucket
        self._template = _checked_template(name)
        self._content_type = content_type
        self._more = dict(metadata or {})
        self._keep_file = keep_file
        self._timeout = timeout
        self._threads: ThreadPoolExecutor | None = None

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Store it, and set ``metadata.extra["uri"]`` to where.

        Raises:
            ConfigurationError: the name can't be.
            StorageError: it could not be stored; the file is where it was.
        """
        path = Path(metadata.file_path)
        if not await asyncio.to_thread(path.is_file):
            if metadata.extra.get("uri"):
                return  # called again
            raise StorageError(f"{self.scheme}://{self.bucket}: the recording {path} is gone", final=True)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(UPLOADS, thread_name_prefix=f"voxtra-{self.scheme}")
        storing = asyncio.get_running_loop().run_in_executor(self._threads, self._store, path, metadata)
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
        first = object_name(self._template, metadata, path.stat().st_mtime)
        stem, dot, ending = first.rpartition(".")
        kind = self._content_type or CONTENT_TYPES.get(metadata.format, "application/octet-stream")
        more = {"session-id": metadata.session_id, "recording-name": metadata.name} | self._more
        for number in range(1, 1000):
            name = first if number == 1 else f"{stem or ending}-{number}{dot}{ending if stem else ''}"
            if self._put(path, name, kind, more):
                return f"{self.scheme}://{self.bucket}/{name}"
        raise StorageError(f"{self.scheme}://{self.bucket}: 999 objects are named like {first}", final=True)

    @abstractmethod
    def _put(self, path: Path, name: str, content_type: str, more: dict[str, str]) -> bool:
        """Store it under ``name``; False when another object is there. Blocks. Raises StorageError."""

    async def close(self) -> None:
        """Forget the threads; an upload under way ends by itself. Idempotent."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)


def _checked_template(template: str) -> str:
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise ConfigurationError(f"the object name {template!r}: {error}") from None
    wrong = [field for field in fields if field not in FIELDS]
    if wrong or "name" not in fields:
        raise ConfigurationError(
            f"the object name {template!r} must have {{name}} in it, and of fields only "
            f"{', '.join(f'{{{field}}}' for field in FIELDS)}"
        )
    return template


def object_name(template: str, metadata: RecordingMetadata, ended: float) -> str:
    """The object's name: the same whenever the same recording is stored.

    Args:
        template: see :class:`ObjectSink`.
        metadata: of the recording.
        ended: when its file was written last, s since the epoch.
    """
    return template.format(
        date=datetime.fromtimestamp(ended, UTC).date().isoformat(),
        session_id=re.sub(r"[^\w.@+-]", "-", metadata.session_id).strip(".") or "unknown",
        name=check_name(metadata.name),
        format=metadata.format,
    )
