"""Where a finished recording goes."""

from __future__ import annotations

import asyncio
import filecmp
import hashlib
import hmac
import json
import logging
import os
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from voxtra.errors import ConfigurationError, MediaError, StorageError

log = logging.getLogger("voxtra.recording")

SIGNATURE_HEADER = "X-Voxtra-Signature"
_PART = re.compile(r"[^\W_][\w .@+:-]{0,119}")
_MAX_NAME = 400


@dataclass(slots=True)
class RecordingMetadata:
    """What is known of a finished recording.

    Attributes:
        session_id: the call, ``CallSession.id``.
        name: the recording's name; ``/`` makes folders of it.
        file_path: where the file is; a sink that moves the file sets it anew.
        duration_seconds: length of the sound, None when unknown.
        format: ``wav``.
        extra: what else there is to say, JSON-able.
    """

    session_id: str
    name: str
    file_path: str = ""
    duration_seconds: float | None = None
    format: str = "wav"
    extra: dict[str, Any] = field(default_factory=dict)


class RecordingSink(ABC):
    """Takes finished recordings. Subclass it to send them where you like.

    The file at ``metadata.file_path`` is the sink's: it may move or delete it.
    """

    @property
    def workspace(self) -> Path | None:
        """Folder where a recording for this sink best grows (same disk as its goal); None = any."""
        return None

    @abstractmethod
    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """A recording is whole and closed. Called once for each; must bear being called again.

        What it raises is logged and never reaches the call.
        """

    async def deliver(self, metadata: RecordingMetadata) -> None:
        """As :meth:`on_recording_complete`, but what goes wrong is raised, never only logged."""
        await self.on_recording_complete(metadata)

    async def start(self) -> None:  # noqa: B027 - few sinks have anything to start
        """The app starts. Called before the first recording, again after :meth:`close`."""

    async def close(self) -> None:  # noqa: B027
        """The app has stopped: end what is under way, close connections. Idempotent."""


def check_name(name: str) -> str:
    """A recording's name, proven to stay within its folder. ``/`` separates folders.

    Raises:
        ConfigurationError: it can't be a name; says what is wrong.
    """
    parts = name.split("/")
    if len(name) > _MAX_NAME or not all(_PART.fullmatch(part) and not part.endswith(".") for part in parts):
        raise ConfigurationError(
            f"{name[:80]!r} can't be a recording's name: use letters, digits and . _ - + @ : with / for "
            "folders, each part beginning with a letter or digit and of at most 120 characters"
        )
    return name


class LocalFileSink(RecordingSink):
    """Moves each recording to ``base_dir/<name>.<format>``, in one step: it is there whole, or not at all.

    A name that is taken gets a number (``name-2.wav``): no recording is lost to another.

    Args:
        base_dir: the folder; made when it is needed.
    """

    def __init__(self, base_dir: str | PathLike[str]) -> None:
        self.base_dir = Path(base_dir)

    @property
    def workspace(self) -> Path | None:
        """A folder on the same disk, hidden from who lists recordings."""
        return self.base_dir / ".partial"

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Move the file and set ``metadata.file_path`` to where it is now.

        Raises:
            ConfigurationError: the name would lead out of ``base_dir``.
            MediaError: the file can't be moved; it stays where it is.
        """
        check_name(metadata.name)
        try:
            metadata.file_path = str(await asyncio.to_thread(self._move, metadata))
        except OSError as error:
            why = error.strerror or error
            raise MediaError(
                f"can't move the recording {metadata.file_path} to {self.base_dir}: {why}"
            ) from error

    def _move(self, metadata: RecordingMetadata) -> Path:
        source = Path(metadata.file_path)
        folder = (self.base_dir / metadata.name).parent
        folder.mkdir(parents=True, exist_ok=True)
        base = self.base_dir.resolve()
        if not folder.resolve().is_relative_to(base):
            raise ConfigurationError(
                f"the recording {metadata.name!r} would leave {base}: a link leads out of it"
            )
        stem = Path(metadata.name).name
        here = rf"{re.escape(stem)}(-\d+)?\.{re.escape(metadata.format)}"
        if source.parent.resolve() == folder.resolve() and re.fullmatch(here, source.name):
            return source  # called again: it is in its place already
        near = self._near(source, folder)
        for number in range(1, 10_000):
            target = folder / f"{stem}{f'-{number}' if number > 1 else ''}.{metadata.format}"
            try:
                os.link(near, target)  # unlike a rename, it never replaces what is there
            except FileExistsError:
                if not _is_again(metadata, near, target):
                    continue
            near.unlink()
            if near != source:
                source.unlink()
            return target
        raise MediaError(f"10,000 recordings are named {metadata.name!r}: choose another name")

    @staticmethod
    def _near(source: Path, folder: Path) -> Path:
        """The file, on the disk of ``folder``: itself, or a synced copy under a hidden name."""
        if source.stat().st_dev == folder.stat().st_dev:
            return source
        handle, name = tempfile.mkstemp(prefix=".", suffix=".partial", dir=folder)
        try:
            with os.fdopen(handle, "wb") as copy, source.open("rb") as original:
                shutil.copyfileobj(original, copy)
                copy.flush()
                os.fsync(copy.fileno())
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
        return Path(name)


def _is_again(metadata: RecordingMetadata, source: Path, target: Path) -> bool:
    """Whether ``target`` is this very recording, from a delivery that was cut off before it could be told."""
    if source.samefile(target):
        return True
    return metadata.extra.get("delivery_attempt", 1) > 1 and filecmp.cmp(source, target, shallow=False)


class CompositeSink(RecordingSink):
    """Hands each recording to several sinks, one after another; the failure of one is not another's.

    A sink that moves the file comes before those that tell where it is.
    """

    def __init__(self, *sinks: RecordingSink) -> None:
        self.sinks = sinks

    @property
    def workspace(self) -> Path | None:
        """That of the first sink that has one."""
        return next((sink.workspace for sink in self.sinks if sink.workspace is not None), None)

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Hand ``metadata`` to every sink. Errors are logged with the sink's name."""
        for sink in self.sinks:
            try:
                await sink.on_recording_complete(metadata)
            except Exception:  # a sink is anyone's code; the next one must have its turn
                log.exception("%s failed for the recording %r", type(sink).__name__, metadata.name)

    async def start(self) -> None:
        """Start every sink."""
        for sink in self.sinks:
            await sink.start()

    async def close(self) -> None:
        """Close every sink."""
        await asyncio.gather(*(sink.close() for sink in self.sinks))


class WebhookSink(RecordingSink):
    """POSTs each recording's metadata, as JSON, to a URL. The sound itself is not sent.

    Args:
        url: http or https.
        signing_secret: when set, ``X-Voxtra-Signature`` is the hex HMAC-SHA256 of the body under it.
        timeout_seconds: for the whole request.

    Raises:
        ConfigurationError: the URL is none, or the timeout is not above 0.
    """

    def __init__(self, url: str, *, signing_secret: str = "", timeout_seconds: float = 10) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"WebhookSink: {url!r} is no URL: use https://host/path")
        if timeout_seconds <= 0:
            raise ConfigurationError(f"WebhookSink: timeout_seconds must be above 0, not {timeout_seconds}")
        self.url = url
        self._shown = f"{parts.scheme}://{parts.hostname}{parts.path}"
        """For logs: a query or a user's name may hold a secret."""
        self._secret = signing_secret.encode()
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Send it. An error is logged, not raised."""
        try:
            await self.deliver(metadata)
        except StorageError as error:
            log.error("%s", error)

    async def deliver(self, metadata: RecordingMetadata) -> None:
        """Send it. Raises StorageError."""
        body = json.dumps(asdict(metadata), ensure_ascii=False, default=str).encode()
        headers = {"Content-Type": "application/json"}
        if self._secret:
            headers[SIGNATURE_HEADER] = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout) as client,
                client.post(self.url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                if response.status >= 300:
                    raise StorageError(
                        f"{self._shown} answered {response.status} for the recording {metadata.name!r}"
                    )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise StorageError(
                f"{self._shown} was not told of the recording {metadata.name!r}: {why}"
            ) from error
